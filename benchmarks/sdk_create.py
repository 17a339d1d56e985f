"""Creates a job with the official SDK, for comparison."""

import json
import os
import sys

from cloudflare import Cloudflare


def main() -> None:
    parameters = json.load(sys.stdin)
    client = Cloudflare(api_token=os.environ["CLOUDFLARE_API_TOKEN"], base_url=os.environ["CLOUDFLARE_BASE_URL"])
    job = client.email_security.investigate.bulk.create(
        account_id=os.environ["CLOUDFLARE_ACCOUNT_ID"], action="MOVE", **parameters
    )
    sys.stdout.write(job.model_dump_json() + "\n")


if __name__ == "__main__":
    main()
