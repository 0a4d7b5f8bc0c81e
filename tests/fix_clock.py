"""A system clock that a test sets while a process runs: Debian's libfaketime, with the real monotonic clock."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


class SystemClock:
    """The clock of the processes that are started with its ``environment``, in seconds ahead of ours."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._file = folder / "faketime"
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead: float) -> None:
        """Step to so many seconds ahead of the real time, at once."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{ahead:+.0f}\n")
        fresh.replace(self._file)


@pytest.fixture
def system_clock(tmp_path: Path) -> Iterator[SystemClock]:
    """A settable clock; skips where the package faketime is not installed."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not shutil.which("faketime") or not found:
        pytest.skip("libfaketime is not here: install the Debian package faketime (make packages)")
    yield SystemClock(found[0], tmp_path)
