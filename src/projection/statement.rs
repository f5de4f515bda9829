//! The statements a bound projection gives. Pure.

use super::{BoundRule, TypedColumn};
use crate::sql::{Ident, QualifiedName};

/// Rows fall into this many buckets by the hash of their key; a power of two.
pub const BUCKETS: u32 = 1024;

/// A projection after both catalogs agreed to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The green table with its schema.
    pub table: QualifiedName,
    /// The columns that name a row.
    pub key: Vec<Ident>,
    /// Every column that is filled.
    pub columns: Vec<BoundColumn>,
    /// Where the rows come from.
    pub sources: Vec<BoundSource>,
    /// `WITH green AS (...)` with the constants, or nothing.
    pub prelude: String,
    /// Whether rows travel in binary form.
    pub binary: bool,
    /// Same table and columns on both sides.
    pub identity: bool,
}

/// A green column that a projection fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundColumn {
    /// Its name.
    pub name: Ident,
    /// The type blue's value is cast to when blue and green are compared; `None` where blue does not know green's type.
    pub compared_as: Option<String>,
}

/// A source whose expressions fit the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundSource {
    /// Its name.
    pub name: String,
    /// The blue table whose blocks are the parts.
    pub drives: QualifiedName,
    /// Its alias.
    pub alias: Ident,
    /// The text after FROM.
    pub from: String,
    /// The text after WHERE.
    pub filter: Option<String>,
    /// One expression for each of [`Bound::columns`], with the type a copy casts it to, if any.
    pub expressions: Vec<(String, Option<String>)>,
    /// The columns of the driving table that the green key follows from.
    pub driving: Vec<TypedColumn>,
    /// What the changes of the tables it reads do.
    pub rules: Vec<BoundRule>,
    /// Whether no other source can give its keys, whatever the rows.
    pub apart: bool,
}

/// A range of blocks of a table: from, inclusive, to, exclusive (no end: to the end of the table).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// The first block.
    pub from: u32,
    /// The block after the last.
    pub to: Option<u32>,
}

impl Blocks {
    /// The whole table.
    pub const ALL: Blocks = Blocks { from: 0, to: None };

    fn condition(&self, alias: &Ident) -> Option<String> {
        let first = (self.from > 0).then(|| format!("{alias}.ctid >= '({},0)'::tid", self.from));
        let last = self.to.map(|to| format!("{alias}.ctid < '({to},0)'::tid"));
        match (first, last) {
            (Some(first), Some(last)) => Some(format!("{first} AND {last}")),
            (first, last) => first.or(last),
        }
    }
}

impl Bound {
    /// The source's rows as green gets them: to be read on blue.
    pub fn rows(&self, source: &BoundSource, blocks: Blocks) -> String {
        self.select(source, blocks, |index| source.expressions[index].1.as_deref())
    }

    /// `COPY (rows) TO STDOUT` for blue.
    pub fn copy_out(&self, source: &BoundSource, blocks: Blocks) -> String {
        if self.as_it_is(source) && blocks == Blocks::ALL {
            // Without a query in between the server reads the rows faster.
            return format!("COPY {}{} TO STDOUT (FORMAT {})", source.drives, self.list(), self.format());
        }
        format!("COPY (\n{}) TO STDOUT (FORMAT {})", self.rows(source, blocks), self.format())
    }

    /// `COPY table (columns) FROM STDIN` for green.
    pub fn copy_in(&self) -> String {
        format!("COPY {}{} FROM STDIN (FORMAT {})", self.table, self.list(), self.format())
    }

    /// The same where the transaction made the table, or its file: the rows are frozen at once.
    pub fn copy_in_frozen(&self) -> String {
        format!("COPY {}{} FROM STDIN (FORMAT {}, FREEZE)", self.table, self.list(), self.format())
    }

    /// The columns in parentheses; nothing for a table that has none.
    fn list(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| column.name.to_string()).collect();
        if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) }
    }

    /// Whether the rows are those of the driving table alone, its columns under their names.
    fn as_it_is(&self, source: &BoundSource) -> bool {
        let same = |(column, (text, cast)): (&BoundColumn, &(String, Option<String>))| {
            cast.is_none()
                && [source.alias.as_str(), &source.alias.to_string()]
                    .iter()
                    .any(|alias| *text == format!("{alias}.{}", column.name))
        };
        self.identity && source.filter.is_none() && self.columns.iter().zip(&source.expressions).all(same)
    }

    /// `binary` or `text`.
    pub fn format(&self) -> &'static str {
        if self.binary { "binary" } else { "text" }
    }

    /// Per bucket: number of rows and sum of their hashes (as text), of a source's rows on blue.
    pub fn blue_sums(&self, source: &BoundSource, blocks: Blocks) -> String {
        sums(&self.prelude, &self.hashed(&self.compared(source, blocks)))
    }

    /// Per bucket: number of rows and sum of their hashes (as text), of the table on green.
    pub fn green_sums(&self, blocks: Blocks) -> String {
        sums("", &self.hashed(&self.green_rows(blocks)))
    }

    /// Key (as `text[]`) and row hash of a source's rows on blue in the buckets `$1`.
    pub fn blue_keys(&self, source: &BoundSource) -> String {
        keys(&self.prelude, &self.hashed(&self.compared(source, Blocks::ALL)))
    }

    /// Key (as `text[]`) and row hash of the rows on green in the buckets `$1`.
    pub fn green_keys(&self) -> String {
        keys("", &self.hashed(&self.green_rows(Blocks::ALL)))
    }

    /// A projection whose rows on green are not those of the table alone: the rows of `changed` are not taken from it, the rows
    /// of `before` come in addition. Both are `SELECT`s of whole rows.
    pub fn with_rows_as_before(&self, before: &str, changed: &str) -> AsBefore<'_> {
        let same: Vec<String> = self.key.iter().map(|key| format!("changed.{key} = t.{key}")).collect();
        let unchanged = format!("NOT EXISTS (SELECT FROM (\n{changed}\n) AS changed WHERE {})", same.join(" AND "));
        let columns: Vec<String> = self.columns.iter().map(|column| format!("t.{}", column.name)).collect();
        let columns = columns.join(", ");
        let rows = format!(
            "SELECT {columns}\nFROM {} AS t\nWHERE {unchanged}\nUNION ALL\nSELECT {columns}\nFROM (\n{before}\n) AS t",
            self.table
        );
        AsBefore { bound: self, rows }
    }

    fn compared(&self, source: &BoundSource, blocks: Blocks) -> String {
        let rows = self.select(source, blocks, |index| self.columns[index].compared_as.as_deref());
        rows.strip_prefix(&self.prelude).map(str::to_owned).unwrap_or(rows)
    }

    fn green_rows(&self, blocks: Blocks) -> String {
        let alias = Ident::new("t");
        let columns: Vec<String> = self.columns.iter().map(|column| format!("{alias}.{}", column.name)).collect();
        let condition = blocks.condition(&alias).map_or(String::new(), |condition| format!("WHERE {condition}\n"));
        format!("SELECT {}\nFROM {} AS {alias}\n{condition}", columns.join(", "), self.table)
    }

    /// The source's rows that meet one more condition, as green gets them.
    pub(super) fn rows_where(&self, source: &BoundSource, condition: String) -> String {
        self.select_where(source, Some(condition), |index| source.expressions[index].1.as_deref())
    }

    fn select<'a>(&self, source: &'a BoundSource, blocks: Blocks, cast: impl Fn(usize) -> Option<&'a str>) -> String
    where
        Self: 'a,
    {
        self.select_where(source, blocks.condition(&source.alias), cast)
    }

    fn select_where<'a>(
        &self,
        source: &'a BoundSource,
        condition: Option<String>,
        cast: impl Fn(usize) -> Option<&'a str>,
    ) -> String
    where
        Self: 'a,
    {
        let columns = self.columns.iter().zip(&source.expressions).enumerate().map(|(index, (column, (text, _)))| {
            let cast = cast(index).map_or(String::new(), |to| format!("::{to}"));
            format!("({text}\n){cast} AS {}", column.name)
        });
        let filter = source.filter.as_ref().map(|filter| format!("({filter}\n)"));
        let conditions: Vec<String> = filter.into_iter().chain(condition).collect();
        let place = if conditions.is_empty() { String::new() } else { format!("WHERE {}\n", conditions.join(" AND ")) };
        format!("{}SELECT {}\nFROM {}\n{place}", self.prelude, columns.collect::<Vec<_>>().join(",\n"), source.from)
    }

    /// Key texts, key hash (the bucket) and row hash of each row. `ROW(...)::text` keeps NULL apart from '' and columns apart.
    /// `OFFSET 0` keeps the planner from sorting whole rows where hashes will do.
    fn hashed(&self, rows: &str) -> String {
        let texts =
            |names: &mut dyn Iterator<Item = &Ident>| names.map(|name| format!("p.{name}::text")).collect::<Vec<_>>().join(", ");
        let all = texts(&mut self.columns.iter().map(|column| &column.name));
        let key = texts(&mut self.key.iter());
        format!(
            "SELECT ARRAY[{key}]::text[] AS key, (hashtextextended(ROW({key})::text, 0) & {mask})::int AS bucket, \
             hashtextextended(ROW({all})::text, 0) AS hash\nFROM (\n{rows}) AS p OFFSET 0",
            mask = BUCKETS - 1
        )
    }
}

/// See [`Bound::with_rows_as_before`].
#[derive(Debug)]
pub struct AsBefore<'a> {
    bound: &'a Bound,
    rows: String,
}

impl AsBefore<'_> {
    /// As [`Bound::green_sums`].
    pub fn green_sums(&self) -> String {
        sums("", &self.bound.hashed(&self.rows))
    }

    /// As [`Bound::green_keys`].
    pub fn green_keys(&self) -> String {
        keys("", &self.bound.hashed(&self.rows))
    }
}

fn sums(prelude: &str, hashed: &str) -> String {
    format!("{prelude}SELECT bucket, count(*), sum(hash::numeric)::text FROM (\n{hashed}) AS h GROUP BY bucket")
}

fn keys(prelude: &str, hashed: &str) -> String {
    format!("{prelude}SELECT key, bucket, hash FROM (\n{hashed}) AS h WHERE bucket = ANY ($1)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound() -> Bound {
        Bound {
            table: QualifiedName::new("public", "a"),
            key: vec![Ident::new("id")],
            columns: vec![
                BoundColumn { name: Ident::new("id"), compared_as: Some("bigint".to_owned()) },
                BoundColumn { name: Ident::new("Name"), compared_as: None },
            ],
            sources: vec![BoundSource {
                name: "all".to_owned(),
                drives: QualifiedName::bare("b"),
                alias: Ident::new("t"),
                from: "b AS t".to_owned(),
                filter: Some("t.x OR t.y -- why".to_owned()),
                expressions: vec![("t.id".to_owned(), Some("bigint".to_owned())), ("t.n".to_owned(), None)],
                driving: Vec::new(),
                rules: Vec::new(),
                apart: false,
            }],
            prelude: "WITH green AS (SELECT 'x'::text AS \"nid\")\n".to_owned(),
            binary: true,
            identity: false,
        }
    }

    #[test]
    fn copy_statements() {
        let bound = bound();
        assert_eq!(
            bound.copy_out(&bound.sources[0], Blocks { from: 5, to: Some(9) }),
            "COPY (\nWITH green AS (SELECT 'x'::text AS \"nid\")\nSELECT (t.id\n)::bigint AS \"id\",\n(t.n\n) AS \"Name\"\nFROM b AS t\n\
             WHERE (t.x OR t.y -- why\n) AND \"t\".ctid >= '(5,0)'::tid AND \"t\".ctid < '(9,0)'::tid\n) TO STDOUT (FORMAT binary)"
        );
        assert_eq!(bound.copy_in(), "COPY \"public\".\"a\" (\"id\", \"Name\") FROM STDIN (FORMAT binary)");
    }

    #[test]
    fn hash_statements_keep_the_constants_in_front() {
        let bound = bound();
        let blue = bound.blue_sums(&bound.sources[0], Blocks::ALL);
        assert!(blue.starts_with("WITH green AS (SELECT 'x'::text AS \"nid\")\nSELECT bucket, count(*)"), "{blue}");
        assert_eq!(blue.matches("WITH green").count(), 1);
        assert_eq!(
            bound.green_keys(),
            "SELECT key, bucket, hash FROM (\nSELECT ARRAY[p.\"id\"::text]::text[] AS key, \
             (hashtextextended(ROW(p.\"id\"::text)::text, 0) & 1023)::int AS bucket, \
             hashtextextended(ROW(p.\"id\"::text, p.\"Name\"::text)::text, 0) AS hash\nFROM (\nSELECT \"t\".\"id\", \"t\".\"Name\"\n\
             FROM \"public\".\"a\" AS \"t\"\n) AS p OFFSET 0) AS h WHERE bucket = ANY ($1)"
        );
    }

    #[test]
    fn block_ranges() {
        let t = Ident::new("t");
        assert_eq!(Blocks::ALL.condition(&t), None);
        assert_eq!(Blocks { from: 3, to: None }.condition(&t).unwrap(), "\"t\".ctid >= '(3,0)'::tid");
        assert_eq!(Blocks { from: 0, to: Some(3) }.condition(&t).unwrap(), "\"t\".ctid < '(3,0)'::tid");
    }
}
