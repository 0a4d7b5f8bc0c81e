"""Drift of all branches: compares what was read with what it should be, and makes series and pages of it.

A comparison is done again only when one of its two sides, or the rules, moved. It runs in a thread: a large database is
140,000 objects on either side.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Scope
from collectors.neon.inventory import Inventory
from exporter.core.api_pages import ApiPages
from exporter.core.state import State
from exporter.drift import metrics, pages, settings_drift
from exporter.drift.baselines import Baseline
from exporter.drift.comparer import BranchContext, Comparer, places
from exporter.drift.histories import Histories
from exporter.drift.names import BranchKey
from exporter.drift.scanner import DriftScanner, Scan
from exporter.drift.settings import DriftSettings
from exporter.drift.settings_drift import Found, SettingsCache, SettingsEvaluator
from exporter.sampling.computes import DatabaseRef
from exporter.sampling.domain.schema_comparison import Drift, TenantDrift
from exporter.sampling.fingerprint_store import FingerprintStore, FingerprintSummary

NAME = "drift"
INTERVAL = 3600.0
TENANTS_SHOWN = 200
_log = logging.getLogger("neonmeter.drift")


@dataclass(frozen=True, slots=True)
class DriftFinding:
    """What was found of one database."""

    baseline: Baseline
    drift: Drift
    tenants: TenantDrift | None
    since: float | None


class DriftService:
    """Lives on the event loop; `look` is called after every round."""

    def __init__(
        self,
        settings: DriftSettings,
        comparer: Comparer,
        *,
        judge: SettingsEvaluator,
        holder: SettingsCache,
        fingerprints: FingerprintStore,
        scanner: DriftScanner,
        state: State,
        details: ApiPages,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._comparer = comparer
        self._judge = judge
        self._keeper = holder
        self._fingerprints = fingerprints
        self._scanner = scanner
        self._state = state
        self._details = details
        self._clock = clock
        self._histories = Histories(settings)
        self._found: dict[DatabaseRef, tuple[object, DriftFinding]] = {}
        self._kinds: dict[DatabaseRef, set[tuple[str, str]]] = {}
        self._settings_seen: dict[BranchKey, set[tuple[str, str, str]]] = {}
        self._said = ""
        self._marks: dict[BranchKey, object] = {}
        self._shown: set[Target] = set()
        self._pages: dict[BranchKey, dict[str, object]] = {}

    async def look(self, inventory: Inventory) -> None:
        """Compare what moved, and show it."""
        if not self._settings.enabled:
            return
        known_places = places(inventory)
        held = {key: summary for key, summary in (await self._scanner.load()).items() if key[:2] in known_places}
        approvals, since = await asyncio.to_thread(lambda: (self._comparer.approvals(), self._fingerprints.since()))
        settings = await asyncio.to_thread(self._look_at_settings, inventory, known_places, held)
        by_branch: dict[BranchKey, dict[DatabaseRef, DriftFinding]] = {ids: {} for ids in settings}
        for key in sorted(held):
            place = known_places[key.project_id, key.branch_id]
            baseline = self._comparer.baseline(key, place, held, approvals)
            found = await self._finding(key, held[key], baseline, place, since.get(key))
            by_branch.setdefault((key.project_id, key.branch_id), {})[key] = found
        self._show(by_branch, held, known_places, settings)

    def _look_at_settings(
        self,
        inventory: Inventory,
        known_places: Mapping[BranchKey, BranchContext],
        held: Mapping[DatabaseRef, FingerprintSummary],
    ) -> dict[BranchKey, Found]:
        self._judge.look()
        kept, now = self._keeper.all(), self._clock()
        found = self._judge.judge(known_places, inventory, kept, held, now)
        if self._judge.problem != self._said:
            self._said = self._judge.problem
            _log.warning("%s", self._said or "drift.desired: understood again")
        return found

    async def _finding(
        self,
        key: DatabaseRef,
        held: FingerprintSummary,
        baseline: Baseline,
        place: BranchContext,
        since: tuple[str, float] | None,
    ) -> DriftFinding:
        now = self._clock()
        in_force = tuple(rule for rule in self._comparer.ignore if rule.expires is None or now < rule.expires)
        mark = (held.digest, held.digests, baseline.policy, baseline.digest, baseline.why, in_force)
        kept = self._found.get(key)
        if kept is not None and kept[0] == mark:
            return kept[1]
        drift, tenants = await asyncio.to_thread(self._comparer.compare, key, held, baseline, place, now)
        began = None
        if drift.changes:
            began = since[1] if since is not None and since[0] == baseline.policy else now
        if (since[1] if since else None) != began:
            await asyncio.to_thread(self._fingerprints.mark, key, baseline.policy, began)
        found = DriftFinding(baseline, drift, tenants, began)
        self._found[key] = (mark, found)
        return found

    def _show(
        self,
        by_branch: Mapping[BranchKey, Mapping[DatabaseRef, DriftFinding]],
        held: Mapping[DatabaseRef, FingerprintSummary],
        known_places: Mapping[BranchKey, BranchContext],
        settings: Mapping[BranchKey, Found],
    ) -> None:
        targets = {names: Target(Scope.BRANCH, names, known_places[names].name) for names in by_branch}
        moved = self._shown != set(targets.values())
        for names, findings in by_branch.items():
            mark = self._mark(findings, held, settings.get(names, {}), known_places[names])
            if self._marks.get(names) != mark:
                self._marks[names], moved = mark, True
                self._show_branch(targets[names], known_places[names], findings, held, settings.get(names, {}))
        for gone in self._shown - set(targets.values()):
            self._marks.pop((gone.labels[0], gone.labels[1]), None)
            self._pages.pop((gone.labels[0], gone.labels[1]), None)
            self._state.put(Observation(NAME, gone, Status.OK, self._clock()), interval=INTERVAL, forever=True)
        self._shown = set(targets.values())
        if moved:
            told = {
                f"{'/'.join(names)}{end}": part for names, page in self._pages.items() for end, part in page.items()
            }
            self._details.replace(NAME, {**told, "": _summary(by_branch, known_places)})

    def _mark(
        self,
        findings: Mapping[DatabaseRef, DriftFinding],
        held: Mapping[DatabaseRef, FingerprintSummary],
        settings: Found,
        place: BranchContext,
    ) -> object:
        """Everything that a branch is shown by: while it is equal, nothing is worked out again."""
        histories, scans = self._scanner.histories, self._scanner.scans
        parts = [
            (key, found, held[key], scans.get(key), histories.get(key),
             histories.get(found.baseline.key) if found.baseline.key else None)
            for key, found in findings.items()
        ]  # fmt: skip
        in_force = [rule for rule in self._comparer.ignore if rule.expires is None or self._clock() < rule.expires]
        return (place.name, parts, dict(settings), in_force)

    def _show_branch(
        self,
        target: Target,
        place: BranchContext,
        findings: Mapping[DatabaseRef, DriftFinding],
        held: Mapping[DatabaseRef, FingerprintSummary],
        settings: Found,
    ) -> None:
        names, now = (target.labels[0], target.labels[1]), self._clock()
        families = Families()
        for key, found in findings.items():
            self._fill(families, key, held[key], found)
        settings_drift.fill(families, settings, self._settings_seen.setdefault(names, set()))
        histories = self._histories.fill(families, findings, self._scanner.histories, place.project)
        observation = Observation(NAME, target, Status.OK, now, families=families, rows=len(findings))
        self._state.put(observation, interval=INTERVAL, forever=True)
        page, text = _page(place.name, findings, held, histories, self._scanner.scans)
        ignore = self._comparer.ignore
        page |= {"settings": dict(settings_drift.page(settings)), "ignore": pages.rules(ignore, now)}
        text += pages.settings_markdown(settings) + pages.rules_markdown(ignore, now)
        self._pages[names] = {"": page, ".md": text}

    def _fill(self, families: Families, key: DatabaseRef, held: FingerprintSummary, found: DriftFinding) -> None:
        datname, policy = key.datname, found.baseline.policy
        families.set(metrics.INFO, (datname, held.digest[:12]), 1)
        families.set(metrics.SCANNED, (datname,), held.taken_at)
        scan = self._scanner.scans.get(key)
        if scan is not None:
            _fill_scan(families, datname, scan)
        if policy != "none" and not found.drift.comparable:
            families.set(metrics.UNCOMPARED, (datname, policy), 1)
        elif policy != "none":
            families.set(metrics.DETECTED, (datname, policy), 1 if found.drift.changes else 0)
            families.set(metrics.IGNORED, (datname,), found.drift.ignored)
            if found.since is not None:
                families.set(metrics.SINCE, (datname, policy), found.since)
        counts = found.drift.counts()
        seen = self._kinds.setdefault(key, set())
        seen.update(counts)
        for kind, change in seen:
            families.set(metrics.OBJECTS, (datname, kind, change), counts.get((kind, change), 0))
        if found.tenants is not None:
            _fill_tenants(families, datname, found.tenants)


def _fill_scan(families: Families, datname: str, scan: Scan) -> None:
    if scan.status is not Status.OK:
        families.set(metrics.STALE, (datname, scan.status.value), 1)
    if scan.seconds is not None:
        families.set(metrics.DURATION, (datname,), scan.seconds)
    for status, count in scan.failures.items():
        families.set(metrics.ERRORS, (datname, status), count)


def _fill_tenants(families: Families, datname: str, found: TenantDrift) -> None:
    families.set(metrics.TENANTS, (datname, "alike"), found.alike)
    families.set(metrics.TENANTS, (datname, "deviating"), len(found.deviating))
    for tenant, changes in list(found.deviating.items())[:TENANTS_SHOWN]:
        for change in sorted({row.change for row in changes}):
            count = sum(row.change == change for row in changes)
            families.set(metrics.TENANT_OBJECTS, (datname, tenant, change), count)


def _page(
    name: str,
    findings: Mapping[DatabaseRef, DriftFinding],
    held: Mapping[DatabaseRef, FingerprintSummary],
    histories: Mapping[DatabaseRef, object],
    scans: Mapping[DatabaseRef, Scan],
) -> tuple[dict[str, object], str]:
    databases: dict[str, dict[str, object]] = {}
    parts: dict[str, str] = {}
    for key, found in findings.items():
        scan = scans.get(key)
        base = found.baseline
        databases[key.datname] = {
            "fingerprint": held[key].digest,
            "taken_at": held[key].taken_at,
            "stale": scan is not None and scan.status is not Status.OK,
            "baseline": {"policy": base.policy, "name": base.name, "fingerprint": base.digest},
            "since": found.since,
            **pages.drift_as_dict(found.drift),
            **({"tenants": pages.tenants_as_dict(found.tenants)} if found.tenants else {}),
            **({"migrations": histories[key]} if key in histories else {}),
        }
        parts[key.datname] = section(key.datname, found)
    return {"branch": name, "databases": databases}, pages.page_markdown(name, databases, parts)


def section(datname: str, found: DriftFinding) -> str:
    """One database as Markdown."""
    against = f"against {found.baseline.policy} {found.baseline.name}".rstrip()
    text = pages.markdown(f"Database {datname}, {against}", found.drift)
    if found.tenants is not None:
        text += "\n" + pages.tenants_markdown("Tenants", found.tenants)
    return text


def _summary(
    by_branch: Mapping[BranchKey, Mapping[DatabaseRef, DriftFinding]], known_places: Mapping[BranchKey, BranchContext]
) -> dict[str, object]:
    def rows() -> Iterable[dict[str, object]]:
        for names, findings in by_branch.items():
            yield {
                "project_id": names[0],
                "branch_id": names[1],
                "name": known_places[names].name,
                "drifted": [key.datname for key, found in findings.items() if found.drift.changes],
                "uncompared": [key.datname for key, found in findings.items() if not found.drift.comparable],
                "page": "/api/v1/drift/" + "/".join(names),
            }

    return {"branches": list(rows())}
