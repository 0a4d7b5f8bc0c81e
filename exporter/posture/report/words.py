"""The words of the report: statuses, ages and sources, said the same in every format."""

from __future__ import annotations

WORDS = {
    "fail": "fails",
    "waived": "waived",
    "error": "not readable",
    "unknown": "not known",
    "manual": "for a person",
    "pass": "holds",
    "not_applicable": "not applicable",
}
TONES = {
    "fail": "bad",
    "waived": "warn",
    "error": "warn",
    "unknown": "calm",
    "manual": "calm",
    "pass": "good",
    "not_applicable": "none",
}
"""The colour of a status in HTML."""
ADVICE = "It shows what these controls found; it is evidence for an audit, no legal advice and no certificate."
_SOURCES = {
    "inventory": "Neon API: projects, branches, computes",
    "organization": "Neon API: keys and members",
    "project": "Neon API: permissions and key sets",
    "snapshots": "Neon API: snapshots",
    "branch": "Neon API: roles, schedules, masks",
    "database": "databases (the oldest that is judged by)",
    "server": "roles and settings of servers (the oldest)",
    "vault": "key stores",
    "s3": "off-site copies",
    "tls": "TLS handshakes",
    "pooler": "PgBouncer",
    "drill": "restore drills",
}


def source_words(source: str) -> str:
    """What a source is."""
    return _SOURCES.get(source, source)


def days_ago(seconds: float) -> str:
    """An age."""
    if seconds < 5400:
        return f"{max(0, round(seconds / 60))} min ago"
    return f"{round(seconds / 3600)} h ago" if seconds < 2 * 86400 else f"{round(seconds / 86400)} d ago"
