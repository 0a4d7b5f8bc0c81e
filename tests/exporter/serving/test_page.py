"""The pages: everything is told, everything is escaped, nothing is loaded; what needs action stands first."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from exporter.serving.page import (
    ROWS,
    Overview,
    PoolerRow,
    TargetRow,
    TenantCostRow,
    render_index,
    render_targets,
    span,
    usd,
)
from tests.exporter.serving.served import overview

NOW = 1_795_000_000.0
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Reader(HTMLParser):
    """Reads a page: its text, its tags; refuses one that is not well nested."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_tells_what_matters() -> None:
    text = Reader(render_index(overview(NOW), NOW)).text
    for told in (
        "2 of 3", "1 asleep, and left asleep", "$15.35", "Cost, November 2026", "up to 30 min ago", "9 s shop / main",
        "12 s at most", "The API key sees one project.", "login refused", "left alone for 10 min more", "Suspended. R1",
        "acme", "Awake, but idle", "__idle__", "Shared by all", "Not attributed", "$0.004", "< 1%", "shop / pr-1",
        "4.2 ms", "1.18.0", "generation 7", "1,234 series", "as of 2 s ago", "Org", "scale plan",
    ):  # fmt: skip
        assert told in text, told


def test_what_needs_action_stands_first_and_what_sleeps_last() -> None:
    text = Reader(render_targets(overview(NOW).targets, NOW)).text
    assert text.index("login refused") < text.index("fresh") < text.index("left asleep")


def test_an_empty_page_says_so() -> None:
    text = Reader(render_index(Overview(0, 0.0, 0), NOW)).text
    for told in (
        "nothing published yet",
        "the first inventory is not done",
        "no consumption figures yet",
        "No figures yet",
    ):
        assert told in text, told
    assert "No targets yet" in Reader(render_targets((), NOW)).text


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=y>&amp;{{ 7 * 7 }}{% raw %}"


def test_every_text_is_escaped() -> None:
    row = TargetRow(*[EVIL] * 6, last_success=1.0, next_due=1.0, breaker_until=NOW + 9, rule=EVIL, why=EVIL)
    asleep = replace(row, state="asleep", kind="endpoint")
    page = overview(NOW)
    texts = {field.name: EVIL for field in fields(Overview) if isinstance(getattr(page, field.name), str)}
    page = replace(
        page, **texts, targets=(row, asleep), tenants=(TenantCostRow(EVIL, Decimal(1)),),
        poolers=(PoolerRow(EVIL, EVIL, EVIL),), notes=(EVIL,),
    )  # fmt: skip
    for html in (render_index(page, NOW), render_targets(page.targets, NOW)):
        read = Reader(html)
        assert {"script", "img"}.isdisjoint(tag for tag, _ in read.tags)
        assert not any(name.startswith("on") for _, attributes in read.tags for name in attributes)
        assert "<script>alert(1)</script>" in read.text
        assert "{{ 7 * 7 }}{% raw %}" in read.text, "a branch's name is never a template"


@pytest.mark.parametrize("name", [EVIL, "</style></title>", "a\x00b", "\u202eevil", "-->", "' onmouseover=x '", ""])
def test_a_hostile_branch_name_is_only_a_text(name: str) -> None:
    row = TargetRow(f"endpoint:{name}", "endpoint", name, name, "asleep", name, rule="R1", why=name)
    usual = Reader(render_index(replace(overview(NOW), targets=(replace(row, name="x", project="y"),)), NOW))
    read = Reader(render_index(replace(overview(NOW), targets=(row,)), NOW))
    assert [tag for tag, _ in read.tags] == [tag for tag, _ in usual.tags]
    assert [sorted(attributes) for _, attributes in read.tags] == [sorted(attributes) for _, attributes in usual.tags]


def test_nothing_is_loaded_from_anywhere() -> None:
    for html in (render_index(overview(NOW), NOW), render_targets(overview(NOW).targets, NOW)):
        read = Reader(html)
        assert {"script", "link", "img", "iframe"}.isdisjoint(tag for tag, _ in read.tags)
        assert "url(" not in html
        assert "@import" not in html
        for _tag, attributes in read.tags:
            assert "src" not in attributes
            assert (attributes.get("href") or "/").startswith("/")


def test_many_targets_are_told_on_their_own_page() -> None:
    rows = tuple(TargetRow(f"endpoint:ep-{i}", "endpoint", f"b{i}", "p", "asleep") for i in range(ROWS + 50))
    page = replace(overview(NOW), targets=rows)
    index = Reader(render_index(page, NOW))
    assert sum(tag == "tr" for tag, _ in index.tags) < ROWS + 20
    assert f"The first {ROWS} of {ROWS + 50}" in index.text
    assert sum(tag == "tr" for tag, _ in Reader(render_targets(rows, NOW)).tags) == ROWS + 51


def test_it_refreshes_itself_unless_told_not_to() -> None:
    assert ("meta", {"http-equiv": "refresh", "content": "15"}) in Reader(render_index(overview(NOW), NOW)).tags
    assert "refresh" not in render_index(replace(overview(NOW), refresh_seconds=0), NOW)


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "$0.00"), ("1234.5", "$1,234.50"), ("0.01", "$0.01"), ("0.0042", "$0.0042"), ("0.00001", "< $0.0001"),
     ("-3", "-$3.00")],
)  # fmt: skip
def test_dollars(amount: str, text: str) -> None:
    assert usd(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0.4, "0 s"), (99, "99 s"), (100, "1 min"), (5999, "99 min"), (6000, "1 h 40 min"), (7200, "2 h"),
     (47.9 * 3600, "47 h 54 min"), (48 * 3600, "2 d")],
)  # fmt: skip
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text
