"""Limits for requests: a rate for each client address, and a size and a time for each body."""

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

LIGHT_COST = 1.0
"""Units of the rate limit that a small request costs."""

FILE_COST = 20.0
"""Units of the rate limit that a download costs."""

DIGIT_COST = 5.0
"""Units of the rate limit that each digit costs that is to be stored."""

LIST_COST = 5.0
"""Units of the rate limit that counts and credits cost."""

MAX_ADDRESSES = 10_000
"""Addresses that are remembered; beyond that, the least recently seen ones are forgotten."""

BURST_SECONDS = 10.0
"""Size of a bucket, in seconds of the rate: what an address may spend at once."""

BODY_SECONDS = 20.0
"""Longest time for the body of a request to arrive."""


class RateLimiter:
    """A token bucket for each client address, in bounded memory.

    It has no lock: all calls must come from one thread, the event loop's.

    Parameters
    ----------
    rate : float
        Units per second that an address may spend in the long run; 0 sets no limit. A bucket holds ten seconds of it.
    clock : callable
        Returns a time in seconds that never goes back.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def try_spend(self, address: str, cost: float) -> float:
        """Take `cost` from the bucket of `address` if the bucket holds enough; a cost above its size takes all of it.

        Parameters
        ----------
        address : str
            An IP address. IPv6 addresses with the same first 64 bits share a bucket, because one household has them
            all.
        cost : float
            Units; 0 only asks whether at least one unit is left.

        Returns
        -------
        float
            0 if the cost was taken; otherwise the seconds to wait before trying again, and nothing was taken.
        """
        if self._rate <= 0:
            return 0.0
        # Never ask for more than a full bucket, which may hold less than one unit.
        needed = min(self._capacity, max(1.0, cost))
        left = self._refill(address)
        if left < needed:
            return (needed - left) / self._rate
        self._take(address, cost)
        return 0.0

    def charge(self, address: str, cost: float) -> None:
        """Take `cost` from the bucket of `address` even if it holds less; the bucket may then be in debt.

        Parameters
        ----------
        address : str
        cost : float
            Units; at most a full bucket is taken, and the debt is at most a full bucket.
        """
        if self._rate > 0:
            self._refill(address)
            self._take(address, cost)

    @property
    def _capacity(self) -> float:
        return self._rate * BURST_SECONDS

    def _refill(self, address: str) -> float:
        """Add what has accrued since the last request, mark the bucket as recently used and return its content."""
        key, time_now = _bucket_key(address), self._clock()
        left, then = self._buckets.pop(key, (self._capacity, time_now))
        left = min(self._capacity, left + (time_now - then) * self._rate)
        self._buckets[key] = (left, time_now)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return left

    def _take(self, address: str, cost: float) -> None:
        key = _bucket_key(address)
        left, then = self._buckets[key]
        self._buckets[key] = (max(left - min(cost, self._capacity), -self._capacity), then)

    def spend(self, request: Request, cost: float) -> None:
        """Take `cost` from the bucket of a request's client.

        Raises
        ------
        HTTPException
            429 with Retry-After if the bucket does not hold enough.
        """
        wait = self.try_spend(_client_address(request), cost)
        if wait > 0:
            raise HTTPException(429, "too many requests; please wait a moment", {"Retry-After": str(int(wait) + 1)})

    def penalize(self, request: Request, cost: float) -> None:
        """Charge the client of a request that is refused, even if its bucket holds less than `cost`."""
        self.charge(_client_address(request), cost)


def _client_address(request: Request) -> str:
    return request.client.host if request.client else ""


def _bucket_key(address: str) -> str:
    """Return an IPv4 address, or the first 64 bits of an IPv6 address."""
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
        Largest size in bytes.

    Returns
    -------
    bytes

    Raises
    ------
    HTTPException
        413 if the body is too long, 408 if it takes too long to arrive, 400 if the client disconnects.
    """
    too_long = HTTPException(413, f"the body must have at most {limit:,} bytes")
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
        raise HTTPException(408, "the body took too long to arrive") from None
    except ClientDisconnect:
        raise HTTPException(400, "the body is incomplete") from None
    return bytes(body)
