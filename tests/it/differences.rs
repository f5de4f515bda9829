//! What verify must see, and what it must not: values that look alike, and servers that write the same value differently.

use crate::support::{TestDb, Workspace};

const TABLE: &str = "CREATE TABLE t (id text PRIMARY KEY, a text, b text, f float8, r float4, n numeric, s timestamptz, i interval, \
                     y bytea, c char(5), l text[], m int[], j json, k jsonb, g point, x tsrange, o boolean, u uuid, d date)";

async fn pair() -> (TestDb, TestDb, Workspace) {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    let plan = "format = 1\nname = \"differences\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n[green]\nurl_env = \"GREEN_DATABASE_URL\"\n\
                [[step]]\nid = \"compare\"\nphase = \"copy\"\nkind = \"verify\"\ntables = [\"t\"]\n";
    let workspace = Workspace::new(plan, &blue, Some(&green));
    for db in [&blue, &green] {
        db.sql(TABLE).await;
    }
    (blue, green, workspace)
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_write_a_value_differently_hold_the_same() {
    let (blue, green, workspace) = pair().await;
    for db in [&blue, &green] {
        db.sql(
            "INSERT INTO t VALUES ('1', 'a', NULL, 0.1::float8 + 0.2::float8, 1e-7, 1.50, '2026-03-29 01:30:00+00', '1 mon -3 days 04:05:06.789', \
               '\\x00ff', 'ab', '{a,NULL,\"NULL\",\"\"}', '{1,NULL}', '{\"b\": 1,  \"a\":2}', '{\"b\": 1, \"a\":2}', '(0.1,0.2)', \
               '[2026-01-01,2026-02-01)', true, '8a3f0f1c-0d1e-4a75-9c58-0f0b3f2f6a11', 'infinity'), ('', '', '', 'NaN', '-Infinity', 'NaN', 'infinity', NULL, '', '', '{}', NULL, 'null', 'null', NULL, 'empty', NULL, NULL, NULL)",
        )
        .await;
    }
    green
        .sql(&format!(
            "ALTER DATABASE {0} SET timezone = 'America/New_York'; ALTER DATABASE {0} SET datestyle = 'German, DMY'; \
             ALTER DATABASE {0} SET intervalstyle = 'iso_8601'; ALTER DATABASE {0} SET bytea_output = 'escape'; \
             ALTER DATABASE {0} SET extra_float_digits = 0; ALTER DATABASE {0} SET standard_conforming_strings = off",
            green.name()
        ))
        .await;
    workspace.run(&["run", "--execute"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_look_alike_are_told_apart() {
    let pairs: &[(&str, &str, &str)] = &[
        ("a", "NULL", "''"),
        ("a", "'NULL'", "NULL"),
        ("a", "'x '", "'x'"),
        ("a", "E'x\\u00e9'", "E'xe\\u0301'"),
        ("a, b", "'x,', 'y'", "'x', ',y'"),
        ("a, b", "'x', NULL", "NULL, 'x'"),
        ("a, b", "'\"', ''", "'', '\"'"),
        ("f", "0.1::float8 + 0.2::float8", "0.3"),
        ("f", "'-0'", "'0'"),
        ("f", "'NaN'", "NULL"),
        ("n", "1.0", "1.00"),
        ("n", "1e-20", "0"),
        ("s", "'2026-01-01 00:00:00.000001+00'", "'2026-01-01 00:00:00+00'"),
        ("i", "'30 days'", "'1 mon'"),
        ("y", "''", "NULL"),
        ("l", "'{}'", "NULL"),
        ("l", "'{NULL}'", "'{\"NULL\"}'"),
        ("l", "'{\"a,b\"}'", "'{a,b}'"),
        ("l", "'[0:0]={a}'", "'{a}'"),
        ("j", "'{\"a\":1}'", "'{\"a\": 1}'"),
        ("k", "'{\"a\":null}'", "'{}'"),
        ("k", "'null'", "NULL"),
        ("x", "'empty'", "NULL"),
        ("o", "false", "NULL"),
    ];
    let (blue, green, workspace) = pair().await;
    for (number, (columns, here, there)) in pairs.iter().enumerate() {
        blue.sql(&format!("INSERT INTO t (id, {columns}) VALUES ('{number:02}', {here})")).await;
        green.sql(&format!("INSERT INTO t (id, {columns}) VALUES ('{number:02}', {there})")).await;
    }
    workspace.run(&["run", "--execute"]).exits(14);
    let found = green
        .value(
            "SELECT string_agg(row_key->>'id', ' ' ORDER BY row_key->>'id') FROM crossfade.divergence WHERE kind = 'different'",
        )
        .await;
    let all: Vec<String> = (0..pairs.len()).map(|number| format!("{number:02}")).collect();
    assert_eq!(found, all.join(" "));
}
