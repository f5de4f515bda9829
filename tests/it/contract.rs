//! The contract of `step::Step`, held against every kind: there and back and there again, through a crash at every
//! place, and hands off what was there before.
//!
//! A new case is one entry in [`cases!`]: `Case::new(kind, steps)`, and for what is not usual
//! `Case { green: Some("CREATE TABLE ..."), files: &[("folder/1.sql", "...")], ..Case::new(kind, steps) }`. Each case becomes one test of each module below, so that
//! `cargo test contract::crashes::set_not_null` runs one of them alone.

use std::time::Duration;

use crate::fingerprint::{assert_same, fingerprints};
use crate::support::{TestDb, Workspace, logical_cluster};
use crate::told::told;

/// One step (or a few) on small databases.
pub struct Case {
    /// The kind it is a case of.
    kind: &'static str,
    /// The `[[step]]` tables.
    steps: &'static str,
    /// SQL that makes blue.
    blue: &'static str,
    /// SQL that makes green, for a plan with two sides.
    green: Option<&'static str>,
    /// SQL after which the effect is there already; `None` for kinds that cannot find it.
    adopted: Option<&'static str>,
    /// Files beside the plan.
    files: &'static [(&'static str, &'static str)],
    /// More words for `crossfade run`.
    words: &'static [&'static str],
    /// Whether the databases change at all.
    changes: bool,
    /// Whether blue is read through a replication slot.
    slot: bool,
    /// Files beside the plan that belong to the state, as the databases do.
    looks_at: &'static [&'static str],
}

impl Case {
    /// A case on blue alone.
    pub const fn new(kind: &'static str, steps: &'static str) -> Self {
        Self {
            kind,
            steps,
            blue: ORDERS,
            green: None,
            adopted: None,
            files: &[],
            words: &[],
            changes: true,
            slot: false,
            looks_at: &[],
        }
    }

    const fn adopted(mut self, sql: &'static str) -> Self {
        self.adopted = Some(sql);
        self
    }

    const fn words(mut self, words: &'static [&'static str]) -> Self {
        self.words = words;
        self
    }

    const fn unchanged(mut self) -> Self {
        self.changes = false;
        self
    }
}

/// Two tables with a few rows, one pointing to the other.
const ORDERS: &str = "
    CREATE TABLE customer (id bigint PRIMARY KEY, email text, note text);
    CREATE TABLE orders (id bigint, customer_id bigint, amount int, placed_at timestamptz);
    CREATE INDEX orders_placed ON orders (placed_at DESC) WHERE amount > 10;
    INSERT INTO customer SELECT n, 'c' || n || '@example.org', 'note ' || n FROM generate_series(1, 200) AS n;
    INSERT INTO orders SELECT n, 1 + n % 200, n % 50, '2024-01-01'::timestamptz + n * interval '1 minute'
      FROM generate_series(1, 1000) AS n;";

/// The same with statistics.
const ORDERS_ANALYZED: &str = "
    CREATE TABLE customer (id bigint PRIMARY KEY, email text, note text);
    INSERT INTO customer SELECT n, 'c' || n || '@example.org', 'note ' || n FROM generate_series(1, 200) AS n;
    ANALYZE";

/// What a clone must carry: odd names, keys to itself, every sort of default, arrays, partial and expression indexes.
const CLONED: &str = r#"
    CREATE SCHEMA "Odd.Schema";
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE TABLE parent (id bigserial PRIMARY KEY, code text UNIQUE DEFERRABLE, up bigint REFERENCES parent, list text[], doc jsonb, at timestamptz);
    CREATE INDEX parent_lower ON parent (lower(code)) WHERE up IS NOT NULL;
    CREATE TABLE "Odd.Schema"."Odd ""T" (a int, "B b" varchar(20), parent bigint REFERENCES parent ON DELETE CASCADE, m mood,
        twice int GENERATED ALWAYS AS (a * 2) STORED, PRIMARY KEY (a, "B b"), CHECK (a > 0));
    INSERT INTO parent (code, up, list, doc, at) SELECT 'c' || n, nullif(n / 2, 0), ARRAY['x', NULL, 'y' || n], jsonb_build_object('n', n),
        '2024-02-29'::timestamptz + n * interval '1 s' FROM generate_series(1, 3000) AS n;
    INSERT INTO "Odd.Schema"."Odd ""T" SELECT n, 'b' || n, n, CASE WHEN n % 2 = 0 THEN 'good'::mood ELSE 'bad' END FROM generate_series(1, 2000) AS n;
    ANALYZE"#;

/// The same schema without rows.
const CLONED_EMPTY: &str = r#"
    CREATE SCHEMA "Odd.Schema";
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE TABLE parent (id bigserial PRIMARY KEY, code text UNIQUE DEFERRABLE, up bigint REFERENCES parent, list text[], doc jsonb, at timestamptz);
    CREATE INDEX parent_lower ON parent (lower(code)) WHERE up IS NOT NULL;
    CREATE TABLE "Odd.Schema"."Odd ""T" (a int, "B b" varchar(20), parent bigint REFERENCES parent ON DELETE CASCADE, m mood,
        twice int GENERATED ALWAYS AS (a * 2) STORED, PRIMARY KEY (a, "B b"), CHECK (a > 0))"#;

/// A parent that leans on a column of its children which their primary key does not hold.
const LEANING_PARENT: &str = r#"
table = "parent"
key = ["id"]
[[source]]
name = "all"
drives = { table = "parent", alias = "p" }
from = "parent AS p"
[source.columns]
id = "p.id"
code = "(SELECT max(o.\"B b\") FROM \"Odd.Schema\".\"Odd \"\"T\" AS o WHERE o.parent = p.id)"
up = "p.up"
list = "p.list"
doc = "p.doc"
at = "p.at"
[[source.dirty]]
table = '"Odd.Schema"."Odd ""T"'
by = ["parent"]
"#;

/// Capture, copy, changes, follow, verify; with more keys of the capture.
macro_rules! follow_steps {
    ($keys:literal) => {
        concat!(r#"
            kind = "start_capture"
            "#, $keys, r#"
            tables = ["parent", '"Odd.Schema"."Odd ""T"']
            [[step]]
            id = "the-copy"
            phase = "expand"
            kind = "copy"
            tables = ["parent", '"Odd.Schema"."Odd ""T"']
            [[step]]
            id = "changes-meanwhile"
            phase = "expand"
            kind = "run_sql"
            side = "blue"
            sql = ["UPDATE parent SET code = 'x' || code, list = NULL WHERE id % 7 = 0", "DELETE FROM parent WHERE id > 2990"]
            undo_sql = ["UPDATE parent SET code = substr(code, 2), list = ARRAY['x', NULL, 'y' || id] WHERE id % 7 = 0", "INSERT INTO parent (id, code, up, list, doc, at) SELECT n, 'c' || n, n / 2, ARRAY['x', NULL, 'y' || n], jsonb_build_object('n', n), '2024-02-29'::timestamptz + n * interval '1 s' FROM generate_series(2991, 3000) AS n"]
            [[step]]
            id = "the-follow"
            phase = "expand"
            kind = "follow"
            tables = ["parent", '"Odd.Schema"."Odd ""T"']
            until = { lag = "30s", for = "1ms" }
            [[step]]
            id = "the-verify"
            phase = "expand"
            kind = "verify"
            tables = ["parent", '"Odd.Schema"."Odd ""T"']
        "#)
    };
}

/// Kinds without a case, each with the reason.
const WITHOUT_CASE: &[(&str, &str)] = &[
    ("prove_revocations", "needs a run that captures, copies and follows: killed at each of its places in revocations.rs"),
    ("end_way_back", "needs a switch before it, and nothing undoes it: killed at each of its places in cutover/switch.rs"),
];

macro_rules! cases {
    ($($name:ident: $case:expr;)*) => {
        const CASES: &[Case] = &[$($case),*];

        mod there_and_back {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::goes_there_and_back(&super::named(stringify!($name))).await; })*
        }
        mod crashes {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::survives_a_crash_everywhere(&super::named(stringify!($name))).await; })*
        }
        mod adoption {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::leaves_what_was_there(&super::named(stringify!($name))).await; })*
        }

        fn named(name: &str) -> &'static Case {
            &CASES[[$(stringify!($name)),*].iter().position(|known| *known == name).unwrap()]
        }
    };
}

cases! {
    run_sql: Case::new("run_sql", r#"
        kind = "run_sql"
        side = "blue"
        sql = ["ALTER TABLE orders ADD COLUMN currency text", "UPDATE orders SET currency = 'EUR' WHERE id < 10"]
        undo_sql = ["ALTER TABLE orders DROP COLUMN currency"]
    "#);
    run_sql_on_two_sides: Case {
        blue: "CREATE SEQUENCE numbers; SELECT setval('numbers', 41)",
        green: Some("CREATE TABLE letters (letter text); INSERT INTO letters VALUES ('a')"),
        ..Case::new("run_sql", r#"
            kind = "run_sql"
            side = "blue"
            sql = ["SELECT nextval('numbers')"]
            undo_sql = ["SELECT setval('numbers', 41)"]
            [[step]]
            id = "green-too"
            phase = "expand"
            kind = "run_sql"
            side = "green"
            sql = ["INSERT INTO letters VALUES ('b')"]
            undo_sql = ["DELETE FROM letters WHERE letter = 'b'"]
        "#)
    };
    confirm: Case::new("confirm", r#"
        kind = "confirm"
        question = "Is the backup done?"
    "#).words(&["--approve", "the-step"]).unchanged();
    require: Case::new("require", r#"
        kind = "require"
        side = "blue"
        sql = "SELECT count(*) = 1000 FROM orders"
        object = "table orders"
        otherwise = "rows are missing"
        next = "load them"
    "#).unchanged();
    migrate: Case {
        blue: "CREATE TABLE history (version text PRIMARY KEY); INSERT INTO history VALUES ('1'); CREATE TABLE t AS SELECT 1 AS a",
        files: &[
            ("sql/1_t.sql", "CREATE TABLE t (a int);"),
            ("sql/1_t.down.sql", "DROP TABLE t;"), // never run: version 1 was there before us
            ("sql/2_column.sql", "ALTER TABLE t ADD COLUMN b text; UPDATE t SET b = 'x';"),
            ("sql/2_column.down.sql", "ALTER TABLE t DROP COLUMN b;"),
            ("sql/3_index.sql", "-- crossfade: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS t_a ON t (a);\n"),
            ("sql/3_index.down.sql", "-- crossfade: no-transaction\nDROP INDEX CONCURRENTLY IF EXISTS t_a;\n"),
        ],
        adopted: Some("INSERT INTO history VALUES ('2'), ('3')"),
        ..Case::new("migrate", r#"
            kind = "migrate"
            side = "blue"
            directory = "sql"
            history = { table = "history", column = "version" }
        "#)
    };
    create_index: Case::new("create_index", r#"
        kind = "create_index"
        side = "blue"
        table = "orders"
        name = "orders_by_customer"
        columns = ["customer_id", "placed_at DESC"]
        include = ["amount"]
    "#).adopted("CREATE INDEX orders_by_customer ON orders (customer_id, placed_at DESC) INCLUDE (amount)");
    create_index_of_expression: Case::new("create_index", r#"
        kind = "create_index"
        side = "blue"
        table = "public.customer"
        name = "customer_mail"
        columns = ["lower(email)"]
        unique = true
        method = "btree"
        where = "note IS NOT NULL"
    "#).adopted("CREATE UNIQUE INDEX customer_mail ON customer (lower(email)) WHERE note IS NOT NULL");
    drop_index: Case::new("drop_index", r#"
        kind = "drop_index"
        side = "blue"
        name = "orders_placed"
    "#).adopted("DROP INDEX orders_placed");
    add_check: Case::new("add_constraint", r#"
        kind = "add_constraint"
        side = "blue"
        table = "orders"
        name = "amount_not_negative"
        check = "amount >= 0"
    "#).adopted("ALTER TABLE orders ADD CONSTRAINT amount_not_negative CHECK (amount >= 0)");
    add_check_not_validated: Case::new("add_constraint", r#"
        kind = "add_constraint"
        side = "blue"
        table = "orders"
        name = "amount_small"
        check = "amount < 10"
        validate = false
    "#).adopted("ALTER TABLE orders ADD CONSTRAINT amount_small CHECK (amount < 10) NOT VALID");
    add_foreign_key: Case::new("add_constraint", r#"
        kind = "add_constraint"
        side = "blue"
        table = "orders"
        name = "orders_customer"
        foreign_key = { columns = ["customer_id"], references = "customer", referenced_columns = ["id"], on_delete = "cascade", on_update = "restrict" }
    "#).adopted("ALTER TABLE orders ADD CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customer (id) ON UPDATE RESTRICT ON DELETE CASCADE");
    add_unique: Case::new("add_constraint", r#"
        kind = "add_constraint"
        side = "blue"
        table = "customer"
        name = "customer_email"
        unique = ["email"]
    "#).adopted("ALTER TABLE customer ADD CONSTRAINT customer_email UNIQUE (email)");
    add_unique_over_an_index_of_yours: Case {
        blue: "CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 50); CREATE UNIQUE INDEX t_a ON t (a)",
        ..Case::new("add_constraint", r#"
            kind = "add_constraint"
            side = "blue"
            table = "t"
            name = "t_a"
            unique = ["a"]
        "#)
    };
    validate_a_check_of_yours: Case {
        blue: "CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 50);
               ALTER TABLE t ADD CONSTRAINT positive CHECK (a > 0) NOT VALID",
        ..Case::new("add_constraint", r#"
            kind = "add_constraint"
            side = "blue"
            table = "t"
            name = "positive"
            check = "a > 0"
        "#)
    };
    add_primary_key: Case::new("add_constraint", r#"
        kind = "set_not_null"
        side = "blue"
        table = "orders"
        column = "id"
        [[step]]
        id = "the-key"
        phase = "expand"
        kind = "add_constraint"
        side = "blue"
        table = "orders"
        name = "orders_pkey"
        primary_key = ["id"]
    "#).adopted("ALTER TABLE orders ADD CONSTRAINT orders_pkey PRIMARY KEY (id)");
    explicit_columns: Case::new("explicit_columns", r#"
        kind = "explicit_columns"
        side = "blue"
        tables = { customer = ["phone"] }
    "#).unchanged();
    backfill_of_nulls: Case {
        blue: "CREATE TABLE t (a bigint, \"B b\" text, c text, PRIMARY KEY (a, \"B b\")); \
               INSERT INTO t SELECT n, 'k' || n % 7, CASE WHEN n % 3 = 0 THEN 'kept' END FROM generate_series(1, 5000) AS n",
        ..Case::new("backfill", r#"
            kind = "backfill"
            side = "blue"
            table = "t"
            set = { c = "'filled ' || a" }
            where = "c IS NULL"
            set_aside = false
            undo_set = { c = "NULL" }
            undo_where = "c LIKE 'filled %'"
        "#)
    };
    backfill_over_values: Case::new("backfill", r#"
        kind = "backfill"
        side = "blue"
        table = "customer"
        set = { email = "lower(note)", note = "upper(email)" }
        where = "email LIKE 'c1%'"
    "#).adopted("DELETE FROM customer WHERE email LIKE 'c1%'");
    clean_rows_delete: Case {
        blue: "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v numeric, double numeric GENERATED ALWAYS AS (v * 2) STORED, \
                               list text[], doc json, raw bytea); \
               CREATE TABLE child (id int PRIMARY KEY, t bigint REFERENCES t ON DELETE CASCADE); \
               INSERT INTO t (v, list, doc, raw) SELECT n / 3.0, ARRAY['a', NULL, '\"' || n], '{\"x\": \"\\u0000\"}', '\\x00ff' \
                 FROM generate_series(1, 1000) AS n; \
               INSERT INTO child SELECT n, n FROM generate_series(1, 1000, 3) AS n",
        ..Case::new("clean_rows", r#"
            kind = "clean_rows"
            side = "blue"
            table = "t"
            where = "id % 10 = 1"
            reason = "every tenth"
            max_rows = 100
            delete = true
            cascades = true
        "#)
    };
    clean_rows_set: Case::new("clean_rows", r#"
        kind = "clean_rows"
        side = "blue"
        table = "customer"
        where = "note LIKE '%7'"
        reason = "notes that end in 7"
        max_rows = 50
        set = { note = "rtrim(note, '7')" }
    "#);
    start_capture: Case {
        blue: CLONED,
        green: Some(CLONED_EMPTY),
        ..Case::new("start_capture", r#"
            kind = "start_capture"
            tables = ["parent", '"Odd.Schema"."Odd ""T"']
        "#)
    };
    start_capture_slot: Case {
        blue: CLONED,
        green: Some(CLONED_EMPTY),
        slot: true,
        files: &[("projections/parent.toml", LEANING_PARENT)],
        ..Case::new("start_capture", r#"
            kind = "start_capture"
            source = "slot"
            set_replica_identity = true
            projections = "projections"
            tables = ['"Odd.Schema"."Odd ""T"']
        "#)
    };
    follow: Case {
        blue: CLONED,
        green: Some(CLONED_EMPTY),
        ..Case::new("follow", follow_steps!(""))
    };
    follow_slot: Case {
        blue: CLONED,
        green: Some(CLONED_EMPTY),
        slot: true,
        ..Case::new("follow", follow_steps!("source = \"slot\""))
    };
    take_over: Case {
        blue: CLONED,
        green: Some(CLONED_EMPTY),
        ..Case::new("take_over", r#"
            kind = "start_capture"
            tables = ["parent", '"Odd.Schema"."Odd ""T"']
            [[step]]
            id = "the-copy"
            phase = "expand"
            kind = "copy"
            tables = ["parent", '"Odd.Schema"."Odd ""T"']
            [[step]]
            id = "green-goes-its-own-way"
            phase = "expand"
            kind = "run_sql"
            side = "green"
            sql = ["UPDATE parent SET code = code || '!', list = NULL WHERE id % 3 = 0"]
            undo_sql = ["SELECT 1"]
            [[step]]
            id = "changes-meanwhile"
            phase = "expand"
            kind = "run_sql"
            side = "blue"
            sql = ["UPDATE parent SET code = 'x' || code, list = NULL WHERE id % 7 = 0", "DELETE FROM parent WHERE id > 2990"]
            undo_sql = ["UPDATE parent SET code = substr(code, 2), list = ARRAY['x', NULL, 'y' || id] WHERE id % 7 = 0", "INSERT INTO parent (id, code, up, list, doc, at) SELECT n, 'c' || n, n / 2, ARRAY['x', NULL, 'y' || n], jsonb_build_object('n', n), '2024-02-29'::timestamptz + n * interval '1 s' FROM generate_series(2991, 3000) AS n"]
            [[step]]
            id = "the-taking-over"
            phase = "expand"
            kind = "take_over"
            tables = ["parent", '"Odd.Schema"."Odd ""T"']
            [[step]]
            id = "the-verify"
            phase = "expand"
            kind = "verify"
            tables = ["parent", '"Odd.Schema"."Odd ""T"']
        "#)
    };
    copy: Case {
        blue: CLONED,
        green: Some(CLONED_EMPTY),
        ..Case::new("copy", r#"
            kind = "copy"
            tables = ["parent", '"Odd.Schema"."Odd ""T"']
        "#)
    };
    clone: Case {
        blue: CLONED,
        green: Some(""),
        ..Case::new("clone", r#"
            kind = "clone"
        "#)
    };
    copy_by_projection: Case {
        blue: ORDERS,
        green: Some("CREATE TABLE shop (id uuid PRIMARY KEY); INSERT INTO shop VALUES ('8a3f0f1c-0d1e-4a75-9c58-0f0b3f2f6a11'); \
                     CREATE TABLE buyer (id bigint PRIMARY KEY, mail varchar(80) UNIQUE, shop uuid NOT NULL REFERENCES shop, made timestamptz DEFAULT now()); \
                     CREATE TABLE sale (id bigint PRIMARY KEY, buyer bigint REFERENCES buyer, amount numeric, tags jsonb NOT NULL)"),
        files: &[
            ("projections/constants.toml", "shop = \"SELECT id FROM shop\""),
            ("projections/buyer.toml", r#"
table = "buyer"
key = ["id"]
[[source]]
name = "customers"
drives = { table = "customer", alias = "c" }
from = "customer AS c"
[source.columns]
id = "c.id"
mail = "c.email"
shop = "(SELECT shop FROM green)"
made = "'2024-01-01 00:00:00+00'::timestamptz"
"#),
            ("projections/sale.toml", r#"
table = "sale"
key = ["id"]
[[source]]
name = "small"
drives = { table = "orders", alias = "o" }
from = "orders AS o JOIN customer AS c ON c.id = o.customer_id"
where = "o.amount < 25"
[source.columns]
id = "o.id"
buyer = "c.id"
amount = "o.amount::numeric"
tags = "to_jsonb(string_to_array('small|' || c.note, '|'))"
[[source]]
name = "large"
drives = { table = "orders", alias = "o" }
from = "orders AS o"
where = "o.amount >= 25"
[source.columns]
id = "o.id"
buyer = "o.customer_id"
amount = "o.amount::numeric"
tags = "'[]'::jsonb"
"#),
        ],
        ..Case::new("copy", r#"
            kind = "copy"
            projections = "projections"
            [[step]]
            id = "and-verify"
            phase = "expand"
            kind = "verify"
            projections = "projections"
        "#)
    };
    verify: Case {
        green: Some(ORDERS),
        ..Case::new("verify", r#"
            kind = "verify"
            tables = ["customer"]
        "#).unchanged()
    };
    audit: Case {
        green: Some(ORDERS),
        files: &[("facts.toml", r#"
[[facts]]
name = "orders"
blue = "SELECT id::text AS key, 'placed'::text AS state, amount > 0 AS valid, customer_id::text AS owner, placed_at FROM orders"
green = "SELECT id::text AS key, 'placed'::text AS state, amount > 0 AS valid, customer_id::text AS owner, placed_at FROM orders"
fields = { owner = "link", placed_at = "time" }
"#)],
        ..Case::new("audit", r#"
            kind = "audit"
            facts = "facts.toml"
        "#).unchanged()
    };
    repair: Case {
        green: Some("CREATE TABLE buyer (id bigint PRIMARY KEY, mail text, seen int DEFAULT 7);
                     CREATE TABLE sale (id bigint PRIMARY KEY, buyer bigint REFERENCES buyer ON DELETE CASCADE, amount int, \"By\" text);
                     INSERT INTO buyer SELECT n, CASE WHEN n % 3 = 0 THEN '' ELSE 'c' || n || '@example.org' END FROM generate_series(1, 180) AS n;
                     INSERT INTO sale SELECT n, CASE WHEN 1 + n % 200 <= 180 THEN 1 + n % 200 END, n % 50, 'x' FROM generate_series(1, 1000) AS n"),
        files: &[
            ("projections/buyer.toml", r#"
table = "buyer"
key = ["id"]
defaulted = ["seen"]
[[source]]
name = "early"
drives = { table = "customer", alias = "c" }
from = "customer AS c"
where = "c.id <= 180"
[source.columns]
id = "c.id"
mail = "c.email"
[[source]]
name = "late"
drives = { table = "customer", alias = "c" }
from = "customer AS c"
where = "c.id > 180"
[source.columns]
id = "c.id"
mail = "c.email"
"#),
            ("repairs.toml", r#"
[[table]]
table = "buyer"
reason = "mail lost, rows lost"
update = ["mail"]
only = "mail = ''"
insert_from = ["late"]
insert_only = "buyer.id <> 199"
[[table]]
table = "sale"
reason = "link lost"
key = ["id"]
update = ["buyer", "By"]
only = "buyer IS NULL AND EXISTS (SELECT FROM buyer AS b WHERE b.id = 1 + sale.id % 200)"
rows = "SELECT id, 1 + id % 200 AS buyer, 'y' AS \"By\" FROM sale"
insert = "SELECT 5000 + n AS id, n AS buyer, 1 AS amount FROM generate_series(1, 40) AS n"
"#),
        ],
        ..Case::new("repair", r#"
            kind = "repair"
            repairs = "repairs.toml"
            projections = "projections"
        "#)
    };
    run_hook: Case::new("run_hook", r#"
        kind = "run_hook"
        command = ["sh", "-c", "touch \"$CROSSFADE_STATE/effect\""]
        probe = ["sh", "-c", "test -e \"$CROSSFADE_STATE/effect\""]
        undo = ["sh", "-c", "rm -f \"$CROSSFADE_STATE/effect\""]
        timeout = "20s"
    "#).words(&["--allow-hooks"]).unchanged();
    watch: Case::new("watch", r#"
        kind = "watch"
        for = "100ms"
        [[step.measure]]
        name = "rows"
        sql = "SELECT count(*) FROM orders"
        side = "blue"
        degraded = { max = 100000 }
    "#).unchanged();
    switch: Case {
        blue: ORDERS,
        green: Some(ORDERS_ANALYZED),
        files: &[("app.conf", "on blue"), ("app.blue", "on blue"), ("app.green", "on green")],
        ..Case::new("switch", r#"
            kind = "switch"
            tables = ["customer"]
            hold_for = "20s"
            [[step.participant]]
            kind = "file"
            name = "app"
            path = "app.conf"
            blue = "app.blue"
            green = "app.green"
            [[step.smoke]]
            name = "rows"
            sql = "SELECT count(*) > 0 FROM customer"
        "#)
    }.words(&["--approve", "the-step"]);
    set_lever_in_sql: Case {
        blue: "CREATE TABLE setting (name text PRIMARY KEY, value text); INSERT INTO setting VALUES ('ttl', '60m'), ('other', 's3cret')",
        ..Case::new("set_lever", r#"
            kind = "set_lever"
            name = "access token lifetime"
            value = "24h"
            sql = { side = "blue", read = "SELECT value FROM setting WHERE name = 'ttl'", write = ["UPDATE setting SET value = {value} WHERE name = 'ttl'"] }
        "#).adopted("UPDATE setting SET value = '1440m' WHERE name = 'ttl'")
    };
    set_lever_in_a_file: Case {
        // The reader is told by a program, and copies what it reads: a reader that was not told shows.
        files: &[("service.env", "A=1\nTTL=1h # one hour\nB=2\n"), ("reader", "TTL=1h # one hour\n")],
        looks_at: &["service.env", "reader", ".service.env.crossfade-untold", ".service.env.crossfade"],
        ..Case::new("set_lever", r#"
            kind = "set_lever"
            name = "access token lifetime"
            value = "24h"
            file = { path = "service.env", key = "TTL", then = ["sh", "-c", "grep TTL service.env > reader"] }
        "#).words(&["--allow-hooks"])
    };
    set_lever_by_a_command: Case {
        files: &[("lever", "on\n")],
        looks_at: &["lever"],
        ..Case::new("set_lever", r#"
            kind = "set_lever"
            name = "the janitor"
            value = "off"
            command = { read = ["cat", "lever"], write = ["sh", "-c", "echo $0 > lever", "{value}"] }
        "#).words(&["--allow-hooks"])
    };
    set_not_null: Case::new("set_not_null", r#"
        kind = "set_not_null"
        side = "blue"
        table = "orders"
        column = "amount"
    "#).adopted("ALTER TABLE orders ALTER COLUMN amount SET NOT NULL");
}

#[test]
fn every_kind_has_a_case() {
    for kind in crossfade::step::KINDS {
        let has_case = CASES.iter().any(|case| case.kind == kind.name);
        let excused = WITHOUT_CASE.iter().any(|(name, _)| *name == kind.name);
        assert!(has_case != excused, "kind {}: one case at least, or a line in WITHOUT_CASE, not both", kind.name);
    }
}

/// The databases of one test and the plan on them.
struct Stage {
    blue: TestDb,
    green: Option<TestDb>,
    workspace: Workspace,
    run: Vec<&'static str>,
    back: Vec<&'static str>,
    looks_at: &'static [&'static str],
}

impl Stage {
    async fn of(case: &Case) -> Self {
        let blue = if case.slot { TestDb::empty_on(logical_cluster()).await } else { TestDb::empty().await };
        blue.sql(case.blue).await;
        let green = match case.green {
            Some(sql) => {
                let green = TestDb::empty().await;
                green.sql(sql).await;
                Some(green)
            }
            None => None,
        };
        let mut plan = "format = 1\nname = \"contract\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n".to_owned();
        if green.is_some() {
            plan += "[green]\nurl_env = \"GREEN_DATABASE_URL\"\n";
        }
        plan += &format!("[[step]]\nid = \"the-step\"\nphase = \"expand\"\n{}", case.steps);
        let workspace = Workspace::new(&plan, &blue, green.as_ref());
        for (name, text) in case.files {
            let path = workspace.folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let run = ["run", "--execute"].iter().chain(case.words).copied().collect();
        let back =
            ["rollback", "--execute"].iter().chain(case.words.iter().filter(|word| **word == "--allow-hooks")).copied().collect();
        Self { blue, green, workspace, run, back, looks_at: case.looks_at }
    }

    async fn state(&self) -> Vec<Vec<String>> {
        let mut state = fingerprints(&self.blue, self.green.as_ref()).await;
        state.extend(self.looks_at.iter().map(|name| {
            let path = self.workspace.folder.path().join(name);
            std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string()).lines().map(str::to_owned).collect()
        }));
        state
    }

    /// Runs the command again and again, killed at a new place each time, until it ends by itself. Returns the places.
    fn crash_through(&self, words: &[&str], seen: &str) -> Vec<String> {
        let seen = self.workspace.folder.path().join(seen);
        for _ in 0..200 {
            let output = self.workspace.command(words).env("CROSSFADE_CRASH_SEEN", &seen).output().unwrap();
            match output.status.code() {
                None => {}
                Some(0) => return std::fs::read_to_string(&seen).unwrap_or_default().lines().map(str::to_owned).collect(),
                Some(code) => panic!("{words:?} ended with {code}:\n{}", String::from_utf8_lossy(&output.stderr)),
            }
        }
        panic!("{words:?} was killed 200 times; places: {}", std::fs::read_to_string(&seen).unwrap_or_default());
    }

    /// No INVALID index and no session of ours is left.
    async fn assert_clean(&self) {
        for db in [Some(&self.blue), self.green.as_ref()].into_iter().flatten() {
            assert_eq!(db.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, "0", "INVALID indexes");
            let ours = "SELECT string_agg(application_name, ', ') FROM pg_stat_activity \
                        WHERE application_name LIKE 'crossfade/%' AND datname = current_database()";
            for round in 0.. {
                match db.value(ours).await {
                    left if left.is_empty() => break,
                    left => assert!(round < 200, "sessions of ours are left: {left}"),
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
    }

    fn journals(&self) -> String {
        let runs = std::fs::read_dir(self.workspace.folder.path().join("state/contract")).unwrap();
        runs.map(|run| std::fs::read_to_string(run.unwrap().path().join("journal.jsonl")).unwrap()).collect()
    }
}

async fn goes_there_and_back(case: &Case) {
    let stage = Stage::of(case).await;
    let start = stage.state().await;
    stage.workspace.run(&["run"]).exits(0);
    assert_same("after a run without --execute", &start, &stage.state().await);
    stage.workspace.run(&stage.run).exits(0);
    let end = stage.state().await;
    assert_eq!(start != end, case.changes);
    stage.workspace.run(&stage.back).exits(0);
    assert_same("after the rollback", &start, &stage.state().await);
    let again: Vec<&str> = stage.run.iter().copied().chain(["--new"]).collect();
    stage.workspace.run(&again).exits(0);
    assert_same("after the second run", &end, &stage.state().await);
    stage.assert_clean().await;
}

async fn survives_a_crash_everywhere(case: &Case) {
    let undisturbed = Stage::of(case).await;
    undisturbed.workspace.run(&undisturbed.run).exits(0);
    let stage = Stage::of(case).await;
    let start = stage.state().await;
    let places = stage.crash_through(&stage.run, "seen-forward");
    assert!(places.len() >= 12, "too few places to crash at: {places:?}");
    assert_same("after crashes everywhere", &undisturbed.state().await, &stage.state().await);
    stage.assert_clean().await;
    let back = stage.crash_through(&stage.back, "seen-back");
    assert!(back.len() >= 6, "too few places to crash at: {back:?}");
    assert_same("after crashes everywhere on the way back", &start, &stage.state().await);
    stage.assert_clean().await;
    let (there, back) = (places.len() as u64, back.len() as u64);
    told(
        "crossfade killed (SIGKILL) at a named place",
        "every step kind alone, every place on its way there",
        there,
        "ended as undisturbed",
    );
    told(
        "crossfade killed (SIGKILL) at a named place",
        "every step kind alone, every place on its way back",
        back,
        "ended where it began",
    );
}

async fn leaves_what_was_there(case: &Case) {
    let Some(sql) = case.adopted else { return };
    let stage = Stage::of(case).await;
    stage.blue.sql(sql).await;
    let start = stage.state().await;
    stage.workspace.run(&stage.run).exits(0);
    assert!(stage.journals().contains("step_adopted"), "{}", stage.journals());
    assert_same("after a run that found everything", &start, &stage.state().await);
    stage.workspace.run(&stage.back).exits(0);
    assert_same("after its rollback", &start, &stage.state().await);
}
