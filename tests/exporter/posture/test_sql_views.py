"""The views of compliance and risk: the judgement as it is, for a role that sees nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from exporter.demo.postgres import Cluster
from exporter.posture.publish import PUBLISH_SECONDS, VIEWS, PosturePublisher
from exporter.storage.ledger.postgres import PostgresLedger
from tests.exporter.posture.platform_world import platform
from tests.exporter.posture.test_feature import WAIVERS
from tests.exporter.storage.ledger.test_ledger_postgres import maker

DOCS = Path(__file__).parents[3] / "docs"
ROLE = "neonmeter_finops_reader"


@pytest.fixture
def ledger(postgres18: Cluster) -> Iterator[PostgresLedger]:
    with maker(postgres18)() as made:
        made.through()
        yield made


@pytest.fixture
def reader(ledger: PostgresLedger, postgres18: Cluster) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres18.conninfo(), autocommit=True) as owner:
        with suppress(psycopg.Error):
            owner.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}".encode())
        owner.execute((DOCS / "ledger-reader.sql").read_text().encode())
    conninfo = postgres18.conninfo(user=ROLE).replace("not-a-secret", "choose-one")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        yield connection


async def test_the_views_tell_what_was_judged(
    ledger: PostgresLedger, reader: psycopg.Connection[Any], tmp_path: Path
) -> None:
    async with platform(tmp_path, waivers=WAIVERS) as here:
        evaluation = await here.look()
        publisher = PosturePublisher(ledger.link)
        publisher.publish(evaluation, here.evaluator.catalogue)
        open_rows = reader.execute("SELECT control, name, waiver_expired FROM risk_open_findings").fetchall()
        wanted = [state for state in evaluation.verdict.states if state.open]
        assert sorted(row[:2] for row in open_rows) == sorted(
            (state.finding.control, evaluation.path(state.finding.object_id)) for state in wanted
        )
        assert [row[0] for row in open_rows if row[2]] == ["P36"]
        status = dict(
            reader.execute("SELECT project, status FROM compliance_control_status WHERE control = 'P35'").fetchall()
        )
        assert status["london"] == "waived"
        assert status["vault"] == "pass"
        clauses = dict(
            reader.execute("SELECT clause, status FROM compliance_clause_status WHERE framework = 'gdpr'").fetchall()
        )
        assert clauses["Art. 44-46"] == "waived"
        assert "fail" in clauses.values()
        who = reader.execute(
            "SELECT control, waiver_approver, waiver_expired FROM compliance_waivers ORDER BY 1"
        ).fetchall()
        assert who == [("P35", "the DPO", False), ("P36", "the CTO", True)]
        # Within the hour nothing is written again; after it everything is, and the day's score stays one row.
        here.world.projects[here.id_of("open")].region_id = "aws-us-east-1"
        here.clock.forward(700)
        publisher.publish(await here.look(), here.evaluator.catalogue)
        assert len(reader.execute("SELECT 1 FROM risk_open_findings").fetchall()) == len(open_rows)
        here.clock.forward(PUBLISH_SECONDS)
        publisher.publish(await here.look(), here.evaluator.catalogue)
        assert ("P35", "open") in reader.execute("SELECT control, name FROM risk_open_findings").fetchall()
        scores = reader.execute(
            "SELECT project, count(*), min(score) FROM compliance_score_daily GROUP BY 1"
        ).fetchall()
        assert {row[0]: row[1] for row in scores} == {"london": 1, "open": 1, "vault": 1, "whole account": 1}


def test_the_reader_sees_the_views_and_no_table(reader: psycopg.Connection[Any]) -> None:
    page = (DOCS / "posture.md").read_text()
    for view in re.findall(r"CREATE VIEW (\w+)", VIEWS):
        reader.execute(f"SELECT * FROM {view}".encode())
        assert f"`{view}`" in page
    for table in ("posture_finding", "posture_status", "posture_score_day"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(f"SELECT * FROM {table}".encode())
