"""The token that opens the review, and what else costs the server work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Depends, Request

if TYPE_CHECKING:
    from fastnn.web.state import State


def token_needed(state: State) -> dict[str, Any]:
    """Return the argument of FastAPI's decorators that makes a route refuse requests without the token."""

    async def require_token(request: Request) -> None:
        """Refuse requests without the token."""
        state.require_token(request)

    return {"dependencies": [Depends(require_token)]}
