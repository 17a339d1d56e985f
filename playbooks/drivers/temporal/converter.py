"""How values become messages: plain JSON, and failures without the stack traces of the pack's own errors."""

from __future__ import annotations

from dataclasses import replace

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter, DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError


class PlainFailures(DefaultFailureConverter):
    """Failures as usual, except that an error with a document needs no stack trace."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        super().to_failure(exception, payload_converter, failure)
        if isinstance(exception, ApplicationError):
            failure.stack_trace = ""


CONVERTER = replace(DataConverter.default, failure_converter_class=PlainFailures)
