"""What changed between two versions of `@neon/sdk`, as far as we read it: ``python -m tests.neon_sdk PINNED NEWEST``.

Ends with 1 when a route or a field that the product reads is gone.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from tests.neon_sdk.reading import NOT_IN_THE_TYPES, READ, fields_read
from tests.neon_sdk.types import Sdk


def changes(pinned: Sdk, newest: Sdk) -> tuple[list[str], list[str]]:
    """What is gone of what we read, and all that was added or removed among the routes that we read, in lines."""
    lost = [f"route {route} is gone" for route in READ if route not in newest.routes]
    said = [f"- route {route}" for route in sorted(pinned.routes.keys() - newest.routes)]
    said += [f"+ route {route}" for route in sorted(newest.routes.keys() - pinned.routes)]
    for route in READ:
        if route in newest.routes and route in pinned.routes:
            before, after = (_paths(sdk, route) for sdk in (pinned, newest))
            said += [f"- {route}: {path}" for path in sorted(before - after)]
            said += [f"+ {route}: {path}" for path in sorted(after - before)]
    if not lost:
        lost = [f"field {name} is gone" for name in missing(newest)]
    return lost, said


def missing(sdk: Sdk) -> list[str]:
    """Fields that we read and that the types do not have, but for those that are listed with a reason."""
    return sorted(name for name, route in fields_read(sdk).items() if not route and name not in NOT_IN_THE_TYPES)


def _paths(sdk: Sdk, route: str) -> Collection[str]:
    return set(sdk.paths(sdk.answer(route)))


def main(pinned: str, newest: str) -> int:
    """Print them; 1 when something that we read is gone."""
    lost, said = changes(Sdk(Path(pinned)), Sdk(Path(newest)))
    print("\n".join(said or ["Nothing changed among the routes and fields that are read."]))
    for line in lost:
        print(f"GONE, and read by the product: {line}", file=sys.stderr)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
