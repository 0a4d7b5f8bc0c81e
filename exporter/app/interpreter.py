"""How Python's interpreter is set up for an agent: many short-lived rows, scrapes beside them, and a large state.

The cyclic garbage collector stops all threads while it looks through every object that it follows. In a large fleet
those are millions, so that a full collection stops the agent for a second, for almost nothing: our data hold no cycles
and are freed when nobody refers to them. So full collections come when some new objects have survived, look through
those alone, and exempt them from the next ones. An exempt object is freed like any other; only a cycle of such objects
would stay, which is why a reload takes the exemption back.
"""

from __future__ import annotations

import gc
import sys
from typing import Final

SURVIVORS: Final = 100_000
"""Objects that survived since the last full collection at which there is another: some 20 ms of it."""
_YOUNG, _MIDDLE, _NEVER = 20_000, 5, 1_000_000


def tune_interpreter() -> None:
    """Set Python up; what is imported by then is exempt from garbage collection."""
    # A short slice, so that a scrape does not wait for a long rendering to give up the interpreter.
    sys.setswitchinterval(0.001)
    gc.freeze()
    # Rows are no cycles: searching them for some at every 700 is a quarter of a visit's CPU.
    gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)


def collect_garbage() -> bool:
    """A full collection where enough objects have survived since the last one; answers whether there was one.

    To be called every few seconds, because nothing else makes full collections.
    """
    if len(gc.get_objects(generation=2)) < SURVIVORS:
        return False
    gc.collect()
    gc.freeze()
    return True


def end_exemptions() -> None:
    """Let the next collection look through everything: what was replaced as a whole may hold cycles."""
    gc.unfreeze()
