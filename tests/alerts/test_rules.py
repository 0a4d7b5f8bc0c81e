"""The rules of the house for alerts: names, labels, annotations, comparisons, durations, and only real metrics."""

from __future__ import annotations

import re
import subprocess

import pytest

from dashboards import thresholds
from exporter.app.catalog import CATALOG
from tests.alerts.rules import ALERTS, WATCHDOG, Rule, alerts, files, recorded, rules, seconds
from tests.alerts.unit_tests import cases, written
from tests.fix_prometheus import binary

pytestmark = pytest.mark.house
promql = pytest.importorskip("promql_parser", reason="promql-parser is not installed")

CATEGORIES = {
    "availability", "performance", "cdc", "finops", "runaway", "drift", "posture", "backup", "agent", "watchdog",
}  # fmt: skip
NOT_OURS = {"up", "ALERTS"}
AT_ONCE = "increase(", ":increase1h", "neon_drill_", WATCHDOG
"""What need not last: a window is in it, or it does not flap."""
by_name = pytest.mark.parametrize("rule", alerts().values(), ids=alerts())


def metrics_of(expr: str) -> set[tuple[str, frozenset[str]]]:
    """Names of metrics in an expression with the labels that it selects them by."""
    found: set[tuple[str, frozenset[str]]] = set()

    def walk(node: object) -> None:
        for part in ("expr", "lhs", "rhs", "param", "vector_selector", "args"):
            child = getattr(node, part, None)
            for entry in child if isinstance(child, list | tuple) else [child]:
                if entry is not None and not isinstance(entry, str):
                    walk(entry)
        if isinstance(node, promql.VectorSelector) and node.name:
            found.add((node.name, frozenset(matcher.name for matcher in node.matchers.matchers)))

    walk(promql.parse(expr))
    return found


def real(name: str, labels: frozenset[str]) -> bool:
    """Whether a metric exists with these labels; ``job`` of ours becomes ``exported_job`` in a scrape."""
    if name in NOT_OURS or name in recorded():
        return True
    known = set(CATALOG[name].all_labels) | {"job", "instance", "exported_job"} if name in CATALOG else set()
    return name in CATALOG and labels <= known


@by_name
def test_labels_and_annotations(rule: Rule) -> None:
    assert re.fullmatch(r"Neon[A-Za-z]+", rule.name)
    assert rule.labels["severity"] in ({"none"} if rule.name == WATCHDOG else {"critical", "warning", "info"})
    assert rule.labels["category"] in CATEGORIES
    assert rule.labels["team"] in {"database", "finops", "platform", "security"}
    assert not any("$" in value for value in rule.labels.values()), "a value in a label makes a new alert each time"
    assert set(rule.annotations) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert "$" in rule.annotations["summary"] or rule.name in {WATCHDOG, "NeonmeterDown"}, "say which object"
    assert rule.annotations["runbook_url"] == f"{{{{ $externalLabels.neonmeter_url }}}}/runbooks/{rule.name}"
    assert re.match(r"\{\{ \$externalLabels\.grafana_url }}/d/neonmeter-[a-z]+", rule.annotations["dashboard_url"])
    if "endpoint_id" in rule.annotations["dashboard_url"]:
        assert "neonmeter-endpoint" in rule.annotations["dashboard_url"] or rule.labels["category"] != "performance"


@by_name
def test_it_compares(rule: Rule) -> None:
    assert re.search(r"[<>]|==|!=|unless", rule.expr)


@by_name
def test_it_says_where_the_data_lies(rule: Rule) -> None:
    joined = re.search(r"group_left \([^)]*data_residency\)\s+neon:(project|branch|endpoint):info\Z", rule.expr)
    assert ("data_residency" in rule.labels) != bool(joined or rule.name == "NeonRegionUnknown")
    if rule.labels.get("data_residency") == "none":
        assert not re.search(r"labels\.(project|tenant|datname|budget|database|user)\b", str(rule.annotations))


@by_name
def test_it_waits(rule: Rule) -> None:
    if not rule.holds:
        assert any(sign in rule.expr or sign == rule.name for sign in AT_ONCE)
    elif rule.labels["severity"] == "info":
        assert rule.holds >= 3600
    elif rule.labels["category"] == "finops":
        assert rule.holds >= (3600 if rule.name == "NeonUsageDataStale" else 6 * 3600)
    elif rule.labels["severity"] == "warning":
        assert rule.holds >= 300


@by_name
def test_money_and_posture_never_page(rule: Rule) -> None:
    if rule.labels["category"] in ("finops", "posture", "drift", "backup"):
        assert rule.labels["severity"] != "critical"
    assert (rule.labels["category"] == "runaway") == (rule.name == "NeonCostRunaway")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_every_metric_and_label_exists(rule: Rule) -> None:
    for name, labels in metrics_of(rule.expr):
        assert real(name, labels), f"{name}{{{','.join(sorted(labels))}}}"


@pytest.mark.parametrize("rule", [rule for rule in rules() if not rule.alert], ids=lambda rule: rule.name)
def test_recorded_names_have_three_parts(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z0-9_]+", rule.name)


LIMITS = {
    "NeonConnectionsHigh": thresholds.CONNECTIONS_USED.warning,
    "NeonConnectionsNearlyExhausted": thresholds.CONNECTIONS_USED.critical,
    "NeonDatabaseConnectionLimitNear": thresholds.DATABASE_CONNECTIONS_USED,
    "NeonColdStartSlow": thresholds.COLD_START.warning,
    "NeonTransactionIdAgeHigh": thresholds.XID_AGE.warning,
    "NeonTransactionIdWraparoundNear": thresholds.XID_AGE.critical,
    "NeonPoolerClientsWaiting": thresholds.POOL_WAIT.warning,
    "NeonPoolerStuck": thresholds.POOL_WAIT.critical,
    "NeonPoolerNearlyFull": thresholds.POOL_USED,
    "NeonLockWaitLong": thresholds.LOCK_WAIT.warning,
    "NeonLockQueueBlocked": thresholds.LOCK_WAIT.critical,
    "NeonIdleInTransaction": thresholds.IDLE_IN_TRANSACTION.warning,
    "NeonLongTransaction": thresholds.TRANSACTION_AGE.critical,
    "NeonDeadlocks": thresholds.DEADLOCKS_PER_HOUR,
    "NeonRollbackRatioHigh": thresholds.ROLLBACK_RATIO,
    "NeonCacheHitLow": thresholds.CACHE_HIT_RATIO,
    "NeonTempFilesHeavy": thresholds.TEMP_BYTES_PER_SECOND,
    "NeonOldSnapshotHeld": thresholds.XMIN_AGE,
    "NeonStatementsEvicted": thresholds.EVICTIONS_PER_HOUR,
    "NeonReplicationLagGrowing": thresholds.SLOT_LAG.warning,
    "NeonReplicationSlotRetainsWal": thresholds.SLOT_RETAINED.warning,
    "NeonReplicationSlotsNearlyUsed": thresholds.SLOTS_USED,
    "NeonWalsendersNearlyUsed": thresholds.SLOTS_USED,
    "NeonBudgetBurnFast": thresholds.BUDGET_BURN.warning,
    "NeonBudgetForecastExceeded": thresholds.BUDGET_FORECAST.warning,
    "NeonCostAnomaly": thresholds.ANOMALY_USD.warning,
    "NeonCostRunaway": thresholds.RUNAWAY_USD_PER_HOUR,
    "NeonUsageDataStale": thresholds.BILLING_AGE.warning,
    "NeonRateCardOld": thresholds.RATE_CARD_AGE.critical,
    "NeonReconciliationVariance": thresholds.VARIANCE_USD,
    "NeonKeptAwakeForNothing": thresholds.KEPT_AWAKE_USD_PER_DAY,
    "NeonWasteNew": thresholds.WASTE_NEW_USD,
    "NeonCostUnallocated": thresholds.UNALLOCATED_RATIO.warning,
    "NeonTransferAllowanceNearlyUsed": thresholds.TRANSFER_LEFT,
    "NeonMigrationLockStuck": thresholds.MIGRATION_LOCK_AGE.warning,
    "NeonRestoreWindowShort": thresholds.RESTORE_WINDOW,
    "NeonRolePasswordOld": thresholds.PASSWORD_AGE,
    "NeonApiKeyOld": thresholds.KEY_AGE,
    "NeonTenantKeyOld": thresholds.KEY_AGE,
    "NeonmeterInventoryStale": thresholds.INVENTORY_AGE.critical,
    "NeonmeterLoopLag": thresholds.LOOP_LAG.warning,
    "NeonmeterClockSkew": thresholds.CLOCK_SKEW.warning,
    "NeonmeterFileDescriptorsNearlyUsed": thresholds.OPEN_FILES_RATIO.warning,
    "NeonmeterAddedAwakeTooMuch": thresholds.ADDED_AWAKE_RATIO,
    "NeonmeterLedgerLarge": thresholds.LEDGER_BYTES,
}


@pytest.mark.parametrize(("name", "limit"), LIMITS.items(), ids=LIMITS)
def test_the_number_is_that_of_the_dashboards(name: str, limit: float) -> None:
    numbers = re.findall(r"[<>]=? *([0-9][0-9.e]*)\b", alerts()[name].expr)
    assert limit in {float(number) for number in numbers}


def test_the_loop_is_given_as_long_as_the_dashboard_gives_it() -> None:
    (window,) = re.findall(r"\[(\w+)\]", alerts()["NeonmeterLoopStalled"].expr)
    assert seconds(window) == thresholds.HEARTBEAT_AGE.critical


def test_service_levels() -> None:
    for name, objective in (
        ("NeonmeterPublishSLOBurn", thresholds.PUBLISH_SLO),
        ("NeonmeterApiSLOBurn", thresholds.API_SLO),
        ("NeonmeterVisitSLOBurn", thresholds.VISIT_SLO),
    ):
        assert f"14.4 * {1 - objective:.3g}" in alerts()[name].expr


def test_every_alert_fires_and_stays_silent_in_a_test() -> None:
    found = {name: case for path in (ALERTS / "tests").glob("*.cases.yml") for name, case in cases(path).items()}
    assert set(found) == set(alerts())
    assert [name for name, case in found.items() if not case.get("silent") and name != WATCHDOG] == []


def test_the_unit_tests_are_those_of_the_cases() -> None:
    for path, text in written().items():
        assert path.read_text() == text, f"run python -m tests.alerts.unit_tests ({path.name})"


@pytest.mark.parametrize("path", [*files(), ALERTS / "compatibility.rules.yml"], ids=lambda path: path.name)
def test_promtool_takes_it(path) -> None:  # type: ignore[no-untyped-def]
    done = subprocess.run(
        [binary("promtool"), "check", "rules", "--lint-fatal", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
