"""The handler of AWS Lambda where the pack is installed from its wheel: `cfes.aws_lambda.handler`."""

from platforms.aws_lambda import handler

__all__ = ["handler"]
