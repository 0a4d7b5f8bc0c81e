"""The review as a short text for a chat: under 4,000 characters, whatever the month."""

from __future__ import annotations

from fractions import Fraction

from exporter.documents.cents import cents, money
from exporter.documents.tables import shown
from exporter.documents.when import month_name
from exporter.report.review import Review, Todo

MOST = 3900
"""Characters; chats cut at 4,000."""


def markdown(review: Review) -> str:
    """The text, in parts from the most to the least important; what would be too long is left out from the end."""
    facts = review.facts
    who = f"{facts.company}: " if facts.company else ""
    parts = [f"# {_plain(who)}database costs, {month_name(facts.this.start)}"]
    parts.append(f"**{_plain(review.headline)}** {_plain(review.why)}")
    parts.append("\n".join(f"- {_plain(tile.title)}: **{tile.figure}** ({_plain(tile.sub)})" for tile in review.tiles))
    if review.movers:
        lines = [f"- {_plain(m.name)}: {money(m.cents, sign=True)} ({_plain(m.why)})" for m in review.movers]
        parts.append("**What moved most**\n" + "\n".join(lines))
    todo = [_todo(entry) for entry in review.todo if entry.level != "good"]
    if todo:
        parts.append("**What to do**\n" + "\n".join(todo[:6]))
    parts += [_list(review, key, title) for key, title in _LISTS if key in review.tables]
    if facts.anomalies:
        usd = money(cents(sum((row.usd for row in facts.anomalies), Fraction())))
        parts.append(f"Unusual cost: {usd} in {len(facts.anomalies)} places.")
    parts.append(f"_{_plain(review.as_of)}_")
    return _fitted(parts)


_LISTS = (("components", "What it was for"), ("tag-team", "By team"), ("tenants", "By tenant"))


def _todo(todo: Todo) -> str:
    usd = f"{todo.usd} a month: " if todo.usd else ""
    return f"- {usd}{_plain(todo.what)}{f' ({_plain(todo.sub)})' if todo.sub else ''}"


def _list(review: Review, key: str, title: str) -> str:
    seen = shown(review.tables[key].limited(7))
    usd, share = seen.table.at("usd"), seen.table.at("share")
    lines = [
        f"- {_plain(str(row[0]))}: {seen.text(usd, row[usd])} ({seen.text(share, row[share])})" for row in seen.rows
    ]
    return f"**{title}**\n" + "\n".join(lines)


def _fitted(parts: list[str]) -> str:
    last = parts.pop()
    while len(parts) > 1 and len("\n\n".join([*parts, last])) > MOST:
        parts.pop()
    text = "\n\n".join([*parts, last])
    return text[:MOST] + "\n"


def _plain(text: str) -> str:
    """Without what Markdown would read as markup."""
    return "".join(f"\\{char}" if char in "*_`[]<>#|~" else char for char in text)
