PRAGMA application_id = 1315796082;
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE room (name TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO room VALUES('awake',1);
INSERT INTO room VALUES('close',1);
INSERT INTO room VALUES('counters',1);
INSERT INTO room VALUES('drift',2);
INSERT INTO room VALUES('ledger',2);
INSERT INTO room VALUES('notebook',1);
INSERT INTO room VALUES('outlook',1);
INSERT INTO room VALUES('posture',1);
INSERT INTO room VALUES('statements',2);
INSERT INTO room VALUES('tenancy',2);
INSERT INTO room VALUES('wake',1);
CREATE TABLE wake_state (endpoint_id TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO wake_state VALUES('ep-a','{"endpoint_id": "ep-a", "own_end": 1795410590.25}');
CREATE TABLE place (
            id INTEGER PRIMARY KEY, project_id TEXT NOT NULL, branch_id TEXT NOT NULL, endpoint_id TEXT NOT NULL,
            postmaster_us INTEGER NOT NULL, reset_us INTEGER NOT NULL, clock_us INTEGER NOT NULL,
            dealloc INTEGER NOT NULL, uncertain INTEGER NOT NULL, UNIQUE (endpoint_id, branch_id, project_id)
        ) STRICT, WITHOUT ROWID;
CREATE TABLE statement_baseline (
            place INTEGER NOT NULL, role ANY NOT NULL, database ANY NOT NULL, queryid TEXT NOT NULL,
            since_us INTEGER, calls INTEGER NOT NULL, exec_us INTEGER NOT NULL, plan_us INTEGER NOT NULL, rows INTEGER NOT NULL, shared_blks_hit INTEGER NOT NULL, shared_blks_read INTEGER NOT NULL, temp_blks_written INTEGER NOT NULL, blk_read_us INTEGER NOT NULL, blk_write_us INTEGER NOT NULL, wal_bytes INTEGER NOT NULL, PRIMARY KEY (place, role, database, queryid)
        ) STRICT, WITHOUT ROWID;
CREATE TABLE statement_total (
            place INTEGER NOT NULL, tenant TEXT NOT NULL, datname TEXT NOT NULL, role TEXT NOT NULL,
            queryid TEXT NOT NULL, member INTEGER NOT NULL, touched_us INTEGER NOT NULL, calls INTEGER NOT NULL, exec_us INTEGER NOT NULL, plan_us INTEGER NOT NULL, rows INTEGER NOT NULL, shared_blks_hit INTEGER NOT NULL, shared_blks_read INTEGER NOT NULL, temp_blks_written INTEGER NOT NULL, blk_read_us INTEGER NOT NULL, blk_write_us INTEGER NOT NULL, wal_bytes INTEGER NOT NULL,
            PRIMARY KEY (place, tenant, datname, role, queryid)
        ) STRICT, WITHOUT ROWID;
CREATE TABLE tenant_total (
            place INTEGER NOT NULL, tenant TEXT NOT NULL, calls INTEGER NOT NULL, exec_us INTEGER NOT NULL, plan_us INTEGER NOT NULL, rows INTEGER NOT NULL, shared_blks_hit INTEGER NOT NULL, shared_blks_read INTEGER NOT NULL, temp_blks_written INTEGER NOT NULL, blk_read_us INTEGER NOT NULL, blk_write_us INTEGER NOT NULL, wal_bytes INTEGER NOT NULL, PRIMARY KEY (place, tenant)
        ) STRICT, WITHOUT ROWID;
CREATE TABLE tenant_hour (
            hour INTEGER NOT NULL, place INTEGER NOT NULL, tenant TEXT NOT NULL, busy_us INTEGER NOT NULL, calls INTEGER NOT NULL, exec_us INTEGER NOT NULL, plan_us INTEGER NOT NULL, rows INTEGER NOT NULL, shared_blks_hit INTEGER NOT NULL, shared_blks_read INTEGER NOT NULL, temp_blks_written INTEGER NOT NULL, blk_read_us INTEGER NOT NULL, blk_write_us INTEGER NOT NULL, wal_bytes INTEGER NOT NULL,
            PRIMARY KEY (hour, place, tenant)
        ) STRICT, WITHOUT ROWID;
CREATE TABLE tenant_day (
            day INTEGER NOT NULL, place INTEGER NOT NULL, tenant TEXT NOT NULL, wal_bytes INTEGER NOT NULL,
            PRIMARY KEY (day, place, tenant)
        ) STRICT, WITHOUT ROWID;
CREATE TABLE counter (
            target TEXT NOT NULL, metric TEXT NOT NULL, labels TEXT NOT NULL, postmaster_us INTEGER NOT NULL,
            reset_us INTEGER NOT NULL, clock_us INTEGER NOT NULL, raw INTEGER NOT NULL, total INTEGER NOT NULL,
            PRIMARY KEY (target, metric, labels)
        ) STRICT, WITHOUT ROWID;
CREATE TABLE branch_life (
            branch_id TEXT PRIMARY KEY, project_id TEXT NOT NULL, branch TEXT NOT NULL, project TEXT NOT NULL,
            child INTEGER NOT NULL, born INTEGER NOT NULL, seen INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
CREATE TABLE size_known (
            project_id TEXT NOT NULL, branch_id TEXT NOT NULL, datname TEXT NOT NULL, schema TEXT NOT NULL,
            bytes INTEGER NOT NULL, rough INTEGER NOT NULL, roles TEXT NOT NULL,
            PRIMARY KEY (project_id, branch_id, datname, schema)
        ) STRICT, WITHOUT ROWID;
CREATE TABLE tenant_size (
            day INTEGER NOT NULL, project_id TEXT NOT NULL, branch_id TEXT NOT NULL, tenant TEXT NOT NULL,
            bytes INTEGER NOT NULL, rough INTEGER NOT NULL, PRIMARY KEY (project_id, branch_id, day, tenant)
        ) STRICT, WITHOUT ROWID;
CREATE TABLE tenant_sample (
            hour INTEGER NOT NULL, project_id TEXT NOT NULL, branch_id TEXT NOT NULL, tenant TEXT NOT NULL,
            sessions INTEGER NOT NULL, kept_us INTEGER NOT NULL, PRIMARY KEY (hour, project_id, branch_id, tenant)
        ) STRICT, WITHOUT ROWID;
CREATE TABLE snapshot_life (
            snapshot_id TEXT PRIMARY KEY, project_id TEXT NOT NULL, branch_id TEXT NOT NULL, charged INTEGER NOT NULL,
            born INTEGER NOT NULL, seen INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
CREATE TABLE awake_look (id INTEGER PRIMARY KEY CHECK (id = 1), at INTEGER NOT NULL) STRICT;
INSERT INTO awake_look VALUES(1,1795410609000000);
CREATE TABLE awake_page (endpoint_id TEXT PRIMARY KEY, page TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO awake_page VALUES('ep-a','{"added": 4, "added_pico": 12, "book": {"covered": 8, "life": 6, "open": true, "sampled": true, "seen": 9, "since": 5}, "branch_id": "br1", "endpoint_id": "ep-a", "least_cu": "0.25", "most_cu": "2", "plan": "launch", "project_id": "p1", "suspend_after": 300.0}');
CREATE TABLE awake_total (
        endpoint_id TEXT NOT NULL, reason TEXT NOT NULL, role TEXT NOT NULL, application TEXT NOT NULL,
        slot TEXT NOT NULL, amount INTEGER NOT NULL,
        PRIMARY KEY (endpoint_id, reason, role, application, slot)
    ) STRICT, WITHOUT ROWID;
INSERT INTO awake_total VALUES('ep-a','session','app','web','',1500);
CREATE TABLE awake_hour (
        hour INTEGER NOT NULL, endpoint_id TEXT NOT NULL, reason TEXT NOT NULL, role TEXT NOT NULL,
        application TEXT NOT NULL, slot TEXT NOT NULL, amount INTEGER NOT NULL,
        PRIMARY KEY (hour, endpoint_id, reason, role, application, slot)
    ) STRICT, WITHOUT ROWID;
INSERT INTO awake_hour VALUES(1795406400,'ep-a','session','app','web','',1000);
INSERT INTO awake_hour VALUES(1795410000,'ep-a','session','app','web','',500);
CREATE TABLE ledger_series (
        id INTEGER PRIMARY KEY,
        org_id TEXT NOT NULL, project_id TEXT NOT NULL, branch_id TEXT NOT NULL,
        metric TEXT NOT NULL, granularity TEXT NOT NULL, plan TEXT NOT NULL,
        UNIQUE (project_id, branch_id, metric, granularity, org_id, plan)
    ) STRICT;
CREATE TABLE ledger_usage (
        start INTEGER NOT NULL, series INTEGER NOT NULL REFERENCES ledger_series (id),
        value INTEGER NOT NULL CHECK (value >= 0), observed_at INTEGER NOT NULL,
        PRIMARY KEY (start, series)
    ) STRICT, WITHOUT ROWID;
CREATE TABLE ledger_day (
        day INTEGER NOT NULL, series INTEGER NOT NULL REFERENCES ledger_series (id), value INTEGER NOT NULL,
        PRIMARY KEY (day, series)
    ) STRICT, WITHOUT ROWID;
CREATE TABLE ledger_revision (day INTEGER PRIMARY KEY, revision INTEGER NOT NULL) STRICT;
CREATE TABLE ledger_through (
        org_id TEXT NOT NULL, project_id TEXT NOT NULL, through INTEGER NOT NULL,
        PRIMARY KEY (org_id, project_id)
    ) STRICT, WITHOUT ROWID;
CREATE TABLE ledger_tally (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE cost_series (
        id INTEGER PRIMARY KEY,
        project_id TEXT NOT NULL, branch_id TEXT NOT NULL, component TEXT NOT NULL, tenant TEXT NOT NULL,
        counted INTEGER NOT NULL, adjusted INTEGER NOT NULL,
        UNIQUE (project_id, branch_id, component, tenant)
    ) STRICT;
CREATE TABLE cost_priced (
        month INTEGER NOT NULL, series INTEGER NOT NULL REFERENCES cost_series (id), cost INTEGER NOT NULL,
        PRIMARY KEY (month, series)
    ) STRICT, WITHOUT ROWID;
CREATE TABLE close_booking (
        month INTEGER NOT NULL, sequence INTEGER NOT NULL, booked_in INTEGER NOT NULL, booked_at INTEGER NOT NULL,
        booked_by TEXT NOT NULL, forced TEXT NOT NULL, data_through INTEGER NOT NULL, facts TEXT NOT NULL,
        rate_card TEXT NOT NULL, rounding TEXT NOT NULL,
        PRIMARY KEY (month, sequence)
    ) STRICT, WITHOUT ROWID;
INSERT INTO close_booking VALUES(1793491200,0,1793491200,1795410608,'ann','',1795406400,'sha','card','half_up');
CREATE TABLE close_line (
        month INTEGER NOT NULL, sequence INTEGER NOT NULL, line INTEGER NOT NULL,
        org_id TEXT NOT NULL, kind TEXT NOT NULL, component TEXT NOT NULL, plan TEXT NOT NULL, rate TEXT NOT NULL,
        unit TEXT NOT NULL, usage TEXT NOT NULL, quantity TEXT NOT NULL, cost TEXT NOT NULL, cents INTEGER NOT NULL,
        lower_bound INTEGER NOT NULL,
        PRIMARY KEY (month, sequence, line)
    ) STRICT, WITHOUT ROWID;
INSERT INTO close_line VALUES(1793491200,0,0,'org-1','usage','compute_unit_seconds','launch','0.16','CU-hour','7200','2','8/25',32,0);
CREATE TABLE close_leaf (
        month INTEGER NOT NULL, sequence INTEGER NOT NULL, line INTEGER NOT NULL,
        project_id TEXT NOT NULL, branch_id TEXT NOT NULL, tenant TEXT NOT NULL, cents INTEGER NOT NULL,
        confidence TEXT NOT NULL,
        PRIMARY KEY (month, sequence, line, project_id, branch_id, tenant)
    ) STRICT, WITHOUT ROWID;
INSERT INTO close_leaf VALUES(1793491200,0,0,'p1','br1','acme',32,'exact');
CREATE TABLE close_statement (
        month INTEGER PRIMARY KEY, statement TEXT NOT NULL
    ) STRICT;
INSERT INTO close_statement VALUES(1793491200,'{"total_cents": 32}');
CREATE TABLE notebook (kind TEXT NOT NULL, key TEXT NOT NULL, page TEXT NOT NULL, PRIMARY KEY (kind, key)) STRICT, WITHOUT ROWID;
INSERT INTO notebook VALUES('names','all','{"p1": "shop", "br1": "main"}');
INSERT INTO notebook VALUES('waste','2026-11','{"at": 1795410607, "cost": "100", "found": [["idle", "p1", "br1", "9/7", "no query for 30 days", "delete it", "neonctl branches delete br1", "measured"]]}');
CREATE TABLE outlook_forecast (
        month INTEGER NOT NULL, scope TEXT NOT NULL, made_at INTEGER NOT NULL, through INTEGER NOT NULL,
        p10 TEXT NOT NULL, p50 TEXT NOT NULL, p90 TEXT NOT NULL, confidence TEXT NOT NULL,
        PRIMARY KEY (month, scope)
    ) STRICT, WITHOUT ROWID;
INSERT INTO outlook_forecast VALUES(1793491200,'org-1/p1',1795410606,1795406400,'1/3','2','7/2','high');
CREATE TABLE drift_print (
        project_id TEXT NOT NULL, branch_id TEXT NOT NULL, datname TEXT NOT NULL,
        pg_major INTEGER NOT NULL, digest TEXT NOT NULL, taken_at REAL NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (project_id, branch_id, datname)
    ) STRICT;
INSERT INTO drift_print VALUES('p1','br1','app',18,'d308f2de10722707466cf2c479bb7177c626f39736bcd2e25d4ab7b6049173e5',1795410600.5,X'789c6550dbaac320107ccf57c83e97a29e127bceaf8452bc25b5242a6ae040d37fef2a297de8cbecec38bbc3fae8088c212db2c01f6107ece2745de43da4da9fab6064914a668b02c818a1696eb2b98e80f9a1e7911bcba8e05c5071ea7b3d727d12bf4a092644b3677db38bcce87f748400d6012b0ed3fa8c24ed84215c2a837c0bf1e3636fdf4e78f575e459970775b7bae4dd3c800ef3ba7838ec3bb086646cca47676aa359435e51b9c9f9b2f950885fe7195af400f6bf589f5d684b9adb15d42ab3f483ecd813e7495cd5ecf47b16ff6ab6dfe18db5e4d092d316370378c2a57b762fe72f62a5');
CREATE TABLE drift_since (
        project_id TEXT NOT NULL, branch_id TEXT NOT NULL, datname TEXT NOT NULL, baseline TEXT NOT NULL,
        since REAL NOT NULL, PRIMARY KEY (project_id, branch_id, datname)
    ) STRICT, WITHOUT ROWID;
INSERT INTO drift_since VALUES('p1','br1','app','parent',1795410000.0);
CREATE TABLE drift_history (
        project_id TEXT NOT NULL, branch_id TEXT NOT NULL, datname TEXT NOT NULL, taken_at REAL NOT NULL,
        body TEXT NOT NULL, PRIMARY KEY (project_id, branch_id, datname)
    ) STRICT, WITHOUT ROWID;
INSERT INTO drift_history VALUES('p1','br1','app',1795410601.0,'{"rows": {"flyway/dg": [["1", "123", "applied", 1795400000.0], ["2", null, "failed", null]], "rails/": []}, "histories": [["flyway", "public", "flyway_schema_history", "dg", 1, "ok"], ["rails", "shop", "schema_migrations", "", 0, "no_privilege"]], "locks": [["flyway", "public", 3.5, "ann"]], "vanished": [["rails", "shop", 2]]}');
CREATE TABLE drift_settings (
        project_id TEXT NOT NULL, branch_id TEXT NOT NULL, endpoint_id TEXT NOT NULL, taken_at REAL NOT NULL,
        body TEXT NOT NULL, PRIMARY KEY (project_id, branch_id, endpoint_id)
    ) STRICT, WITHOUT ROWID;
INSERT INTO drift_settings VALUES('p1','br1','ep-a',1795410602.0,'{"settings": {"work_mem": ["8192", "h", "kB", "integer", true], "secret": [null, "h2", null, "string", true]}, "roles": {"app": "LOGIN"}}');
CREATE TABLE posture_fact (
        source TEXT NOT NULL, key TEXT NOT NULL, taken_at REAL NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (source, key)
    ) STRICT;
INSERT INTO posture_fact VALUES('names','p1/br1/app',1795410603.0,X'789cab562a4ece48cd4d2c56b2aa562a284dcac94c56b252ca2fcf4b2d52aad5512acacf49054a454345626b019b4410b5');
CREATE TABLE posture_since (cache_key TEXT PRIMARY KEY, since REAL NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO posture_since VALUES('rls/p1/br1/app',1795410604.0);
CREATE TABLE posture_day (day INTEGER PRIMARY KEY, taken_at REAL NOT NULL, body BLOB NOT NULL) STRICT;
INSERT INTO posture_day VALUES(1795392000,1795410605.0,X'789cab562aca29d62f30d44f2a32d44f2c2850b28a068928e9282189e928e5e52b14e4e76426572ac5d602009fd1103b');
COMMIT;
