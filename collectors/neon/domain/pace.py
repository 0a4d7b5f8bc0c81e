"""How often a project is read again although nothing in its list row moved: as the request budget allows."""

from __future__ import annotations

import zlib
from typing import Final

MAX_AGE_SECONDS: Final = 1800.0
"""Whether every change inside a project moves its list row is not documented, so none is trusted for longer, where the
request budget allows to ask."""
REQUESTS_PER_PROJECT: Final = 2
"""Its branches and its computes."""
REREAD_SHARE: Final = 0.8
"""Of the requests that are allowed: the rest is for what moved, for lists, operations and security."""


def reread_seconds(projects: int, requests_per_minute: int) -> float:
    """How old what is known of a project may get before it is read again.

    Reading all of them takes no more than a share of the allowed requests, so a larger fleet is read again less often
    instead of never in time.
    """
    return max(MAX_AGE_SECONDS, 60.0 * REQUESTS_PER_PROJECT * projects / (REREAD_SHARE * requests_per_minute))


def spread(project_id: str) -> float:
    """A fixed factor from 0.75 to 1.25 per project, so that re-reads by age do not come all at once."""
    return 0.75 + zlib.crc32(project_id.encode()) % 1000 / 2000
