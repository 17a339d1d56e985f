"""The part of Google's XML API that obstore uses, in front of fake-gcs-server, which has a JSON API.

fake-gcs-server stores the data and checks conditions. Only multipart uploads are assembled here.
"""

from __future__ import annotations

import json
import re
import uuid
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import parse_qs, quote, unquote, urlsplit

from connectors.http.client import httpx
from tests.object_stores import Answer, Request
from tests.plain_http import PLAIN

_BOUNDARY = b"of-the-front-7c1f"
_CODES = {401: "AuthenticationRequired", 403: "AccessDenied", 404: "NoSuchKey", 412: "PreconditionFailed"}


class GoogleFront:
    """Answer the requests of a `Door` through the JSON API at `behind`."""

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self._client = httpx.Client(trust_env=False, verify=PLAIN)
        self._uploads: dict[str, dict[int, bytes]] = {}

    def __call__(self, request: Request) -> Answer:
        url = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        _, bucket, key = (unquote(part) for part in url.path.split("/", 2))
        match request.method:
            case "GET" | "HEAD":
                return self._read(request, bucket, key)
            case "PUT" if "partNumber" in query:
                self._uploads[query["uploadId"]][int(query["partNumber"])] = request.body
                return Answer(headers={"etag": f'"{query["partNumber"]}"'})
            case "PUT":
                return self._insert(bucket, key, request.body, request.headers.get("x-goog-if-generation-match"))
            case "POST" if "uploads" in query:
                upload = uuid.uuid4().hex
                self._uploads[upload] = {}
                return Answer(body=_result("Initiate", f"<UploadId>{upload}</UploadId>"))
            case "POST":
                # Google's API has no condition here.
                parts = self._uploads.pop(query["uploadId"])
                return self._insert(bucket, key, b"".join(parts[number] for number in sorted(parts)), None)
            case _ if "uploadId" in query:
                self._uploads.pop(query["uploadId"], None)
                return Answer(204)
            case _:
                answer = self._client.delete(self._object(bucket, key))
                return Answer(204) if answer.is_success else _refusal(answer)

    def __enter__(self) -> None:
        """Do nothing; the exit closes the connections."""

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def _object(self, bucket: str, key: str) -> str:
        return f"{self._behind}/storage/v1/b/{bucket}/o/{quote(key, safe='')}"

    def _read(self, request: Request, bucket: str, key: str) -> Answer:
        found = self._client.get(self._object(bucket, key))
        if not found.is_success:
            return _refusal(found)
        metadata = found.json()
        size = int(metadata["size"])
        last_modified = format_datetime(datetime.fromisoformat(metadata["updated"]))
        headers = {
            "etag": metadata["etag"],
            "last-modified": last_modified,
            "x-goog-generation": metadata["generation"],
        }
        if request.method == "HEAD":
            return Answer(headers={**headers, "content-length": str(size)})
        data = self._client.get(self._object(bucket, key), params={"alt": "media"}).content
        byte_range = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        if byte_range is None:
            return Answer(200, data, headers)
        first, last = int(byte_range[1]), min(int(byte_range[2]), size - 1)
        if first > last:
            return Answer(416, _error("InvalidRange"))
        return Answer(206, data[first : last + 1], {**headers, "content-range": f"bytes {first}-{last}/{size}"})

    def _insert(self, bucket: str, key: str, data: bytes, generation: str | None) -> Answer:
        # Only this kind of upload supports conditions.
        params = {"uploadType": "multipart"} | ({"ifGenerationMatch": generation} if generation else {})
        parts = [("application/json", json.dumps({"name": key}).encode()), ("application/octet-stream", data)]
        body = b"".join(
            b"--%s\r\ncontent-type: %s\r\n\r\n%s\r\n" % (_BOUNDARY, content_type.encode(), part)
            for content_type, part in parts
        )
        answer = self._client.post(
            f"{self._behind}/upload/storage/v1/b/{bucket}/o",
            params=params,
            content=body + b"--%s--\r\n" % _BOUNDARY,
            headers={"content-type": f"multipart/related; boundary={_BOUNDARY.decode()}"},
        )
        if not answer.is_success:
            return _refusal(answer)
        metadata = answer.json()
        headers = {"etag": metadata["etag"], "x-goog-generation": metadata["generation"]}
        return Answer(body=_result("Complete", f"<ETag>{metadata['etag']}</ETag>"), headers=headers)


def _result(content_type: str, fields: str) -> bytes:
    name = f"{content_type}MultipartUploadResult"
    return f"<{name}><Bucket>b</Bucket><Key>k</Key>{fields}</{name}>".encode()


def _refusal(answer: httpx.Response) -> Answer:
    code = _CODES.get(answer.status_code, "InternalError")
    if answer.status_code == 404 and "bucket" in answer.text.lower():
        code = "NoSuchBucket"
    return Answer(answer.status_code, _error(code))


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>as said</Message></Error>".encode()
