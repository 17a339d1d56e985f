"""The minimum of an export with httpx: the same pages at the same concurrency, written unchanged and in order."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

THREADS = 8


def main() -> None:
    path, pages, job_id = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    account = os.environ["CLOUDFLARE_ACCOUNT_ID"]
    url = f"{os.environ['CLOUDFLARE_BASE_URL']}/accounts/{account}/email-security/investigate/bulk/{job_id}/messages"
    with (
        httpx.Client(headers={"Authorization": f"Bearer {os.environ['CLOUDFLARE_API_TOKEN']}"}, timeout=60) as client,
        ThreadPoolExecutor(THREADS) as pool,
        Path(path).open("wb") as file,
    ):

        def page(number: int) -> bytearray:
            body = bytearray()
            with client.stream("GET", url, params={"page": number, "per_page": 1000}) as response:
                for chunk in response.iter_bytes():
                    body += chunk
            return body

        waiting = [pool.submit(page, number) for number in range(1, min(THREADS, pages) + 1)]
        for number in range(1, pages + 1):
            body = waiting.pop(0).result()
            if number + THREADS <= pages:
                waiting.append(pool.submit(page, number + THREADS))
            file.write(body)


if __name__ == "__main__":
    main()
