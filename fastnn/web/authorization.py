"""The token, which opens the review, the teacher's page and what else costs the server work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Depends, HTTPException, Request

if TYPE_CHECKING:
    from fastnn.web.state import State


def token_needed(state: State) -> dict[str, Any]:
    """Return the argument of FastAPI's decorators that makes a route refuse requests without the token.

    How often an address may send a wrong token is limited. The server cannot tell a reviewer's token from a guess
    that is right, so the limit would be worth nothing if the right token always passed: each request would test a
    guess. If it never passed beyond the limit, anybody could lock out the reviewers behind the same address by
    guessing. Therefore it depends on the token. A long one always passes, such as the random one of 32 characters
    that ``fastnn serve`` makes: even 50 bits would take ten thousand years at 3,000 guesses a second. A short one may
    be a word that is found in hours. It is compared only while the address has guesses left, so that no more than one
    a second is tested.

    The route answers 401 if the token is missing or wrong, and 429 if the address has no guesses left.
    """

    async def require_token(request: Request) -> None:
        """Refuse a request without the token. It is sent in a header, which no other site can make a browser send."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        right = scheme.lower() == "bearer" and state.is_token(given.strip())
        if right and state.token_is_long:
            return
        # Asked before a right short token passes: an address without guesses left must not learn that it was right.
        state.guesses.spend(request, 0.0)
        if not right:
            state.guesses.penalize(request, 1.0)
            raise HTTPException(401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"})

    return {"dependencies": [Depends(require_token)]}
