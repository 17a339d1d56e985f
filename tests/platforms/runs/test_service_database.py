"""The SQLite file of a service: its transactions, and the files that it refuses."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import ConnectionSettingsError
from platforms.runs.service_database import FILE, ServiceDatabase

# A row of `child` without its `parent` makes the commit fail.
TABLES = """
PRAGMA foreign_keys = ON;
CREATE TABLE IF NOT EXISTS parent (id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS child (parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
"""


@pytest.fixture
def open_database(tmp_path: Path) -> Iterator[Callable[[], ServiceDatabase]]:
    opened: list[ServiceDatabase] = []

    def open_one() -> ServiceDatabase:
        opened.append(ServiceDatabase(tmp_path, TABLES))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def count(database: ServiceDatabase, table: str) -> int:
    with database.transaction() as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 -- a constant


def test_a_commit_that_fails_leaves_the_database_usable(open_database: Callable[[], ServiceDatabase]) -> None:
    database = open_database()
    with pytest.raises(ConnectionSettingsError, match="FOREIGN KEY"), database.transaction() as connection:
        connection.execute("INSERT INTO child VALUES (7)")
    assert count(database, "child") == 0


def test_an_exception_rolls_back(open_database: Callable[[], ServiceDatabase]) -> None:
    database = open_database()
    with pytest.raises(KeyError), database.transaction() as connection:
        connection.execute("INSERT INTO parent VALUES (1)")
        raise KeyError
    assert count(database, "parent") == 0


def test_an_error_after_which_sqlite_has_rolled_back_is_reported_itself(
    open_database: Callable[[], ServiceDatabase],
) -> None:
    database = open_database()
    with pytest.raises(ConnectionSettingsError, match="UNIQUE"), database.transaction() as connection:
        connection.execute("INSERT INTO parent VALUES (1)")
        connection.execute("INSERT OR ROLLBACK INTO parent VALUES (1)")
    assert count(database, "parent") == 0


def test_threads_and_connections_share_the_file(open_database: Callable[[], ServiceDatabase]) -> None:
    databases = [open_database(), open_database()]

    def insert(first: int) -> None:
        for number in range(first, first + 50):
            with databases[number % 2].transaction() as connection:
                connection.execute("INSERT INTO parent VALUES (?)", (number,))

    threads = [threading.Thread(target=insert, args=(first,)) for first in range(0, 400, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [count(each, "parent") for each in databases] == [400, 400]


def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    sqlite3.connect(elsewhere).close()
    (tmp_path / FILE).symlink_to(elsewhere)
    with pytest.raises(ConnectionSettingsError):
        ServiceDatabase(tmp_path, TABLES)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).touch(mode=0o644)
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(ConnectionSettingsError):
        ServiceDatabase(tmp_path, TABLES)


def test_a_damaged_file_names_itself_and_the_setting(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database" * 100)
    (tmp_path / FILE).chmod(0o600)
    with pytest.raises(ConnectionSettingsError, match=FILE) as caught:
        ServiceDatabase(tmp_path, TABLES)
    assert "CFES_STATE_DIR" in caught.value.help


def test_a_closed_database_refuses_transactions(open_database: Callable[[], ServiceDatabase]) -> None:
    database = open_database()
    database.close()
    with pytest.raises(ConnectionSettingsError, match="closed"):
        count(database, "parent")
