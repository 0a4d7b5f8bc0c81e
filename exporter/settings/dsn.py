"""From a DSN template to the connection string of one compute: which template, which host, which password now."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import quote

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from collectors.errors import UsageError
from exporter.settings.secret import read_secret
from exporter.settings.sections import PoolerSettings, PostgresOverride, PostgresSettings

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class DsnError(UsageError):
    """A template cannot become a connection string; the message never carries the DSN."""


@dataclass(frozen=True, slots=True)
class EndpointRef:
    """Where a compute is: what a template and its overrides may speak of."""

    endpoint_id: str
    host: str
    project_id: str
    project_name: str
    branch_id: str
    branch_name: str


def matches(pattern: str, *candidates: str) -> bool:
    """Whether a glob matches an id or a name."""
    return any(fnmatchcase(candidate, pattern) for candidate in candidates)


def conninfo(settings: PostgresSettings, place: EndpointRef) -> str | None:
    """The libpq connection string for one compute, or None where SQL is not configured or is switched off.

    The password is read at this moment, so a rotated file is used by the next connect.

    Raises:
        DsnError: the template is malformed, or has an unknown placeholder.
        SecretError: the password file cannot be read.
    """
    override = _override(settings, place)
    if override is not None and not override.enabled:
        return None
    template = (override.dsn if override else None) or settings.dsn
    if template is None:
        return None
    secret = override if override and (override.password or override.password_file) else settings
    password = read_secret(secret.password, secret.password_file)
    try:
        parameters = conninfo_to_dict(fill(template, place))
    except ProgrammingError:
        raise DsnError("the DSN template is not a connection string; write postgresql://user@{host}/postgres") from None
    if password is not None:
        parameters["password"] = password
    return make_conninfo("", **{key: str(value) for key, value in parameters.items()})


def fill(template: str, place: EndpointRef) -> str:
    """Put host, project, branch and endpoint into a template.

    Raises:
        DsnError: it names a placeholder that does not exist.
    """
    values = {
        "host": place.host,
        "project": quote(place.project_name, safe=""),
        "branch": quote(place.branch_name, safe=""),
        "endpoint": place.endpoint_id,
    }
    unknown = [name for name in _PLACEHOLDER.findall(template) if name not in values]
    if unknown:
        known = ", ".join("{" + name + "}" for name in values)
        raise DsnError(f"the DSN template names {{{unknown[0]}}}, which does not exist; known are {known}")
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


def _override(settings: PostgresSettings, place: EndpointRef) -> PostgresOverride | None:
    for override in settings.overrides:
        if matches(override.project, place.project_id, place.project_name) and matches(
            override.branch, place.branch_id, place.branch_name
        ):
            return override
    return None


def pooler_conninfo(pooler: PoolerSettings) -> str:
    """The connection string of a PgBouncer's console, with the password as it is now.

    Raises:
        SecretError: the file with the password cannot be read.
    """
    password = read_secret(pooler.password, pooler.password_file)
    parameters = {key: str(value) for key, value in conninfo_to_dict(pooler.dsn).items() if value is not None}
    return make_conninfo("", **(parameters | ({"password": password} if password is not None else {})))
