"""The drills' ledger: nothing in it can be changed, dropped or put in between without showing."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.recovery.journal import BEGAN, ENDED, OK, START, Check, Drill, DrillJournal, JournalError, key_name

KEY, OTHER = b"one key", b"another key"


def drill(number: int, **more: object) -> Drill:
    known = {
        "id": f"d{number}", "project_id": "p", "project_name": "shop", "branch_id": "br", "branch_name": "main",
        "at": 1000.0 + number, "started_at": 2000.0, "copy_name": f"copy-{number}",
    }  # fmt: skip
    return Drill(**{**known, **more})  # type: ignore[arg-type]


def filled(path: Path, key: bytes | None = KEY, count: int = 4) -> DrillJournal:
    book = DrillJournal(path / "drills", key)
    for number in range(count):
        book.write(BEGAN, drill(number), 1.0)
        checks = (Check("schema app", True, "51 objects, größer"), Check("marker", None, ""))
        steps = (("branch", 0.25), ("delete", 1.5))
        ended = drill(number, result=OK, rto_seconds=2.5, rpo_seconds=None, checks=checks, steps=steps, cleaned=True)
        book.write(ENDED, ended, 2.0)
    return book


def test_what_is_written_is_read(tmp_path: Path) -> None:
    book = filled(tmp_path)
    found = book.drills()
    assert [entry.id for entry in found] == ["d0", "d1", "d2", "d3"]
    assert found[2].checks[0] == Check("schema app", True, "51 objects, größer")
    assert found[2].steps == (("branch", 0.25), ("delete", 1.5))
    assert (found[2].rto_seconds, found[2].rpo_seconds, found[2].cleaned) == (2.5, None, True)
    verdict = book.verify()
    assert (verdict.lines, verdict.signed, verdict.foreign, verdict.problem) == (8, 8, 0, "")
    assert DrillJournal(book.path, KEY).verify().head == verdict.head
    assert book.path.stat().st_mode & 0o007 == 0


def test_nothing_is_no_problem(tmp_path: Path) -> None:
    book = DrillJournal(tmp_path / "none")
    assert book.drills() == ()
    assert book.verify().head == START


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return filled(tmp_path_factory.mktemp("book"), count=2).path.read_bytes()


@given(data=st.data())
@settings(max_examples=100)
def test_every_change_shows(whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any byte changed, any line dropped, doubled or moved, by somebody without the key."""
    book = DrillJournal(tmp_path_factory.getbasetemp() / "changed", KEY)
    lines = whole.splitlines(keepends=True)
    how = data.draw(st.sampled_from(["byte", "drop", "double", "swap"]))
    at = data.draw(st.integers(0, len(lines) - 1))
    if how == "byte":
        branch_ref = data.draw(st.integers(0, len(lines[at]) - 2))
        old = lines[at]
        lines[at] = (
            old[:branch_ref] + bytes([(old[branch_ref] + data.draw(st.integers(1, 94))) % 256]) + old[branch_ref + 1 :]
        )
    elif how == "drop":
        del lines[min(at, len(lines) - 2)]  # The last line dropped shows only beside a head that somebody noted.
    elif how == "double":
        lines.insert(at, lines[at])
    else:
        other = (at + 1) % len(lines)
        lines[at], lines[other] = lines[other], lines[at]
    book.path.write_bytes(b"".join(lines))
    verdict = book.verify()
    # A line that names another key is not ours to judge: it is counted as foreign, and shown as such.
    assert verdict.problem or verdict.foreign


def test_a_chain_made_anew_without_the_key_shows(tmp_path: Path) -> None:
    """Somebody rewrites the file with right digests: what is signed no longer fits, what is not signed is counted."""
    forged = filled(tmp_path, OTHER, count=1)
    (first, _) = forged.path.read_text().splitlines()
    forged.path.write_text(json.dumps({**json.loads(first), "key": key_name(KEY)}) + "\n")
    assert DrillJournal(forged.path, KEY).verify().problem == "line 1: its signature does not match: it was changed"
    forged.path.unlink()
    assert DrillJournal(filled(tmp_path, None, count=1).path, KEY).verify().signed == 0
    DrillJournal(forged.path, KEY).write(BEGAN, drill(7), 3.0)
    DrillJournal(forged.path).write(BEGAN, drill(8), 4.0)
    assert DrillJournal(forged.path, KEY).verify().problem == "line 4: it is not signed, although earlier lines are"


def test_another_key_is_told_apart(tmp_path: Path) -> None:
    book = filled(tmp_path)
    verdict = DrillJournal(book.path, OTHER).verify()
    assert (verdict.signed, verdict.foreign, verdict.problem) == (8, 8, "")
    assert DrillJournal(book.path).verify().foreign == 8


def test_half_a_line_was_never_written(tmp_path: Path) -> None:
    book = filled(tmp_path)
    with book.path.open("ab") as file:
        file.write(b'{"n": 9, "what": "beg')
    assert len(book.drills()) == 4
    book.write(BEGAN, drill(9), 3.0)
    assert book.verify().problem == ""
    assert book.drills()[-1].id == "d9"


def test_a_strange_file_is_refused(tmp_path: Path) -> None:
    book = DrillJournal(tmp_path / "drills")
    book.path.write_text("hello\n")
    with pytest.raises(JournalError, match="line 1 is not an entry"):
        book.drills()
    assert "line 1" in book.verify().problem


def _hold(path: Path, ready: multiprocessing.connection.Connection) -> None:
    with DrillJournal(path).alone():
        ready.send(True)
        signal.pause()


def test_one_drill_at_a_time_and_a_kill_lets_go(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    holder = context.Process(target=_hold, args=(tmp_path / "drills", theirs))
    holder.start()
    try:
        assert ours.recv()
        with pytest.raises(JournalError, match="another drill is running"), DrillJournal(tmp_path / "drills").alone():
            pass
    finally:
        holder.kill()
        holder.join()
        ours.close()
        theirs.close()
    with DrillJournal(tmp_path / "drills").alone():
        pass
