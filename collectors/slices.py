"""Many small pieces of work on one event loop, without keeping it from everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

SLICE: Final = 50
"""Pieces that begin in one turn of the event loop: some milliseconds where each takes a tenth of one."""


async def in_slices(items: Iterable[Item], work: Callable[[Item], Awaitable[Answer]]) -> list[Answer]:
    """Do the work for each item, all at once as `asyncio.gather` does, but let others run while they begin.

    `asyncio.gather` begins all in one turn of the event loop, which then stands still for as long as their first steps
    take together.

    Returns:
        The answers, in the order of the items.

    Raises:
        Exception: the first failure, after all have begun; what runs then goes on.
    """
    answers: dict[int, Answer] = {}
    running: dict[int, asyncio.Future[Answer]] = {}
    begun: list[int] = []
    try:
        for number, item in enumerate(items):
            running[number] = asyncio.ensure_future(work(item))
            begun.append(number)
            if len(begun) == SLICE:
                await asyncio.sleep(0)
                _collect(begun, running, answers)
                begun = []
        answers.update(zip(running, await asyncio.gather(*running.values()), strict=True))
    except asyncio.CancelledError:
        for future in running.values():
            future.cancel()
        raise
    return [answers[number] for number in sorted(answers)]


def _collect(numbers: Iterable[int], running: dict[int, asyncio.Future[Answer]], answers: dict[int, Answer]) -> None:
    """Move what has ended well from ``running`` to ``answers``."""
    for number in numbers:
        future = running[number]
        if future.done() and not future.cancelled() and future.exception() is None:
            answers[number] = running.pop(number).result()
