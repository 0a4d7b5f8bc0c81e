"""The pages for a person: what is awake, what it costs, and why something was left alone, told in five seconds.

Everything is laid out on the server from frozen rows; there is no script, nothing is loaded from anywhere, and every
text is escaped. What needs action stands first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from html import escape

from exporter.serving.style import CSS
from exporter.version import __version__

ROWS = 200
"""Targets on the index page; /targets has all."""


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One target with its state. Times are unix seconds; None means never, or not planned."""

    key: str
    """``endpoint:ep-abc``, as in the labels ``target`` of neonmeter_collector_*."""
    kind: str
    """``endpoint``, ``pooler``, ``project``."""
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

_STATE = {"active": ("awake", "good"), "asleep": ("asleep", "calm"), "disabled": ("disabled", "calm")}
_STATUS = {
    "ok": ("fresh", "good"),
    "asleep": ("asleep", "calm"),
    "no_data": ("no data yet", "calm"),
    "rate_limited": ("rate limited", "warn"),
    "truncated": ("truncated", "warn"),
    "unsupported": ("unsupported", "warn"),
    "timeout": ("timed out", "bad"),
    "unreachable": ("unreachable", "bad"),
    "auth": ("login refused", "bad"),
    "no_privilege": ("no privilege", "bad"),
    "breaker_open": ("left alone", "bad"),
    "bug": ("our bug", "bad"),
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


def _pill(text: str, tone: str) -> str:
    return f'<span class="pill {tone}">{escape(text)}</span>'


def _status(row: TargetRow) -> tuple[str, str]:
    if row.state in ("asleep", "disabled") and row.status in ("ok", "no_data", "asleep", "breaker_open"):
        return ("left asleep" if row.state == "asleep" else "disabled", "calm")
    if row.rule and row.status in ("ok", "no_data"):
        return ("waiting", "calm")
    return _STATUS.get(row.status, (row.status, "warn"))


def _state(row: TargetRow) -> tuple[str, str]:
    return _STATE.get(row.state, (row.state, "warn"))


def _urgency(row: TargetRow) -> tuple[int, int, str, str]:
    return (_ORDER[_status(row)[1]], _ORDER[_state(row)[1]], row.project, row.name)


def target_as_dict(row: TargetRow) -> dict[str, object]:
    """A target as /targets?format=json tells it."""
    return asdict(row)


def _target_row(row: TargetRow, now: float) -> str:
    why = escape(row.why[:1].upper() + row.why[1:])
    if row.rule:
        why = f"{why} <code>{escape(row.rule)}</code>"
    if row.breaker_until is not None and row.breaker_until > now:
        why += f'<span class="sub">left alone for {span(row.breaker_until - now)} more</span>'
    kind = row.key.partition(":")[2] if row.kind == "endpoint" else row.kind
    sub = " · ".join(filter(None, (row.project, kind)))
    return (
        f'<tr><td><span>{escape(row.name)}<span class="sub">{escape(sub)}</span></span></td>'
        f'<td data-l="Compute">{_pill(*_state(row))}</td>'
        f'<td data-l="Figures">{_pill(*_status(row))}</td>'
        f'<td class="t" data-l="Last success">{_ago(row.last_success, now)}</td>'
        f'<td class="t" data-l="Next look">{_until(row.next_due, now)}</td>'
        f'<td data-l="Why">{f"<span>{why}</span>" if why else ""}</td></tr>'
    )


def _target_table(rows: Iterable[TargetRow], now: float) -> str:
    body = "".join(_target_row(row, now) for row in rows)
    heads = ("Branch", "Compute", "Figures", "Last success", "Next look", "Why it is (not) sampled")
    head = "".join(f'<th scope="col">{title}</th>' for title in heads)
    return f'<div class="wide"><table class="stack"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _tile(title: str, figure: str, sub: str) -> str:
    return (
        f'<div class="tile"><dt>{escape(title)}</dt><dd><span class="n">{escape(figure)}</span>'
        f'<span class="s">{escape(sub)}</span></dd></div>'
    )


def _tiles(view: Overview, now: float) -> str:
    total = view.active + view.asleep + view.unknown
    computes = f"{view.asleep} asleep, and left asleep" if view.asleep else "none asleep"
    if not total:
        computes = "the first inventory is not done"
    if view.unknown:
        computes += f", {view.unknown} unknown"
    if view.month_usd is None:
        cost = _tile("Cost this month", NOTHING, "no consumption figures yet")
    else:
        to = f"up to {span(now - view.cost_as_of)} ago" if view.cost_as_of is not None else "so far"
        cost = _tile(f"Cost, {view.month}" if view.month else "Cost this month", usd(view.month_usd), to)
    awake = f"{view.active} of {total}" if total else NOTHING
    oldest = NOTHING if view.oldest_success is None else span(now - view.oldest_success)
    return (
        '<dl class="tiles">'
        + _tile("Computes awake", awake, computes)
        + cost
        + _tile("Oldest figures", oldest, view.oldest_name or "of all awake computes")
        + _tile("Awake because of us", span(view.added_awake_seconds), "at most, all computes together")
        + "</dl>"
    )


def _share(part: Decimal, total: Decimal) -> str:
    if total <= 0:
        return NOTHING
    return "< 1%" if 0 < part / total < Decimal("0.005") else f"{part / total:.0%}"


def _tenants(view: Overview) -> str:
    intro = "From Neon's own consumption figures; the rows add up to the total."
    if not view.tenants:
        return f"<section><h2>Cost by tenant</h2><p>{intro}</p><p>No figures yet.</p></section>"
    total = sum((row.usd for row in view.tenants), Decimal(0))
    most = max((row.usd for row in view.tenants), default=Decimal(0))
    rows = []
    for row in sorted(view.tenants, key=lambda row: (row.tenant in OWN_TENANTS, -row.usd)):
        name, hint = OWN_TENANTS.get(row.tenant, (row.tenant, ""))
        width = float(max(row.usd, Decimal(0)) / most * 100) if most > 0 else 0.0
        own = " own" if row.tenant in OWN_TENANTS else ""
        share = _share(row.usd, total)
        sub = f'<span class="sub">{escape(hint)} <code>{escape(row.tenant)}</code></span>' if hint else ""
        rows.append(
            f'<tr><td>{escape(name)}{sub}</td><td class="b"><div class="bar{own}">'
            f'<i style="width:{width:.1f}%"></i></div></td>'
            f'<td class="t r">{share}</td><td class="t r">{usd(row.usd)}</td></tr>'
        )
    head = (
        '<th scope="col">Tenant</th><td class="b"></td><th class="r" scope="col">Share</th>'
        '<th class="r" scope="col">USD</th>'
    )
    month = f", {escape(view.month)}" if view.month else ""
    return (
        f"<section><h2>Cost by tenant{month}</h2><p>{intro}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></section>"
    )


def _full_name(row: TargetRow) -> str:
    return f"{row.project} / {row.name}" if row.project else row.name


def _asleep(view: Overview) -> str:
    names = [row for row in view.targets if row.state == "asleep"]
    items = "".join(
        f'<li class="pill calm" title="{escape(row.key)}">{escape(_full_name(row))}</li>' for row in names[:60]
    )
    more = f"<p>and {len(names) - 60} more on <a href='/targets'>/targets</a></p>" if len(names) > 60 else ""
    text = "A compute that sleeps costs no compute time. It is never woken by us; that pages nobody."
    inner = f'<ul class="names">{items}</ul>{more}' if names else "<p>Nothing is asleep.</p>"
    return f"<section><h2>Asleep</h2><p>{text}</p>{inner}</section>"


def _poolers(view: Overview, now: float) -> str:
    if not view.poolers:
        return ""
    rows = "".join(
        f"<tr><td>{escape(row.name)}<span class='sub'>{escape(row.version)}</span></td>"
        f"<td>{_pill(*_STATUS.get(row.status, (row.status, 'warn')))}</td><td class='t r'>{row.clients_active}</td>"
        f"<td class='t r'>{row.clients_waiting}</td><td class='t r'>{row.max_wait_seconds * 1000:.1f} ms</td>"
        f"<td class='t'>{_ago(row.last_success, now)}</td></tr>"
        for row in view.poolers
    )
    head = (
        "<th scope='col'>Pooler</th><th scope='col'>Figures</th><th scope='col' class='r'>Active</th>"
        "<th scope='col' class='r'>Waiting</th><th scope='col' class='r'>Longest wait</th>"
        "<th scope='col'>Last success</th>"
    )
    return (
        f"<section><h2>PgBouncer</h2><p>Clients of the poolers that you run yourself.</p><div class='wide'>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<section class="notes"><h2>Needs a look</h2><ul>{items}</ul></section>'


def _document(title: str, refresh: int, body: str) -> str:
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh > 0 else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"{again}<title>{escape(title)}</title><style>{CSS}</style></head><body>{body}</body></html>"
    )


_NAV = (
    '<nav><a href="/">Overview</a><a href="/targets">Targets</a><a href="/metrics">Metrics</a>'
    '<a href="/config">Settings</a><a href="/healthz">Health</a><a href="/readyz">Readiness</a></nav>'
)


def render_index(view: Overview, now: float) -> str:
    """The index page as HTML."""
    age = f"as of {span(now - view.published_at)} ago" if view.published_at else "nothing published yet"
    who = " · ".join(filter(None, (view.org, f"{view.plan} plan" if view.plan else "", age)))
    rows = sorted((row for row in view.targets if row.kind != "pooler"), key=_urgency)
    more = f"<p>The first {ROWS} of {len(rows)}; <a href='/targets'>all of them</a>.</p>" if len(rows) > ROWS else ""
    table = _target_table(rows[:ROWS], now) if rows else "<p>No branches yet: the first inventory is not done.</p>"
    body = (
        "<header><h1>neon<b>meter</b></h1><p>what each Neon branch and tenant costs, without waking a compute</p>"
        f'<p class="age">{escape(who)}</p></header><main>{_NAV}{_tiles(view, now)}{_notes(view.notes)}'
        "<section><h2>Branches</h2><p>What needs attention stands first. Figures are read only from computes that "
        f"others keep awake.</p>{table}{more}</section>"
        f'<div class="cols">{_tenants(view)}<div>{_asleep(view)}{_poolers(view, now)}</div></div></main>'
        f"<footer>neonmeter {escape(__version__)} · generation {view.generation} · {view.series:,} series</footer>"
    )
    title = f"neonmeter · {view.active} awake, {view.asleep} asleep"
    return _document(title, view.refresh_seconds, body)


def render_targets(rows: Sequence[TargetRow], now: float) -> str:
    """The page of all targets as HTML."""
    table = _target_table(sorted(rows, key=_urgency), now) if rows else "<p>No targets yet.</p>"
    body = (
        f"<header><h1>neon<b>meter</b></h1><p>{len(rows)} targets</p></header><main>{_NAV}<section><h2>Targets</h2>"
        f"<p>As data: <a href='/targets?format=json'>/targets?format=json</a></p>{table}</section></main>"
    )
    return _document("neonmeter · targets", 0, body)
