"""Names of the branches that drills make: by its name alone a branch is known as one that may be deleted."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

_NAME = re.compile(r"neonmeter-drill-(\d{8}T\d{6})Z-[0-9a-f]{6}\Z")


def copy_name(now: float) -> str:
    """A name that says what the branch is for and since when (unix seconds), and that no other branch has."""
    return f"neonmeter-drill-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S}Z-{secrets.token_hex(3)}"


def began_at(name: str) -> float | None:
    """When the drill of a branch of this name began (unix seconds); None when it is not a drill's."""
    found = _NAME.match(name)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1] + "+0000", "%Y%m%dT%H%M%S%z").timestamp()
    except ValueError:
        return None
