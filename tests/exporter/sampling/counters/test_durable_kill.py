"""kill -9 at any moment: after a restart the totals are exact, and nothing that was published goes back."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from collectors.metric import Families
from collectors.postgres.cluster.statements import TENANT_CALLS
from tests.exporter.sampling.absorb_forever import LIFE, calls, deadlocks, done, next_look, open_durable, sample
from tests.exporter.sampling.statement_world import DEADLOCKS, NAMES, PLACE


def run_and_kill(path: Path, after: float) -> list[tuple[int, dict[tuple[str, ...], float]]]:
    """What one process published before it was killed, ``after`` seconds from its first publication."""
    command = [sys.executable, "-m", "tests.exporter.sampling.absorb_forever", str(path)]
    root = Path(__file__).parents[4]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines: list[str] = []
        first = threading.Event()

        def read() -> None:
            for line in process.stdout or ():
                lines.append(line)
                first.set()

        reader = threading.Thread(target=read)
        reader.start()
        started = first.wait(180)
        time.sleep(after)
        process.kill()
        reader.join()
        problem = process.stderr.read()
    assert started and not problem, problem
    whole = [line for line in lines if line.endswith("\n")]
    return [(int(line.split(" ", 1)[0]), ast.literal_eval(line.split(" ", 1)[1])) for line in whole]


def kill_often(path: Path, times: int, seed: int) -> None:
    rng = random.Random(seed)
    last: dict[tuple[str, ...], float] = {}
    looks = 0
    for _ in range(times):
        for look, shown in run_and_kill(path, rng.random() * 0.05):
            assert all(shown[key] >= last.get(key, 0) for key in shown), "a counter went back"
            last.update(shown)
            by_tenant = {key[1]: value for key, value in shown.items() if key[0] == TENANT_CALLS.name}
            assert by_tenant == done(look)
            looks += 1
    store, durable = open_durable(path)
    look = next_look(durable)
    assert look > times // 2
    # The next look, whatever it is, brings everything to the exact figure: statements, hours, and the single counter.
    durable.absorb(PLACE, NAMES, sample(look))
    families: Families = durable.families(PLACE[2])
    assert {labels[0]: value for labels, value in families.get(TENANT_CALLS).items()} == done(look)
    assert sum(hour.calls for hour in durable.tenant_hours(0, 4e9)) == sum(done(look).values())
    kept = durable.absorb_counters("endpoint:databases", sample(look).epoch, deadlocks(look))
    ends = [*range(LIFE - 1, look, LIFE), look]
    assert kept.get(DEADLOCKS) == {("app",): sum(calls(end, 0) for end in ends)}
    store.close()


def test_killed_at_random_moments(tmp_path: Path) -> None:
    kill_often(tmp_path / "neonmeter.db", times=30, seed=1)


@pytest.mark.deep
def test_killed_at_many_random_moments(tmp_path: Path) -> None:
    kill_often(tmp_path / "neonmeter.db", times=200, seed=2)
