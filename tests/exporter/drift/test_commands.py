"""`neonmeter fingerprint` and `neonmeter drift between` as CI uses them, on a real scratch database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.errors import FINDINGS, OK, UPSTREAM, USAGE
from exporter.commands.main import main
from exporter.demo.postgres import Cluster
from tests.collectors.reading import admin, database

SCHEMA = "CREATE TABLE orders (id bigint PRIMARY KEY, amount numeric NOT NULL); CREATE INDEX late ON orders (amount)"


@pytest.fixture
def scratch(postgres18: Cluster) -> Iterator[str]:
    """The DSN of a database that a migration has just made."""
    with database(postgres18, "scratch") as name:
        with admin(postgres18, name) as connection:
            connection.execute(SCHEMA)
        where = f"127.0.0.1:{postgres18.port}"
        yield f"postgresql://cloud_admin:{postgres18.password}@{where}/{name}"


def settings(folder: Path, text: str = "") -> list[str]:
    path = folder / "neonmeter.yaml"
    path.write_text(f"storage: {{path: {folder / 'none.db'}}}\n{text}")
    return ["--config", str(path)]


def test_a_file_for_git_and_what_moved_since(
    postgres18: Cluster, scratch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, config = tmp_path / "schema.json", settings(tmp_path)
    assert main(["fingerprint", "--dsn", scratch, "-o", str(file)]) == OK
    said = capsys.readouterr().err
    assert said.startswith("scratch: fingerprint ")
    assert "PostgreSQL 18" in said
    assert main(["fingerprint", "--dsn", scratch]) == OK
    assert capsys.readouterr().out == file.read_text(), "the same file, to the byte"
    between = ["drift", "between", str(file), scratch, *config]
    assert main(between) == OK
    assert "is as" in capsys.readouterr().out
    with admin(postgres18, "scratch") as connection:
        connection.execute("ALTER TABLE orders ADD COLUMN note text; DROP INDEX late")
    assert main(between) == FINDINGS
    text = capsys.readouterr().out
    assert "public.orders.note" in text
    assert postgres18.password not in text
    assert main([*between, "--markdown"]) == FINDINGS
    text = capsys.readouterr().out
    assert "**2 differences**: 1 added, 1 removed." in text
    assert "| + | column | `public.orders.note` |  | `text` |" in text
    assert main([*between, "--json"]) == FINDINGS
    assert [load["change"] for load in json.loads(capsys.readouterr().out)["scratch"]["changes"]] == [
        "added",
        "removed",
    ]


def test_what_is_ignored_is_said(
    postgres18: Cluster, scratch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "schema.json"
    assert main(["fingerprint", "--dsn", scratch, "-o", str(file)]) == OK
    with admin(postgres18, "scratch") as connection:
        connection.execute("CREATE INDEX helper ON orders (amount)")
    config = settings(tmp_path, "drift: {ignore: [{kind: index, identity: orders.helper, reason: a trial}]}\n")
    assert main(["drift", "between", str(file), scratch, *config]) == OK
    assert "1 ignored by rule" in capsys.readouterr().out


def test_other_versions_and_broken_files_are_one_line(
    scratch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, config = tmp_path / "schema.json", settings(tmp_path)
    assert main(["fingerprint", "--dsn", scratch, "-o", str(file)]) == OK
    older = tmp_path / "older.json"
    older.write_text(file.read_text().replace('"pg_major": 18', '"pg_major": 15'))
    capsys.readouterr()
    assert main(["drift", "between", str(older), str(file), *config]) == FINDINGS
    assert "PostgreSQL 15 and 18: fingerprints compare within one major version" in capsys.readouterr().out
    (tmp_path / "no.json").write_text("{}")
    for arguments, code, said in (
        (["between", str(tmp_path / "no.json"), str(file)], USAGE, "no.json: not a fingerprint"),
        (["between", str(tmp_path / "gone.json"), str(file)], USAGE, "gone.json: No such file"),
        (["between", "shop/main", str(file)], USAGE, "is not there yet; `neonmeter run` fills it"),
        (["show"], USAGE, "neon.api_key_file: no API key"),
        ([], USAGE, "neon.api_key_file: no API key"),
        (["shop/main", "--markdown"], USAGE, "neon.api_key_file: no API key"),
        (["approve", "shop/main", "--reason", "as planned"], USAGE, "is not there yet"),
        (["approve", "shop/main", "--reason", "x"], USAGE, "--reason: give a reason"),
    ):
        assert main(["drift", *arguments, *config]) == code
        assert said in capsys.readouterr().err, arguments


def test_a_database_that_cannot_be_read(scratch: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fingerprint", "--dsn", scratch.replace("/scratch", "/nowhere")]) == UPSTREAM
    assert "nowhere: the database does not exist" in capsys.readouterr().err
    assert main(["fingerprint", "--dsn", scratch.replace("not-a-secret", "wrong-one")]) == UPSTREAM
    assert "wrong-one" not in capsys.readouterr().err
    assert main(["fingerprint", "--dsn", scratch.rpartition("/")[0]]) == UPSTREAM
    assert "names no database" in capsys.readouterr().err
