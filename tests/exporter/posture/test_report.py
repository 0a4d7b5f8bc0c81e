"""The compliance report: the same in every format, an expired waiver red, and nothing in a name breaks it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from exporter.posture.report.html import html
from exporter.posture.report.markdown import markdown
from exporter.posture.report.ocsf import as_ocsf
from exporter.posture.report.plain import as_csv, as_json, before_of
from exporter.posture.report.report import Report
from exporter.posture.report.terminal import as_text, one_control
from exporter.posture.store import DAY
from tests.exporter.posture.platform_world import Platform, platform
from tests.exporter.posture.test_feature import WAIVERS


class Sound(HTMLParser):
    """Every tag that is opened is closed in order, and nothing is loaded from anywhere."""

    void = ("meta", "br", "link", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "srcset") or tag in ("script", "link")]
        self.loads += [value or "" for name, value in attrs if name == "href" and not (value or "").startswith("#")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def sound(page: str) -> None:
    parser = Sound()
    parser.feed(page)
    assert parser.open == []
    assert parser.loads == []
    assert "url(" not in page


async def reported(here: Platform, **options: Any) -> Report:
    await here.look()
    return here.report(**options)


async def test_every_format_tells_the_same(tmp_path: Path) -> None:
    async with platform(tmp_path, waivers=WAIVERS) as here:
        report = await reported(here)
        page, text, plain = html(report), markdown(report), as_json(report)
        sound(page)
        fails = {entry["id"] for entry in plain["controls"] if entry["status"] == "fail"}
        assert {"P36", "P38", "P58", "P61"} <= fails
        for control in fails:
            assert f'id="{control}"' in page
            assert f"### {control} " in text
        rows = list(csv.DictReader(io.StringIO(as_csv(report))))
        assert {row["control"] for row in rows if row["status"] == "fail"} == fails
        assert {row["control"] for row in rows} == {entry["id"] for entry in plain["controls"]}
        findings = [json.loads(line) for line in as_ocsf(report).splitlines()]
        assert {
            finding["compliance"]["control"] for finding in findings if finding["compliance"]["status"] == "Fail"
        } == fails | {"P35"}
        assert {finding["class_uid"] for finding in findings} == {2003}
        assert (html(report), markdown(report), as_csv(report)) == (page, text, as_csv(report))
        # The waiver that is over is red, and the one in force is told with who answers for it.
        assert 'class="expired"' in page
        assert "waiver of the CTO expired on 2026-01-01" in page
        assert "the DPO" in page
        assert "**EXPIRED**" in text
        assert next(row for row in rows if row["control"] == "P36" and row["waiver_expired"])["waiver_expired"] == "yes"
        (suppressed,) = (finding for finding in findings if finding["status"] == "Suppressed")
        assert "the DPO" in suppressed["comment"]
        assert "EXPIRED" in as_text(report)
        assert "EXPIRED 2026-01-01" in one_control(report, "P36")


async def test_by_framework_only_its_controls_are_told(tmp_path: Path) -> None:
    async with platform(tmp_path) as here:
        report = await reported(here, frameworks=["gdpr"], project="london")
        (framework,) = report.frameworks
        named = {control for clause in framework.clauses for control, _ in clause.controls}
        assert {row.control.id for row in report.controls} <= named
        assert {name for _, name, _ in report.projects} <= {"london", "whole account"}
        stands = {clause.id: clause.status for clause in framework.clauses}
        assert stands["Art. 44-46"] == "fail"
        assert "P38" not in {row.control.id for row in report.controls if "P38" not in named}


async def test_changes_since_an_earlier_report(tmp_path: Path) -> None:
    async with platform(tmp_path) as here:
        earlier = json.loads(json.dumps(as_json(await reported(here))))
        main = next(branch for branch in here.world.branches.values() if branch.name == "main" and not branch.protected)
        main.protected = True
        here.world.projects[here.id_of("open")].region_id = "aws-us-east-1"
        here.clock.forward(DAY)
        report = await reported(here, before=before_of(earlier))
        assert ("P35", "open") in {(row.control, row.name) for row in report.changes.new}
        assert "P36" in {control for control, _, _ in report.changes.resolved}
        for told in (html(report), markdown(report), as_text(report)):
            assert "resolved" in told
    with pytest.raises(ValueError, match="not a posture report"):
        before_of({"format": "other"})


async def test_names_that_people_choose_break_no_format(tmp_path: Path) -> None:
    nasty = '<script>alert(1)</script>|`=1+1"\n'
    async with platform(tmp_path) as here:
        report = await reported(here)
        control = next(control_row for control_row in report.controls if control_row.status == "fail")
        row = replace(control.rows[0], name=nasty, evidence=f"={nasty}", tenant=nasty)
        bad = replace(control, rows=(row, *control.rows[1:]))
        report = replace(
            report, controls=tuple(bad if control_row is control else control_row for control_row in report.controls)
        )
        page = html(report)
        sound(page)
        assert "<script>" not in page
        assert "<script>" not in markdown(report)
        cells = [cell for line in csv.reader(io.StringIO(as_csv(report))) for cell in line]
        assert not [cell for cell in cells if cell[:1] in ("=", "+", "@")]
