//! The databases that are cloned.

use anyhow::Result;
use crossfade::demo;
use crossfade::pg::Database;

/// One database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataSet {
    Tokens,
    ManySmall,
    OneHuge,
    WideNumeric,
    Toast,
}

impl DataSet {
    pub const ALL: [DataSet; 5] = [DataSet::Tokens, DataSet::ManySmall, DataSet::OneHuge, DataSet::WideNumeric, DataSet::Toast];

    pub fn name(self) -> &'static str {
        match self {
            DataSet::Tokens => "tokens",
            DataSet::ManySmall => "many_small",
            DataSet::OneHuge => "one_huge",
            DataSet::WideNumeric => "wide_numeric",
            DataSet::Toast => "toast",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            DataSet::Tokens => "50,000 OAuth sessions: token rows of 1.5 KB, 40 indexes, foreign keys",
            DataSet::ManySmall => "1,000 tables of 100 rows",
            DataSet::OneHuge => "one table of 4,000,000 rows, three indexes",
            DataSet::WideNumeric => "60 numeric columns, 300,000 rows",
            DataSet::Toast => "40,000 jsonb documents of 12 KB, half of them compressed",
        }
    }

    /// Fills the empty database with `scale` percent of the rows, analyzed and vacuumed.
    pub async fn build(self, database: &Database, scale: u32) -> Result<()> {
        let session = database.connect("bench").await?;
        let of = |rows: u32| (u64::from(rows) * u64::from(scale) / 100).max(1);
        let sql = match self {
            DataSet::Tokens => {
                demo::create_1x(&session, u32::try_from(of(50_000))?, 0, "bench").await?;
                String::new()
            }
            DataSet::ManySmall => format!(
                "DO $$ BEGIN FOR n IN 1..{} LOOP EXECUTE format('CREATE TABLE small_%s (id int PRIMARY KEY, a text, b timestamptz \
                 DEFAULT now()); INSERT INTO small_%s SELECT i, md5(i::text) FROM generate_series(1, 100) i; \
                 CREATE INDEX ON small_%s (a)', n, n, n); IF n % 100 = 0 THEN COMMIT; END IF; END LOOP; END $$",
                of(1000)
            ),
            DataSet::OneHuge => format!(
                "CREATE TABLE huge (id bigint, customer int, at timestamptz, note text); \
                 INSERT INTO huge SELECT i, (i::bigint * 7919) % 100000, '2020-01-01'::timestamptz + i * interval '1 second', \
                 repeat(md5(i::text), 4) FROM generate_series(1, {}) i; \
                 ALTER TABLE huge ADD PRIMARY KEY (id); CREATE INDEX ON huge (customer, at); CREATE INDEX ON huge (at)",
                of(4_000_000)
            ),
            DataSet::WideNumeric => {
                let columns: Vec<String> = (1..=60).map(|n| format!("n{n} numeric(20,6)")).collect();
                let values: Vec<String> = (1..=60).map(|n| format!("i * {n}.000123")).collect();
                format!(
                    "CREATE TABLE wide (id int PRIMARY KEY, {}); INSERT INTO wide SELECT i, {} FROM generate_series(1, {}) i",
                    columns.join(", "),
                    values.join(", "),
                    of(300_000)
                )
            }
            DataSet::Toast => format!(
                "CREATE TABLE document (id int PRIMARY KEY, body jsonb NOT NULL, raw text NOT NULL); \
                 ALTER TABLE document ALTER raw SET STORAGE EXTERNAL; \
                 INSERT INTO document SELECT i, jsonb_build_object('n', i, 'text', (SELECT string_agg(md5((i * k)::text), ' ') \
                 FROM generate_series(1, 180) k)), (SELECT string_agg(md5((i + k)::text), '') FROM generate_series(1, 180) k) \
                 FROM generate_series(1, {}) i; \
                 CREATE INDEX ON document ((body ->> 'n'))",
                of(40_000)
            ),
        };
        session.batch_execute(&sql).await?;
        session.batch_execute("VACUUM ANALYZE").await?;
        Ok(())
    }
}
