"""A round over 10,000 computes: how often the disk is flushed, and what a slow disk costs.

A library before libc counts and slows the flushes, so what is counted is what the kernel is asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
static void note(void) {
    int file = open(getenv("FLUSH_LOG"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (file >= 0) { if (write(file, "x", 1) < 0) {} close(file); }
    usleep(1000 * atoi(getenv("FLUSH_MS")));
}
int fsync(int fd) { note(); return ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(fd); }
int fdatasync(int fd) { note(); return ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(fd); }
"""
ROUND = r"""
import asyncio, json, os, sys, time
from pathlib import Path
from collectors.base import Epoch
from collectors.metric import Families
from collectors.postgres.cluster.replication import SPILL_TXNS
from collectors.postgres.domain.fingerprint import Fingerprint
from collectors.wake.policy import WakeState
from exporter.app.features import SCHEMAS
from exporter.sampling.computes import DatabaseRef
from exporter.sampling.counters.statements import DurableCounters
from exporter.sampling.fingerprint_store import FingerprintStore
from exporter.sampling.wake_states import WakeStates
from exporter.storage.store import Store
from exporter.storage.writer import WriterThread
from exporter.tenancy.domain.rules import TenantRules

COUNT, AWAKE = 10_000, 1_000

def flushes():
    log = Path(os.environ["FLUSH_LOG"])
    return log.stat().st_size if log.exists() else 0

async def main():
    store = Store.open(Path(sys.argv[1]), SCHEMAS)
    disk = WriterThread(store)
    states, counters, prints = WakeStates(store, disk), DurableCounters(store, TenantRules(())), FingerprintStore(store)

    async def consider(number):
        await states.save(WakeState(f"ep{number}", own_end=float(number)))
        if number < AWAKE:
            await states.save(WakeState(f"ep{number}", own_end=number + 1.0, in_flight=1.0), at_once=True)
            families = Families()
            families.set(SPILL_TXNS, ("slot",), number)
            key, epoch = f"endpoint:ep{number}", Epoch(f"ep{number}", 1.0, 2.0)
            found = Fingerprint(180000, "app", 1.0, {}, {})
            await asyncio.gather(
                states.save(WakeState(f"ep{number}", own_end=number + 2.0)),
                disk.run(lambda: counters.absorb_counters(key, epoch, families), patient=True),
                disk.run(lambda: prints.write(DatabaseRef("p", f"br{number}", "app"), found), patient=True),
            )

    before, began = flushes(), time.monotonic()
    await asyncio.gather(*(consider(number) for number in range(COUNT)))
    seconds, made = time.monotonic() - began, flushes() - before
    disk.close()
    store.close()
    again = Store.open(Path(sys.argv[1]), SCHEMAS, read_only=True)
    with again.snapshot() as cursor:
        rows = [cursor.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("wake_state", "counter", "drift_print")]
    print(json.dumps({"flushes": made, "seconds": seconds, "rows": rows}))

asyncio.run(main())
"""


def run_round(folder: Path, milliseconds: int) -> dict[str, Any]:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler makes the slow disk")
    source, shim = folder / "shim.c", folder / "shim.so"
    source.write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"], check=True)
    log = folder / f"flushes-{milliseconds}"
    environment = {
        **os.environ, "LD_PRELOAD": str(shim), "FLUSH_LOG": str(log), "FLUSH_MS": str(milliseconds),
    }  # fmt: skip
    command = [sys.executable, "-c", ROUND, str(folder / f"{milliseconds}.db")]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    found: dict[str, Any] = json.loads(told.stdout)
    assert found["rows"] == [10_000, 1_000, 1_000]
    return found


@pytest.mark.parametrize("milliseconds", [pytest.param(0, marks=pytest.mark.deep), 50])
def test_a_round_over_10000_computes_flushes_a_few_times(tmp_path: Path, milliseconds: int) -> None:
    found = run_round(tmp_path, milliseconds)
    print(f"{milliseconds} ms a flush: {found}")
    # One for each state, counter and fingerprint would be 14,000. How many depends on how long the round takes.
    assert 0 < found["flushes"] <= 140
