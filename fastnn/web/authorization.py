"""The token that opens the review, and what else costs the server work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Depends, HTTPException, Request

if TYPE_CHECKING:
    from fastnn.web.state import State


def token_needed(state: State) -> dict[str, Any]:
    """Return the argument of FastAPI's decorators that makes a route refuse requests without the token."""

    async def require_token(request: Request) -> None:
        """Refuse requests without the token. It is sent in a header, which no other site can make a browser send."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Asked before the token is compared: an address without guesses left must not learn that one was right.
        state.guesses.spend(request, 0.0)
        if scheme.lower() != "bearer" or not state.is_token(given.strip()):
            state.guesses.penalize(request, 1.0)
            raise HTTPException(401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"})

    return {"dependencies": [Depends(require_token)]}
