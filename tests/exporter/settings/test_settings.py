"""A person who mistypes a setting learns where, what and what to do, for all mistakes at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from exporter.app import settings_text as config_text
from exporter.app.settings import Settings, load
from exporter.settings import SettingsError
from exporter.settings.dsn import DsnError, EndpointRef, conninfo
from exporter.settings.secret import SecretError, read_secret

PLACE = EndpointRef("ep-1", "ep-1.eu-central-1.aws.neon.tech", "p-1", "orders", "br-1", "main")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(("NEONMETER_", "NEON_API")):
            monkeypatch.delenv(name)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "neonmeter.yaml"
    path.write_text(text)
    return path


def problems_of(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(written(tmp_path, text))
    return caught.value.problems


def test_an_api_key_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEON_API_KEY", "key-from-neons-own-name")
    settings = load(None)
    assert settings.neon.api_key is not None
    assert settings.neon.api_key.get_secret_value() == "key-from-neons-own-name"
    assert settings.postgres.dsn is None


def test_all_problems_come_at_once_with_their_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEONMETER_SAMPLIN__TICK_SECONDS", "3")
    found = problems_of(
        tmp_path, "neon: {api_kye: x}\ntenants: [{role: a}, {scema: x}]\nhttp: {listen: foo}\nlog: {level: loud}"
    )
    assert found == [
        "NEONMETER_SAMPLIN__TICK_SECONDS: unknown variable; did you mean sampling?",
        "neon.api_kye: unknown key; did you mean api_key?",
        "tenants[1].scema: unknown key; did you mean schema?",
        "http: listen: write HOST:PORT, as 127.0.0.1:9719",
        "log.level: input should be 'debug', 'info', 'warning' or 'error'",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n- b", "the top level must be keys"),
        ("neon: {", "not YAML"),
        ("neon: {org_id: a}\nneon: {org_id: b}", "neon is written twice"),
        ("sampling: {tick_seconds: 0}", "sampling.tick_seconds"),
        ("sampling: {session_seconds: 31}", "sampling.session_seconds"),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path: Path, text: str, says: str) -> None:
    assert any(says in line for line in problems_of(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: cannot be read"):
        load(tmp_path / "nowhere.yaml")


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEONMETER_SAMPLING__TICK_SECONDS", "7")
    settings = load(written(tmp_path, "sampling: {tick_seconds: 30, concurrency: 3}"))
    assert (settings.sampling.tick_seconds, settings.sampling.concurrency) == (7, 3)


def test_no_secret_is_shown(tmp_path: Path) -> None:
    text = """
neon: {api_key: s3cret-key}
postgres:
  dsn: postgresql://monitor:s3cret-inline@{host}/postgres
  password: s3cret-password
  overrides: [{project: a, dsn: "host={host} user=m password=s3cret-kv dbname=postgres"}]
pgbouncer: [{name: p, dsn: "postgresql://stats:s3cret-stats@localhost:6432/pgbouncer", password: s3cret-pool}]
"""
    settings = load(written(tmp_path, text))
    assert "s3cret" not in yaml.safe_dump(settings.masked())
    assert "s3cret" not in repr(settings.neon) + repr(settings.postgres.password)


def test_the_example_is_a_valid_file_and_names_every_key(tmp_path: Path) -> None:
    text = config_text.example()
    load(written(tmp_path, text))
    uncommented = "\n".join(
        line.replace("# ", "", 1) if line.startswith(("  # ", "# ")) and ":" in line else line
        for line in text.splitlines()
        if not line.startswith("# ") or line.rstrip().endswith(":")
    )
    for section in ("neon", "postgres", "sampling", "cost", "ledger", "intervals", "http", "telemetry", "log"):
        assert f"\n{section}:" in "\n" + uncommented
        for key in Settings.model_fields[section].default.__class__.model_fields:
            assert f" {key}:" in text, f"{section}.{key} is not in the example"


def test_the_dsn_template_meets_the_compute(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("one\n")
    text = f"postgres: {{dsn: 'postgresql://monitor@{{host}}/postgres', password_file: {secret}}}"
    settings = load(written(tmp_path, text)).postgres
    parts = set((conninfo(settings, PLACE) or "").split())
    assert parts == {"user=monitor", "password=one", "dbname=postgres", f"host={PLACE.host}"}
    secret.write_text("two")  # rotated: the next connect uses it
    assert "password=two" in (conninfo(settings, PLACE) or "")


def test_overrides_match_by_glob_and_can_switch_off(tmp_path: Path) -> None:
    text = """
postgres:
  dsn: postgresql://monitor@{host}/postgres
  password: general
  overrides:
    - {project: sandbox-*, enabled: false}
    - {project: orders, branch: br-*, dsn: "postgresql://other@{host}/app", password: special}
"""
    settings = load(written(tmp_path, text)).postgres
    parts = set((conninfo(settings, PLACE) or "").split())
    assert parts == {"user=other", "password=special", "dbname=app", f"host={PLACE.host}"}
    other = EndpointRef("ep-2", "h", "p-2", "sandbox-1", "br-2", "main")
    assert conninfo(settings, other) is None


@pytest.mark.parametrize("template", ["postgresql://m@{hostt}/x", "postgresql://m@{0}/x", "{host.__class__}", "{"])
def test_an_unknown_placeholder_is_refused(tmp_path: Path, template: str) -> None:
    settings = load(written(tmp_path, yaml.safe_dump({"postgres": {"dsn": template}}))).postgres
    with pytest.raises(DsnError) as caught:
        conninfo(settings, PLACE)
    assert "m@" not in str(caught.value), "an error never carries the DSN"


def test_a_secret_file_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="cannot be read"):
        read_secret(None, tmp_path / "missing")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(SecretError, match="is empty"):
        read_secret(None, tmp_path / "empty")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SecretError, match="is not text"):
        read_secret(None, tmp_path / "binary")
