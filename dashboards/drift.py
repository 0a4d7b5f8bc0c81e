"""Drift and posture: whose schema is not what it should be, which migrations are stuck, which controls fail?"""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from dashboards import looks, marks, thresholds
from dashboards.board import Board, Row
from dashboards.panels import About, Say, Style, bars_panel, lines_panel, stat_panel
from dashboards.queries import BRANCH, PROJECT, Query, branch_named, or_zero, project_named
from dashboards.tables import Column, table_panel

_KEYS = "project_id, branch_id, datname"
_NONE = looks.words({"0": ("none", None)})
TO_ENDPOINT = looks.link("Open its computes", "neonmeter-endpoint",
                         {"project_id": "project_id", "branch_id": "branch_id"})  # fmt: skip


def _tiles() -> Row:
    detected = f"neon_schema_drift_detected{{{BRANCH}}} == 1"
    since = f"time() - neon_schema_drift_since_timestamp_seconds{{{BRANCH}}}"
    critical = f'sum(neon_posture_findings{{severity="critical", status="fail", {PROJECT}}})'
    tiles = (
        stat_panel(
            Say(1, "Databases that drifted", About(
                "Databases whose schema differs from their baseline: parent branch, git, or what was approved.",
                "none.", "Find them in the table below: approve the change, or revert it.")),
            Query(or_zero(f"count({detected})")), Style(looks.COUNT, thresholds.DRIFTED_DATABASES, 0, (_NONE,))),
        stat_panel(
            Say(2, "Longest drift", About(
                "For how long the database that drifted first has differed without a break.",
                "under a day.", "A week old drift is a decision that nobody took: approve or revert it.")),
            Query(or_zero(f"max({since})")), Style(looks.SECONDS, thresholds.DRIFT_AGE, 1, (_NONE,))),
        stat_panel(
            Say(3, "Failed migrations", About(
                "Migrations that the tool's own table says failed, or that began long ago and never ended.",
                "none.", "Read the tool's log, repair its table, run it again; see the table of migrations.")),
            Query(or_zero(f"sum(neon_migrations_failed{{{BRANCH}}})")),
            Style(looks.COUNT, thresholds.MIGRATIONS_FAILED, 0, (_NONE,))),
        stat_panel(
            Say(4, "Critical findings", About(
                "Objects that fail a critical control and have no waiver.",
                "none.", "Fix them today: the table of controls names the control; /api/v1/posture the objects.")),
            Query(or_zero(critical)), Style(looks.COUNT, thresholds.POSTURE_FINDINGS, 0, (_NONE,))),
        stat_panel(
            Say(5, "Worst posture score", About(
                "Weight of the controls that hold, of those that could be evaluated, in the worst project.",
                "above 90 %.", "Begin with what fails at the highest severity in that project."), empty="unknown"),
            Query(f"min(neon_posture_score_ratio{{{PROJECT}}})"), Style(looks.RATIO, thresholds.POSTURE_SCORE, 0)),
        stat_panel(
            Say(6, "Oldest facts", About(
                "Age of the oldest facts that posture is evaluated from. A database that sleeps is not read, and ages.",
                "under two days.", "Bars below name the source; wake the database in working hours, or let it be."),
                empty="no facts yet"),
            Query("max(neon_posture_facts_age_seconds)"), Style(looks.SECONDS, thresholds.SCAN_AGE, 1)),
    )  # fmt: skip
    return Row(4, [(tile, 4) for tile in tiles])


def _drifted() -> Row:
    objects = f"sum by ({_KEYS}) (neon_schema_drift_objects{{{BRANCH}}})"
    by_change = 'sum by ({}) (neon_schema_drift_objects{{change="{}", {}}})'.format
    queries = (
        branch_named(f"max by ({_KEYS}, baseline) (neon_schema_drift_detected{{{BRANCH}}} == 1)"),
        f"({objects}) > 0",
        f"{by_change(_KEYS, 'added', BRANCH)} > 0",
        f"{by_change(_KEYS, 'removed', BRANCH)} > 0",
        f"{by_change(_KEYS, 'changed', BRANCH)} > 0",
        f"max by ({_KEYS}) (time() - neon_schema_drift_since_timestamp_seconds{{{BRANCH}}})",
    )
    columns = (
        Column("branch", "Branch", width=130),
        Column("project", "Project", width=120),
        Column("datname", "Database", width=100),
        Column("baseline", "Baseline", width=90),
        Column("Value #F", "For", looks.SECONDS, thresholds.DRIFT_AGE, width=100, decimals=1, fill=True),
        Column("Value #B", "Objects", looks.COUNT, width=90),
        Column("Value #C", "Added", looks.COUNT, width=80),
        Column("Value #D", "Removed", looks.COUNT, width=90),
        Column("Value #E", "Changed", looks.COUNT),
    )
    table = table_panel(
        Say(10, "Databases that drifted now", About(
            "Each database that differs from its baseline, for how long, and by how many objects. Which objects: "
            "/api/v1/drift/PROJECT/BRANCH, or `neonmeter drift`.",
            "empty.", "`neonmeter drift approve` when it is meant; else revert it in the branch."), "nothing drifted"),
        [Query(query, table=True) for query in queries], columns, sort="For",
        hidden=("project_id", "branch_id"), links=(TO_ENDPOINT,))  # fmt: skip
    over = f"sum by (kind) (neon_schema_drift_objects{{{BRANCH}}}) > 0"
    return Row(8, [
        (table, 15),
        (lines_panel(
            Say(11, "Objects that differ, by kind", About(
                "Objects that differ from their baseline over time, by kind. Green marks are approvals.",
                "short humps around deployments.", "A step that stays: somebody changed a schema by hand."),
                "nothing differs"),
            [Query(over, "{{kind}}")], Style(looks.COUNT, decimals=0), stack=True), 9),
    ], "Schema drift")  # fmt: skip


def _migrations() -> Row:
    keys = f"{_KEYS}, tool"
    of = "max by ({}) ({}{{{}}})".format
    queries = (
        branch_named(f"sum by ({keys}) (neon_migrations_applied{{{BRANCH}}})"),
        f"sum by ({keys}) (neon_migrations_failed{{{BRANCH}}})",
        of(keys, "neon_migrations_pending", BRANCH),
        of(keys, "neon_migrations_divergence", f'side="behind", {BRANCH}'),
        of(keys, "neon_migrations_divergence", f'side="ahead", {BRANCH}'),
        of(keys, "neon_migrations_tenants_behind", BRANCH),
        f"({of(keys, 'neon_migrations_lock_age_seconds', BRANCH)}) > 0",
    )
    columns = (
        Column("branch", "Branch", width=140),
        Column("project", "Project", width=120),
        Column("datname", "Database", width=100),
        Column("tool", "Tool", width=100),
        Column("Value #B", "Failed", looks.COUNT, thresholds.MIGRATIONS_FAILED, width=80, fill=True),
        Column("Value #A", "Applied", looks.COUNT, width=85),
        Column("Value #C", "Pending", looks.COUNT, thresholds.MIGRATIONS_PENDING, width=85),
        Column("Value #D", "Behind", looks.COUNT, thresholds.MIGRATIONS_PENDING, width=80),
        Column("Value #E", "Ahead", looks.COUNT, width=80),
        Column("Value #F", "Tenants behind", looks.COUNT, thresholds.MIGRATIONS_PENDING, width=130),
        Column("Value #G", "Lock held", looks.SECONDS, thresholds.MIGRATION_LOCK_AGE, decimals=1),
    )
    table = table_panel(
        Say(20, "Migrations", About(
            "What each tool's own table says: applied and failed, pending against git, behind or ahead of the branch "
            "that it is compared with, and how long its lock has been held.",
            "no failed ones, no lock older than a deployment.",
            "A lock without a running deployment: the tool died; release it as its manual says."), "no migration tool"),
        [Query(query, table=True) for query in queries], columns, sort="Failed",
        hidden=("project_id", "branch_id"), links=(TO_ENDPOINT,))  # fmt: skip
    tenants = f'sum by (tenant) (neon_tenant_schema_drift_objects{{tenant=~"$tenant", {BRANCH}}}) > 0'
    return Row(8, [
        (table, 18),
        (bars_panel(
            Say(21, "Tenants whose schema deviates", About(
                "Objects in which a tenant's schema differs from the template or from most of the others.",
                "empty.", "A migration that stopped half way: run it for these tenants."), "all tenants are alike"),
            Query(f"sort_desc({tenants})", "{{tenant}}"), Style(looks.COUNT, decimals=0)), 6),
    ], "Migrations and tenants")  # fmt: skip


def _posture() -> tuple[Row, ...]:
    by_severity = f'sum by (severity) (neon_posture_findings{{status="fail", {PROJECT}}})'
    score = project_named(f"max by (project_id) (neon_posture_score_ratio{{{PROJECT}}})")
    tenants = f'topk(10, sum by (tenant) (neon_tenant_posture_findings{{tenant=~"$tenant", {PROJECT}}}) > 0)'
    colors = [("critical", looks.RED), ("high", looks.AMBER), ("medium", "yellow"), ("low", looks.BLUE)]
    return (
        Row(8, [(_controls(), 12), (lines_panel(
            Say(31, "Findings by severity", About(
                "Objects that fail a control and have no waiver, over time.",
                "falling.", "A step up: a deployment opened something; see the controls beside."), "nothing evaluated"),
            [Query(by_severity, "{{severity}}")], Style(looks.COUNT, decimals=0), stack=True,
            overrides=[named_color(name, color) for name, color in colors]), 12)], "Posture"),
        Row(7, [
            (bars_panel(
                Say(32, "Score by project", About(
                    "Weight of the controls that hold, of those that could be evaluated, by project.",
                    "above 90 %.", "The worst first: its failing controls are above."), "nothing evaluated"),
                Query(f"sort(max by (project) ({score}))", "{{project}}"),
                Style(looks.RATIO, thresholds.POSTURE_SCORE, 0), most=1), 6),
            (bars_panel(
                Say(33, "Findings by tenant", About(
                    "Open failures that put a tenant's data at risk.",
                    "empty.", "Fix this tenant first; you may have to notify them."), "no tenant at risk"),
                Query(f"sort_desc({tenants})", "{{tenant}}"), Style(looks.COUNT, thresholds.POSTURE_FINDINGS, 0)), 6),
            (bars_panel(
                Say(34, "Age of API keys, the oldest by kind", About(
                    "The oldest API key by what it opens.",
                    "under 90 days.", "Make a new key, give it out, delete the old one."), "no keys read"),
                Query("sort_desc(max by (kind) (neon_api_key_age_seconds))", "{{kind}}"),
                Style(looks.SECONDS, thresholds.API_KEY_AGE, 0)), 6),
            (bars_panel(
                Say(35, "Age of facts by source", About(
                    "Age of the oldest facts of each source; a source that does not answer ages.",
                    "under two days.", "See neonmeter's log for that source."), "no facts yet"),
                Query("sort_desc(max by (source) (neon_posture_facts_age_seconds))", "{{source}}"),
                Style(looks.SECONDS, thresholds.SCAN_AGE, 1)), 6),
        ]),
    )  # fmt: skip


def named_color(name: str, color: str) -> tuple[model.MatcherConfig, list[model.DynamicConfigValue]]:
    """One series in one colour."""
    value = model.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})
    return model.MatcherConfig(id_val="byName", options=name), [value]


def _controls() -> model.Panel:
    rank = {"critical": 4, "high": 3, "medium": 2, "low": 1}
    statuses = " or ".join(
        f"{number} * max by (project_id, control, severity, status) "
        f'(neon_posture_control_status{{severity="{severity}", status=~"fail|error|unknown", {PROJECT}}})'
        for severity, number in rank.items()
    )
    words = looks.words({
        "4": ("critical", looks.RED), "3": ("high", looks.AMBER), "2": ("medium", "yellow"), "1": ("low", looks.BLUE),
    })  # fmt: skip
    columns = (
        Column("control", "Control", width=110),
        Column("Value", "Severity", looks.COUNT, width=110, words=(words,), fill=True),
        Column("status", "Outcome", width=120),
        Column("project", "Project"),
    )
    say = Say(30, "Controls that do not hold", About(
        "Each control that fails or could not be evaluated, by project, the most severe first. 'error' and 'unknown' "
        "are not passes: the state is not known.",
        "empty.", "`neonmeter posture` shows object, evidence and remedy of each."), "every control holds")  # fmt: skip
    return table_panel(say, [Query(project_named(statuses), table=True)], columns, sort="Severity",
                       hidden=("project_id",))  # fmt: skip


def board() -> Board:
    """The dashboard."""
    return Board(
        "neonmeter-drift", "neonmeter / Drift and posture",
        "Whose schema is not what it should be, which migrations are stuck, which controls fail?",
        ("datasource", "tenant", "region", "project_id", "branch_id"),
        (marks.APPROVED, marks.RESTART),
        (_tiles(), _drifted(), _migrations(), *_posture()),
        refresh="5m",
    )  # fmt: skip
