"""How often we may ask: one token bucket for every caller of a client, so that fan-out cannot outrun the account."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


class TokenBucket:
    """Requests per minute with a burst; callers are served in the order they came.

    It keeps one number, the instant at which the bucket is full again, so a reservation is exact and needs no timer.
    """

    def __init__(
        self,
        per_minute: int,
        burst: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Start full.

        Raises:
            ValueError: a rate or a burst below one would never let anything through.
        """
        if per_minute < 1 or burst < 1:
            raise ValueError(f"a rate of {per_minute} a minute with a burst of {burst} lets nothing through")
        self._interval = 60.0 / per_minute
        self._burst = burst
        self._clock = clock
        self._sleep = sleep
        self._full_at = clock()

    def reserve(self) -> float:
        """Take one token, possibly from the future; returns the seconds to wait before using it."""
        now = self._clock()
        due = max(self._full_at, now)
        self._full_at = due + self._interval
        return max(0.0, due - now - (self._burst - 1) * self._interval)

    async def acquire(self) -> None:
        """Wait for a token. A caller that is cancelled while it waits leaves its token unused."""
        wait = self.reserve()
        if wait > 0:
            await self._sleep(wait)

    def hold(self, seconds: float) -> None:
        """Let nobody through for a while: the server said 429 to one caller, and that holds for all."""
        self._full_at = max(self._full_at, self._clock() + seconds + (self._burst - 1) * self._interval)
