"""Show of `neonmeter check`: whatever is wrong, its output says what, where and what to do, and it wakes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from exporter.demo.postgres import free_port
from exporter.demo.twin import Twin
from exporter.demo.worldfile import parse
from tests.end_to_end.pinned_world import ALONE, run_sql
from tests.fix_twin_world import app_dsn, suspended, wait_for

WORLD = """
projects:
  - name: shop
    region: aws-eu-central-1
    branches:
      - {name: main, endpoint: {suspend_timeout: -1}, tenants: [{name: acme, schema: t_acme, role: acme}]}
      - {name: asleep, parent: main}
      - {name: gone, parent: main, endpoint: {disabled: true}}
"""


@pytest.fixture(scope="module")
def twin(open_state_dir: Path) -> Iterator[Twin]:
    """Its branch `main` is awake and will be; `asleep` sleeps, and must go on to sleep."""
    with Twin(parse(WORLD), open_state_dir / "check", settings=ALONE) as twin:
        twin.workload.run_burst(twin.compute("shop", "main").endpoint.id, "acme", 5)
        assert settled(twin)
        yield twin


def settled(twin: Twin) -> bool:
    """Wait until `main` has run for a while: one that started a moment ago is left out, as our connect may have been
    what started it (rule R8)."""
    age = "SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()) > 3"
    with psycopg.connect(twin.compute("shop", "main").cluster.conninfo()) as connection:
        return wait_for(lambda: connection.execute(age).fetchone() == (True,))


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    def line(self, what: str) -> tuple[str, str]:
        """Result and detail of a row of the table."""
        for line in self.out.splitlines():
            if line.startswith(what):
                for result in ("works", "FAILS", "left out"):
                    if line.removeprefix(what).strip().startswith(result):
                        return result, line.partition(result)[2].strip()
        raise AssertionError(f"no row {what!r} in\n{self.out}\n{self.err}")


def check(settings: dict[str, Any], folder: Path, *arguments: str) -> Answer:
    config = folder / "check.yaml"
    config.write_text(yaml.safe_dump({**settings, "storage": {"path": str(folder / "neonmeter.db")}}))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("NEON", "COLUMNS"))}
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "check", "--config", str(config), *arguments],
        capture_output=True, text=True, check=False, timeout=300, env=environ,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return Answer(done.returncode, done.stdout, done.stderr)


def changed(twin: Twin, section: str, **values: Any) -> dict[str, Any]:
    """Good settings with some values of one section replaced; None takes one away."""
    good = twin.agent_settings()
    wanted = {**good.get(section, {}), **values}
    return {**good, section: {name: value for name, value in wanted.items() if value is not None}}


def test_all_is_well(twin: Twin, tmp_path: Path) -> None:
    answer = check(twin.agent_settings(), tmp_path)
    assert answer.code == 0, answer.out + answer.err
    assert answer.line("Neon API") == ("works", "Twin: 1 project, 3 branches, 3 computes")
    assert answer.line("consumption")[0] == "works"
    result, detail = answer.line("SQL shop/main")
    assert result == "works"
    assert detail.startswith("PostgreSQL 18, ")
    assert answer.line("SQL shop/asleep") == (
        "left out",
        "asleep (idle): not connected, so it is not woken; try when it is awake",
    )
    assert answer.line("SQL shop/gone")[1] == "disabled in Neon: nobody can connect to it"
    assert answer.line("tenants") == ("works", "1 rule")
    assert answer.out.splitlines()[-1] == "All that was tried works. 2 were left out: see why above."
    assert suspended(twin.compute("shop", "asleep"))
    assert not twin.truth.wakes("neonmeter")
    rows = json.loads(check(twin.agent_settings(), tmp_path, "--no-sql", "--json").out)
    assert {"what": "SQL shop/main", "result": "left out", "detail": "awake; not tried (--no-sql)"} in rows


UNUSABLE = {
    "no key": ("neon", {"api_key": None}, "neon.api_key_file: no API key; set NEON_API_KEY, or neon.api_key_file"),
    "typo": (
        "postgres",
        {"dsn": "postgresql://monitor@{hots}/postgres"},
        "postgres.dsn: the DSN template names {hots}",
    ),
    "no DSN at all": ("postgres", {"dsn": "monitor at {host}"}, "write postgresql://monitor@{host}/postgres"),
    "pooler": ("postgres", {"dsn": "postgresql://monitor@{endpoint}-pooler.x/postgres"}, "use the direct {host}"),
    "one host": ("postgres", {"dsn": "postgresql://monitor@db.x/postgres"}, "names no {host}"),
    "user database": ("postgres", {"dsn": "postgresql://monitor@{host}/app"}, "write /postgres"),
    "no user": ("postgres", {"dsn": "postgresql://{host}/postgres"}, "names no user"),
    "password file": ("postgres", {"password": None, "password_file": "/nowhere/x"}, "/nowhere/x: cannot be read"),
}


OFTEN = ("no key", "typo", "pooler")


@pytest.mark.parametrize(
    "name", [pytest.param(text, marks=() if text in OFTEN else pytest.mark.deep) for text in UNUSABLE]
)
def test_settings_that_cannot_work(twin: Twin, tmp_path: Path, name: str) -> None:
    section, values, said = UNUSABLE[name]
    answer = check(changed(twin, section, **values), tmp_path)
    assert (answer.code, answer.out) == (2, "")
    assert f"settings in {tmp_path / 'check.yaml'}:" in answer.err
    assert said in answer.err
    assert f"  {section}." in answer.err, "the place is named"


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([{"tenant": "a", "role": ".*"}, {"tenant": "b", "role": "x"}], "tenants[1]: can never match, tenants[0]"),
        ([{"tenant": "a", "role": "(x"}], "tenants[0].role: '(x' is not a regular expression"),
    ],
)
def test_a_tenant_rule_that_cannot_match(
    twin: Twin, tmp_path: Path, rules: list[dict[str, str]], said: str
) -> None:  # fmt: skip
    answer = check({**twin.agent_settings(), "tenants": rules}, tmp_path)
    assert answer.code == 2
    assert said in answer.err


def test_a_tenant_rule_that_only_sessions_can_match(twin: Twin, tmp_path: Path) -> None:
    rules = [{"tenant": "a", "application_name": "a-.*"}]
    answer = check({**twin.agent_settings(), "tenants": rules}, tmp_path, "--no-sql")
    assert answer.code == 1
    result, detail = answer.line("tenants")
    assert result == "FAILS"
    assert "tenants[0].application_name" in detail
    assert "by project, branch, database and role" in detail


def test_a_wrong_key(twin: Twin, tmp_path: Path) -> None:
    answer = check(changed(twin, "neon", api_key="napi_secret_but_wrong"), tmp_path)
    assert answer.code == 3
    result, detail = answer.line("Neon API")
    assert result == "FAILS"
    assert "the API key was refused: check NEON_API_KEY, or make a new key in the Neon console" in detail
    assert answer.line("consumption, SQL") == ("left out", "not tried: only Neon's API can list the computes")
    assert "napi_secret" not in answer.out + answer.err


@pytest.mark.parametrize(("seconds", "which"), [(-120.0, "ahead of"), (120.0, "behind")])
def test_a_clock_that_is_off(twin: Twin, tmp_path: Path, seconds: float, which: str) -> None:
    twin.api.settings.date_skew_seconds = seconds
    try:
        answer = check(twin.agent_settings(), tmp_path, "--no-sql")
    finally:
        twin.api.settings.date_skew_seconds = 0.0
    assert answer.code == 1
    result, detail = answer.line("clock")
    assert result == "FAILS"
    assert f"s {which} the one of the Neon API: set it by NTP" in detail


def test_a_key_of_one_project(twin: Twin, tmp_path: Path) -> None:
    answer = check(changed(twin, "neon", api_key="twin-project-key", org_id=None), tmp_path)
    assert answer.code == 1
    assert answer.line("Neon API")[0] == "works"
    result, detail = answer.line("consumption")
    assert result == "FAILS"
    assert "no cost: " in detail
    assert "the key is limited to a project" in detail
    assert answer.line("SQL shop/main")[0] == "works", "the rest is there all the same"


@pytest.mark.deep
def test_another_organisation(twin: Twin, tmp_path: Path) -> None:
    answer = check(changed(twin, "neon", org_id="org-other-1"), tmp_path)
    assert answer.code == 3
    assert "Is neon.org_id org-other-1 right, and the key of that organisation?" in answer.line("Neon API")[1]


@pytest.mark.deep
def test_nobody_at_the_address_of_the_api(twin: Twin, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/api/v2"
    answer = check(changed(twin, "neon", api_url=nobody), tmp_path)
    assert answer.code == 3
    detail = answer.line("Neon API")[1]
    assert f"no connection to {nobody}" in detail
    assert "Neon's own is https://console.neon.tech/api/v2" in detail


def test_no_dsn(twin: Twin, tmp_path: Path) -> None:
    settings = twin.agent_settings()
    del settings["postgres"]
    answer = check(settings, tmp_path)
    assert answer.code == 0, "inventory and cost alone are a good start"
    result, detail = answer.line("SQL")
    assert result == "left out"
    assert "no postgres.dsn: inventory and cost only; set it" in detail
    assert "postgresql://monitor@{host}/postgres (role: docs/permissions.sql)" in detail


def test_a_host_that_is_none(twin: Twin, tmp_path: Path) -> None:
    answer = check(changed(twin, "postgres", dsn="postgresql://monitor@{endpoint}.invalid/postgres"), tmp_path)
    assert answer.code == 1
    result, detail = answer.line("SQL shop/main")
    assert (result, detail.split(":")[0]) == ("FAILS", "unreachable")
    assert ".invalid/postgres: the host name does not resolve; check postgres.dsn" in detail


def test_a_port_that_nobody_listens_on(twin: Twin, tmp_path: Path) -> None:
    port = free_port()
    dsn = f"postgresql://monitor@127.0.0.1:{port}/postgres?application_name={{endpoint}}"
    answer = check(changed(twin, "postgres", dsn=dsn), tmp_path)
    assert answer.code == 1
    detail = answer.line("SQL shop/main")[1]
    assert f"unreachable: monitor@127.0.0.1:{port}/postgres: connection refused" in detail
    assert "check postgres.dsn" in detail


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"password": "wrong-secret"}, "the password is wrong, or the role does not exist"),
        pytest.param({"password": None}, "the server requires a password; none is configured", marks=pytest.mark.deep),
        pytest.param({"dsn": "postgresql://monitro@{host}/postgres"}, "monitro@", marks=pytest.mark.deep),
    ],
)
def test_a_login_that_fails(twin: Twin, tmp_path: Path, values: dict[str, Any], said: str) -> None:
    answer = check(changed(twin, "postgres", **values), tmp_path)
    assert answer.code == 1
    result, detail = answer.line("SQL shop/main")
    assert (result, detail.split(":")[0]) == ("FAILS", "auth")
    assert said in detail
    assert "docs/permissions.sql" in detail
    assert "wrong-secret" not in answer.out


def test_a_role_without_pg_monitor(twin: Twin, tmp_path: Path) -> None:
    main = twin.compute("shop", "main")
    run_sql(main, "REVOKE pg_monitor FROM monitor")
    try:
        answer = check(twin.agent_settings(), tmp_path)
    finally:
        run_sql(main, "GRANT pg_monitor TO monitor")
    assert answer.code == 1
    result, detail = answer.line("SQL shop/main")
    assert result == "FAILS"
    assert "run GRANT pg_monitor TO monitor (docs/permissions.sql)" in detail


def test_no_pg_stat_statements(twin: Twin, tmp_path: Path) -> None:
    main = twin.compute("shop", "main")
    run_sql(main, "DROP EXTENSION pg_stat_statements")
    try:
        answer = check(twin.agent_settings(), tmp_path)
    finally:
        run_sql(main, "CREATE EXTENSION pg_stat_statements")
    assert answer.code == 1
    result, detail = answer.line("SQL shop/main")
    assert result == "FAILS"
    assert "run CREATE EXTENSION pg_stat_statements in database postgres" in detail


def test_pgbouncer_refuses(twin: Twin, tmp_path: Path) -> None:
    main = twin.compute("shop", "main")
    nobody = {"name": "front", "dsn": f"postgresql://stats@127.0.0.1:{free_port()}/pgbouncer"}
    database = {"name": "back", "dsn": f"postgresql://monitor@{main.endpoint.host}/pgbouncer",
                "password": twin.monitor_password}  # fmt: skip
    answer = check({**twin.agent_settings(), "pgbouncer": [nobody, database]}, tmp_path, "--no-sql")
    assert answer.code == 1
    assert "is PgBouncer running, and the host and port right?" in answer.line("PgBouncer front")[1]
    assert "this is PostgreSQL itself: check the port" in answer.line("PgBouncer back")[1]


def test_a_compute_that_a_user_just_woke_is_let_be(twin: Twin, tmp_path: Path) -> None:
    main = twin.compute("shop", "main")
    main.suspend()
    with_user = app_dsn(twin, main, "acme")
    psycopg.connect(with_user).close()
    answer = check(twin.agent_settings(), tmp_path)
    assert answer.code == 0, answer.out
    result, detail = answer.line("SQL shop/main")
    assert result in ("left out", "works"), "on a slow machine it is no longer new"
    assert result == "works" or "try again in some seconds" in detail
    assert not twin.truth.wakes("neonmeter")
