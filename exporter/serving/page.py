"""The pages for a person: what is awake, what it costs, and why something was left alone, told in five seconds.

They are laid out on the server, from frozen rows, when somebody asks for them; there is no script, nothing is loaded
from anywhere, and every text is escaped. What needs action stands first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import NamedTuple

from exporter.documents.html import render
from exporter.version import __version__

ROWS = 200
"""Targets on the index page; /targets has all."""


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One target with its state. Times are unix seconds; None means never, or not planned."""

    key: str
    """``endpoint:ep-abc``, as in the labels ``target`` of neonmeter_collector_*."""
    kind: str
    """``endpoint``, ``pooler``, ``agent`` (a job or a step of the agent itself)."""
    name: str
    """What a person calls it: the branch's name, or the pooler's."""
    project: str = ""
    state: str = "unknown"
    """``active``, ``asleep``, ``disabled``, ``unknown``."""
    status: str = "no_data"
    """How the last attempt ended, a collectors.base.Status."""
    last_success: float | None = None
    next_due: float | None = None
    breaker_until: float | None = None
    rule: str = ""
    """The rule of the wake policy that kept us away, ``R1`` to ``R10``; empty when we are allowed in."""
    why: str = ""
    """One sentence: why it is not sampled, or what went wrong."""


@dataclass(frozen=True, slots=True)
class TenantCostRow:
    """What one tenant cost this month; ``tenant`` may be one of our own ``__names__``."""

    tenant: str
    usd: Decimal


@dataclass(frozen=True, slots=True)
class PoolerRow:
    """One PgBouncer instance."""

    name: str
    status: str
    version: str = ""
    clients_active: int = 0
    clients_waiting: int = 0
    max_wait_seconds: float = 0.0
    last_success: float | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """What the index page shows. Times are unix seconds."""

    generation: int
    published_at: float
    series: int
    org: str = ""
    plan: str = ""
    active: int = 0
    asleep: int = 0
    unknown: int = 0
    month: str = ""
    """``November 2026``."""
    month_usd: Decimal | None = None
    """None: there are no consumption figures yet."""
    cost_as_of: float | None = None
    """The end of the last hour in the figures."""
    oldest_success: float | None = None
    """Of all active targets, the one whose last success is the longest ago."""
    oldest_name: str = ""
    added_awake_seconds: float = 0.0
    """Upper bound, since the ledger began."""
    targets: tuple[TargetRow, ...] = ()
    tenants: tuple[TenantCostRow, ...] = ()
    poolers: tuple[PoolerRow, ...] = ()
    unpriced: tuple[str, ...] = ()
    """Usage that no rate covers, as plan and component: what the cost lacks."""
    notes: tuple[str, ...] = ()
    """Degradations, one sentence each: what does not work, why, and what to do."""
    refresh_seconds: int = 15


OWN_TENANTS = {
    "__idle__": ("Awake, but idle", "computes were awake and no tenant worked"),
    "__shared__": ("Shared by all", "storage and work that belong to no single tenant"),
    "__unattributed__": ("Not attributed", "no tenant rule matched, or nothing was measured"),
    "__agent__": ("neonmeter itself", "what its own statements cost"),
    "__other__": ("Other tenants", "more than are shown one by one"),
}
"""The names that are no tenant's, for a person."""


class Pill(NamedTuple):
    """A word on a colour: ``good``, ``calm``, ``warn`` or ``bad``."""

    text: str
    tone: str


_STATE = {"active": Pill("awake", "good"), "asleep": Pill("asleep", "calm"), "disabled": Pill("disabled", "calm")}
STATUS_PILLS = {
    "ok": Pill("fresh", "good"),
    "asleep": Pill("asleep", "calm"),
    "no_data": Pill("no data yet", "calm"),
    "rate_limited": Pill("rate limited", "warn"),
    "truncated": Pill("truncated", "warn"),
    "unsupported": Pill("unsupported", "warn"),
    "timeout": Pill("timed out", "bad"),
    "unreachable": Pill("unreachable", "bad"),
    "auth": Pill("login refused", "bad"),
    "no_privilege": Pill("no privilege", "bad"),
    "breaker_open": Pill("left alone", "bad"),
    "store_error": Pill("our disk failed", "bad"),
    "bug": Pill("our bug", "bad"),
    "quota": Pill("quota used up", "bad"),
    "disabled": Pill("disabled", "calm"),
    "not_found": Pill("not found", "bad"),
    "network_blocked": Pill("network blocked", "bad"),
    "ip_not_allowed": Pill("address not allowed", "bad"),
    "no_sni": Pill("no SNI", "bad"),
    "starting": Pill("starting", "warn"),
    "control_plane": Pill("Neon's control plane fails", "bad"),
}
NOTHING = "\N{EN DASH}"
"""What a cell without a value shows."""

_ORDER = {"bad": 0, "warn": 1, "good": 2, "calm": 3}


def usd(amount: Decimal) -> str:
    """Dollars for a person: cents, or two significant digits of what is less than a cent."""
    if amount == 0 or abs(amount) >= Decimal("0.01"):
        return f"${amount:,.2f}" if amount >= 0 else f"-${-amount:,.2f}"
    return f"${amount:.2g}" if abs(amount) >= Decimal("0.0001") else "< $0.0001"


def span(seconds: float) -> str:
    """A duration for a person, in at most two units: ``42 s``, ``3 min``, ``2 h 5 min``, ``4 d``."""
    whole = max(0, round(seconds))
    if whole < 100:
        return f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    if minutes < 100:
        return f"{minutes} min"
    if hours < 48:
        rest = minutes % 60
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours // 24} d"


def _ago(then: float | None, now: float) -> str:
    return "never" if then is None else f"{span(now - then)} ago"


def _until(then: float | None, now: float) -> str:
    if then is None:
        return NOTHING
    return "now" if then <= now else f"in {span(then - now)}"


def _status(row: TargetRow) -> Pill:
    if row.state in ("asleep", "disabled") and row.status in ("ok", "no_data", "asleep", "breaker_open"):
        return Pill("left asleep" if row.state == "asleep" else "disabled", "calm")
    if row.rule and row.status in ("ok", "no_data"):
        return Pill("waiting", "calm")
    return _status_pill(row.status)


def _status_pill(status: str) -> Pill:
    return STATUS_PILLS.get(status) or Pill(status, "warn")


def _state(row: TargetRow) -> Pill:
    return _STATE.get(row.state) or Pill(row.state, "warn")


def target_as_dict(row: TargetRow, shard: str = "") -> dict[str, object]:
    """A target as /targets?format=json has it; ``shard`` where there are several."""
    return asdict(row) | ({"shard": shard} if shard else {})


class _TargetView(NamedTuple):
    """A target as a row of the page: texts only, nothing escaped yet."""

    name: str
    place: str
    state: Pill
    status: Pill
    last_success: str
    next_due: str
    why: str
    rule: str
    breaker: str


def _target_views(rows: Iterable[TargetRow], now: float, most: int | None = None) -> list[_TargetView]:
    """The rows as they are shown, what needs attention first; at most ``most`` of them."""
    found = [(_status(row), _state(row), row) for row in rows]
    found.sort(key=lambda pills: (_ORDER[pills[0].tone], _ORDER[pills[1].tone], pills[2].project, pills[2].name))
    return [_target_view(row, state, status, now) for status, state, row in found[:most]]


def _target_view(row: TargetRow, state: Pill, status: Pill, now: float) -> _TargetView:
    kind = row.key.partition(":")[2] if row.kind == "endpoint" else row.kind
    until = row.breaker_until
    return _TargetView(
        row.name,
        f"{row.project} · {kind}" if row.project and kind else row.project or kind,
        state,
        status,
        _ago(row.last_success, now),
        _until(row.next_due, now),
        row.why[:1].upper() + row.why[1:],
        row.rule,
        f"left alone for {span(until - now)} more" if until is not None and until > now else "",
    )


def _tiles(view: Overview, now: float) -> Iterator[tuple[str, str, str]]:
    """Title, figure and what is under it."""
    total = view.active + view.asleep + view.unknown
    computes = f"{view.asleep} asleep, and left asleep" if view.asleep else "none asleep"
    if not total:
        computes = "the first inventory is not done"
    if view.unknown:
        computes += f", {view.unknown} unknown"
    yield "Computes awake", f"{view.active} of {total}" if total else NOTHING, computes
    if view.month_usd is None:
        yield "Cost this month", NOTHING, "no consumption figures yet"
    else:
        to = f"up to {span(now - view.cost_as_of)} ago" if view.cost_as_of is not None else "so far"
        yield f"Cost, {view.month}" if view.month else "Cost this month", usd(view.month_usd), to
    oldest = NOTHING if view.oldest_success is None else span(now - view.oldest_success)
    yield "Oldest figures", oldest, view.oldest_name or "of all awake computes"
    yield "Awake because of us", span(view.added_awake_seconds), "at most, all computes together"


class _TenantView(NamedTuple):
    """A tenant's row: ``width`` is its bar in percent of the widest; ``hint`` explains what is no tenant."""

    tenant: str
    name: str
    hint: str
    width: float
    share: str
    usd: str


def _tenant_views(rows: Sequence[TenantCostRow]) -> Iterator[_TenantView]:
    total = sum((row.usd for row in rows), Decimal(0))
    most = max((row.usd for row in rows), default=Decimal(0))
    for row in sorted(rows, key=lambda row: (row.tenant in OWN_TENANTS, -row.usd)):
        name, hint = OWN_TENANTS.get(row.tenant, (row.tenant, ""))
        width = float(max(row.usd, Decimal(0)) / most * 100) if most > 0 else 0.0
        yield _TenantView(row.tenant, name, hint, width, _share(row.usd, total), usd(row.usd))


def _share(part: Decimal, total: Decimal) -> str:
    if total <= 0:
        return NOTHING
    return "< 1%" if 0 < part / total < Decimal("0.005") else f"{part / total:.0%}"


def _pooler_view(row: PoolerRow, now: float) -> dict[str, object]:
    return {
        "name": row.name,
        "version": row.version,
        "status": _status_pill(row.status),
        "active": row.clients_active,
        "waiting": row.clients_waiting,
        "longest_wait": f"{row.max_wait_seconds * 1000:.1f} ms",
        "last_success": _ago(row.last_success, now),
    }


def render_index(view: Overview, now: float) -> str:
    """The index page as HTML; ``now`` in unix seconds."""
    age = f"as of {span(now - view.published_at)} ago" if view.published_at else "nothing published yet"
    rows = [row for row in view.targets if row.kind != "pooler"]
    return render(
        "exporter.serving:index.html.j2",
        title=f"neonmeter · {view.active} awake, {view.asleep} asleep",
        refresh_seconds=view.refresh_seconds,
        who=" · ".join(filter(None, (view.org, f"{view.plan} plan" if view.plan else "", age))),
        view=view,
        tiles=list(_tiles(view, now)),
        rows=_target_views(rows, now, ROWS),
        all_rows=len(rows),
        tenants=list(_tenant_views(view.tenants)),
        asleep=[row for row in view.targets if row.state == "asleep"],
        poolers=[_pooler_view(row, now) for row in view.poolers],
        version=__version__,
    )


def render_targets(rows: Sequence[TargetRow], now: float, shard: str = "") -> str:
    """The page of all targets as HTML; ``now`` in unix seconds, ``shard`` where there are several."""
    return render(
        "exporter.serving:targets.html.j2",
        title=f"neonmeter · targets{f' of {shard}' if shard else ''}",
        refresh_seconds=0,
        rows=_target_views(rows, now),
    )
