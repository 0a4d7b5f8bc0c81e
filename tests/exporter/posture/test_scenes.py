"""Every SQL control on real servers: one change makes it fail, what looks alike does not, and a login is the judge.

Where a scene has an attack, tenant a logs in and tries to get at tenant b's row. A control that says critical or high
must be right about it, and one that holds too.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.demo.postgres import Cluster
from exporter.posture.domain.evaluate import automatic_controls
from exporter.posture.domain.finding import Outcome, Severity
from tests.exporter.posture.scenes import SCENES, Scene
from tests.exporter.posture.staging import Stage, about_us, stage, worst

SERIOUS = (Severity.CRITICAL, Severity.HIGH)
PROVEN = ("P01", "P02",
          "P03", "P04", "P05", "P07", "P08", "P09", "P11", "P12", "P14", "P15", "P16", "P18", "P19", "P20",
          "P21", "P22", "P24", "P25")  # fmt: skip
"""Controls that a login proves."""
BY_SQL = {*PROVEN, "P10", "P13", "P17", "P23", "P26", "P27", "P28", "P47", "P48", "P50", "P57", "P60", "P68", "P69"}


@pytest.fixture(scope="module")
def server(postgres: Cluster) -> Iterator[Stage]:
    with stage(postgres) as made:
        yield made


def test_in_order_everything_holds_and_nobody_gets_through(server: Stage) -> None:
    server.set_up()
    findings = server.findings()
    wrong = [
        finding
        for finding in findings
        if finding.control in BY_SQL and finding.outcome is Outcome.FAIL and about_us(finding)
    ]
    assert not wrong
    assert not [finding for finding in findings if finding.outcome is Outcome.ERROR]
    for scene in SCENES:
        # P07 and P20 make objects of a's own in the world, which is no leak.
        if scene.leaks and scene.since <= server.major and scene.control not in ("P07", "P20"):
            assert not server.reaches(scene.attack), scene.id


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.id)
def test_the_control_says_what_the_login_can_do(server: Stage, scene: Scene) -> None:
    if scene.since > server.major:
        pytest.skip(f"PostgreSQL {scene.since} brought it")
    with server.scene(scene):
        findings = server.findings()
        assert worst(findings, scene.control) == scene.severity, [
            finding for finding in findings if finding.control == scene.control
        ]
        if scene.attack:
            assert server.reaches(scene.attack) == scene.leaks
            if scene.control in PROVEN:
                assert (worst(findings, scene.control) in SERIOUS) == scene.leaks


def test_every_control_over_sql_has_both_scenes() -> None:
    assert {scene.control for scene in SCENES} >= BY_SQL - {"P05"}
    assert {scene.control for scene in SCENES if scene.leaks} >= set(PROVEN)
    assert automatic_controls() >= BY_SQL
