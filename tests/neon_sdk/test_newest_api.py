"""Every route and field that the product reads is in the newest types of Neon's API, or listed with a reason."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest

from exporter.app.settings import Settings
from exporter.recording.files import read_exchanges
from exporter.recording.recorder import Recorder
from exporter.recording.words import vocabulary
from tests.fix_postgres import NPM
from tests.fix_twin import Twin
from tests.neon_sdk.__main__ import changes, main, missing
from tests.neon_sdk.reading import NOT_IN_THE_TYPES, READ, fields_read
from tests.neon_sdk.types import TYPES, Sdk

PACKAGE = NPM / "@neon" / "sdk"


@pytest.fixture(scope="module")
def sdk() -> Sdk:
    if not (PACKAGE / TYPES).is_file():
        pytest.skip("the npm package @neon/sdk is not installed (npm ci in tests/npm)")
    return Sdk(PACKAGE)


def changed(folder: Path, *edits: tuple[str, str]) -> Sdk:
    """The types with some text replaced, as a later version might have it."""
    text = (PACKAGE / TYPES).read_text("utf-8")
    for before, after in edits:
        assert re.search(before, text), before
        text = re.sub(before, after, text)
    (folder / TYPES).parent.mkdir(parents=True)
    (folder / TYPES).write_text(text, "utf-8")
    return Sdk(folder)


def test_every_route_that_is_read_exists(sdk: Sdk) -> None:
    assert not [route for route in READ if route not in sdk.routes]


def test_every_field_that_is_read_exists(sdk: Sdk) -> None:
    assert missing(sdk) == [], "gone from Neon's types; read something else, or give a reason in NOT_IN_THE_TYPES"
    assert len(fields_read(sdk)) > 150
    unneeded = [name for name in NOT_IN_THE_TYPES if fields_read(sdk).get(name, "there")]
    assert not unneeded, "Neon's types have it: no reason is needed"


def test_every_route_that_is_asked_is_listed(twin_api: Twin, tmp_path: Path) -> None:
    """What the product asks of the twin is what `READ` says; a new route is added there."""
    twin_api.clock.now = time.time()
    settings = Settings.model_validate({"neon": {"api_url": twin_api.url, "api_key": twin_api.key}})
    asyncio.run(Recorder(tmp_path / "out", 3).run(settings))
    asked = {exchange.route for exchange in read_exchanges(tmp_path / "out")}
    assert len(asked) > 15
    assert asked <= set(READ)


def test_the_words_of_recordings_have_every_field(sdk: Sdk) -> None:
    """A field that Neon documents is recorded under its own name."""
    names = {part for route in READ for path in sdk.paths(sdk.answer(route)) for part in path.split(".")}
    assert not {name for name in names if not vocabulary().has_field(name)}


def test_what_goes_or_comes_is_found(sdk: Sdk, tmp_path: Path) -> None:
    assert changes(sdk, sdk) == ([], [])
    later = changed(
        tmp_path / "later",
        (r"\bsuspended_at\?:", "slept_at?:"),
        (r"url: '/projects/\{project_id\}/snapshots'", "url: '/projects/{project_id}/copies'"),
    )
    lost, said = changes(sdk, later)
    assert lost == ["route /projects/{project_id}/snapshots is gone"]
    assert "+ route /projects/{project_id}/copies" in said
    assert "- /projects/{project_id}/endpoints: endpoints.suspended_at" in said
    assert "+ /projects/{project_id}/endpoints: endpoints.slept_at" in said
    renamed = changed(tmp_path / "renamed", (r"\bsuspended_at\?:", "slept_at?:"))
    assert changes(sdk, renamed)[0] == ["field Endpoint.suspended_at is gone"]
    assert main(str(PACKAGE), str(tmp_path / "renamed")) == 1
    assert main(str(PACKAGE), str(PACKAGE)) == 0
