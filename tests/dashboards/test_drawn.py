"""All dashboards, drawn in dark and light by Grafana's own panel components: no panel is broken or empty."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.dashboards import drawing, rules
from tests.dashboards.chromium import Browser, chromium, find_chromium
from tests.dashboards.seeded.places import PLACES
from tests.dashboards.seeded.world import seeded_prometheus

pytestmark = pytest.mark.deep


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if reason := drawing.why_not():
        pytest.skip(reason)
    out = drawing.bundle(tmp_path_factory.mktemp("page"))
    with seeded_prometheus(tmp_path_factory.mktemp("seeded")) as server, drawing.serving_page(out, server.url) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with chromium(program) as browser:
        yield browser


@pytest.mark.parametrize("theme", drawing.THEMES)
@pytest.mark.parametrize("uid", rules.boards())
def test_every_panel_is_drawn(browser: Browser, page: str, uid: str, theme: str) -> None:
    drawn = drawing.draw(browser, page, uid, theme)
    assert len(drawn.panels) == len(rules.panels(rules.boards()[uid]))
    assert drawn.not_drawn() == []
    assert drawn.png.startswith(b"\x89PNG")


def test_a_broken_and_an_empty_query_are_seen(browser: Browser, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge is judged: what must not be there is told when it is."""
    broken = {"panel-1": "sum(", "panel-2": 'neon_budget_usd{budget="nobody has this"}'}
    drawn = drawing.draw(browser, page, "neonmeter-fleet", "dark", spoilt=broken)
    states = {str(panel["id"]): panel["state"] for panel in drawn.panels}
    assert states["1"] == "error"
    assert states["2"] == "nodata"
    assert set(states.values()) == {"error", "nodata", "drawn"}


def test_the_rows_lead_to_the_endpoint_that_they_are_about(browser: Browser, page: str) -> None:
    links = drawing.draw(browser, page, "neonmeter-fleet", "light").links
    assert len(links) > len(PLACES)
    assert not [link for link in links if "${" in link]
    chosen = [dict(parse_qsl(urlsplit(link).query)) for link in links]
    known = {(place.project_id, place.branch_id, place.endpoint_id) for place in PLACES}
    led = {(entry["var-project_id"], entry["var-branch_id"], entry["var-endpoint_id"]) for entry in chosen}
    assert known <= led
    assert all("$__all" in row for row in led - known), "what is of a whole branch or project leads to all of it"
    assert {urlsplit(link).path for link in links} == {"/d/neonmeter-endpoint"}
    assert all("from" in entry and "to" in entry and entry["var-datasource"] for entry in chosen)
