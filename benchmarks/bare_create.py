"""Creates a job with only httpx, pydantic and tenacity, for comparison: a script written in ten minutes."""

import json
import os
import sys

import httpx
from pydantic import BaseModel
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential


class Request(BaseModel):
    action: str
    destination: str
    comment: str | None = None
    search_params: dict[str, str | bool]


class Job(BaseModel):
    job_id: str
    status: str
    messages_pending: int


@retry(
    retry=retry_if_exception_type(httpx.ConnectError),
    stop=stop_after_attempt(3),
    wait=wait_random_exponential(max=10),
)
def create(client: httpx.Client, request: Request) -> Job:
    account = os.environ["CLOUDFLARE_ACCOUNT_ID"]
    answer = client.post(f"/accounts/{account}/email-security/investigate/bulk", json=request.model_dump())
    answer.raise_for_status()
    return Job.model_validate(answer.json()["result"])


def main() -> None:
    request = Request.model_validate(json.load(sys.stdin) | {"action": "MOVE"})
    headers = {"Authorization": "Bearer " + os.environ["CLOUDFLARE_API_TOKEN"]}
    with httpx.Client(base_url=os.environ["CLOUDFLARE_BASE_URL"], headers=headers) as client:
        sys.stdout.write(create(client, request).model_dump_json() + "\n")


if __name__ == "__main__":
    main()
