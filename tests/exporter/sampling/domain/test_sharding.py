"""Which shard owns a project: one of them, evenly, and with the fewest moves when their number changes."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from exporter.sampling.domain.sharding import ALONE, MOST_SHARDS, Shard, ordinal_of, owner_of


def ids(count: int, seed: int = 1) -> list[str]:
    random = Random(seed)
    return [f"quiet-{random.choice(('river', 'sun', 'wood'))}-{random.randrange(10**8):08d}" for _ in range(count)]


@pytest.mark.parametrize("total", [1, 2, 3, 4, 7, 16, 64])
def test_each_project_has_exactly_one_owner(total: int) -> None:
    shards = [Shard(index, total) for index in range(total)]
    for key in ids(500):
        assert sum(shard.owns(key) for shard in shards) == 1
    assert sum(shard.owns_account for shard in shards) == 1


@pytest.mark.parametrize("total", [2, 3, 4, 8, 32])
@pytest.mark.parametrize("names", ["random", "numbered"])
def test_the_shards_are_of_one_size(total: int, names: str) -> None:
    """Within five standard deviations of a fair die, also for ids that differ in their last digit only."""
    keys = ids(10_000) if names == "random" else [f"large-{number:06d}" for number in range(10_000)]
    sizes = Counter(owner_of(key, total) for key in keys)
    fair = len(keys) / total
    limit = 5 * (len(keys) * (1 / total) * (1 - 1 / total)) ** 0.5
    assert all(abs(sizes[shard] - fair) <= limit for shard in range(total)), sizes


@pytest.mark.parametrize("total", [1, 2, 3, 4, 9, 31])
def test_one_more_shard_takes_its_part_and_moves_nothing_else(total: int) -> None:
    keys = ids(4_000, seed=total)
    moved = [key for key in keys if owner_of(key, total) != owner_of(key, total + 1)]
    assert all(owner_of(key, total + 1) == total for key in moved), "only to the new shard"
    part = len(keys) / (total + 1)
    assert abs(len(moved) - part) <= 5 * part**0.5
    # And back: whoever leaves gives its projects to the others, and no other project moves.
    assert {key for key in keys if owner_of(key, total + 1) == total} == set(moved)


def test_it_is_the_same_everywhere() -> None:
    """Pinned: another machine, Python or version of neonmeter must come to the same owners."""
    known = {("large-000000", 4): 3, ("large-000001", 4): 2, ("quiet-sun-12345678", 4): 0, ("p", 3): 2, ("", 2): 1}
    assert {key: owner_of(*key) for key in known} == known


def test_alone_owns_everything() -> None:
    assert all(ALONE.owns(key) for key in ids(50))
    assert ALONE.owns_account
    assert ALONE.alone
    assert str(Shard(2, 4)) == "shard 2 of 4"
    assert MOST_SHARDS == 256


@pytest.mark.parametrize(
    ("host", "ordinal"),
    [
        ("neonmeter-0", 0),
        ("neonmeter-12", 12),
        ("neonmeter-3.neonmeter.monitoring.svc.cluster.local", 3),
        ("a-b-7", 7),
        ("neonmeter", None),
        ("neonmeter-7d9f6c5b4-x2x9q", None),
        ("neonmeter-", None),
        ("7", None),
        ("", None),
    ],
)
def test_the_ordinal_of_a_host_name(host: str, ordinal: int | None) -> None:
    assert ordinal_of(host) == ordinal
