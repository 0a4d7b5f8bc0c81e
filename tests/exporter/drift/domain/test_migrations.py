"""Histories against files, branches and each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collectors.postgres.domain.migrations import Migration
from exporter.drift.domain.migrations import Expected, Manifest, MigrationState, ancestry, behind, divergence, standing


def done(*ids: str, checksum: str | None = None, state: str = "applied") -> list[Migration]:
    return [Migration(name, checksum, state, None) for name in ids]


FILES = Manifest("flyway", tuple(Expected(text, f"sum-{text}") for text in "abcd"))


def test_pending_unknown_mismatched_and_out_of_order() -> None:
    history = [Migration("a", "sum-a", "applied", 1.0), Migration("c", "other", "applied", 2.0), *done("x")]
    assert standing(FILES, history) == MigrationState(
        pending=("b", "d"), unknown=("x",), mismatched=("c",), out_of_order=("b",)
    )  # fmt: skip


def test_a_failed_migration_is_still_pending() -> None:
    assert standing(FILES, done("a", "b", "c") + done("d", state="failed")).pending == ("d",)


def test_a_repeatable_one_is_never_out_of_order() -> None:
    files = Manifest("flyway", (Expected("R__views", repeatable=True), Expected("1"), Expected("2")))
    where = standing(files, done("1", "2"))
    assert where.pending == ("R__views",)
    assert where.out_of_order == ()


def test_a_checksum_that_nobody_knows_is_no_mismatch() -> None:
    assert standing(Manifest("rails", (Expected("a"),)), done("a", checksum="z")).mismatched == ()
    assert standing(FILES, done("a")).mismatched == ()


def test_a_head_stands_for_its_ancestors() -> None:
    graph = ancestry({"a": (), "b": ("a",), "c": ("a",), "m": ("b", "c"), "n": ("m",)})
    assert graph["n"] == {"a", "b", "c", "m"}
    files = Manifest("alembic", tuple(Expected(name, ancestors=graph[name]) for name in "abcmn"), heads_only=True)
    assert standing(files, done("b")).pending == ("c", "m", "n")
    assert standing(files, done("m")).pending == ("n",)


def test_a_cycle_of_parents_ends() -> None:
    assert "b" in ancestry({"a": ("b",), "b": ("a",)})["a"]


def test_tenants_behind_are_named() -> None:
    found = behind(done("1", "2", "3"), {"t1": done("1", "2", "3"), "t2": done("1"), "t3": done("1", "2", "3", "4")})
    assert {name: (entry.behind, entry.ahead) for name, entry in found.items()} == {
        "t2": (("2", "3"), ()),
        "t3": ((), ("4",)),
    }


@given(st.sets(st.text("abc", min_size=1)), st.sets(st.text("abc", min_size=1)))
def test_divergence_turns_round(one: set[str], other: set[str]) -> None:
    there, back = divergence(done(*one), done(*other)), divergence(done(*other), done(*one))
    assert (there.behind, there.ahead) == (back.ahead, back.behind)
    assert bool(there) == (one != other)
