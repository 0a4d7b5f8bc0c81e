"""Files of every tool become manifests; what is not understood is one clear error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exporter.drift import manifests
from exporter.drift.manifests import ManifestError


def files(root: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = root / name.replace("__SLASH__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("tool", "names", "ids"),
    [
        ("rails", ["20260102030405_add_orders.rb", "20260101030405_first.rb"], ["20260101030405", "20260102030405"]),
        ("goose", ["00002_b.sql", "00001_a.sql", "00010_c.go"], ["1", "2", "10"]),
        ("golang-migrate", ["1_a.up.sql", "1_a.down.sql", "2_b.up.sql"], ["1", "2"]),
        ("knex", ["20260101_a.js", "20260102_b.ts", "README.md"], ["20260101_a.js", "20260102_b.ts"]),
        ("typeorm", ["1710000000000-Lines.ts", "1700000000000-Init.ts"], ["Init1700000000000", "Lines1710000000000"]),
        ("atlas", ["20260101.sql", "20260102_more.sql", "atlas.sum"], ["20260101", "20260102"]),
        ("flyway", ["V1__a.sql", "V1_1__b.sql", "V10__c.sql", "V2__d.sql", "R__all_views.sql", "U2__d.sql"],
         ["1", "1.1", "2", "10", "R__all views"]),
    ],
)  # fmt: skip
def test_names_tell_the_migrations(tmp_path: Path, tool: str, names: list[str], ids: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("select 1;\n")
    assert [expected.id for expected in manifests.read(tool, tmp_path).expected] == ids


def test_flyways_checksum_goes_line_by_line(tmp_path: Path) -> None:
    unix, windows = tmp_path / "V1__a.sql", tmp_path / "V2__b.sql"
    unix.write_bytes(b"CREATE TABLE a (id int);\nSELECT 1;\n")
    windows.write_bytes(b"\xef\xbb\xbfCREATE TABLE a (id int);\r\nSELECT 1;")
    one, two = manifests.read("flyway", tmp_path).expected
    assert one.checksum == two.checksum
    assert one.checksum is not None
    assert -(1 << 31) <= int(one.checksum) < 1 << 31


def test_liquibase_prisma_and_drizzle(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "one.sql").write_text(
        "--liquibase formatted sql\n--changeset team:1\nselect 1;\n-- changeset team:2 x\n"
    )
    assert [e.id for e in manifests.read("liquibase", tmp_path / "db").expected] == [
        "one.sql::1::team",
        "one.sql::2::team",
    ]
    (tmp_path / "prisma" / "1_init").mkdir(parents=True)
    (tmp_path / "prisma" / "1_init" / "migration.sql").write_text("select 1;")
    (only,) = manifests.read("prisma", tmp_path / "prisma").expected
    assert (only.id, len(only.checksum or "")) == ("1_init", 64)
    (tmp_path / "drizzle" / "meta").mkdir(parents=True)
    journal = {"entries": [{"idx": 0, "when": 1767225600000, "tag": "0000_a"}]}
    (tmp_path / "drizzle" / "meta" / "_journal.json").write_text(json.dumps(journal))
    (tmp_path / "drizzle" / "0000_a.sql").write_text("select 1;")
    (only,) = manifests.read("drizzle", tmp_path / "drizzle").expected
    assert only.id == "1767225600000"


@pytest.mark.parametrize(
    ("tool", "says"),
    [("flywa", "no such migration tool"), ("prisma", "holds no prisma migration"), ("sqitch", "Is a directory")],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, tool: str, says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        manifests.read(tool, tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("revision = \n")
    with pytest.raises(ManifestError, match=r"a\.py:1"):
        manifests.read("alembic", tmp_path)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "_journal.json").write_text("{}")
    with pytest.raises(ManifestError, match="journal"):
        manifests.read("drizzle", tmp_path)
