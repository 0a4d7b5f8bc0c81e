"""Recordings of every kind of account that the evidence has: they end well, and nothing of them leaves."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.app.settings import Settings
from exporter.recording.files import read_exchanges, read_summary
from exporter.recording.recorder import Recorder
from exporter.recording.server import ReplayServer
from tests.fix_evidence import accounts, playing

NAMED = re.compile(r"(?:^|_)(?:id|ids|name|email|host|login|handle)\Z")


def named(tree: Any, field: str = "") -> Iterator[str]:
    """The texts of fields that name something."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from named(value, name)
    elif isinstance(tree, list):
        for value in tree:
            yield from named(value, field)
    elif isinstance(tree, str) and len(tree) > 5 and NAMED.search(field) and field not in ("region_id", "platform_id"):
        yield tree


@pytest.mark.parametrize("kind", sorted(accounts()))
def test_a_recording_of_the_account(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with playing(kind) as server:
        settings = Settings.model_validate({"neon": {"api_url": server.url, "api_key": "a-key"}})
        asyncio.run(Recorder(folder, 168).run(settings))
    text = "\n".join(path.read_text("utf-8") for path in folder.iterdir())
    assert read_summary(folder)["requests"] == sum(1 for _ in read_exchanges(folder)) > 0
    body = json.loads(json.dumps(accounts()[kind], default=str))
    assert not [name for name in named(body) if name in text]
    with ReplayServer(folder) as replayed:
        assert replayed.answer("/api/v2/projects", "any").status in (200, 400, 403, 404)
