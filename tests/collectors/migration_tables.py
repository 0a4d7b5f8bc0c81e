"""History tables of tools that cannot run here, made by their documented definitions, with a history in each."""

FLYWAY = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE {schema}.flyway_schema_history (
    installed_rank int PRIMARY KEY, version varchar(50), description varchar(200) NOT NULL, type varchar(20) NOT NULL,
    script varchar(1000) NOT NULL, checksum int, installed_by varchar(100) NOT NULL,
    installed_on timestamp NOT NULL DEFAULT now(), execution_time int NOT NULL, success bool NOT NULL);
INSERT INTO {schema}.flyway_schema_history
    (installed_rank, version, description, type, script, checksum, installed_by, execution_time, success) VALUES
    (1, NULL, '<< Flyway Schema Creation >>', 'SCHEMA', '"x"', NULL, 'app', 0, true),
    (2, '1', 'first', 'SQL', 'V1__first.sql', 1, 'app', 5, true),
    (3, '2', 'second', 'SQL', 'V2__second.sql', 2, 'app', 5, true),
    (4, '2', 'second', 'UNDO_SQL', 'U2__second.sql', 3, 'app', 5, true),
    (5, NULL, 'views', 'SQL', 'R__views.sql', 4, 'app', 5, true),
    (6, NULL, 'views', 'SQL', 'R__views.sql', 5, 'app', 5, true),
    (7, '3', 'index', 'SQL', 'V3__index.sql', 6, 'app', 5, false);
"""
LIQUIBASE = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE {schema}.databasechangelog (
    id varchar(255) NOT NULL, author varchar(255) NOT NULL, filename varchar(255) NOT NULL,
    dateexecuted timestamp NOT NULL, orderexecuted int NOT NULL, exectype varchar(10) NOT NULL, md5sum varchar(35),
    description varchar(255), comments varchar(255), tag varchar(255), liquibase varchar(20), contexts varchar(255),
    labels varchar(255), deployment_id varchar(10));
INSERT INTO {schema}.databasechangelog (id, author, filename, dateexecuted, orderexecuted, exectype, md5sum) VALUES
    ('1', 'team', 'db.sql', localtimestamp, 1, 'EXECUTED', '9:aa'),
    ('2', 'team', 'db.sql', localtimestamp, 2, 'MARK_RAN', '9:bb'),
    ('3', 'team', 'db.sql', localtimestamp, 3, 'FAILED', '9:cc'),
    ('4', 'team', 'db.sql', localtimestamp, 4, 'SKIPPED', '9:dd');
CREATE TABLE {schema}.databasechangeloglock (
    id int PRIMARY KEY, locked boolean NOT NULL, lockgranted timestamp, lockedby varchar(255));
INSERT INTO {schema}.databasechangeloglock VALUES (1, true, localtimestamp - interval '20 minutes', 'ci-runner');
"""
PRISMA = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE {schema}._prisma_migrations (
    id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz, migration_name varchar(255)
    NOT NULL, logs text, rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),
    applied_steps_count int NOT NULL DEFAULT 0);
INSERT INTO {schema}._prisma_migrations (id, checksum, finished_at, migration_name, logs, rolled_back_at, started_at)
VALUES ('1', 'c1', now(), '1_init', NULL, NULL, now() - interval '2 hours'),
       ('2', 'c2', NULL, '2_users', 'syntax error', now(), now() - interval '1 hour'),
       ('3', 'c2', now(), '2_users', NULL, NULL, now() - interval '50 minutes'),
       ('4', 'c3', NULL, '3_broken', 'it broke', NULL, now() - interval '40 minutes'),
       ('5', 'c4', NULL, '4_stuck', NULL, NULL, now() - interval '30 minutes'),
       ('6', 'c5', NULL, '5_now', NULL, NULL, now());
"""
GOLANG = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE {schema}.schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL);
INSERT INTO {schema}.schema_migrations VALUES (3, true);
"""
RAILS = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE {schema}.schema_migrations (version varchar PRIMARY KEY);
INSERT INTO {schema}.schema_migrations VALUES ('20260101000000'), ('20260201000000');
"""
KNEX = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE {schema}.knex_migrations (id serial, name varchar(255), batch int, migration_time timestamptz);
INSERT INTO {schema}.knex_migrations (name, batch, migration_time) VALUES ('1_a.js', 1, now()), ('2_b.js', 1, now());
CREATE TABLE {schema}.knex_migrations_lock (index serial, is_locked int);
INSERT INTO {schema}.knex_migrations_lock (is_locked) VALUES (1);
"""
GOOSE = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE {schema}.goose_db_version (
    id serial, version_id bigint, is_applied boolean, tstamp timestamp DEFAULT now());
INSERT INTO {schema}.goose_db_version (version_id, is_applied) VALUES (0, true), (1, true), (2, true), (2, false);
"""
DRIZZLE = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE {schema}.__drizzle_migrations (id serial PRIMARY KEY, hash text NOT NULL, created_at bigint);
INSERT INTO {schema}.__drizzle_migrations (hash, created_at) VALUES ('aa', 1767225600000), ('bb', 1769904000000);
"""
ATLAS = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE {schema}.atlas_schema_revisions (version varchar PRIMARY KEY, description varchar, type bigint DEFAULT 2,
    applied bigint DEFAULT 0, total bigint DEFAULT 0, executed_at timestamptz, execution_time bigint, error text,
    error_stmt text, hash varchar, partial_hashes jsonb, operator_version varchar);
INSERT INTO {schema}.atlas_schema_revisions (version, applied, total, executed_at, hash) VALUES
    ('1', 2, 2, now(), 'h1'), ('2', 1, 3, now(), 'h2');
"""
EVERY = {
    "flyway": FLYWAY,
    "liquibase": LIQUIBASE,
    "prisma": PRISMA,
    "golang-migrate": GOLANG,
    "rails": RAILS,
    "knex": KNEX,
    "goose": GOOSE,
    "drizzle": DRIZZLE,
    "atlas": ATLAS,
}
APPLIED = {
    "flyway": ["1", "R__views"],
    "liquibase": ["db.sql::1::team", "db.sql::2::team"],
    "prisma": ["1_init", "2_users"],
    "golang-migrate": [],
    "rails": ["20260101000000", "20260201000000"],
    "knex": ["1_a.js", "2_b.js"],
    "goose": ["1"],
    "drizzle": ["1767225600000", "1769904000000"],
    "atlas": ["1"],
}
FAILED = {"flyway": 1, "liquibase": 1, "prisma": 2, "golang-migrate": 1, "atlas": 1}
ROLLED_BACK = {"flyway": 1, "prisma": 1, "goose": 1}
