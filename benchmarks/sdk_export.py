"""Exports rows with the official SDK, for comparison: its own iteration, and model_dump_json for each row."""

import csv
import os
import sys
from pathlib import Path

from cloudflare import Cloudflare

COLUMNS = ("message_id", "status", "status_message", "action_type", "created_at", "processed_at", "retry_count")
NESTED = ("subject", "from_", "from_name", "to", "envelope_from", "envelope_to", "scanned_at", "final_disposition")


def main() -> None:
    path, job_id, row_format = sys.argv[1], sys.argv[3], sys.argv[4]
    client = Cloudflare(api_token=os.environ["CLOUDFLARE_API_TOKEN"], base_url=os.environ["CLOUDFLARE_BASE_URL"])
    rows = client.email_security.investigate.bulk.messages.list(
        job_id, account_id=os.environ["CLOUDFLARE_ACCOUNT_ID"], per_page=1000
    )
    with Path(path).open("w", newline="") as file:
        if row_format == "ndjson":
            for row in rows:
                file.write(row.model_dump_json() + "\n")
            return
        writer = csv.writer(file)
        writer.writerow((*COLUMNS, *NESTED))
        for row in rows:
            found = [getattr(row, name, None) for name in COLUMNS]
            found += [getattr(row.message, name, None) for name in NESTED]
            writer.writerow(["; ".join(cell) if isinstance(cell, list) else cell for cell in found])


if __name__ == "__main__":
    main()
