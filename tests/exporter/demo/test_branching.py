"""Branches of the past on the twin: what was committed before the instant is there, what came after is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from exporter.demo.api import WRITE_KEY
from exporter.demo.twin import Twin, TwinSettings
from tests.exporter.demo.test_openapi import document, problems, response_schema  # noqa: F401
from tests.fix_twin_world import app_dsn, wait_for

KEEPING = TwinSettings(suspend_seconds=60, workload=False, consumers=False, poolers=False, history=True)


@pytest.fixture(scope="module")
def keeping(open_state_dir: Path) -> Iterator[Twin]:
    with Twin("small", open_state_dir / "keeping", settings=KEEPING) as twin:
        yield twin


def ask(twin: Twin, method: str, path: str, secret: str = WRITE_KEY, body: Any = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx.request(method, twin.api_url + path, headers=headers, json=body, timeout=60)


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def settled(twin: Twin, project: str) -> bool:
    listed = ask(twin, "GET", f"/projects/{project}/operations").json()["operations"]
    return all(entry["status"] not in ("running", "scheduling") for entry in listed)


def write(dsn: str, note: str) -> float:
    """Commit a row; returns an instant right after."""
    with psycopg.connect(dsn, autocommit=True) as session:
        session.execute("CREATE TABLE IF NOT EXISTS t_acme.notes (note text)")
        session.execute("INSERT INTO t_acme.notes VALUES (%s)", [note])
    time.sleep(0.05)
    at = time.time()
    time.sleep(0.05)
    return at


def notes(twin: Twin, endpoint: dict[str, Any]) -> list[str]:
    host = endpoint["host"]
    with psycopg.connect(f"postgresql://acme:{twin.password}@{host}/app") as session:
        return [note for (note,) in session.execute("SELECT note FROM t_acme.notes ORDER BY 1")]


def test_a_branch_of_the_past_shows_what_was_then(keeping: Twin, document: dict[str, Any]) -> None:  # noqa: F811
    main = keeping.compute("bookshop", "main").endpoint
    dsn = app_dsn(keeping, keeping.compute("bookshop", "main"), "acme")
    first = write(dsn, "first")
    second = write(dsn, "second")
    base = f"/projects/{main.project_id}/branches"
    for at, wanted in ((first, ["first"]), (second, ["first", "second"])):
        body = {
            "branch": {"parent_id": main.branch_id, "name": f"past-{len(wanted)}", "parent_timestamp": stamp(at)},
            "endpoints": [{"type": "read_only"}],
        }
        answer = ask(keeping, "POST", base, body=body)
        assert answer.status_code == 201, answer.text
        schema = document["components"]["responses"]["CreatedBranch"]["content"]["application/json"]["schema"]
        made = answer.json()
        assert problems(document, schema, made) == []
        assert [entry["action"] for entry in made["operations"]] == ["create_branch", "start_compute"]
        place = f"{base}/{made['branch']['id']}"
        assert ask(keeping, "DELETE", place).status_code == 423  # its operations run
        assert wait_for(lambda: settled(keeping, main.project_id), 60)
        assert notes(keeping, made["endpoints"][0]) == wanted
        gone = ask(keeping, "DELETE", place)
        assert gone.status_code == 200
        branch = "/projects/{project_id}/branches/{branch_id}"
        deleted = document["paths"][branch]["delete"]["responses"][200]["content"]["application/json"]["schema"]
        assert problems(document, deleted, gone.json()) == []
        assert wait_for(lambda: settled(keeping, main.project_id), 30)
        assert ask(keeping, "GET", place).status_code == 404
        assert ask(keeping, "DELETE", place).status_code == 204
        assert not (keeping.state_dir / "clusters" / made["branch"]["id"]).exists()


def test_after_the_last_commit_of_a_sleeping_parent(keeping: Twin) -> None:
    compute = keeping.compute("analytics", "dev")
    with psycopg.connect(app_dsn(keeping, compute, "dune"), autocommit=True) as session:
        session.execute("CREATE TABLE t_dune.last (id int)")
    compute.suspend()
    project = compute.endpoint.project_id
    now = time.time()
    body = {
        "branch": {
            "parent_id": compute.endpoint.branch_id,
            "expires_at": stamp(now + 3600),
            "parent_timestamp": stamp(now),
        },
        "endpoints": [{"type": "read_write"}],
    }
    made = ask(keeping, "POST", f"/projects/{project}/branches", body=body).json()
    assert wait_for(lambda: settled(keeping, project), 60)
    host = made["endpoints"][0]["host"]
    with psycopg.connect(f"postgresql://dune:{keeping.password}@{host}/app", autocommit=True) as session:
        session.execute("INSERT INTO t_dune.last VALUES (1)")  # A branch of its own, to write into.
    place = f"/projects/{project}/branches/{made['branch']['id']}"
    branch = keeping.world.branches[made["branch"]["id"]]
    assert branch.expires_at == pytest.approx(now + 3600, abs=1)
    branch.expires_at = time.time()
    assert wait_for(lambda: ask(keeping, "GET", place).status_code == 404, 60)  # It expired.
    assert compute.endpoint.current_state == "idle"


@pytest.mark.parametrize(
    ("method", "path", "secret", "branch", "status"),
    [
        ("POST", "", "wrong", {}, 401),
        ("POST", "", "read", {}, 403),
        ("DELETE", "/MAIN", "read", None, 403),
        ("DELETE", "/MAIN", WRITE_KEY, None, 422),
        ("DELETE", "/STAGING", WRITE_KEY, None, 422),
        ("DELETE", "/br-none", WRITE_KEY, None, 204),
        ("POST", "/MAIN/restore", WRITE_KEY, {}, 405),
        ("PATCH", "/MAIN", WRITE_KEY, {}, 405),
        ("POST", "", WRITE_KEY, {"parent_id": "br-none"}, 404),
        ("POST", "", WRITE_KEY, {"name": "staging"}, 409),
        ("POST", "", WRITE_KEY, {"parent_timestamp": "yesterday"}, 400),
        ("POST", "", WRITE_KEY, {"parent_timestamp": "2020-01-01T00:00:00Z"}, 400),
        ("POST", "", WRITE_KEY, {"parent_timestamp": "2100-01-01T00:00:00Z"}, 400),
        ("POST", "", WRITE_KEY, {"expires_at": "2020-01-01T00:00:00Z"}, 400),
    ],
)
def test_what_is_refused(keeping: Twin, method: str, path: str, secret: str, branch: Any, status: int) -> None:
    main, staging = (keeping.compute("bookshop", literal).endpoint for literal in ("main", "staging"))
    path = path.replace("MAIN", main.branch_id).replace("STAGING", staging.branch_id)
    key = keeping.api_key if secret == "read" else secret
    body = None if branch is None else {"branch": branch}
    before = set(keeping.world.branches)
    assert ask(keeping, method, f"/projects/{main.project_id}/branches{path}", key, body).status_code == status
    assert set(keeping.world.branches) == before


@pytest.mark.deep
def test_history_outlives_the_twin_and_branches_do_not(open_state_dir: Path) -> None:
    """Also what was committed before a restart can be gone back to; what was made over the API ended with the twin."""
    state = open_state_dir / "again"
    with Twin("small", state, settings=KEEPING) as twin:
        dsn = app_dsn(twin, twin.compute("bookshop", "main"), "acme")
        first = write(dsn, "first")
        main = twin.compute("bookshop", "main").endpoint
        body: dict[str, Any] = {"branch": {"parent_timestamp": stamp(first)}, "endpoints": [{"type": "read_write"}]}
        ask(twin, "POST", f"/projects/{main.project_id}/branches", body=body)
        assert wait_for(lambda: settled(twin, main.project_id), 60)
        twin._save()
    assert not list((state / "clusters").glob("br-made-*"))
    with Twin("small", state, settings=KEEPING) as twin:
        main = twin.compute("bookshop", "main").endpoint
        assert not [branch for branch in twin.world.branches if "made" in branch]
        write(app_dsn(twin, twin.compute("bookshop", "main"), "acme"), "second")
        made = ask(twin, "POST", f"/projects/{main.project_id}/branches", body=body).json()
        assert wait_for(lambda: settled(twin, main.project_id), 60)
        assert notes(twin, made["endpoints"][0]) == ["first"]
