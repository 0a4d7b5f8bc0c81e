"""What can go wrong at the Neon API, as one error with a closed status and a sentence for a person."""

from __future__ import annotations

import email.utils
import re
import time

from collectors.base import Status
from collectors.errors import NeonmeterError

_ADVICE: dict[int, tuple[Status, str]] = {
    400: (Status.BUG, "the API did not understand the request"),
    401: (Status.AUTH, "the API key was refused: check NEON_API_KEY, or make a new key in the Neon console"),
    402: (Status.NO_PRIVILEGE, "the account has an unpaid bill or is over its limits"),
    403: (Status.NO_PRIVILEGE, "the API key may not read this: use an organisation key, or a key of a member"),
    404: (Status.UNSUPPORTED, "it does not exist, or the API key may not see it"),
    406: (Status.UNSUPPORTED, "the API does not keep this range"),
    423: (Status.UNREACHABLE, "locked by another of Neon's operations; retried in the next round"),
    429: (Status.RATE_LIMITED, "too many requests: lower neon.requests_per_minute, or see what else uses this account"),
}
RETRIED = frozenset({408, 423, 429})
"""Statuses below 500 that a later attempt may mend; a GET is always safe to send again."""


class NeonError(NeonmeterError):
    """The Neon API could not be read.

    ``str()`` says what, which route and what to do, on one line; it never holds the key. ``http_status`` is None when
    no answer came; ``request_id`` is what Neon's support asks for.
    """

    def __init__(
        self, status: Status, message: str, request_id: str | None = None, http_status: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.request_id = request_id
        self.http_status = http_status


def advice(http_status: int) -> tuple[Status, str]:
    """The status and what to do about an answer that is not a success."""
    if http_status in _ADVICE:
        return _ADVICE[http_status]
    if 300 <= http_status < 400:
        return Status.UNREACHABLE, "a redirect instead of an answer: check neon.api_url"
    if http_status in {408, 504}:
        return Status.TIMEOUT, "Neon took too long; retried in the next round"
    if http_status >= 500:
        return Status.UNREACHABLE, "Neon failed to answer; retried in the next round"
    return Status.UNSUPPORTED, "the API refused the request"


def retried(http_status: int) -> bool:
    """Whether another attempt at the same GET makes sense."""
    return http_status >= 500 or http_status in RETRIED


def retry_after(header: str | None, now: float | None = None) -> float | None:
    """Seconds to wait that a Retry-After header asks for (delta seconds or an HTTP date); None when it says nothing.

    ``now`` is the clock that the date is of, in unix seconds.
    """
    if not header:
        return None
    header = header.strip()
    if re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,6})?", header):
        return float(header)
    at = http_date(header)
    return None if at is None else max(0.0, at - (time.time() if now is None else now))


def clock_time(at: float) -> str:
    """An instant (unix seconds) for a person: ``14:05:09 UTC``."""
    return time.strftime("%H:%M:%S UTC", time.gmtime(at))


def http_date(header: str | None) -> float | None:
    """Unix seconds of an HTTP date; None for anything else."""
    try:
        return email.utils.parsedate_to_datetime(header or "").timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def one_line(text: str, longest: int = 300) -> str:
    """Text from outside as one printable line of bounded length."""
    clean = "".join(char if char.isprintable() else " " for char in text[: longest * 4])
    clean = " ".join(clean.split())
    return clean if len(clean) <= longest else clean[: longest - 3] + "..."
