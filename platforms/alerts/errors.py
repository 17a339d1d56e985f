"""The errors of alerts in. Each is a core.errors.PackError."""

from __future__ import annotations

from core.errors import ParameterError, TemporaryFailure


class BatchRefused(ParameterError):
    """The batch is not NDJSON, or its compression is damaged. Nothing was stored."""

    default_help = "Nothing was stored. Set the output type of the Logpush job to NDJSON, and send the batch again."


class BatchTooLarge(BatchRefused):
    """The batch, or one of its lines, is larger than the limit. Nothing was stored."""

    default_help = "Nothing was stored. Lower max_upload_records or max_upload_bytes of the Logpush job."


class EncodingUnsupported(BatchRefused):
    """The batch has a Content-Encoding other than gzip. Nothing was stored."""

    default_help = "Nothing was stored. Send the batch plain, or compressed with gzip."


class InboxFull(TemporaryFailure):
    """The inbox of alerts can't store another batch at the moment."""

    default_help = "Nothing was stored. Send the batch again later. Check the disk and the batches that wait."


class RulesInvalid(ParameterError):
    """The alert rules have problems, which are listed in `problems`. The service does not start with them."""

    default_help = "Nothing was started. Correct the rules at the places named in `problems`."
