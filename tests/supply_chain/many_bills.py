"""Write and validate several bills in one process of the tools' environment. Standard input lists them."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stderr

# Its grammar takes two seconds to load. The process that writes the first bill has it.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

from cyclonedx.schema import SchemaVersion  # noqa: E402
from cyclonedx.validation.json import JsonStrictValidator  # noqa: E402

from supply_chain import sbom  # noqa: E402


def write(arguments: list[str], source_date: str) -> tuple[int, str]:
    sys.argv = ["sbom", *arguments]
    os.environ["SOURCE_DATE_EPOCH"] = source_date
    with redirect_stderr(io.StringIO()) as errors:
        code = sbom.main()
    return code, errors.getvalue()


def is_valid(text: str) -> bool:
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


if __name__ == "__main__":
    given = json.load(sys.stdin)
    ends = [write(*call) for call in given["calls"]]
    json.dump({"calls": ends, "valid": [is_valid(text) for text in given["validated"]]}, sys.stdout)
