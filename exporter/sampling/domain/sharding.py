"""Which of several agents watches a project: rendezvous hashing, so that nobody has to be asked.

Each shard has a score for each project, and the highest one owns it. So every agent that knows the number of shards
comes to the same answer, and when that number changes, only the projects of the shard that came or went move: one of N.

What is the account's (consumption lists, prices, budgets, reports, the organisation's posture) is owned by shard 0. It
exists at any number of shards, so a change of that number never moves the ledger, and an operator knows where to look;
a hash over the account's id would have neither property.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final

MOST_SHARDS: Final = 256
ACCOUNT_SHARD: Final = 0
_ORDINAL: Final = re.compile(r"-(\d{1,4})\Z")


@lru_cache(maxsize=65_536)
def owner_of(key: str, total: int) -> int:
    """The shard, from 0 to ``total`` - 1, that owns a key (a project id). Equal on every machine and Python."""
    if total <= 1:
        return 0
    return max(range(total), key=lambda shard: _score(shard, key))


def _score(shard: int, key: str) -> bytes:
    return blake2b(f"{shard}/{key}".encode(), digest_size=8).digest()


def ordinal_of(host: str) -> int | None:
    """The ordinal at the end of a StatefulSet's host name: 2 of ``neonmeter-2`` (a domain may follow); None without."""
    found = _ORDINAL.search(host.partition(".")[0])
    return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Shard:
    """One agent's part of an account: shard ``index`` of ``total``, counted from 0."""

    index: int = 0
    total: int = 1

    def owns(self, key: str) -> bool:
        """Whether a project (or another thing with a name) is this shard's."""
        return owner_of(key, self.total) == self.index

    @property
    def owns_account(self) -> bool:
        """Whether the work that is the whole account's is done here."""
        return self.index == ACCOUNT_SHARD

    @property
    def alone(self) -> bool:
        """Whether there is no other shard."""
        return self.total <= 1

    def __str__(self) -> str:
        return f"shard {self.index} of {self.total}"


ALONE: Final = Shard()
"""An agent without others: everything is its own."""
