"""What can be known to be wrong with the settings before anything is contacted: one line each, with its path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from collectors.registry import ALL
from exporter.pricing.ratecard import RateCardError, load
from exporter.settings import CoreSettings
from exporter.settings.dsn import DsnError, EndpointRef, fill
from exporter.settings.secret import SecretError, read_secret

_PLACE = EndpointRef("ep-example", "ep-example.host", "project-id", "project", "branch-id", "branch")


def core_problems(settings: CoreSettings) -> list[str]:
    """Every problem of the shared sections that needs no network to be seen; empty when there is none."""
    return [*_neon(settings), *_postgres(settings), *_pgbouncer(settings), *_rest(settings)]


def _said(path: str, act: Callable[[], object]) -> Iterator[str]:
    try:
        act()
    except (SecretError, DsnError) as problem:
        yield f"{path}: {problem}"


def _neon(settings: CoreSettings) -> Iterator[str]:
    neon = settings.neon
    if neon.api_key is None and neon.api_key_file is None:
        yield "neon.api_key_file: no API key; set NEON_API_KEY, or neon.api_key_file to a file that holds one"
    yield from _said("neon.api_key_file", lambda: read_secret(neon.api_key, neon.api_key_file))
    url = urlsplit(neon.api_url)
    if url.scheme not in ("https", "http") or not url.hostname:
        yield "neon.api_url: must be an address such as https://console.neon.tech/api/v2"
    elif url.scheme == "http" and url.hostname not in ("127.0.0.1", "localhost", "::1"):
        yield "neon.api_url: http would send the API key in the clear; use https"


def _postgres(settings: CoreSettings) -> Iterator[str]:
    postgres = settings.postgres
    yield from _dsn_template("postgres.dsn", postgres.dsn)
    yield from _said("postgres.password_file", lambda: read_secret(postgres.password, postgres.password_file))
    for index, override in enumerate(postgres.overrides):
        path = f"postgres.overrides[{index}]"
        one = not set("*?[") & set(override.branch)
        yield from _dsn_template(f"{path}.dsn", override.dsn, one_branch=one)
        yield from _said(f"{path}.password_file", _reader(override.password, override.password_file))
        if override.enabled and override.dsn is None and postgres.dsn is None:
            yield f"{path}: no DSN to override; set postgres.dsn or {path}.dsn"


def _reader(inline: object, file: object) -> Callable[[], object]:
    return lambda: read_secret(inline, file)  # type: ignore[arg-type]  # bound now, called later


def _dsn_template(path: str, template: str | None, *, one_branch: bool = False) -> Iterator[str]:
    if template is None:
        return
    try:
        parameters = conninfo_to_dict(fill(template, _PLACE))
    except DsnError as problem:
        yield f"{path}: {problem}"
        return
    except psycopg.ProgrammingError:
        yield f"{path}: not a connection string; write postgresql://monitor@{{host}}/postgres"
        return
    if "{host}" not in template and "{endpoint}" not in template and not one_branch:
        yield f"{path}: names no {{host}}, so every branch would be read from the same server"
    if "-pooler" in template:
        yield f"{path}: connects through Neon's pooler, which holds connections open; use the direct {{host}}"
    if parameters.get("dbname") != "postgres":
        named = parameters.get("dbname") or "none"
        yield f"{path}: names the database {named}; sessions in any but postgres keep a compute awake: write /postgres"
    if not parameters.get("user"):
        yield f"{path}: names no user; write postgresql://monitor@{{host}}/postgres"


def _pgbouncer(settings: CoreSettings) -> Iterator[str]:
    seen: set[str] = set()
    for index, pooler in enumerate(settings.pgbouncer):
        path = f"pgbouncer[{index}]"
        if pooler.name in seen:
            yield f"{path}.name: {pooler.name} is used twice; give each pooler its own name"
        seen.add(pooler.name)
        yield from _said(f"{path}.password_file", _reader(pooler.password, pooler.password_file))
        try:
            parameters = conninfo_to_dict(pooler.dsn)
        except psycopg.ProgrammingError:
            yield f"{path}.dsn: not a connection string; write postgresql://stats@host:6432/pgbouncer"
            continue
        if parameters.get("dbname") not in (None, "pgbouncer"):
            yield f"{path}.dsn: the console's database is called pgbouncer, not {parameters.get('dbname')}"


def _rest(settings: CoreSettings) -> Iterator[str]:
    for name in settings.sampling.collectors:
        if name not in ALL:
            yield f"sampling.collectors.{name}: no such collector; use one of {', '.join(ALL)}"
    try:
        load(settings.cost.rate_card)
    except RateCardError as problem:
        yield from (f"cost.rate_card: {line}" for line in str(problem).splitlines())
    folder = settings.storage.path.parent
    if not folder.is_dir():
        yield f"storage.path: the folder {folder} does not exist; create it, or name another one"
    yield from _ledger_url(settings)


def _ledger_url(settings: CoreSettings) -> Iterator[str]:
    ledger = settings.ledger
    yield from _said("ledger.password_file", lambda: read_secret(ledger.password, ledger.password_file))
    if ledger.url is None:
        if ledger.standby.enabled:
            yield "ledger.standby: the lease is kept in PostgreSQL; set ledger.url, or switch it off"
        return
    try:
        parameters = conninfo_to_dict(ledger.url)
    except psycopg.ProgrammingError:
        yield "ledger.url: not a connection string; write postgresql://neonmeter@host:5432/finops"
        return
    if not parameters.get("dbname") or not parameters.get("user"):
        yield "ledger.url: names no user or no database; write postgresql://neonmeter@host:5432/finops"
