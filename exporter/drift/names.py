"""Branches by the names that people give them, with the nearest one when there is no such branch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from exporter.sampling.computes import DatabaseRef

BranchKey = tuple[str, str]
"""Project id, branch id."""


class NoSuchBranchError(Exception):
    """One line: what was asked for, and what there is."""


def resolve(text: str, known: Mapping[str, BranchKey]) -> BranchKey:
    """The ids of a branch; ``known`` is by ``project/branch``. A branch's own name or id will do while it is unique.

    Raises:
        NoSuchBranchError: there is none, or several.
    """
    if text in known:
        return known[text]
    found = {ids for name, ids in known.items() if text in (ids[1], f"{ids[0]}/{ids[1]}", name.rpartition("/")[2])}
    if len(found) == 1:
        return next(iter(found))
    if found:
        names = sorted(name for name, ids in known.items() if ids in found)
        raise NoSuchBranchError(f"{text} is a branch of several projects: say {' or '.join(names)}")
    near = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
    if not near and known:
        near = difflib.get_close_matches(text, [name.rpartition("/")[2] for name in known], n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known)[:12])}" if known else ""
    raise NoSuchBranchError(f"there is no branch {text!r}; {hint or 'nothing has been read yet: `neonmeter run`'}")


def of_store(names: Mapping[str, str], keys: Mapping[DatabaseRef, object]) -> dict[str, BranchKey]:
    """Every branch that was ever read, by the names that the inventory last had."""
    return {f"{names.get(key[0], key[0])}/{names.get(key[1], key[1])}": (key[0], key[1]) for key in keys}
