"""The routes of token verification, for user tokens and account tokens."""

from fastapi import APIRouter, Request, Response

from sandbox import envelope
from sandbox.contract.results import Success, TokenState
from sandbox.envelope import Notice
from sandbox.operations import VERIFY_ACCOUNT_TOKEN, VERIFY_USER_TOKEN
from sandbox.routes.context import ThisAccount, answer, token_of
from sandbox.routes.documents import route_arguments

router = APIRouter()

# The API does return the code of a failed authentication in a successful response.
_VALID = Notice(envelope.AUTHENTICATION, "This API Token is valid and active")


@router.get(**route_arguments(VERIFY_USER_TOKEN, {200: Success[TokenState]}))
async def verify_user_token(request: Request) -> Response:
    """Verify a user token."""
    return _state(request)


@router.get(**route_arguments(VERIFY_ACCOUNT_TOKEN, {200: Success[TokenState]}))
async def verify_account_token(request: Request, _: ThisAccount) -> Response:
    """Verify an account token."""
    return _state(request)


def _state(request: Request) -> Response:
    return answer(envelope.success({"id": token_of(request).id, "status": "active"}, messages=[_VALID]))
