"""The registry: every collector by its own name, its metrics lint-clean, and nothing heavy imported for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from collectors.base import Options
from collectors.metric import Kind, catalogue
from collectors.postgres.cluster.replication import EXPECTED
from collectors.postgres.session import visit
from collectors.registry import ALL, COLLECTORS
from exporter.demo.postgres import Cluster, give_to_server
from tests.collectors.reading import admin, visited
from tests.fix_postgres import cluster

ROOT = Path(__file__).parents[2]


def test_each_collector_is_known_by_its_name() -> None:
    for name, collector in ALL.items():
        built = collector.build(Options(expected_slots=("cdc",), top=3))
        assert built.name == name
        assert built.title
        assert built.source
        assert built.metrics
        assert built.interval >= 15
    assert len(ALL) == len(COLLECTORS)
    groups = [collector.metrics for collector in COLLECTORS]
    assert len(catalogue(*groups)) == sum(map(len, groups))


def test_importing_collectors_is_cheap() -> None:
    probe = "import collectors, sys; print(sorted({'httpx', 'pydantic', 'psycopg', 'asyncio'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


async def test_all_in_one_visit(postgres: Cluster) -> None:
    made = await visited(postgres, *(collector.build(Options(("cdc",))) for collector in COLLECTORS))
    assert not made.failures
    assert made.epoch is not None
    readings = {
        name: collector.build(Options(("cdc",))).read(made.results[name], made.epoch) for name, collector in ALL.items()
    }
    assert all(len(reading.families) for reading in readings.values())
    assert readings["replication"].families.get(EXPECTED) == {("cdc",): 0}


async def test_one_locked_view_costs_one_collector(postgres: Cluster) -> None:
    await visited(postgres)
    with admin(postgres) as locker:
        locker.execute("BEGIN")
        locker.execute("LOCK TABLE pg_stat_statements_info IN ACCESS EXCLUSIVE MODE")
        made = await visit(
            postgres.conninfo("postgres", "monitor"), [collector.build(Options()) for collector in COLLECTORS]
        )
        locker.execute("ROLLBACK")
    assert set(made.failures) == {("statements", "info")}
    assert made.epoch is not None
    for name, collector in ALL.items():
        reading = collector.build(Options()).read(made.results[name], made.epoch)
        assert reading.families.items() or name == "statements"
    statements = ALL["statements"].build(Options()).read(made.results["statements"], made.epoch)
    assert statements.facts is None, "without the reset time nothing can be counted"


@pytest.mark.deep
async def test_a_read_replica_answers_everything() -> None:
    """A server in recovery has no current WAL position, and asking for it is an error there."""
    with cluster(18) as primary:
        primary.stop("fast")
        replica = Cluster(primary.bin_dir, primary.data_dir.parent / "replica", primary.password)
        replica.copy_from(primary)
        (replica.data_dir / "standby.signal").touch()
        give_to_server(replica.data_dir / "standby.signal")
        try:
            replica.start()
            with admin(replica) as connection:
                row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
                assert row == (True,)
            made = await visited(replica, *(collector.build(Options()) for collector in COLLECTORS))
        finally:
            replica.stop("immediate")
    assert not made.failures
    assert made.epoch is not None
    for name, collector in ALL.items():
        assert len(collector.build(Options()).read(made.results[name], made.epoch).families), name


def test_the_names_are_lint_clean() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's prometheus has it)")
    lines: list[str] = []
    for metric in catalogue(*(collector.metrics for collector in COLLECTORS)).values():
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        labels = ",".join(f'{label}="x"' for label in metric.all_labels)
        lines.append(f"{metric.name}{{{labels}}} 1")
        assert metric.durable == (metric.kind is Kind.COUNTER), metric.name
    text = "\n".join([*lines, ""])
    ran = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
