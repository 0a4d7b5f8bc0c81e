"""Which shard this process is, by the settings and the name of its host; the hash itself knows neither."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from exporter.sampling.domain.sharding import Shard, ordinal_of
from exporter.settings.tree import CoreSettings, SettingsError


def shard_of(settings: CoreSettings, host: Callable[[], str] = socket.gethostname) -> Shard:
    """The shard that the settings name; with ``auto``, the ordinal at the end of the host's name.

    Raises:
        SettingsError: there is no such shard.
    """
    sharding = settings.sharding
    if sharding.shard != "auto":
        shard = Shard(sharding.shard, sharding.total)
    else:
        name = host()
        ordinal = ordinal_of(name)
        if ordinal is None:
            raise SettingsError([
                f"sharding.shard: auto takes the number at the end of the host's name, and {name!r} ends in none; "
                "run it as a StatefulSet, or name the shard"
            ])  # fmt: skip
        shard = Shard(ordinal, sharding.total)
    if shard.index >= shard.total:
        raise SettingsError([
            f"sharding.shard: {shard.index} of {shard.total} shards, and they are counted from 0; "
            f"raise sharding.total, or use 0 to {shard.total - 1}"
        ])  # fmt: skip
    return shard


def problems_of_sharding(settings: CoreSettings) -> Iterator[str]:
    """What cannot work, a line each."""
    try:
        shard_of(settings)
    except SettingsError as problem:
        yield from problem.problems
