"""The SQLite files in the state directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ConnectionSettingsError
from core.state_database import StateFile, state_database

TABLES = """CREATE TABLE IF NOT EXISTS alert (id TEXT PRIMARY KEY, at TEXT);
    CREATE INDEX IF NOT EXISTS alert_at ON alert (at)"""


def test_tables_and_indexes_are_created_once(tmp_path: Path) -> None:
    setting = str(tmp_path / "state")
    for number in range(2):
        with state_database(setting, TABLES) as database:
            database.execute("INSERT INTO alert VALUES (?, ?)", (f"a{number}", "2026-01-01"))
    with state_database(setting, TABLES) as database:
        (plan,) = database.execute("EXPLAIN QUERY PLAN SELECT id FROM alert WHERE at < '2027'").fetchall()
        assert "alert_at" in plan[-1]
        assert database.execute("SELECT count(*) FROM alert").fetchone() == (2,)


def test_an_exception_rolls_back(tmp_path: Path) -> None:
    setting = str(tmp_path / "state")
    with pytest.raises(KeyError), state_database(setting, TABLES) as database:
        database.execute("INSERT INTO alert VALUES ('a', 'b')")
        raise KeyError
    with state_database(setting, TABLES) as database:
        assert database.execute("SELECT count(*) FROM alert").fetchone() == (0,)


def test_an_error_names_the_file_and_has_its_advice(tmp_path: Path) -> None:
    file = StateFile("other.sqlite", help="Restore it from a backup.")
    with (
        pytest.raises(ConnectionSettingsError, match=r"other\.sqlite") as caught,
        state_database(str(tmp_path / "state"), TABLES, file) as database,
    ):
        database.execute("SELECT nothing FROM nowhere")
    assert caught.value.help == "Restore it from a backup."
