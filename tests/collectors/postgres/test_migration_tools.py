"""Real migration tools write real histories: Sqitch (Debian), Alembic and Django (PyPI), TypeORM (npm)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import psycopg
import pytest

from collectors.postgres.database import migrations
from collectors.postgres.database.migrations import MigrationsCollector
from collectors.postgres.domain.migrations import MigrationFacts
from exporter.demo.postgres import SUPERUSER, Cluster
from exporter.drift import manifests
from exporter.drift.domain.migrations import Divergence, divergence, standing
from tests.collectors.reading import visited
from tests.fix_postgres import NPM, PASSWORD


@pytest.fixture
def database(postgres: Cluster) -> Iterator[str]:
    """A database of its own on a shared server; answers its name."""
    name = f"tools_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def facts_of(postgres: Cluster, database: str) -> MigrationFacts:
    made = await visited(postgres, MigrationsCollector(database), user=SUPERUSER, dbname=database)
    assert made.epoch is not None
    facts = MigrationsCollector(database).read(made.results[migrations.NAME], made.epoch).facts
    assert isinstance(facts, MigrationFacts)
    return facts


def applied(facts: MigrationFacts) -> list[str]:
    (history,) = facts.histories
    return [migration.id for migration in history.migrations if migration.state == "applied"]


def run(*command: str, cwd: Path, ok: bool = True, **environ: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, **environ}, timeout=600
    )
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout


async def test_sqitch_deploys_reverts_and_fails(postgres: Cluster, database: str, tmp_path: Path) -> None:
    if shutil.which("sqitch") is None:
        pytest.skip("sqitch is not installed (Debian package sqitch, with libdbd-pg-perl and postgresql-client)")
    uri = f"db:pg://{SUPERUSER}:{PASSWORD}@127.0.0.1:{postgres.port}/{database}"

    def sqitch(*arguments: str, ok: bool = True) -> None:
        run("sqitch", *arguments, cwd=tmp_path, ok=ok, SQITCH_FULLNAME="A Team", SQITCH_EMAIL="team@example.org",
            HOME=str(tmp_path))  # fmt: skip

    def change(name: str, deploy: str, revert: str) -> None:
        sqitch("add", name, "-n", name)
        (tmp_path / "deploy" / f"{name}.sql").write_text(f"BEGIN;\n{deploy};\nCOMMIT;\n")
        (tmp_path / "revert" / f"{name}.sql").write_text(f"BEGIN;\n{revert};\nCOMMIT;\n")
        (tmp_path / "verify" / f"{name}.sql").write_text("SELECT 1;\n")

    sqitch("init", "shop", "--engine", "pg")
    change("orders", "CREATE TABLE orders (id int)", "DROP TABLE orders")
    change("lines", "CREATE TABLE lines (id int)", "DROP TABLE lines")
    sqitch("deploy", uri)
    facts = await facts_of(postgres, database)
    assert applied(facts) == ["shop:orders", "shop:lines"]
    assert facts.histories[0].schema == "sqitch"
    manifest = manifests.read("sqitch", tmp_path / "sqitch.plan")
    assert standing(manifest, facts.histories[0].migrations).pending == ()

    sqitch("revert", "--to", "orders", "-y", uri)
    facts = await facts_of(postgres, database)
    assert applied(facts) == ["shop:orders"]
    assert facts.histories[0].rolled_back == 1
    assert standing(manifest, facts.histories[0].migrations).pending == ("shop:lines",)

    (tmp_path / "deploy" / "lines.sql").write_text("SELECT 1 / 0;\n")
    sqitch("deploy", uri, ok=False)
    (history,) = (await facts_of(postgres, database)).histories
    assert [migration.id for migration in history.migrations if migration.state == "failed"] == ["shop:lines"]


async def test_alembic_keeps_its_heads(postgres: Cluster, database: str, tmp_path: Path) -> None:
    pytest.importorskip("alembic", reason="alembic is not installed")
    versions = tmp_path / "alembic" / "versions"
    versions.mkdir(parents=True)
    (tmp_path / "alembic" / "env.py").write_text(
        dedent(f"""
        from alembic import context
        from sqlalchemy import create_engine
        engine = create_engine("postgresql+psycopg://{SUPERUSER}:{PASSWORD}@127.0.0.1:{postgres.port}/{database}")
        with engine.connect() as connection:
            context.configure(connection=connection)
            with context.begin_transaction():
                context.run_migrations()
        """)
    )
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = alembic\npath_separator = os\n")
    for revision, down in (("a1", "None"), ("b2", '"a1"'), ("c3", '"b2"')):
        (versions / f"{revision}_x.py").write_text(
            f'revision = "{revision}"\ndown_revision = {down}\n\n'
            "def upgrade():\n    pass\n\ndef downgrade():\n    pass\n"
        )
    command = [sys.executable, "-m", "alembic"]
    run(*command, "upgrade", "b2", cwd=tmp_path)
    facts = await facts_of(postgres, database)
    assert applied(facts) == ["b2"]
    where = standing(manifests.read("alembic", versions), facts.histories[0].migrations)
    assert where.pending == ("c3",)
    assert where.unknown == ()
    run(*command, "upgrade", "head", cwd=tmp_path)
    assert applied(await facts_of(postgres, database)) == ["c3"]


async def test_django_tells_app_and_time(postgres: Cluster, database: str, tmp_path: Path) -> None:
    pytest.importorskip("django", reason="django is not installed")
    folder = tmp_path / "shop" / "migrations"
    folder.mkdir(parents=True)
    for package in (tmp_path / "shop", folder):
        (package / "__init__.py").touch()
    (tmp_path / "shop" / "models.py").touch()
    body = "from django.db import migrations\n\nclass Migration(migrations.Migration):\n    dependencies = {}\n"
    (folder / "0001_initial.py").write_text(body.format([]))
    (folder / "0002_orders.py").write_text(body.format([("shop", "0001_initial")]))
    (tmp_path / "settings.py").write_text(
        dedent(f"""
        INSTALLED_APPS = ["shop"]
        DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "NAME": "{database}",
                     "USER": "{SUPERUSER}", "PASSWORD": "{PASSWORD}", "HOST": "127.0.0.1", "PORT": {postgres.port}}}}}
        """)
    )
    command = [sys.executable, "-m", "django", "migrate", "--pythonpath", ".", "--settings", "settings"]
    run(*command, "shop", "0001", cwd=tmp_path)
    facts = await facts_of(postgres, database)
    assert applied(facts) == ["shop.0001_initial"]
    assert facts.histories[0].migrations[0].at is not None
    manifest = manifests.read("django", tmp_path)
    assert standing(manifest, facts.histories[0].migrations).pending == ("shop.0002_orders",)
    before = facts.histories[0].migrations
    run(*command, cwd=tmp_path)
    after = (await facts_of(postgres, database)).histories[0].migrations
    assert divergence(before, after) == Divergence((), ("shop.0002_orders",))


async def test_typeorm_tells_names(postgres: Cluster, database: str, tmp_path: Path) -> None:
    if shutil.which("node") is None or not (NPM / "typeorm").is_dir():
        pytest.skip("typeorm is not installed (npm ci in tests/npm)")
    script = tmp_path / "migrate.cjs"
    script.write_text(
        dedent(f"""
        require("reflect-metadata");
        const {{ DataSource }} = require("typeorm");
        class Init1700000000000 {{
          async up(runner) {{ await runner.query("CREATE TABLE orders (id int)"); }}
          async down(runner) {{ await runner.query("DROP TABLE orders"); }}
        }}
        class Lines1710000000000 {{
          async up(runner) {{ await runner.query("CREATE TABLE lines (id int)"); }}
          async down(runner) {{ await runner.query("DROP TABLE lines"); }}
        }}
        const source = new DataSource({{ type: "postgres", host: "127.0.0.1", port: {postgres.port},
          username: "{SUPERUSER}", password: "{PASSWORD}", database: "{database}",
          migrations: [Init1700000000000, Lines1710000000000] }});
        source.initialize().then(async () => {{
          await source.runMigrations();
          if (process.argv[2] === "undo") await source.undoLastMigration();
          await source.destroy();
        }}).catch((problem) => {{ console.error(problem); process.exit(1); }});
        """)
    )
    run("node", str(script), cwd=tmp_path, NODE_PATH=str(NPM))
    assert applied(await facts_of(postgres, database)) == ["Init1700000000000", "Lines1710000000000"]
    run("node", str(script), "undo", cwd=tmp_path, NODE_PATH=str(NPM))
    assert applied(await facts_of(postgres, database)) == ["Init1700000000000"]
