"""A twin as a whole: it goes on after a stop and after kill -9, leaves nothing running, keeps to its own folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psycopg
import pytest

from exporter.demo.clusters import ClusterFolderError
from exporter.demo.pooler import find_pgbouncer
from exporter.demo.statefile import StateError
from exporter.demo.truth import awake_seconds
from exporter.demo.twin import HEARTBEAT_SECONDS, Twin
from exporter.demo.worldfile import WorldFileError, parse
from tests.fix_twin_world import QUIET, app_dsn, suspended, wait_for

WORLD = """
org_id: org-one-00000001
projects:
  - name: shop
    region: aws-eu-central-1
    branches:
      - name: main
        endpoint: {min_cu: 1, max_cu: 1, suspend_timeout: 300}
        tenants: [{name: acme, schema: t_acme, role: acme, calls_per_second: 20, kind: writer}]
        slot: warehouse
        pooled: true
"""
RUN = """
import json, sys, time
from pathlib import Path
from exporter.demo.twin import Twin, TwinSettings
from exporter.demo.worldfile import WorldFileError, parse
twin = Twin(parse(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
twin.start()
for _ in range(600):
    time.sleep(0.1)
    compute = twin.compute("shop", "main")
    print(json.dumps([compute.endpoint.current_state, twin.workload.done.get("acme", 0), twin.api_url]), flush=True)
"""


def processes_of(folder: Path) -> list[int]:
    """Processes whose command line names the folder, ourselves apart."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            try:
                if str(folder).encode() in (path / "cmdline").read_bytes():
                    found.append(int(path.name))
            except OSError:
                continue
    return found


def children_of(pid: int) -> dict[int, str]:
    """The processes that a process started, with their names."""
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                name, _, rest = (path / "stat").read_text().partition("(")[2].rpartition(")")
            except OSError:
                continue
            if int(rest.split()[1]) == pid:
                found[int(path.name)] = name
    return found


def compute_seconds(twin: Twin) -> float:
    """CU-seconds of all branches, by the meter's raw units."""
    buckets = twin.meter.to_json()["buckets"]
    return sum(m.get("compute_unit_seconds", 0) for hours in buckets.values() for m in hours.values()) / 1e9


def test_kill_9_leaves_no_server_and_the_restart_goes_on(open_state_dir: Path, tmp_path: Path) -> None:
    folder, world = open_state_dir / "killed", tmp_path / "world.yaml"
    world.write_text(WORLD)
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(world), str(folder)], stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        for line in run.stdout:
            state, done, url = json.loads(line)
            if state == "active" and done > 60:
                break
        children = children_of(run.pid)
        assert {"postgres", "pg_recvlogical"} <= set(children.values())
        assert find_pgbouncer() is None or "pgbouncer" in children.values()
        run.send_signal(signal.SIGKILL)
    assert wait_for(lambda: not processes_of(folder)), processes_of(folder)
    assert wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children)), children
    saved = json.loads((folder / "state.json").read_text())
    awake = sum(m.get("compute_unit_seconds", 0) for h in saved["meter"]["buckets"].values() for m in h.values()) / 1e9
    assert awake > 0

    with Twin(parse(WORLD), folder, settings=QUIET) as twin:
        compute = twin.compute("shop", "main")
        assert twin.api_url == url
        assert suspended(compute)
        assert compute.endpoint.suspended_at == saved["saved_at"]
        assert [operation.action for operation in twin.world.operations] == ["start_compute", "suspend_compute"]
        started = twin.world.operations[0].created_at + twin.world.operations[0].duration_seconds
        assert compute_seconds(twin) == pytest.approx(awake)
        assert -0.1 <= saved["saved_at"] - started - awake <= HEARTBEAT_SECONDS, "metered at the last heartbeat"
        with psycopg.connect(app_dsn(twin, compute, "acme")) as connection:
            row = connection.execute("SELECT count(*) FROM orders").fetchone()
        assert row is not None and row[0] > 3000
        assert compute_seconds(twin) >= awake
    assert not processes_of(folder)


def test_a_clean_restart_is_found_where_it_was(open_state_dir: Path) -> None:
    folder = open_state_dir / "restarted"
    with Twin(parse(WORLD), folder, settings=QUIET) as twin:
        compute = twin.compute("shop", "main")
        psycopg.connect(app_dsn(twin, compute, "acme")).close()
        first = (twin.api_url, twin.api_key, twin.password, compute.endpoint.host)
    before = compute_seconds(twin)
    assert suspended(compute) and not processes_of(folder)
    twin.stop()
    with Twin(parse(WORLD), folder, settings=QUIET) as again:
        compute = again.compute("shop", "main")
        assert (again.api_url, again.api_key, again.password, compute.endpoint.host) == first
        assert compute_seconds(again) == before > 0
        assert len(again.world.operations) == 2
        assert (folder / "state.json").stat().st_mode & 0o077 == 0


def test_a_folder_belongs_to_one_world_and_to_one_twin_at_a_time(small_twin: Twin, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="another twin runs on"):
        Twin("small", small_twin.state_dir, settings=QUIET).start()
    shutil.copy(small_twin.state_dir / "state.json", tmp_path)
    with pytest.raises(StateError, match="another world"):
        Twin(parse(WORLD), tmp_path, settings=QUIET).start()
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(StateError, match="damaged"):
        Twin(parse(WORLD), tmp_path, settings=QUIET).start()


def test_a_folder_that_servers_cannot_enter_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root starts servers as another user")
    tmp_path.chmod(0o700)
    with pytest.raises(ClusterFolderError, match="another user cannot enter"):
        Twin(parse(WORLD), tmp_path / "twin", settings=QUIET).start()
    assert not processes_of(tmp_path)


def test_a_description_that_postgres_refuses_is_named_and_nothing_stays(open_state_dir: Path) -> None:
    folder = open_state_dir / "refused"
    with pytest.raises(WorldFileError, match=r"branch main: PostgreSQL refuses it: .*nowhere"):
        Twin(parse(WORLD + "        setup_sql: [DROP TABLE nowhere]\n"), folder, settings=QUIET).start()
    assert not processes_of(folder)


def test_the_agents_settings_name_what_is_there(small_twin: Twin) -> None:
    settings = small_twin.agent_settings()
    assert settings["neon"]["api_url"] == small_twin.api_url
    assert settings["sampling"]["expected_slots"] == [{"project": "analytics", "branch": "main", "slot": "warehouse"}]
    assert {rule["tenant"] for rule in settings["tenants"]} == {"acme", "birch", "cedar", "dune", "elm"}
    assert small_twin.describe().count("127.0.0.1:") == 6


def test_the_truth_is_told_over_http(small_twin: Twin) -> None:
    origin = small_twin.api.origin
    compute = small_twin.compute("bookshop", "staging")
    compute.suspend()
    before = small_twin.workload.done.get("acme", 0)
    asked = {"endpoint_id": compute.endpoint.id, "tenant": "acme", "calls": 3}
    assert httpx.post(f"{origin}/_twin/burst", json=asked).json() == {"done": 3}
    assert httpx.get(f"{origin}/_twin/workload").json()["done"]["acme"] == before + 3
    told = httpx.post(f"{origin}/_twin/suspend", json=asked).json()
    assert told["state"] == "idle" and told["wakes"][-1]["application_name"] == "acme-web"
    assert told["awake_seconds"] == awake_seconds(small_twin.world, compute.endpoint.id) > 0
    assert [who for who, _ in small_twin.truth.wakes("acme-web")][-1] == compute.endpoint.id
    assert small_twin.truth.wakes("neonmeter") == []
    refused = httpx.post(f"{origin}/_twin/burst", json={**asked, "tenant": "nobody"})
    assert refused.status_code == 400 and "nobody" in refused.json()["error"]
    assert httpx.post(f"{origin}/_twin/suspend", json={}).status_code == 400
    assert httpx.get(f"{origin}/_twin/consumers").json() == {"running": []}
