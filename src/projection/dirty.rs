//! Which rows of a green table a change on blue may concern. Pure.
//!
//! A source's row is named by its *driving key*: columns of the table that drives, from which alone the green key follows. A
//! rule leads from a changed row of any table the source reads to driving keys. Rules may name too many, never too few.

use super::{Bound, BoundSource};
use crate::sql::{Ident, QualifiedName};

/// What a projection file says about changes of one table that a source reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirtyRule {
    /// The blue table.
    pub table: QualifiedName,
    /// What its changes do.
    pub effect: DirtyEffect,
}

/// What the changes of a table do to a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirtyEffect {
    /// Nothing; the text says why.
    Unaffected(String),
    /// They make rows dirty.
    Rows {
        /// The columns whose values, old and new, lead to the rows.
        by: Vec<Ident>,
        /// A query over `changed(by)` and blue tables that gives driving keys; `None`: `by` are the driving key.
        rows: Option<String>,
        /// An UPDATE that changes none of `by` and these does nothing; `None`: any UPDATE does.
        watch: Option<Vec<Ident>>,
    },
}

/// A column with its type's name on blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedColumn {
    /// Its name.
    pub name: Ident,
    /// The type as SQL text, without a length.
    pub of_type: String,
}

/// A rule that fits blue's tables; that of the driving table itself is among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundRule {
    /// The table with its schema.
    pub table: QualifiedName,
    /// The columns whose values lead to the rows.
    pub by: Vec<TypedColumn>,
    /// The query over `changed`; `None`: `by` are the driving key, in its order.
    pub rows: Option<String>,
    /// See [`DirtyEffect::Rows`].
    pub watch: Option<Vec<Ident>>,
}

impl BoundRule {
    /// Whether an UPDATE matters that leaves every captured column of the row as it was.
    pub fn any_update(&self) -> bool {
        self.watch.as_ref().is_none_or(|columns| !columns.is_empty())
    }
}

/// What must be captured of one blue table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The table with its schema.
    pub table: QualifiedName,
    /// The columns whose old and new values are kept, sorted.
    pub columns: Vec<Ident>,
    /// An UPDATE that changes none of `columns` and these need not be kept; `None`: every one must be.
    pub watch: Option<Vec<Ident>>,
}

/// What must be captured for these projections, by table.
pub fn captured(bound: &[Bound]) -> Vec<Captured> {
    let mut all: Vec<Captured> = Vec::new();
    for rule in bound.iter().flat_map(|bound| &bound.sources).flat_map(|source| &source.rules) {
        let columns = rule.by.iter().map(|column| column.name.clone());
        match all.iter_mut().find(|known| known.table == rule.table) {
            Some(known) => {
                known.columns.extend(columns);
                known.watch = match (known.watch.take(), &rule.watch) {
                    (Some(one), Some(other)) => Some([one, other.clone()].concat()),
                    _ => None,
                };
            }
            None => {
                all.push(Captured { table: rule.table.clone(), columns: columns.collect(), watch: rule.watch.clone() });
            }
        }
    }
    for one in &mut all {
        one.columns.sort();
        one.columns.dedup();
        if let Some(watch) = &mut one.watch {
            watch.retain(|column| !one.columns.contains(column));
            watch.sort();
            watch.dedup();
        }
    }
    all.sort_by(|a, b| a.table.cmp(&b.table));
    all
}

/// `unnest($1::text[]::type[], ...)`: values given as text, as rows.
fn unnest(columns: &[TypedColumn]) -> String {
    let arrays = columns.iter().enumerate().map(|(index, column)| format!("${}::text[]::{}[]", index + 1, column.of_type));
    format!("unnest({})", arrays.collect::<Vec<_>>().join(", "))
}

fn names(columns: &[TypedColumn]) -> String {
    columns.iter().map(|column| column.name.to_string()).collect::<Vec<_>>().join(", ")
}

impl Bound {
    /// Driving keys of a source, as text, that changed rows lead to: `$1`... are `text[]`, one for each column of the rule's
    /// `by`. `None` where `by` are the driving key already.
    pub fn driving_keys(&self, source: &BoundSource, rule: &BoundRule) -> Option<String> {
        let rows = rule.rows.as_ref()?;
        let with = match self.prelude.trim_end() {
            "" => "WITH".to_owned(),
            prelude => format!("{prelude},"),
        };
        let texts: Vec<String> = source.driving.iter().map(|column| format!("d.{}::text", column.name)).collect();
        Some(format!(
            "{with} changed ({}) AS (SELECT DISTINCT * FROM {})\nSELECT DISTINCT {} FROM (\n{rows}\n) AS d ({})",
            names(&rule.by),
            unnest(&rule.by),
            texts.join(", "),
            names(&source.driving)
        ))
    }

    /// The green keys that driving keys stand for, whether or not there are such rows: `$1`... are `text[]`, one for each column
    /// of the driving key.
    pub fn dirty_keys(&self, source: &BoundSource) -> String {
        let columns = self.key.iter().map(|key| {
            let place = self.columns.iter().position(|column| column.name == *key);
            let (text, cast) = place.map_or(("NULL", None), |place| {
                let (text, cast) = &source.expressions[place];
                (text.as_str(), cast.as_deref())
            });
            format!("({text}\n){} AS {key}", cast.map_or(String::new(), |to| format!("::{to}")))
        });
        format!(
            "{}SELECT {}\nFROM {} AS {} ({})",
            self.prelude,
            columns.collect::<Vec<_>>().join(", "),
            unnest(&source.driving),
            source.alias,
            names(&source.driving)
        )
    }

    /// The source's rows of these driving keys as green gets them: `$1`... as for [`Bound::dirty_keys`].
    pub fn dirty_rows(&self, source: &BoundSource) -> String {
        let alias = &source.alias;
        let condition = match source.driving.as_slice() {
            [one] => format!("{alias}.{} = ANY ($1::text[]::{}[])", one.name, one.of_type),
            several => {
                let columns: Vec<String> = several.iter().map(|column| format!("{alias}.{}", column.name)).collect();
                format!("({}) IN (SELECT * FROM {})", columns.join(", "), unnest(several))
            }
        };
        self.rows_where(source, condition)
    }

    /// How a driving key of the source `from` becomes one of the source `to` that stands for the same green key: for each column
    /// of `to` the place of the column of `from`. `None` when the one does not tell the other.
    pub fn same_key(&self, from: &BoundSource, to: &BoundSource) -> Option<Vec<usize>> {
        let plain = |source: &BoundSource, key: &Ident| {
            let place = self.columns.iter().position(|column| column.name == *key)?;
            let (alias, name) = super::plain_column(&source.expressions[place].0)?;
            if alias != source.alias.as_str() {
                return None;
            }
            source.driving.iter().position(|column| column.name.as_str() == name)
        };
        (0..to.driving.len())
            .map(|wanted| {
                let mut found = self.key.iter().filter(|key| plain(to, key) == Some(wanted));
                found.find_map(|key| plain(from, key))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::BoundColumn;

    fn typed(name: &str, of_type: &str) -> TypedColumn {
        TypedColumn { name: Ident::new(name), of_type: of_type.to_owned() }
    }

    fn rule(table: &str, by: &[&str], watch: Option<&[&str]>) -> BoundRule {
        BoundRule {
            table: QualifiedName::new("public", table),
            by: by.iter().map(|name| typed(name, "text")).collect(),
            rows: None,
            watch: watch.map(|names| names.iter().copied().map(Ident::new).collect()),
        }
    }

    fn bound(driving: Vec<TypedColumn>, rules: Vec<BoundRule>) -> Bound {
        Bound {
            table: QualifiedName::new("public", "a"),
            key: vec![Ident::new("id"), Ident::new("nid")],
            columns: ["id", "nid", "n"].map(|name| BoundColumn { name: Ident::new(name), compared_as: None }).to_vec(),
            sources: vec![BoundSource {
                name: "all".to_owned(),
                drives: QualifiedName::bare("b"),
                alias: Ident::new("t"),
                from: "b AS t".to_owned(),
                filter: Some("t.x".to_owned()),
                expressions: vec![
                    ("t.id".to_owned(), Some("bigint".to_owned())),
                    ("(SELECT nid FROM green)".to_owned(), None),
                    ("t.n".to_owned(), None),
                ],
                driving,
                rules,
                apart: false,
            }],
            prelude: "WITH green AS (SELECT 'x'::uuid AS \"nid\")\n".to_owned(),
            binary: true,
            identity: false,
        }
    }

    #[test]
    fn statements_lead_from_changes_to_rows() {
        let mut by = rule("c", &["k"], None);
        by.rows = Some("SELECT b.id FROM changed JOIN b ON b.k = changed.k".to_owned());
        let bound = bound(vec![typed("id", "integer")], vec![by]);
        let source = &bound.sources[0];
        assert_eq!(
            bound.driving_keys(source, &source.rules[0]).unwrap(),
            "WITH green AS (SELECT 'x'::uuid AS \"nid\"), changed (\"k\") AS (SELECT DISTINCT * FROM unnest($1::text[]::text[]))\n\
             SELECT DISTINCT d.\"id\"::text FROM (\nSELECT b.id FROM changed JOIN b ON b.k = changed.k\n) AS d (\"id\")"
        );
        assert_eq!(
            bound.dirty_keys(source),
            "WITH green AS (SELECT 'x'::uuid AS \"nid\")\nSELECT (t.id\n)::bigint AS \"id\", ((SELECT nid FROM green)\n) AS \"nid\"\n\
             FROM unnest($1::text[]::integer[]) AS \"t\" (\"id\")"
        );
        assert!(bound.dirty_rows(source).ends_with("WHERE (t.x\n) AND \"t\".\"id\" = ANY ($1::text[]::integer[])\n"));
    }

    #[test]
    fn a_driving_key_of_several_columns() {
        let bound = bound(vec![typed("id", "integer"), typed("n", "text")], Vec::new());
        let rows = bound.dirty_rows(&bound.sources[0]);
        let end = "(\"t\".\"id\", \"t\".\"n\") IN (SELECT * FROM unnest($1::text[]::integer[], $2::text[]::text[]))\n";
        assert!(rows.ends_with(end), "{rows}");
    }

    #[test]
    fn what_is_captured_is_the_union_of_all_rules() {
        let one = bound(Vec::new(), vec![rule("c", &["k"], Some(&["x"])), rule("d", &["b"], None)]);
        let other = bound(Vec::new(), vec![rule("c", &["a", "x"], Some(&["y"])), rule("d", &["a"], Some(&[]))]);
        let names = |names: &[&str]| names.iter().copied().map(Ident::new).collect::<Vec<_>>();
        assert_eq!(
            captured(&[one, other]),
            [
                Captured {
                    table: QualifiedName::new("public", "c"),
                    columns: names(&["a", "k", "x"]),
                    watch: Some(names(&["y"]))
                },
                Captured { table: QualifiedName::new("public", "d"), columns: names(&["a", "b"]), watch: None },
            ]
        );
    }

    #[test]
    fn sources_share_keys_only_where_one_tells_the_other() {
        let mut bound = bound(vec![typed("id", "integer")], Vec::new());
        let same = bound.sources[0].clone();
        assert_eq!(bound.same_key(&same, &same), Some(vec![0]));
        bound.sources[0].expressions[0].0 = "md5(t.id)".to_owned();
        assert_eq!(bound.same_key(&bound.sources[0], &same), None);
        assert_eq!(bound.same_key(&same, &bound.sources[0]), None);
    }
}
