"""The client that writes: two verbs on branches, with its own names only, and no second branch by accident."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collectors.neon.errors import NeonError
from collectors.neon.models import Branch
from exporter.demo.api import WRITE_KEY, TwinApiSettings
from exporter.demo.plane import Plane
from exporter.demo.request import ApiError, Request
from exporter.recovery import writer as writer_module
from exporter.recovery.journal import began_at, copy_name
from exporter.recovery.writer import DrillBranch, DrillWriter
from tests.fix_twin import TwinMaker

ROOT = Path(__file__).parents[3]
NAME = copy_name(1_795_000_000.0)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "_PAUSE", 0.01)


class Gate:
    """A control plane that refuses so often before it says yes."""

    def __init__(self, *refusals: int) -> None:
        self.refusals = list(refusals)
        self.seen: list[tuple[str, str]] = []

    def write(self, method: str, request: Request, sent: bytes, plane: Plane) -> tuple[int, Any]:
        del sent, plane
        self.seen.append((method, request.path))
        if self.refusals:
            raise ApiError(self.refusals.pop(0), f"not now, {WRITE_KEY}")
        return 200, {"branch": {"id": "br-x", "project_id": "p", "name": NAME}}


def wanted() -> DrillBranch:
    return DrillBranch(NAME, "br-parent", 1_795_000_000.0, 1_795_007_200.0)


def copy(**more: Any) -> Branch:
    return Branch(**{"id": "br-x", "project_id": "p", "name": NAME, "parent_id": "br-parent", **more})


@pytest.mark.parametrize(("refusals", "asked"), [((), 1), ((423,), 2), ((429, 423), 3)])
async def test_later_is_tried_again(make_twin: TwinMaker, refusals: tuple[int, ...], asked: int) -> None:
    gate = Gate(*refusals)
    twin = make_twin(TwinApiSettings(writer=gate))
    async with DrillWriter(twin.url, WRITE_KEY) as writer:
        made = await writer.create("p", wanted())
    assert made.branch.id == "br-x"
    assert gate.seen == [("POST", "/projects/p/branches")] * asked


@pytest.mark.parametrize("status", [400, 403, 409, 500, 503])
async def test_a_branch_is_asked_for_once(make_twin: TwinMaker, status: int) -> None:
    """After a failure nobody knows whether it was made: asking again could make two."""
    gate = Gate(status)
    twin = make_twin(TwinApiSettings(writer=gate))
    async with DrillWriter(twin.url, WRITE_KEY) as writer:
        with pytest.raises(NeonError) as problem:
            await writer.create("p", wanted())
    assert problem.value.http_status == status
    assert WRITE_KEY not in str(problem.value)
    assert len(gate.seen) == 1


async def test_deleting_goes_on_until_it_is_gone(make_twin: TwinMaker) -> None:
    gate = Gate(423, 503)
    twin = make_twin(TwinApiSettings(writer=gate))
    async with DrillWriter(twin.url, WRITE_KEY) as writer:
        await writer.delete(copy())
        assert gate.seen == [("DELETE", "/projects/p/branches/br-x")] * 3
        gate.refusals = [404]
        await writer.delete(copy())  # Somebody else was quicker.


@pytest.mark.parametrize(
    "changed",
    [{"name": "main"}, {"name": f"{NAME}-2"}, {"default": True}, {"protected": True}, {"parent_id": ""}],
)
async def test_what_no_drill_made_is_never_deleted(make_twin: TwinMaker, changed: dict[str, Any]) -> None:
    gate = Gate()
    twin = make_twin(TwinApiSettings(writer=gate))
    async with DrillWriter(twin.url, WRITE_KEY) as writer:
        with pytest.raises(ValueError, match="left alone"):
            await writer.delete(copy(**changed))
    assert gate.seen == []


async def test_without_an_answer_the_error_has_no_key() -> None:
    async with DrillWriter("http://127.0.0.1:9", WRITE_KEY) as writer:
        with pytest.raises(NeonError, match="no answer") as problem:
            await writer.create("p", wanted())
    assert WRITE_KEY not in str(problem.value) + repr(writer)


def test_names_say_when_and_nothing_else_is_one() -> None:
    assert began_at(NAME) == 1_795_000_000.0
    assert copy_name(1.0) != copy_name(1.0)
    for other in ("main", "neonmeter-drill", NAME + "0", "x" + NAME, NAME.replace("20261118", "20261399"), NAME + "\n"):
        assert began_at(other) is None


# What the running agent can reach.

WRITING = {"exporter.recovery.writer", "exporter.recovery.drill", "exporter.recovery.steps"}
ALLOWED = {
    "exporter.recovery.drill",
    "exporter.recovery.steps",
    "exporter.recovery.commands",
    "exporter.recovery.plan",
}


def modules() -> dict[str, Path]:
    files = [*(ROOT / "exporter").rglob("*.py"), *(ROOT / "collectors").rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_only_the_command_imports_the_client_that_writes() -> None:
    found = {name for name, path in modules().items() if WRITING & set(imported(path))}
    assert found - {"exporter.recovery.writer"} == ALLOWED
    users = {name for name, path in modules().items() if "exporter.recovery.commands" in set(imported(path))}
    assert users == {"exporter.commands.menu"}


def test_the_running_agent_cannot_reach_it() -> None:
    """Whatever `neonmeter run` may import, at the start or later, directly or not."""
    known = modules()
    reached, ahead = set[str](), ["exporter.app.agent"]
    while ahead:
        name = ahead.pop()
        if name in known and name not in reached:
            reached.add(name)
            ahead += imported(known[name])
    assert "exporter.recovery.feature" in reached
    assert not reached & WRITING


def test_nothing_else_of_ours_sends_neon_a_verb() -> None:
    verbs = {"post", "put", "patch", "delete"}
    for name, path in modules().items():
        if name.startswith("exporter.demo") or name == "exporter.recovery.writer":
            continue
        if "httpx" not in set(imported(path)) or name.startswith("collectors.platforms.vault"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in verbs, f"{name}:{node.lineno} sends {node.func.attr}"
                sent = {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
                assert not sent & {verb.upper() for verb in verbs}, f"{name}:{node.lineno}"
