"""The memory of an export's process is bounded in each format, over TLS and with realistic rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.export import PROGRAMS, Server, run, serving
from tests.exhaustive import exhaustive_unless

# Enough pages to fill every buffer. 20,000 rows took 200 MB when a page's texts were checked all at once.
FEW, MANY = 11_000, 20_000

MOST_MB = {"ndjson": 100, "csv": 100, "json": 100, "parquet": 200, "pseudonyms": 100}
# The other formats are converted from an NDJSON file. tests/remediation/exports/test_row_file.py measures that.
FLAT = ("ndjson", "pseudonyms")


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    with serving(FEW, "utf8", tls=True) as few, serving(MANY, "utf8", tls=True) as many:
        yield few, many


# CSV and JSON are converted as Parquet is, and tests/remediation/exports/test_row_file.py measures the conversion.
@pytest.mark.parametrize("name", exhaustive_unless({"ndjson"}, MOST_MB))
def test_the_memory_of_an_export_is_bounded(name: str, servers: tuple[Server, Server], tmp_path: Path) -> None:
    few, many = servers
    least = run(PROGRAMS[name], few, "bench-0", tmp_path).peak_mb
    assert least < MOST_MB[name]
    if name in FLAT:
        assert run(PROGRAMS[name], many, "bench-0", tmp_path).peak_mb < min(1.2 * least, MOST_MB[name])
