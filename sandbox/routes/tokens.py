"""Token verification, for user tokens and for those that an account owns."""

from fastapi import APIRouter, Request, Response

from sandbox import envelope
from sandbox.contract.results import Success, TokenState
from sandbox.envelope import Notice
from sandbox.operations import VERIFY_ACCOUNT_TOKEN, VERIFY_USER_TOKEN
from sandbox.routes.asked import ThisAccount, answer, token_of
from sandbox.routes.documents import documented

router = APIRouter()

# The code of a failed authentication in a good answer: the real service does just that.
_VALID = Notice(envelope.AUTHENTICATION, "This API Token is valid and active")


@router.get(**documented(VERIFY_USER_TOKEN, {200: Success[TokenState]}))
async def verify_user_token(request: Request) -> Response:
    """Say whether the token is good."""
    return _state(request)


@router.get(**documented(VERIFY_ACCOUNT_TOKEN, {200: Success[TokenState]}))
async def verify_account_token(request: Request, _: ThisAccount) -> Response:
    """Say whether the token is good, for a token that the account owns."""
    return _state(request)


def _state(request: Request) -> Response:
    return answer(envelope.success({"id": token_of(request).id, "status": "active"}, messages=[_VALID]))
