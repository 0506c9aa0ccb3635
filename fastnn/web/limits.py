"""How much one address may ask for, and how much one request may hold."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_ADDRESSES = 10_000
"""Addresses that are remembered; of more, those that were quiet longest are forgotten."""

BURST_SECONDS = 10.0
"""What an address may ask for at once, in seconds of its rate."""

BODY_SECONDS = 20.0
"""How long a request may take to arrive."""


class RateLimiter:
    """A token bucket for each address, in bounded memory.

    Parameters
    ----------
    rate : float
        Units a second that an address may spend for long; 0 sets no limit. A bucket holds ten seconds of it.
    clock : callable
        Seconds that only go up.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, address: str, cost: float) -> float:
        """Spend `cost` of the bucket of `address`, if it holds as much; at most a whole bucket.

        Parameters
        ----------
        address : str
            An IP address; of IPv6 the first 64 bits count, since a household has all the others.
        cost : float
            Units; 0 asks whether anything is left.

        Returns
        -------
        float
            0, or how many seconds to wait before asking again; nothing is spent then.
        """
        if self._rate <= 0:
            return 0.0
        key, time_now, full = _network(address), self._clock(), self._rate * BURST_SECONDS
        left, then = self._buckets.pop(key, (full, time_now))
        left = min(full, left + (time_now - then) * self._rate)
        needed = max(1.0, min(cost, full))
        enough = left >= needed
        self._buckets[key] = (left - min(cost, full) if enough else left, time_now)
        if len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return 0.0 if enough else (needed - left) / self._rate

    def spend(self, request: Request, cost: float) -> None:
        """Spend `cost` for the sender of a request.

        Raises
        ------
        HTTPException
            429 if there is not enough left.
        """
        wait = self.wait(request.client.host if request.client else "", cost)
        if wait > 0:
            raise HTTPException(429, "too many requests; wait a little", {"Retry-After": str(int(wait) + 1)})


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(int(parsed) >> 64)


async def read_body(request: Request, limit: int) -> bytes:
    """Read the body of a request, and stop as soon as it is too long.

    Parameters
    ----------
    request : Request
    limit : int
        Bytes.

    Returns
    -------
    bytes

    Raises
    ------
    HTTPException
        413 if it is longer, 408 if it takes too long to come, 400 if the sender has gone.
    """
    too_long = HTTPException(413, f"the body may have {limit:,} bytes at most")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_long
    except TimeoutError:
        raise HTTPException(408, "the body took too long to come") from None
    except ClientDisconnect:
        raise HTTPException(400, "the body is not whole") from None
    return bytes(body)
