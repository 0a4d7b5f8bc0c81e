"""Signals of the running agent: a stop that ends in time whatever hangs, and the reload.

The C-level handler writes each signal's number into a pipe that a thread of its own reads, so neither a busy event loop
nor a main thread inside a system call (a disk that does not answer, a connect) can keep a signal waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

STOP_SECONDS = 4.5
"""From the signal to the end of the process, at most. What is committed is safe at any moment, as after a kill -9."""
DRAIN_SECONDS = 2.0
"""Of these, for what runs: a reading that takes longer is cancelled."""
_STOPPING = frozenset({signal.SIGTERM, signal.SIGINT})
_log = logging.getLogger("neonmeter")


class Signals:
    """SIGTERM and SIGINT call ``stop`` on the loop and begin the countdown; SIGHUP calls what `on_hang_up` was given.

    To be made on the main thread, once in a process.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
        self._loop = loop
        self._stop = stop
        self._hang_up: Callable[[], None] = lambda: None
        self._stopping = False
        read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (*_STOPPING, signal.SIGHUP):
            signal.signal(number, _nothing)
            signal.siginterrupt(number, False)
        threading.Thread(target=self._listen, args=(read,), name="signals", daemon=True).start()

    def on_hang_up(self, act: Callable[[], None]) -> None:
        """Call ``act`` on the loop at each SIGHUP."""
        self._hang_up = act

    def ignore(self) -> None:
        """At the end: the interpreter drops its handlers, and a late signal would decide the exit code."""
        for number in (*_STOPPING, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _listen(self, pipe: int) -> None:
        while True:
            for number in os.read(pipe, 64):
                if number == signal.SIGHUP:
                    self._call(self._hang_up)
                elif number in _STOPPING and not self._stopping:
                    self._stopping = True
                    self._call(self._stop)
                    countdown = threading.Timer(STOP_SECONDS, _end_now)
                    countdown.daemon = True
                    countdown.start()

    def _call(self, act: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the agent is ending
            self._loop.call_soon_threadsafe(act)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """A handler must exist for the pipe to be written to."""


def _end_now() -> NoReturn:
    """What hangs is not waited for: say where every thread is, and leave."""
    try:
        _log.error("not stopped within %g s: ending now; what was committed is on the disk", STOP_SECONDS)
        faulthandler.dump_traceback(sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(0)
