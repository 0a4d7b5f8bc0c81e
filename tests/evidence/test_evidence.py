"""The evidence gate: recorded answers are played to the product, and the same questions to the twin.

What public evidence says of Neon stands in ``answers/``. It is read by the client and priced by the command, and the
bill is worked out anew here from bytes, hours and dollars alone. Then the twin is asked the same: it has to agree in
shape, unit and words. New evidence is added there first; what the twin does not do yet stands in one table with its
reason, and a line that is not needed any more fails.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from collectors.neon.client import NeonClient
from collectors.neon.consumption import read_consumption
from collectors.neon.models import (
    BranchPage,
    EndpointPage,
    OrganizationPage,
    Page,
    ProjectAnswer,
    ProjectPage,
)
from exporter.commands.main import main
from exporter.demo.api import TwinApiSettings
from exporter.pricing.domain.components import USAGE_METRICS
from tests.evidence.fake_neon import GB, HOUR, instant, recorded, serve, stamp
from tests.fix_twin import Twin, TwinMaker

FOLDER = Path(__file__).with_name("answers")
STORAGE_USD = Fraction("0.35")

KNOWN_DIFFERENCES: dict[str, str] = {
    "plan of 2026-02": "the world of that month keeps the plan name that the twin always had, launch_v3",
    "/projects: quota_reset_at": "quotas are not in the twin yet",
    "/projects: settings.quota": "quotas are not in the twin yet",
    "/projects: settings.allowed_ips.primary_branch_only": "the name that 2024 had for protected_branches_only",
    "/projects: synthetic_storage_size": "the twin leaves out what is 0 on paid plans",
    "/projects: default_endpoint_settings.suspend_timeout_seconds": "a default of 2024 that later answers leave out",
    "/projects/{id}/branches: pagination": "the twin gives all branches of a project at once",
}
"""What of the evidence the twin does not show yet, and why. It must shrink."""


def entries(name: str) -> list[Any]:
    found: list[Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    return found


def named(name: str) -> list[Any]:
    return [pytest.param(entry, id=entry["name"]) for entry in entries(name)]


def buckets(entry: Any) -> Iterator[tuple[str, str, str, int]]:
    """Plan, start, metric and value of every figure of a recorded answer."""
    for row in entry["answer"].get("projects") or entry["answer"]["branches"]:
        for period in row["periods"]:
            for frame in period["consumption"]:
                for metric in frame["metrics"]:
                    yield period["period_plan"], frame["timeframe_start"], metric["metric_name"], metric["value"]


def test_every_entry_says_from_whom_and_since_when() -> None:
    for name in ("consumption", "inventory", "errors"):
        for entry in entries(name):
            assert isinstance(entry["recorded"], date) and len(entry["source"]) > 20, entry["name"]


# The product on recorded answers.


@pytest.mark.parametrize("entry", named("consumption"))
async def test_recorded_usage_is_read_whole(entry: Any) -> None:
    query = entry["query"]
    with serve(recorded({entry["path"]: entry["answer"]}), lambda: instant(query["to"])) as server:
        async with NeonClient(server.url, lambda: "key") as client:
            branches = entry["path"].endswith("branches")
            ids = [query["project_ids"]] if branches else []
            read = await read_consumption(
                client, "org-x", ids, instant(query["from"]), instant(query["to"]), query["granularity"],
                metrics=USAGE_METRICS,
            )  # fmt: skip
    told = {(plan, instant(start), metric, value) for plan, start, metric, value in buckets(entry)}
    assert {(row.plan, row.start, row.metric, row.value) for row in read.rows} == told
    assert server.statuses(entry["path"]) == [200], "one request a list: it has a cursor on its only page"


def priced(lines: list[dict[str, object]]) -> tuple[int, dict[str, Fraction]]:
    """``neonmeter price``: the exit code, and the cost of each component."""
    before = sys.stdin, sys.stdout
    sys.stdin = io.StringIO("".join(json.dumps(line) + "\n" for line in lines))
    sys.stdout = out = io.StringIO()
    try:
        code = main(["price", "-", "--json"])
    finally:
        sys.stdin, sys.stdout = before
    costs: dict[str, Fraction] = {}
    for line in json.loads(out.getvalue())["lines"]:
        costs[line["component"]] = costs.get(line["component"], Fraction()) + Fraction(line["cost"])
    return code, costs


def as_dump(entry: Any, metrics: tuple[str, ...] = ()) -> list[dict[str, object]]:
    return [
        {"project_id": "p", "branch_id": "b", "start": start, "granularity": entry["query"]["granularity"],
         "plan": plan, "metric": metric, "value": value}
        for plan, start, metric, value in buckets(entry)
        if not metrics or metric in metrics
    ]  # fmt: skip


@pytest.mark.parametrize("entry", named("consumption"))
def test_recorded_usage_has_a_price(entry: Any) -> None:
    code, costs = priced(as_dump(entry))
    assert code == 0, "a v2 answer is of a usage-based plan, whose prices are known"
    assert all(cost > 0 for cost in costs.values())


@pytest.mark.parametrize("entry", [p for p in named("consumption") if "sizes" in p.values[0]])
def test_recorded_storage_costs_what_its_bytes_cost(entry: Any) -> None:
    for start, (size, hours) in entry["sizes"].items():
        lines = [line for line in as_dump(entry, ("root_branch_bytes_month",)) if line["start"] == start]
        _, costs = priced(lines)
        assert costs["root_storage"] == pytest.approx(Fraction(size * hours, 744 * GB) * STORAGE_USD, rel=1e-12)


@pytest.mark.parametrize("entry", [p for p in named("consumption") if "costs" in p.values[0]])
def test_recorded_bills_are_the_bills(entry: Any) -> None:
    _, costs = priced(as_dump(entry))
    for component, usd in entry["costs"].items():
        assert abs(costs[component] - Fraction(usd)) < Fraction(1, 10**9), component


MODELS: dict[str, type[Page[Any]]] = {
    "projects": ProjectPage,
    "branches": BranchPage,
    "endpoints": EndpointPage,
    "organizations": OrganizationPage,
}


@pytest.mark.parametrize("entry", named("inventory"))
async def test_recorded_inventory_is_read_whole(entry: Any) -> None:
    expect = entry["expect"]
    with serve(recorded({entry["path"]: entry["answer"]})) as server:
        async with NeonClient(server.url, lambda: "key") as client:
            if "subscription_type" in expect:
                answer, _ = await client.get(entry["path"], None, ProjectAnswer)
                assert answer.project.owner is not None
                assert answer.project.owner.subscription_type == expect["subscription_type"]
                return
            (kind,) = entry["answer"].keys() & MODELS.keys()
            params: dict[str, str | int] = {"limit": 400} if "pagination" in entry["answer"] else {}
            listing = await client.pages(entry["path"], params, MODELS[kind])
    assert (len(listing.items), listing.pages, listing.complete) == (expect["items"], expect["pages"], True)
    never = [item.id for item in listing.items if getattr(item, "last_active", 0) is None]
    assert never == expect.get("never", []), "2000-01-01 means never"


# The twin on the same questions.


def ask(twin: Twin, path: str, key: str = "", **params: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key or twin.key}"}
    return httpx.get(twin.url + path, params=params, headers=headers, timeout=30)


def world(make_twin: TwinMaker, entry: Any) -> Twin:
    """A twin of the time of an entry in which nothing moved since long before."""
    until = instant(entry["query"]["to"])
    twin = make_twin(now=until - 40 * 24 * HOUR, era=entry["era"])
    size = next(iter(entry.get("sizes", {}).values()), [33521664])[0]
    for branch in twin.world.branches.values():
        branch.logical_size = size
        if not branch.parent_id:
            twin.meter.size(branch.id, twin.clock(), size)
        twin.meter.awake(branch.id, until - 30 * 24 * HOUR, until, 0.25)
    twin.clock.now = until + 60
    return twin


def asked(twin: Twin, entry: Any) -> Any:
    query = dict(entry["query"])
    if "project_ids" in query:
        query["project_ids"] = ",".join(sorted(twin.world.projects))
    level = "branches" if entry["path"].endswith("branches") else "projects"
    metrics = ",".join(USAGE_METRICS[level])
    return ask(twin, entry["path"], org_id=twin.world.org_id, metrics=metrics, limit=100, **query).json()


@pytest.mark.parametrize("entry", named("consumption"))
def test_the_twin_agrees_on_plan_and_unit(make_twin: TwinMaker, entry: Any) -> None:
    twin = world(make_twin, entry)
    answer = asked(twin, entry)
    told = list(buckets({"answer": answer}))
    if f"plan of {entry['era']}" not in KNOWN_DIFFERENCES:
        assert {plan for plan, *_ in told} == {plan for plan, *_ in buckets(entry)}
    size = next(iter(entry.get("sizes", {}).values()), [33521664])[0]
    per_hour = {"byte-hour": Fraction(1), "byte-month": Fraction(1, 744)}[entry["unit"]]
    hours = {"hourly": 1, "daily": 24, "monthly": 744}[entry["query"]["granularity"]]
    roots = [value for _, _, metric, value in told if metric == "root_branch_bytes_month" and value]
    assert roots
    assert all(abs(value - size * hours * per_hour) <= Fraction(size * hours) * per_hour / 50 for value in roots)


def shape(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every path of a JSON value with the type that stands there; items of a list share one."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from shape(part, f"{path}.{name}".removeprefix("."))
    elif isinstance(value, list):
        for part in value:
            yield from shape(part, path)
    else:
        yield path, "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def differences(evidence: Any, twin: Any, where: str) -> set[str]:
    """Paths of the evidence that the twin lacks, or has in another type."""
    theirs = dict(shape(twin))
    return {
        f"{where}: {path}" if path not in theirs else f"{where}: {path} is {theirs[path]}, recorded is {kind}"
        for path, kind in shape(evidence)
        if theirs.get(path) != kind
    }


def known(difference: str) -> str | None:
    """The line of the table that a difference falls under."""
    return next((line for line in KNOWN_DIFFERENCES if difference == line or difference.startswith(f"{line}.")), None)


def all_differences(make_twin: TwinMaker) -> set[str]:
    found: set[str] = set()
    for entry in entries("consumption"):
        found |= differences(entry["answer"], asked(world(make_twin, entry), entry), entry["path"])
    twin = make_twin()
    project = min(twin.world.projects)
    for endpoint in twin.world.endpoints.values():
        endpoint.pending_state, endpoint.current_state = "active", "init"
        endpoint.started_at = endpoint.suspended_at = endpoint.last_active = twin.clock()
    for entry in entries("inventory"):
        path = entry["path"].replace("calm-lake-10000002", "{id}")
        params = {"org_id": twin.world.org_id} if path == "/projects" else {}
        answer = ask(twin, path.replace("{id}", project), key=twin.api.settings.personal_key, **params).json()
        rows = differences(entry["answer"], answer, path)
        found |= {row.replace(": projects.", ": ").replace(": branches.", ": ") for row in rows}
    return found


def test_the_twin_agrees_in_shape(make_twin: TwinMaker) -> None:
    unknown = {difference for difference in all_differences(make_twin) if known(difference) is None}
    assert not unknown


def test_the_table_of_differences_has_no_line_too_many(make_twin: TwinMaker) -> None:
    shown = {known(difference) for difference in all_differences(make_twin)}
    words = {f"words: {entry['name']}" for entry in entries("errors") if not agrees(make_twin, entry)}
    assert set(KNOWN_DIFFERENCES) == {line for line in shown if line} | words | {"plan of 2026-02"}


def agrees(make_twin: TwinMaker, entry: Any) -> bool:
    """Whether the twin refuses the question of an entry as Neon does."""
    question = entry["question"]
    twin = make_twin(TwinApiSettings())
    twin.clock.forward(10 * 24 * HOUR)
    if "plan" in question:
        twin.world.plan = question["plan"]
    times = {"now": 0, "2 hours ago": 2, "8 days ago": 8 * 24}
    params = {name: stamp(twin.clock() - times[question[name]] * HOUR) for name in ("from", "to") if name in question}
    if params:
        params |= {
            "org_id": twin.world.org_id,
            "granularity": question["granularity"],
            "metrics": "compute_unit_seconds",
        }
    key = twin.api.settings.personal_key if question.get("key") == "personal" else twin.key
    answer = ask(twin, question["path"], key=key, **params)
    return answer.status_code == entry["status"] and entry["words"] in answer.json().get("message", "")


@pytest.mark.parametrize("entry", named("errors"))
def test_the_twin_refuses_in_the_same_words(make_twin: TwinMaker, entry: Any) -> None:
    if f"words: {entry['name']}" not in KNOWN_DIFFERENCES:
        assert agrees(make_twin, entry)
