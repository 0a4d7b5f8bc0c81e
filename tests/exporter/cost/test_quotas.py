"""Limits that stop a project: what is used of each, when it will be used up, and what is not known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from collectors.neon.models import Branch, Project
from exporter.cost.domain.quota import SETTINGS, BillingPeriod, Quota, runs_out, suspended_by
from exporter.cost.quotas import quotas_of
from exporter.pricing.free_plan import free_limits

DAY = 86400
BEGIN = 1_793_000_000
END = BEGIN + 30 * DAY
OCTOBER_2026 = 1_791_000_000
PERIOD = BillingPeriod(BEGIN, END)


def project(**more: object) -> Project:
    return Project.model_validate({"id": "p-1", "name": "shop", **more}).model_copy(
        update={"consumption_period_start": float(BEGIN), "consumption_period_end": float(END)}
    )


def branch(name: str, **more: object) -> Branch:
    return Branch.model_validate({"id": f"br-{name}", "project_id": "p-1", **more})


def by_name(found: tuple[Quota, ...]) -> dict[str, Quota]:
    return {quota.name: quota for quota in found}


@pytest.mark.parametrize(
    ("day", "compute", "transfer", "projects"),
    [
        (1_756_000_000, 180_000, "org", 10),
        (1_775_000_000, 360_000, "org", 100),
        (OCTOBER_2026, 360_000, "project", 100),
    ],
)
def test_the_free_plan_by_its_dates(day: int, compute: int, transfer: str, projects: int) -> None:
    """The figures of Neon's pages of 2025-08-14, 2026-03-20 and of the FAQ of 2026-08."""
    limits = free_limits(day)
    assert limits["compute_time_seconds"].limit == compute and limits["projects"].limit == projects
    assert limits["data_transfer_bytes"].limit == 5_000_000_000 and limits["data_transfer_bytes"].scope == transfer
    assert limits["storage_bytes"].limit == 500_000_000 and limits["branches"].limit == 10
    assert all(limit.source and limit.source_date for limit in limits.values())


def test_a_project_on_free() -> None:
    found = by_name(
        quotas_of(
            project(compute_time_seconds=90_000, data_transfer_bytes=1_000),
            [branch("main", logical_size=300_000_000), branch("dev", parent_id="br-main", logical_size=310_000_000)],
            free_limits(OCTOBER_2026),
        )
    )
    assert {name: quota.used for name, quota in found.items()} == {
        "compute_time_seconds": 90_000, "data_transfer_bytes": 1_000, "storage_bytes": 300_000_000, "branches": 2,
    }  # fmt: skip
    assert runs_out(found["compute_time_seconds"], PERIOD, BEGIN + 5 * DAY) == BEGIN + 20 * DAY
    assert runs_out(found["storage_bytes"], PERIOD, BEGIN + 5 * DAY) is None, "one size is no pace"


def test_a_quota_of_the_project_and_what_neon_does_not_tell() -> None:
    quota = {
        "compute_time_seconds": 36_000,
        "logical_size_bytes": 1_000,
        "written_data_bytes": 0,
        "active_time_seconds": 5,
    }
    seen = {"compute_last_active_at": "2026-10-28T00:00:00Z", "settings": {"quota": quota}}
    found = by_name(quotas_of(project(**seen), [branch("main", logical_size=2_000)], {}))
    assert set(found) == {"compute_time_seconds", "logical_size_bytes", "active_time_seconds"}, "0 is no limit"
    assert found["compute_time_seconds"].used is None, "it was awake in this period, so a counter at 0 is not filled in"
    assert found["logical_size_bytes"].reached and not list(suspended_by(tuple(found.values()))), "writes fail, no more"
    asleep = by_name(quotas_of(project(settings={"quota": quota}), [branch("main")], {}))
    assert asleep["compute_time_seconds"].used == 0 and asleep["logical_size_bytes"].used is None
    counted = by_name(quotas_of(project(**seen), [branch("main", compute_time_seconds=40_000)], {}))
    assert [entry.name for entry in suspended_by(tuple(counted.values()))] == ["compute_time_seconds"]


@given(
    limit=some.integers(1, 10**12),
    used=some.integers(1, 10**12),
    hours=some.integers(24, 30 * 24 - 1),
)
def test_at_its_pace_it_is_used_up_at_that_moment(limit: int, used: int, hours: int) -> None:
    now = BEGIN + hours * 3600
    out = runs_out(Quota("compute_time_seconds", SETTINGS, limit, used), PERIOD, now)
    if used >= limit:
        assert out == now
    elif out is None:
        assert used * (END - BEGIN) <= limit * (now - BEGIN) * 1.000001, "none only when it lasts until the period ends"
    else:
        assert now <= out < END and used * (out - BEGIN) / (now - BEGIN) == pytest.approx(limit)


@pytest.mark.parametrize(("hours", "used"), [(23, 1_000), (48, 0)])
def test_no_forecast_of_nothing(hours: int, used: int) -> None:
    assert runs_out(Quota("compute_time_seconds", SETTINGS, 36_000, used), PERIOD, BEGIN + hours * 3600) is None
