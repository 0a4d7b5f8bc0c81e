"""Names that third-party alerts and dashboards use (alerts/tests/mixins.yml), and docs/compatibility.md from them.

`python -m tests.alerts.mixins` writes the page.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from tests.alerts.rules import ALERTS

PAGE = ALERTS.parent / "docs" / "compatibility.md"


@dataclass(frozen=True)
class Ask:
    """One alert or panel. ``uses``: labels by metric. ``why``: what does not work, and why; empty when all does."""

    source: str
    kind: str
    title: str
    uses: dict[str, list[str]] = field(hash=False)
    why: str = ""
    note: str = ""

    @property
    def row(self) -> str:
        """The table row of the page."""
        works = "no" if self.why else "yes"
        return f"| {self.source} | {self.title} ({self.kind}) | {works} | {self.why or self.note} |"


ASKS = tuple(Ask(**row) for row in yaml.safe_load((ALERTS / "tests" / "mixins.yml").read_text()))

HEAD = """# Dashboards and alerts made for postgres_exporter

neonmeter uses postgres_exporter's names where they are well-formed: `pg_stat_statements_*`, `pg_database_size_bytes`,
`pg_replication_slots_active` and `pg_up` are the same. Where they differ, `alerts/compatibility.rules.yml` records our
series under the other name; load it beside the other rule files if you have dashboards or alerts of that kind.

- `instance` of the recorded series is the compute (`endpoint_id`), as with one exporter per server. Series that have
  the same name in both keep the agent as their instance; select them by `endpoint_id`.
- Everything read in a visit is absent while a compute sleeps. A third-party alert that fires on absence or on a restart
  fires on each suspend; `PostgreSQLDown` does not, because `pg_up` is then absent and not 0.
- Recorded counters come from our durable counters: they survive suspends, where the exporter's start again at zero.

Compatibility is checked by name: every metric and label that an expression uses is compared with the catalogue on each
change, and with a scrape of a real agent in the long tests (tests/alerts/test_compatibility.py). Covered are alerts and
dashboards on statements, databases, connections, replication and locks. Panels on tables, vacuum, checkpoints, WAL
archiving and most settings need data that neonmeter does not read: statistics by table need a session in each database.

| source | what | works | |
|---|---|---|---|
"""


def page() -> str:
    """The text of docs/compatibility.md."""
    return HEAD + "\n".join(ask.row for ask in ASKS) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
