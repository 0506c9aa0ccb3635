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
        # No more than a bucket holds can be asked for, be it less than one unit.
        needed = min(self._full, max(1.0, cost))
        left = self._left(address)
        if left < needed:
            return (needed - left) / self._rate
        self._take(address, cost)
        return 0.0

    def charge(self, address: str, cost: float) -> None:
        """Take `cost` out of the bucket of `address` though it hold less: it then fills up from below nothing.

        Parameters
        ----------
        address : str
        cost : float
            Units; at most a whole bucket is taken, and at most one owed.
        """
        if self._rate > 0:
            self._left(address)
            self._take(address, cost)

    @property
    def _full(self) -> float:
        return self._rate * BURST_SECONDS

    def _left(self, address: str) -> float:
        """Return what a bucket holds now, and note that it is not one of the quiet ones."""
        key, time_now = _network(address), self._clock()
        left, then = self._buckets.pop(key, (self._full, time_now))
        left = min(self._full, left + (time_now - then) * self._rate)
        self._buckets[key] = (left, time_now)
        if len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return left

    def _take(self, address: str, cost: float) -> None:
        key = _network(address)
        left, then = self._buckets[key]
        self._buckets[key] = (max(left - min(cost, self._full), -self._full), then)

    def spend(self, request: Request, cost: float) -> None:
        """Spend `cost` for the sender of a request.

        Raises
        ------
        HTTPException
            429 if there is not enough left.
        """
        wait = self.wait(_sender(request), cost)
        if wait > 0:
            raise HTTPException(429, "too many requests; wait a little", {"Retry-After": str(int(wait) + 1)})

    def fine(self, request: Request, cost: float) -> None:
        """Charge the sender of a request that is refused, whatever is left."""
        self.charge(_sender(request), cost)


def _sender(request: Request) -> str:
    return request.client.host if request.client else ""


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
