"""A recording of the twin: nothing but the list leaves, and the product runs on it as on the twin."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.commands.main import build_parser
from exporter.demo.api import serve
from exporter.demo.meter import Meter
from exporter.demo.security import TwinCredential
from exporter.demo.worldfile import build_world, load
from exporter.recording.answers import moved
from exporter.recording.files import SUSPENDS, read_exchanges, read_summary
from exporter.recording.server import ReplayServer
from tests.exporter.recording.marking import MARK, Marks, marking_api
from tests.fix_agent import AgentMaker
from tests.fix_twin import MovableClock, Twin

HOUR, DAY = 3600, 86400
KEY = "zq999999x-the-key"
ANY = {"Authorization": "Bearer any"}
USAGE = "/consumption_history/v2/branches"


def run(*command: str, url: str, key: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NEONMETER_NEON__API_URL": url, "NEON_API_KEY": key}
    return subprocess.run(
        [sys.executable, "-m", "exporter", *command],
        env=environment, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """A twin with three days of use behind it, what `record` printed, and where it wrote."""

    twin: Twin
    folder: Path
    said: str


@contextmanager
def three_days(now: float) -> Iterator[Twin]:
    """A twin whose branches were made three days before ``now``; two of them worked, and one fell asleep."""
    clock = MovableClock(now - 3 * DAY)
    world = build_world(load("small"), clock)
    meter = Meter(world, refresh=0.0)
    first, second = list(world.endpoints.values())[:2]
    meter.awake(first.branch_id, now - 2 * DAY, now - 2 * DAY + 5 * HOUR, 1.0)
    meter.awake(second.branch_id, now - 5 * HOUR, now - 4 * HOUR, 0.25)
    clock.now = now - 4 * HOUR
    second.last_active, second.suspended_at = clock.now - 300, clock.now
    world.record(second, "suspend_compute", clock.now, 0.4)
    credential = TwinCredential("nak_twin_files", ["storage:read"], now - 2 * DAY, now - DAY, None)
    world.security.credentials[first.branch_id] = [credential]
    clock.now = now
    with serve(world, meter) as api:
        yield Twin(api, world, meter, clock)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("recorded") / "out"
    with three_days(time.time()) as twin:
        done = run("record", str(folder), url=twin.url, key=twin.key)
        assert done.returncode == 0, done.stderr
        yield Recorded(twin, folder, done.stdout)


@contextmanager
def replay(folder: Path) -> Iterator[str]:
    """`neonmeter replay` as a process; yields the address that it prints."""
    command = [sys.executable, "-m", "exporter", "replay", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process.stdout.readline().split("API_URL=")[1].split()[0]
        finally:
            process.terminate()
            assert process.wait(60) == 0


def everything(folder: Path) -> str:
    return "\n".join(path.name + path.read_text("utf-8") for path in folder.iterdir())


def organization(recorded: Recorded) -> str:
    """Its id in the recording."""
    asked = (pair for exchange in read_exchanges(recorded.folder) for pair in exchange.query)
    return next(value for name, value in asked if name == "org_id")


def get(url: str, **params: str) -> httpx.Response:
    return httpx.get(url, headers=ANY, params=params, trust_env=False)


def test_no_mark_leaves_and_the_key_neither(recorded: Recorded, tmp_path: Path) -> None:
    """A mark in every text, name of a field and header of every answer, errors and cursors too; and in the key."""
    marks = Marks()
    with marking_api(recorded.twin, marks) as url:
        done = run("record", str(tmp_path / "out"), url=url, key=KEY)
    assert done.returncode == 0, done.stderr
    assert not MARK.findall(everything(tmp_path / "out"))
    assert not MARK.findall(done.stdout)
    assert {recorded.twin.world.org_name, *recorded.twin.world.projects} <= set(marks.of), "the twin's own were marked"
    exchanges = list(read_exchanges(tmp_path / "out"))
    assert {exchange.status for exchange in exchanges} >= {200, 403}
    assert {exchange.route for exchange in exchanges} == {
        exchange.route for exchange in read_exchanges(recorded.folder)
    }


def test_no_name_of_the_twin_leaves(recorded: Recorded) -> None:
    text = everything(recorded.folder).lower()
    world = recorded.twin.world
    ids = {*world.projects, *world.branches, *world.endpoints, world.org_id, world.org_name.lower(), recorded.twin.key}
    ids |= {project.name.lower() for project in world.projects.values()}
    ids |= {"twin.invalid", "neon.tech", "127.0.0.1", "owner@", "authorization", "bearer"}
    assert not [name for name in ids if name in text]
    assert {request.method for request in recorded.twin.api.requests} == {"GET"}


def test_the_folder_is_its_owners_and_says_what_it_holds(recorded: Recorded) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in recorded.folder.iterdir()} == {0o600}
    assert stat.S_IMODE(recorded.folder.stat().st_mode) == 0o700
    summary = read_summary(recorded.folder)
    world = recorded.twin.world
    assert (summary["projects"], summary["branches"]) == (len(world.projects), len(world.branches))
    assert summary["requests"] == sum(1 for _ in read_exchanges(recorded.folder))
    assert summary["clock"][0] <= summary["clock"][1] <= summary["clock"][2]
    rows = [json.loads(line) for line in (recorded.folder / SUSPENDS).read_text().splitlines()]
    assert {(row["source"], row["seconds"]) for row in rows} == {("endpoint", 300.0), ("operation", 300.0)}
    for words in ("2 projects", "grep", "replay", "docs/record.md"):
        assert words in recorded.said


def test_the_shapes_are_those_of_the_answers(recorded: Recorded) -> None:
    """What a client asks of both is the same but for the texts: fields, their order, numbers, states, instants."""
    twin = recorded.twin
    real = httpx.get(f"{twin.url}/projects?limit=400&org_id={twin.world.org_id}", trust_env=False,
                     headers={"Authorization": f"Bearer {twin.key}"}).json()  # fmt: skip
    with ReplayServer(recorded.folder) as server:
        org = organization(recorded)
        said = get(f"{server.url}/projects", limit="400", org_id=org).json()
        assert _like(said) == _like(real)
        assert get(f"{server.url}/projects", org_id=org, cursor=said["pagination"]["cursor"]).json()["projects"] == []
        assert httpx.get(f"{server.url}/projects", trust_env=False).status_code == 401
        assert get(f"{server.url}/never_asked").status_code == 404


def _like(tree: Any, field: str = "") -> Any:
    if isinstance(tree, dict):
        return {name: _like(value, name) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_like(value) for value in tree]
    stays = field.endswith(("_at", "state", "plan", "region_id", "_active", "type"))
    return tree if stays or not isinstance(tree, str) else "text"


def test_check_works_offline(recorded: Recorded) -> None:
    with replay(recorded.folder) as url:
        done = run("check", "--json", url=url, key="any")
    assert done.returncode == 0, done.stdout
    assert {line["result"] for line in json.loads(done.stdout)} <= {"works", "left out"}


@pytest.mark.deep
def test_the_costs_are_the_same_offline(recorded: Recorded, make_agent: AgentMaker) -> None:
    """The whole product on the recording: the usage in its ledger and its price are the twin's."""
    costs = []
    with replay(recorded.folder) as url:
        for api, key in ((recorded.twin.url, recorded.twin.key), (url, "any")):
            agent = make_agent({"neon": {"api_url": api, "api_key": key}}).start()
            agent.until(lambda agent: agent.sum("neon_billing_data_through_timestamp_seconds") > 0)
            command = [sys.executable, "-m", "exporter", "cost", "--json", "--config", str(agent.config),
                       "--month", time.strftime("%Y-%m", time.gmtime(time.time() - DAY))]  # fmt: skip
            look = partial(subprocess.check_output, command, timeout=180)
            agent.until(lambda _, look=look: json.loads(look())["not_metered_by_api"])
            costs.append(json.loads(look()))
            agent.stop()
    assert float(costs[0]["total"]) > 0
    assert costs[1]["total"] == costs[0]["total"]
    assert [cost["not_metered_by_api"] for cost in costs] == [{"object storage": 1}] * 2
    # The digit that makes rounded parts sum to the whole goes by name, and names differ.
    ours, theirs = (sorted(_costs(cost["orgs"])) for cost in costs)
    assert len(ours) == len(theirs)
    assert all(abs(one - other) <= Decimal("1e-19") for one, other in zip(ours, theirs, strict=True))


def _costs(tree: Any) -> Iterator[Decimal]:
    if isinstance(tree, list):
        for item in tree:
            yield from _costs(item)
    elif isinstance(tree, dict):
        if "cost" in tree:
            yield Decimal(str(tree["cost"]))
        for value in tree.values():
            yield from _costs(value)


def test_consumption_of_any_window_by_pages(recorded: Recorded) -> None:
    """Other windows, metrics and page sizes than the recorder asked for; beyond the recording it is refused."""
    now = time.time() // HOUR * HOUR
    window = {"from": _hour(now - 6 * HOUR), "to": _hour(now - 3 * HOUR), "granularity": "hourly"}
    question = {**window, "metrics": "compute_unit_seconds", "limit": "2", "org_id": organization(recorded)}
    with ReplayServer(recorded.folder) as server:
        found, cursor = [], {}
        while True:
            answer = get(f"{server.url}{USAGE}", **question, **cursor).json()
            if not answer["branches"]:
                break
            assert len(answer["branches"]) <= 2
            found += answer["branches"]
            cursor = {"cursor": answer["pagination"]["cursor"]}
        assert found == get(f"{server.url}{USAGE}", **{**question, "limit": "1000"}).json()["branches"]
        one = found[0]["project_id"]
        of_one = get(f"{server.url}{USAGE}", **{**question, "project_ids": one, "limit": "1000"}).json()["branches"]
        assert of_one == [item for item in found if item["project_id"] == one]
        empty = {"from": question["to"], "to": question["to"]}
        assert get(f"{server.url}{USAGE}", **{**question, **empty}).status_code == 400
        old = {"from": _hour(now - 400 * DAY), "to": _hour(now - 399 * DAY)}
        assert get(f"{server.url}{USAGE}", **{**question, **old}).status_code == 406
    frames = [frame for item in found for period in item["periods"] for frame in period["consumption"]]
    assert {question["from"] <= frame["timeframe_start"] < question["to"] for frame in frames} == {True}
    sums = sum(value["value"] for frame in frames for value in frame["metrics"])
    assert abs(sums - 0.25 * HOUR) <= 2


def test_the_commands_of_the_page_exist() -> None:
    page = (Path(__file__).parents[3] / "docs" / "record.md").read_text("utf-8")
    lines = [line.split("#")[0].split() for line in page.splitlines() if line.startswith("neonmeter ")]
    assert len(lines) >= 5
    for _, *arguments in lines:
        assert build_parser()[0].parse_args(arguments).handler


def _hour(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(at))


def test_a_recording_of_another_day_is_moved_by_whole_hours(recorded: Recorded) -> None:
    later = time.time() + 9 * DAY + 1234
    with ReplayServer(recorded.folder, clock=lambda: later) as server:
        assert server.shift % HOUR == 0
        assert 9 * DAY <= server.shift <= 9 * DAY + HOUR
        org = get(f"{server.url}/organizations/{organization(recorded)}").json()
        assert org["created_at"] > _hour(time.time())
    with ReplayServer(recorded.folder, as_recorded=True, clock=lambda: later) as server:
        assert server.shift == 0
        assert abs(server.now() - float(server.summary["recorded_at"])) < 1
    never = {"last_active": "2000-01-01T00:00:00Z", "a": "0001-01-01T00:00:00Z", "b": "2026-11-29T10:00:00.25+02:00"}
    assert moved(never, HOUR) == {**never, "b": "2026-11-29T11:00:00.25+02:00"}


@pytest.mark.parametrize("what", ["full", "file", "no recording", "hours", "no key"])
def test_what_cannot_work_is_one_sentence(what: str, recorded: Recorded, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    if what == "full":
        folder.mkdir()
        (folder / "precious.txt").write_text("mine")
    if what == "file":
        folder.write_text("mine")
    options = ["--hours", "0"] if what == "hours" else []
    command = ["replay", str(folder)] if what == "no recording" else ["record", str(folder), *options]
    done = run(*command, url=recorded.twin.url, key="wrong" if what == "no key" else recorded.twin.key)
    assert done.returncode == (3 if what == "no key" else 2), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    if what == "full":
        assert [path.name for path in folder.iterdir()] == ["precious.txt"]
    if what == "no key":
        assert "wrong" not in everything(folder)
