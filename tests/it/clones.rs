//! `crossfade copy`: a clone of everything a database has, the same after every crash.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use crossfade::shadow::Binaries;

use crate::fingerprint::{assert_same, fingerprint};
use crate::support::{Process, Ran, TestDb, crossfade};
use crate::told::told;

/// Everything that a real database has. `@@` stands for a role.
const EVERYTHING: &str = r#"
CREATE EXTENSION citext;
CREATE EXTENSION btree_gist;
CREATE SCHEMA "Odd.Schema" AUTHORIZATION "@@";
COMMENT ON SCHEMA "Odd.Schema" IS 'it''s
--
-- Name: not; Type: AN ENTRY; Schema: x';
CREATE SCHEMA größe;
CREATE TYPE mood AS ENUM ('gut', 'schl''echt', 'Ärger');
CREATE DOMAIN "Odd.Schema".positive AS int DEFAULT 1 NOT NULL CHECK (VALUE > 0);
CREATE DOMAIN label AS mood;
CREATE TYPE pair AS (left_one int, right_one mood);
CREATE FUNCTION text_diff(text, text) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT length($1)::float8 - length($2)';
CREATE TYPE moodrange AS RANGE (SUBTYPE = mood);
CREATE COLLATION numbers (provider = icu, locale = 'en-u-kn-true', deterministic = false);
CREATE FUNCTION reversed(int, int) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT btint4cmp($2, $1)';
CREATE OPERATOR CLASS backwards FOR TYPE int USING btree AS
    OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 reversed(int, int);
CREATE FUNCTION two() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END;
CREATE SEQUENCE free_standing AS smallint INCREMENT BY -3 MINVALUE -300 MAXVALUE 30 START 12 CACHE 4 CYCLE;
SELECT nextval('free_standing'), nextval('free_standing');
CREATE SEQUENCE untouched START 77;
CREATE UNLOGGED TABLE fast (id int PRIMARY KEY, note text);
INSERT INTO fast SELECT n, 'n' || n FROM generate_series(1, 50) AS n;
CREATE TABLE nothing ();
INSERT INTO nothing SELECT FROM generate_series(1, 3);
CREATE TABLE empty_one (id int PRIMARY KEY);
CREATE TABLE "Odd.Schema"."Tab""le" (
    "Id ü" bigint GENERATED ALWAYS AS IDENTITY (START WITH 100 INCREMENT BY 7) PRIMARY KEY,
    "select" text COLLATE numbers, amount "Odd.Schema".positive, m mood, l label, p pair, ps pair[], ms mood[], r moodrange,
    n numrange, list int[][], raw bytea, ci citext, at timestamptz, f float8, big numeric(40, 10), gone text,
    twice int GENERATED ALWAYS AS (amount * 2) STORED,
    CONSTRAINT "Un""ique" UNIQUE (amount, "select") DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT no_overlap EXCLUDE USING gist (amount WITH =, n WITH &&) DEFERRABLE,
    CONSTRAINT odd CHECK (f <> -3) NO INHERIT);
ALTER TABLE "Odd.Schema"."Tab""le" DROP COLUMN gone;
INSERT INTO "Odd.Schema"."Tab""le" ("select", amount, m, l, p, ps, ms, r, n, list, raw, ci, at, f, big)
SELECT 'x' || n || E'\t\n\\ü', n, 'gut', 'Ärger', (n, 'gut'::mood)::pair, ARRAY[(1, 'gut'::mood)::pair, NULL, (NULL::int, 'Ärger'::mood)::pair], ARRAY['gut', NULL]::mood[],
       moodrange('gut', 'Ärger'), numrange(n, n + 1), ARRAY[[n, NULL], [2, 3]], decode(md5(n::text), 'hex'), 'MiXed' || n,
       '2024-02-29 12:00+05'::timestamptz + n * interval '1 us', CASE WHEN n = 1 THEN 'NaN' ELSE n / 7.0 END, n::numeric / 3
FROM generate_series(1, 3000) AS n;
CREATE INDEX "Backwards" ON "Odd.Schema"."Tab""le" (amount backwards) INCLUDE (m) WHERE f > 10;
CREATE INDEX expression ON "Odd.Schema"."Tab""le" ((lower("select")), (amount + 1) DESC NULLS LAST);
ALTER INDEX "Odd.Schema".expression ALTER COLUMN 1 SET STATISTICS 500;
COMMENT ON INDEX "Odd.Schema".expression IS 'an expression';
COMMENT ON CONSTRAINT "Un""ique" ON "Odd.Schema"."Tab""le" IS 'with "quotes"; and more';
COMMENT ON COLUMN "Odd.Schema"."Tab""le"."Id ü" IS E'tab\there';
ALTER TABLE "Odd.Schema"."Tab""le" CLUSTER ON "Tab""le_pkey";
ALTER TABLE "Odd.Schema"."Tab""le" REPLICA IDENTITY FULL;
ALTER TABLE "Odd.Schema"."Tab""le" OWNER TO "@@";
CREATE STATISTICS related ON amount, f FROM "Odd.Schema"."Tab""le";
CREATE TABLE größe.part (id int, region text, at date NOT NULL, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE größe.part_eu PARTITION OF größe.part FOR VALUES IN ('eu') PARTITION BY HASH (id);
CREATE TABLE größe.part_eu_0 PARTITION OF größe.part_eu FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE größe.part_eu_1 PARTITION OF größe.part_eu FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE größe.part_rest (at date NOT NULL, region text NOT NULL, id int NOT NULL);
ALTER TABLE größe.part ATTACH PARTITION größe.part_rest DEFAULT;
CREATE INDEX part_at ON größe.part (at);
INSERT INTO größe.part SELECT n, (ARRAY['eu', 'us', 'Ü'])[1 + n % 3], '2024-01-01'::date + n FROM generate_series(1, 900) AS n;
CREATE TABLE ancestor (id serial PRIMARY KEY, a text, CHECK (a <> ''));
CREATE TABLE descendant (b text) INHERITS (ancestor);
INSERT INTO ancestor (a) SELECT 'a' || n FROM generate_series(1, 40) AS n;
INSERT INTO descendant (a, b) SELECT 'd' || n, 'b' FROM generate_series(1, 60) AS n;
CREATE TYPE place AS (id int, name text);
CREATE TABLE places OF place (PRIMARY KEY (id), name WITH OPTIONS DEFAULT 'here') WITH (fillfactor = 70);
ALTER TABLE places ALTER COLUMN name SET STORAGE EXTERNAL;
INSERT INTO places VALUES (1, repeat('long', 1000)), (2, DEFAULT);
CREATE FUNCTION added(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT coalesce($1, 0) + $2';
CREATE AGGREGATE total(int) (SFUNC = added, STYPE = int);
CREATE OPERATOR <+> (LEFTARG = int, RIGHTARG = int, FUNCTION = added);
CREATE FUNCTION mood_of(int) RETURNS mood LANGUAGE sql IMMUTABLE AS $f$ SELECT 'gut'::mood $f$;
CREATE CAST (int AS mood) WITH FUNCTION mood_of(int);
CREATE PROCEDURE nothing_done() LANGUAGE plpgsql AS $f$ BEGIN NULL; END $f$;
CREATE TEXT SEARCH CONFIGURATION plain_words (COPY = simple);
CREATE TABLE points (id int PRIMARY KEY, fast int, region text, part int, up int REFERENCES points DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (region, part) REFERENCES größe.part ON DELETE CASCADE);
ALTER TABLE points ADD CONSTRAINT points_fast FOREIGN KEY (fast) REFERENCES ancestor MATCH FULL ON UPDATE SET NULL;
COMMENT ON CONSTRAINT points_fast ON points IS 'a key';
INSERT INTO points SELECT n, n, 'us', 1 + 3 * n, nullif(n - 1, 0) FROM generate_series(1, 40) AS n;
ALTER TABLE points ADD CONSTRAINT never_looked FOREIGN KEY (id) REFERENCES empty_one NOT VALID;
CREATE TABLE heard (what text);
CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO heard VALUES (TG_OP || ';'); RETURN NULL; END $f$;
CREATE TRIGGER always AFTER INSERT ON points FOR EACH ROW EXECUTE FUNCTION hear();
ALTER TABLE points ENABLE ALWAYS TRIGGER always;
CREATE TRIGGER never AFTER INSERT ON points FOR EACH STATEMENT EXECUTE FUNCTION hear();
ALTER TABLE points DISABLE TRIGGER never;
CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON points DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hear();
CREATE RULE also AS ON INSERT TO heard DO ALSO (UPDATE empty_one SET id = id; SELECT 1);
CREATE VIEW plain AS SELECT id, a FROM ancestor WHERE a <> ';';
CREATE MATERIALIZED VIEW first AS SELECT m, count(*) AS n FROM "Odd.Schema"."Tab""le" GROUP BY m;
CREATE MATERIALIZED VIEW second AS SELECT sum(n) AS n FROM first;
CREATE UNIQUE INDEX ON first (m);
CREATE MATERIALIZED VIEW never_filled AS SELECT 1 AS one WITH NO DATA;
CREATE TABLE guarded (id int PRIMARY KEY, owner name DEFAULT current_user);
INSERT INTO guarded SELECT generate_series(1, 10);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
ALTER TABLE guarded FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON guarded USING (owner = current_user) WITH CHECK (id > 0);
GRANT SELECT (id), UPDATE (owner) ON guarded TO "@@";
GRANT USAGE ON SCHEMA größe TO PUBLIC;
REVOKE EXECUTE ON FUNCTION two() FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE "@@" GRANT SELECT ON TABLES TO PUBLIC;
SELECT lo_from_bytea(4711, decode(repeat('00ff', 700000), 'hex'));
SELECT lo_from_bytea(4712, '');
COMMENT ON LARGE OBJECT 4711 IS 'large';
GRANT SELECT ON LARGE OBJECT 4711 TO "@@";
ALTER LARGE OBJECT 4712 OWNER TO "@@";
CREATE PUBLICATION news FOR TABLE points WHERE (id > 3);
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $f$ BEGIN RAISE 'no more tables'; END $f$;
ANALYZE;
CREATE EVENT TRIGGER no_more ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION refuse();
COMMENT ON EVENT TRIGGER no_more IS 'it would refuse our own';
"#;

/// What an empty database gets before any test: nothing stands in the way of a schema that is there.
const THERE_ALREADY: &str = "CREATE EXTENSION citext";

struct Pair {
    blue: TestDb,
    green: TestDb,
    state: tempfile::TempDir,
}

impl Pair {
    async fn of(blue_sql: &str) -> Self {
        let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
        blue.sql(blue_sql).await;
        Self { blue, green, state: tempfile::tempdir().unwrap() }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = crossfade();
        command.args(words).env("CROSSFADE_STATE", self.state.path());
        command.env("BLUE_DATABASE_URL", self.blue.url()).env("GREEN_DATABASE_URL", self.green.url());
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        Ran::of(self.command(words).output().unwrap())
    }

    fn plan(&self) -> String {
        self.state.path().join("copy.toml").display().to_string()
    }

    /// Definitions, rows, sequences and large objects are the same.
    async fn assert_clone(&self) {
        similar_asserts(&schema(&self.blue), &schema(&self.green));
        let (there, here) = (content(&self.blue).await, content(&self.green).await);
        for (name, rows) in &there {
            assert_eq!(here.get(name), Some(rows), "{name}");
        }
        assert_eq!(there.len(), here.len());
        assert_eq!(self.green.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, "0");
    }
}

/// A client program of the servers' version where it stands beside them.
fn client(name: &str) -> Command {
    let beside = Binaries::find().unwrap().program(name);
    if beside.exists() { Command::new(beside) } else { Command::new(name) }
}

/// Runs each statement in a transaction of its own.
fn by_psql(db: &TestDb, sql: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), sql).unwrap();
    let mut command = client("psql");
    command.args(["-qX", "-v", "ON_ERROR_STOP=1", "-d", &db.url(), "-f"]).arg(file.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The definitions, as `pg_dump` writes them, our own aside.
fn schema(db: &TestDb) -> String {
    let output = client("pg_dump").args(["-s", "-N", "crossfade", &db.url()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // Newer ones give each dump a random key.
    let lines = text.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Shows the lines that differ, not both texts.
#[track_caller]
fn similar_asserts(expected: &str, found: &str) {
    let lost: Vec<&str> = expected.lines().filter(|line| !found.lines().any(|other| other == *line)).collect();
    let new: Vec<&str> = found.lines().filter(|line| !expected.lines().any(|other| other == *line)).collect();
    assert!(expected == found, "blue alone: {lost:#?}\ngreen alone: {new:#?}");
}

/// Rows of every table and materialized view as number and hash, where sequences stand, what large objects hold.
async fn content(db: &TestDb) -> BTreeMap<String, String> {
    let session = db.session().await;
    let relations = "SELECT format('%I.%I', n.nspname, c.relname), c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                     WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'crossfade', 'pg_toast') \
                       AND (c.relkind IN ('r', 'S') OR c.relkind = 'm' AND c.relispopulated)";
    let mut found = BTreeMap::new();
    for row in session.query(relations, &[]).await.unwrap() {
        let (name, kind): (String, String) = (row.get(0), row.get(1));
        let sql = match kind.as_str() {
            "S" => format!("SELECT last_value || ' ' || is_called FROM {name}"),
            _ => format!(
                "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) || ' ' || coalesce(sum(hashtextextended(t::text, 7)::numeric), 0) \
                 FROM ONLY {name} AS t"
            ),
        };
        let sql = if kind == "m" { sql.replace("ONLY ", "") } else { sql };
        found.insert(name, session.query_one(&sql, &[]).await.unwrap().get(0));
    }
    let objects = "SELECT m.oid::text, pg_get_userbyid(lomowner) || ' ' || coalesce(lomacl::text, '') || ' ' || md5(lo_get(m.oid)) || ' ' || \
                   coalesce(obj_description(m.oid, 'pg_largeobject'), '') FROM pg_largeobject_metadata m";
    for row in session.query(objects, &[]).await.unwrap() {
        found.insert(format!("large object {}", row.get::<_, String>(0)), row.get(1));
    }
    found
}

/// The database and a role of the cluster that it names.
fn everything(blue: &TestDb) -> (String, String) {
    let role = format!("Rolle {}", blue.name());
    (format!("CREATE ROLE \"{role}\"; {}", EVERYTHING.replace("@@", &role)), role)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_has_everything() {
    let pair = Pair::of("SELECT 1").await;
    let (sql, role) = everything(&pair.blue);
    by_psql(&pair.blue, &sql);
    pair.green.sql(THERE_ALREADY).await;
    let empty = fingerprint(&pair.green).await;

    let told = pair.run(&["copy"]).exits(0);
    for words in ["\"Odd.Schema\"", "2 large objects", "roles and their memberships", "is made anew by REFRESH"] {
        assert!(told.stdout.contains(words), "`{words}` is not in:\n{}", told.stdout);
    }
    assert_same("without --execute", std::slice::from_ref(&empty), &[fingerprint(&pair.green).await]);

    pair.run(&["copy", "--execute"]).exits(0);
    pair.assert_clone().await;
    let statistics = "SELECT string_agg(DISTINCT format('%I.%I', schemaname, tablename), ' ') FROM pg_stats WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'crossfade')";
    assert_eq!(pair.green.value(statistics).await, pair.blue.value(statistics).await, "tables with statistics");
    assert_eq!(pair.green.value("SELECT count(*) FROM heard").await, pair.blue.value("SELECT count(*) FROM heard").await);

    pair.green.sql("ALTER EVENT TRIGGER no_more DISABLE").await;
    pair.run(&["rollback", &pair.plan(), "--execute"]).exits(0);
    assert_same("after the rollback", &[empty], &[fingerprint(&pair.green).await]);
    assert_eq!(pair.green.value("SELECT count(*) FROM pg_largeobject_metadata").await, "0");
    drop(pair.green);
    pair.blue.sql(&format!("REASSIGN OWNED BY \"{role}\" TO current_user; DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_database_can_be_chosen() {
    let pair = Pair::of(
        "CREATE TABLE a (id serial PRIMARY KEY); INSERT INTO a SELECT FROM generate_series(1, 9); CREATE TABLE b (id int); \
         CREATE SCHEMA s; CREATE TABLE s.a (id int PRIMARY KEY); INSERT INTO s.a VALUES (1); CREATE TABLE s.c (id int)",
    )
    .await;
    pair.run(&["copy", "--schema", "s", "--exclude", "s.c", "--execute"]).exits(0);
    assert_eq!(pair.green.value("SELECT string_agg(oid::regclass::text, ' ') FROM pg_class WHERE relkind = 'r' AND relnamespace = 's'::regnamespace").await, "s.a");
    assert_eq!(pair.green.value("SELECT to_regclass('b') IS NULL AND to_regclass('a') IS NULL").await, "true");
    // Another choice is another plan; the first is over. Owners and privileges stay on blue when that is asked for.
    let role = format!("Rolle {}", pair.blue.name());
    pair.blue.sql(&format!("CREATE ROLE \"{role}\"; ALTER TABLE a OWNER TO \"{role}\"; GRANT SELECT ON b TO \"{role}\"")).await;
    pair.run(&["copy", "--tables", "a,public.b", "--no-owner", "--no-privileges", "--execute"]).exits(0);
    let own = "SELECT bool_and(relowner::regrole::text = current_user AND relacl IS NULL) FROM pg_class WHERE oid IN ('a'::regclass, 'b'::regclass)";
    assert_eq!(pair.green.value(own).await, "true");
    assert_eq!(pair.green.value("SELECT count(*) || ' ' || (SELECT last_value FROM a_id_seq) FROM a").await, "9 9");
    pair.run(&["copy", "--tables", "a", "--execute", "--new"]).exits(10);
    let refused = pair.run(&["copy", "--tables", "b", "--execute"]).exits(2);
    assert!(refused.stderr.contains("a copy with other options is not finished"), "{}", refused.stderr);
    drop(pair.green);
    pair.blue.sql(&format!("REASSIGN OWNED BY \"{role}\" TO current_user; DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"")).await;
}

/// Small tables come several to a transaction, and tables of no other's need are defined beside each other. A row that an index of one of them
/// refuses is a fault of that table alone.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_small_tables_the_one_that_is_refused_is_named() {
    let pair = Pair::of(
        "CREATE FUNCTION picky(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN \
             RETURN CASE WHEN current_setting('application_name') LIKE 'crossfade/%' THEN 1 / (n - 7) ELSE n END; END $$; \
         CREATE TABLE base (id int PRIMARY KEY, base_id int REFERENCES base); INSERT INTO base VALUES (1, 1); \
         DO $$ BEGIN FOR t IN 1..60 LOOP \
             EXECUTE format('CREATE TABLE t_%s (id serial PRIMARY KEY, n int, long text DEFAULT repeat(''x'', 9000))', t); \
             EXECUTE format('INSERT INTO t_%s (n) SELECT x FROM generate_series(8, %s) AS x; CREATE INDEX ON t_%s (n)', t, t + 8, t); \
         END LOOP; END $$; \
         CREATE TABLE heir (more base, kind text) INHERITS (t_9); INSERT INTO heir (n) VALUES (3); \
         INSERT INTO t_23 (n) VALUES (7); CREATE INDEX t_23_picky ON t_23 (picky(n))",
    )
    .await;
    let refused = Ran::of(pair.command(&["copy", "--execute", "--jobs", "2"]).output().unwrap());
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("t_23_picky of table public.t_23 on green"), "{}", refused.stderr);
    for side in [&pair.blue, &pair.green] {
        side.sql("CREATE OR REPLACE FUNCTION picky(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n'").await;
    }
    pair.run(&["copy", "--execute", "--jobs", "2"]).exits(0);
    pair.assert_clone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_said_before_anything_is_made() {
    let pair = Pair::of("CREATE TABLE a (id int PRIMARY KEY)").await;
    pair.green.sql("CREATE TABLE a (other text)").await;
    let told = pair.run(&["copy", "--execute"]).exits(10);
    assert!(told.stderr.contains("has tables that the clone would make"), "{}", told.stderr);
    assert_eq!(
        pair.green.value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'a'::regclass AND attname = 'other'").await,
        "1"
    );
}

/// A table of an extension whose rows are partly the extension's own (`pg_extension_config_dump`). No extension of a plain
/// installation has one, and its script could not be put where servers look: so a table is given to one that is there.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_users_put_into_tables_of_extensions_come_along() {
    let extension = "CREATE EXTENSION citext; CREATE TABLE settings (id int PRIMARY KEY, value text, pad text); \
        INSERT INTO settings SELECT n, 'own', repeat('x', 500) FROM generate_series(1, 1000) AS n; CREATE TABLE notes (note text); \
        ALTER EXTENSION citext ADD TABLE settings; ALTER EXTENSION citext ADD TABLE notes; \
        UPDATE pg_extension SET extconfig = ARRAY['settings'::regclass, 'notes'::regclass]::oid[], extcondition = ARRAY['WHERE id > 1000', ''] WHERE extname = 'citext'";
    let pair = Pair::of(extension).await;
    pair.blue.sql("INSERT INTO settings VALUES (1001, 'users'), (1002, 'users'); INSERT INTO notes VALUES ('a'); UPDATE settings SET value = 'changed' WHERE id = 1").await;
    pair.green.sql(extension).await;
    let empty = fingerprint(&pair.green).await;
    pair.green.sql("INSERT INTO notes VALUES ('in the way')").await;
    let told = pair.run(&["copy", "--execute"]).exits(10);
    assert!(told.stderr.contains("table public.notes on green: belongs to an extension"), "{}", told.stderr);
    pair.green.sql("DELETE FROM notes").await;
    pair.run(&["copy", "--execute"]).exits(0);
    let rows = "SELECT string_agg(id || ' ' || value, ', ' ORDER BY id) || (SELECT string_agg(note, '') FROM notes) FROM settings WHERE id IN (1, 1001, 1002)";
    assert_eq!(pair.green.value(rows).await, "1 own, 1001 users, 1002 usersa");
    assert_eq!(pair.green.value("SELECT count(*) FROM settings").await, "1002");
    pair.run(&["rollback", &pair.plan(), "--execute"]).exits(0);
    assert_same("after the rollback", &[empty], &[fingerprint(&pair.green).await]);
}

/// Blue is bigger than what one part or one transaction takes.
const TO_BE_KILLED: &str = "
CREATE TABLE big (id bigserial PRIMARY KEY, code text UNIQUE, note text, at timestamptz);
INSERT INTO big (code, note, at) SELECT 'c' || n, repeat(md5(n::text), 8), '2024-01-01'::timestamptz + n * interval '1 s' FROM generate_series(1, 20000) AS n;
CREATE INDEX big_note ON big (note); CREATE INDEX big_at ON big (at); CREATE INDEX big_lower ON big (lower(code));
DO $$ BEGIN FOR n IN 1..30 LOOP EXECUTE format('CREATE TABLE small_%s (id int PRIMARY KEY, big bigint REFERENCES big, a text)', n);
EXECUTE format('INSERT INTO small_%s SELECT i, i, md5(i::text) FROM generate_series(1, 100) i', n);
EXECUTE format('CREATE INDEX ON small_%s (a)', n); END LOOP; END $$;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM big;
SELECT lo_from_bytea(0, decode(repeat('ab', 100000), 'hex'));
ANALYZE";

/// `CROSSFADE_KILLS` times, 6 when it is not set.
#[tokio::test(flavor = "multi_thread")]
async fn kills_at_random_points_end_in_the_same_green() {
    let kills: usize = std::env::var("CROSSFADE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let pair = Pair::of(TO_BE_KILLED).await;
    let copy = |name: &str| pair.command(&["copy", "--execute", "--jobs", "2", "--name", name]);
    let back = |name: &str| {
        let plan = pair.state.path().join(format!("{name}.toml")).display().to_string();
        pair.run(&["rollback", &plan, "--execute"]).exits(0);
    };
    let began = Instant::now();
    Ran::of(copy("undisturbed").output().unwrap()).exits(0);
    let long = began.elapsed();
    pair.assert_clone().await;
    back("undisturbed");

    let (seed, mut killed, mut ended, mut name) = (fastrand::u64(..), 0, 0, "round-0".to_owned());
    let mut random = fastrand::Rng::with_seed(seed);
    while killed < kills {
        let mut process = Process::spawn(&mut copy(&name));
        // The moment is what is random: there is no condition to wait for.
        tokio::time::sleep(Duration::from_secs_f64(random.f64() * long.as_secs_f64() * 1.1)).await;
        if process.is_running() {
            drop(process); // kill -9
            killed += 1;
        } else {
            process.finish().exits(0);
            pair.assert_clone().await;
            back(&name);
            ended += 1;
            name = format!("round-{ended}");
        }
    }
    let ran = Ran::of(copy(&name).output().unwrap());
    assert_eq!(ran.code, Some(0), "seed {seed}: {}", ran.stderr);
    pair.assert_clone().await;
    told(
        "crossfade copy killed (SIGKILL)",
        "at random moments, the same command again",
        kills as u64,
        "the same clone, nothing left",
    );
}
