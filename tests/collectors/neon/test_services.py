"""Services that the consumption API has no metric for: known by the credentials that were used."""

from __future__ import annotations

from collectors.base import Status, Unread
from collectors.neon.domain.security import BranchFacts, Credential, services_in_use
from exporter.cost.allocation.text import not_metered
from exporter.report.quality import _services


def branch(*credentials: Credential) -> BranchFacts:
    return BranchFacts("p", "b", credentials=credentials)


def test_a_used_credential_tells_its_services() -> None:
    both = Credential("a", last_used_at=1.0, scopes=("storage:read", "storage:write", "ai_gateway:invoke"))
    idle = Credential("b", scopes=("functions:invoke",))
    all_of_them = Credential("c", last_used_at=1.0, scopes=("*",))
    unread = BranchFacts("p", "u", credentials=Unread(Status.NO_PRIVILEGE, "refused"))
    other = Credential("d", last_used_at=1.0, scopes=("telemetry:write", "something:new"))
    assert services_in_use([]) == {}
    assert services_in_use([branch(idle), unread, branch(), branch(other)]) == {}
    several = [branch(both, idle), branch(both, both), unread]
    assert services_in_use(several) == {
        "object storage": 2,
        "the AI gateway": 2,
    }
    assert services_in_use([branch(all_of_them)]) == {"object storage": 1, "functions": 1, "the AI gateway": 1}


def test_they_are_named_where_money_is_shown() -> None:
    services = {"functions": 1, "object storage": 3}
    assert not_metered({}) == ""
    assert [line.partition(";")[0] for line in not_metered(services).splitlines()] == [
        "not metered by the API: functions, used on 1 branch",
        "not metered by the API: object storage, used on 3 branches",
    ]
    findings = list(_services(services))
    assert [finding.level for finding in findings] == ["warn", "warn"]
    assert "Not metered by the API: functions, used on 1 branch" in findings[0].what
