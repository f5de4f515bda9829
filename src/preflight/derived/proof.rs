//! What needs no look at the rows: blue's own catalog, or the form of the projection, already says that no row breaks it.

use std::collections::{BTreeMap, BTreeSet};

use super::ask::of_string_type;
use super::rows::RowSource;
use crate::projection::{Anatomy, Target, TargetColumn, anatomy, plain_column};
use crate::sql::{Ident, Rule};

/// What is known about a source beside its text: the blue tables it names, by alias.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// The tables, as blue's catalog has them.
    pub tables: BTreeMap<String, Target>,
}

/// A source with what is known about it.
pub(super) struct Source<'a> {
    /// Its text.
    pub rows: &'a RowSource,
    /// Its tables.
    pub known: &'a Known,
}

impl Source<'_> {
    /// The blue column that green's column is, untouched, with its alias. It may be NULL where a join gave no row.
    fn column(&self, name: &Ident) -> Option<(&str, &TargetColumn)> {
        let (_, expression) = self.rows.columns.iter().find(|(column, _)| column == name)?;
        let (alias, column) = plain_column(expression)?;
        let (alias, target) = self.known.tables.get_key_value(&alias)?;
        Some((alias, target.column(&Ident::new(column))?))
    }

    fn drives(&self, alias: &str) -> bool {
        alias == self.rows.alias.as_str()
    }

    fn expression(&self, name: &Ident) -> Option<&str> {
        self.rows.columns.iter().find(|(column, _)| column == name).map(|(_, text)| text.trim())
    }
}

/// A constant of the projections: read from green once, never NULL.
pub(super) fn constant(expression: &str) -> bool {
    let inside = expression.trim().strip_prefix("(SELECT ").and_then(|rest| rest.strip_suffix(" FROM green)"));
    inside.is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// The most characters that a value of a string type has.
fn length(of: &TargetColumn) -> Option<u32> {
    of_string_type(&of.full_type).1
}

/// The most bytes a value takes in an index row: 4 a character in every server encoding but one, and its header.
fn bytes(of: &TargetColumn) -> Option<u32> {
    match of.bare_type.as_str() {
        "boolean" | "smallint" | "integer" | "bigint" | "date" | "uuid" | "real" | "double precision" => Some(16),
        name if name.starts_with("timestamp") => Some(8),
        _ => length(of).map(|length| 8 + 4 * length),
    }
}

/// Whether every value fits green's string type because blue's is no longer.
pub(super) fn short_enough(column: &Ident, most: u32, sources: &[Source]) -> bool {
    sources.iter().all(|source| source.column(column).and_then(|(_, of)| length(of)).is_some_and(|length| length <= most))
}

/// Whether a column can be had of every row: it is a column of an ordinary table, or a constant.
pub(super) fn at_hand(column: &Ident, sources: &[Source]) -> bool {
    sources.iter().all(|source| {
        let stored =
            source.column(column).is_some_and(|(alias, _)| source.known.tables.get(alias).is_some_and(|table| table.plain));
        stored || source.expression(column).is_some_and(constant)
    })
}

/// Whether a column is a value written in SQL, the same for every row: the server took it as the column's default.
pub(super) fn written(column: &Ident, sources: &[Source]) -> bool {
    sources.iter().all(|source| source.expression(column).is_some_and(literal))
}

/// NULL, or a default that is a literal or the current time, as [`super::definitions`] casts it.
fn literal(expression: &str) -> bool {
    let value = match expression.strip_prefix('(').and_then(|rest| rest.rsplit_once(")::")) {
        Some((value, _)) => value,
        None => return expression.starts_with("NULL::"),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let quoted = |text: &str| {
        let inside = text.strip_prefix('\'').and_then(|rest| rest.split_once('\''));
        inside.is_some_and(|(_, rest)| rest.is_empty() || rest.strip_prefix("::").is_some_and(|of| !of.contains(['(', '\''])))
    };
    matches!(value, "true" | "false" | "now()" | "CURRENT_TIMESTAMP") || digits(value) || quoted(value)
}

/// Whether no row can break a rule about single rows. `green` is the table the rows come into.
pub(super) fn single(rule: &Rule, green: &Target, sources: &[Source]) -> bool {
    match rule {
        Rule::NotNull(column) => sources.iter().all(|source| {
            source.expression(column).is_some_and(constant)
                || source.column(column).is_some_and(|(alias, of)| source.drives(alias) && of.not_null)
        }),
        Rule::IndexRow { keys, .. } => {
            let sizes =
                keys.iter().map(|key| bytes(green.column(&Ident::new(key.trim_matches('"')))?)).collect::<Option<Vec<_>>>();
            sizes.is_some_and(|sizes| 8 + sizes.iter().sum::<u32>() <= 2704)
        }
        _ => false,
    }
}

/// Whether keys cannot repeat: one source, whose joins give at most one row each, takes them from columns of its driving table that
/// are unique there.
pub(super) fn unique(keys: &[String], sources: &[Source]) -> bool {
    let [source] = sources else { return false };
    let mut named = BTreeSet::new();
    for key in keys {
        if let Some((alias, of)) = source.column(&Ident::new(key.trim_matches('"')))
            && source.drives(alias)
        {
            named.insert(of.name.as_str().to_owned());
        }
    }
    let driving = source.known.tables.get(source.rows.alias.as_str());
    let anatomy = anatomy(&source.rows.from);
    driving.is_some_and(|driving| driving.unique.iter().any(|unique| !unique.is_empty() && unique.is_subset(&named)))
        && anatomy.laterals.is_empty()
        && !source.rows.from.to_uppercase().contains("LATERAL")
        && anatomy.relations.len() == anatomy.joins.len() + 1
        && anatomy.joins.iter().all(|join| {
            let [alias] = &join.right[..] else { return false };
            let equal = join.conditions.iter().flat_map(|condition| &condition.equal).filter(|((of, _), _)| of == alias);
            let columns: BTreeSet<String> = equal.map(|((_, name), _)| name.clone()).collect();
            source.known.tables.get(alias).is_some_and(|right| right.unique.iter().any(|unique| unique.is_subset(&columns)))
        })
}

/// Whether every key points to a row of `parents`, which is fed by all rows of the blue table that the key's columns come from.
pub(super) fn points_somewhere(columns: &[Ident], referenced: &[Ident], children: &[Source], parents: &[Source]) -> bool {
    children.iter().all(|child| {
        let anatomy = anatomy(&child.rows.from);
        parents.iter().any(|parent| {
            let whole = parent.rows.filter.is_none()
                && crate::projection::anatomy(&parent.rows.from).relations.iter().map(|r| r.end).eq([parent
                    .rows
                    .from
                    .trim_end()
                    .len()]);
            let Some(all) = parent.known.tables.get(parent.rows.alias.as_str()).filter(|_| whole) else { return false };
            let aliases = child.known.tables.iter().filter(|(_, target)| target.oid == all.oid).map(|(alias, _)| alias);
            let mut aliases = aliases.filter(|alias| anatomy.relations.iter().any(|relation| relation.alias == **alias));
            aliases.any(|alias| {
                columns.iter().zip(referenced).all(|(column, other)| same(child, &anatomy, alias, column, parent, other))
            })
        })
    })
}

/// Whether the child's column is NULL or what the row `alias` of the parent's table gives for `other`.
fn same(child: &Source, anatomy: &Anatomy, alias: &str, column: &Ident, parent: &Source, other: &Ident) -> bool {
    let (Some(here), Some(there)) = (child.expression(column), parent.expression(other)) else { return false };
    if constant(here) {
        return here == there;
    }
    let Some((_, of)) = parent.column(other) else { return false };
    let name = of.name.as_str();
    let own = plain_column(here);
    own.as_ref().is_some_and(|(of, column)| of == alias && column == name)
        || anatomy.joins.iter().filter(|join| join.inner.is_some()).flat_map(|join| &join.conditions).any(|condition| {
            let equal = |((of, column), text): &((String, String), String)| {
                of == alias && column == name && plain_column(text).is_some() && plain_column(text) == own
            };
            condition.equal.iter().any(equal)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::QualifiedName;

    fn column(name: &str, full_type: &str, not_null: bool) -> TargetColumn {
        TargetColumn {
            name: Ident::new(name),
            type_oid: 1043,
            bare_type: full_type.split('(').next().unwrap_or_default().to_owned(),
            full_type: full_type.to_owned(),
            category: 'S',
            generated: false,
            optional: !not_null,
            not_null,
        }
    }

    fn table(name: &str, oid: u32) -> Target {
        Target {
            table: QualifiedName::new("public", name),
            oid,
            plain: true,
            owned: true,
            estimated_rows: 1,
            blocks: 1,
            block_size: 8192,
            columns: vec![column("id", "character varying(40)", true), column("p", "character varying(40)", false)],
            unique: vec![BTreeSet::from(["id".to_owned()])],
        }
    }

    fn rows(from: &str, filter: Option<&str>, columns: &[(&str, &str)]) -> RowSource {
        RowSource {
            drives: QualifiedName::bare("t"),
            alias: Ident::new("t"),
            from: from.to_owned(),
            filter: filter.map(str::to_owned),
            columns: columns.iter().map(|(name, text)| (Ident::new(*name), (*text).to_owned())).collect(),
            key: vec![Ident::new("id")],
        }
    }

    fn known(tables: &[(&str, Target)]) -> Known {
        Known { tables: tables.iter().map(|(alias, target)| ((*alias).to_owned(), target.clone())).collect() }
    }

    #[test]
    fn keys_that_cannot_repeat() {
        let known = known(&[("t", table("t", 1)), ("j", table("j", 2))]);
        let proved = |from: &str, expression: &str| {
            let rows = rows(from, None, &[("k", expression)]);
            unique(&["k".to_owned()], &[Source { rows: &rows, known: &known }])
        };
        assert!(proved("t AS t", "t.id") && proved("t AS t JOIN j ON j.id = t.p", "t.id"));
        assert!(!proved("t AS t", "lower(t.id)") && !proved("t AS t", "t.p"));
        assert!(!proved("t AS t JOIN j ON j.p = t.id", "t.id"), "a join that gives several rows");
        assert!(!proved("t AS t JOIN j ON j.id = t.p", "j.id"), "the key of another table");
        assert!(!proved("t AS t CROSS JOIN LATERAL (SELECT 1 AS n UNION ALL SELECT 2) AS two", "t.id"));
        assert!(!proved("t AS t, j", "t.id") && !proved("t AS t CROSS JOIN j", "t.id"));
    }

    #[test]
    fn keys_that_point_somewhere() {
        let (child, parent) = (known(&[("t", table("t", 1)), ("j", table("j", 2))]), known(&[("t", table("j", 2))]));
        let proved = |from: &str, expression: &str, feeds: &str, filter: Option<&str>| {
            let columns = [("c", expression), ("n", "(SELECT nid FROM green)")];
            let (children, parents) =
                (rows(from, None, &columns), rows(feeds, filter, &[("id", "t.id"), ("n", "(SELECT nid FROM green)")]));
            let names = |names: [&str; 2]| names.map(Ident::new).to_vec();
            points_somewhere(
                &names(["c", "n"]),
                &names(["id", "n"]),
                &[Source { rows: &children, known: &child }],
                &[Source { rows: &parents, known: &parent }],
            )
        };
        assert!(proved("t AS t JOIN j ON j.id = t.p", "j.id", "j AS t", None));
        assert!(proved("t AS t JOIN j ON j.id = t.p", "t.p", "j AS t", None));
        assert!(proved("t AS t LEFT JOIN j ON j.id = t.p", "j.id", "j AS t", None), "NULL or there");
        assert!(!proved("t AS t LEFT JOIN j ON j.id = t.p", "t.p", "j AS t", None));
        assert!(!proved("t AS t JOIN j ON j.id = t.p", "j.id", "j AS t", Some("t.id > 'x'")), "not every parent comes along");
        assert!(!proved("t AS t JOIN j ON j.id = t.p", "j.id", "j AS t JOIN x ON x.id = t.p", None));
        assert!(!proved("t AS t JOIN j ON j.id = t.p", "j.p", "j AS t", None));
        assert!(!proved("t AS t JOIN j ON j.id = t.p OR true", "t.p", "j AS t", None));
    }

    #[test]
    fn values_written_in_sql() {
        for text in
            ["NULL::timestamp without time zone", "(false)::boolean", "(0)::integer", "(now())::timestamp", "('a'::text)::text"]
        {
            assert!(literal(text), "{text}");
        }
        for text in [
            "t.a",
            "(t.a)::integer",
            "(f('a'))::integer",
            "('a'::text || 'b')::text",
            "(1 / 0)::integer",
            "('a'::varchar(1))::text",
        ] {
            assert!(!literal(text), "{text}");
        }
    }

    #[test]
    fn values_that_are_there_and_fit() {
        let known = known(&[("t", table("t", 1)), ("j", table("j", 2))]);
        let rows = rows(
            "t AS t LEFT JOIN j ON true",
            None,
            &[("a", "t.id"), ("b", "j.id"), ("c", "t.p"), ("n", "(SELECT nid FROM green)")],
        );
        let source = [Source { rows: &rows, known: &known }];
        let never_null = |name: &str| single(&Rule::NotNull(Ident::new(name)), &table("g", 3), &source);
        assert_eq!(["a", "b", "c", "n"].map(never_null), [true, false, false, true]);
        assert!(short_enough(&Ident::new("b"), 40, &source) && !short_enough(&Ident::new("b"), 39, &source));
        let fits = |keys: &[&str]| {
            let keys = keys.iter().map(|key| (*key).to_owned()).collect();
            single(&Rule::IndexRow { keys, predicate: None }, &table("g", 3), &source)
        };
        assert!(fits(&["id", "p"]) && !fits(&["lower(id)"]));
        assert!(!constant("(SELECT nid FROM green WHERE false)") && !constant("t.a"));
    }
}
