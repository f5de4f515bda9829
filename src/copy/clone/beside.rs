//! Which definitions before the rows may come at the same time: tables that need none of the others.

use std::collections::BTreeSet;

use anyhow::Context;

use super::Entry;
use crate::pg::Session;

/// Definitions that follow each other.
#[derive(Debug, PartialEq, Eq)]
pub enum Stretch<'a> {
    /// One after the other.
    InOrder(Vec<&'a Entry>),
    /// Tables that need none of each other, nor anything of the stretch that follows.
    Beside(Vec<&'a Entry>),
}

/// What no table needs but one that is bound: such tables may come before it.
const TABLES: [&str; 10] = [
    "TABLE",
    "SEQUENCE",
    "SEQUENCE OWNED BY",
    "DEFAULT",
    "VIEW",
    "MATERIALIZED VIEW",
    "FOREIGN TABLE",
    "COMMENT",
    "SECURITY LABEL",
    "ACL",
];

/// Fewer are not worth sessions of their own.
const FEW: usize = 8;

/// Puts tables that stand alone in front of what else is defined among tables. `bound`: those that do not, as [`bound`] finds them.
pub fn stretches<'a>(entries: &[&'a Entry], bound: &BTreeSet<(String, String)>) -> Vec<Stretch<'a>> {
    let among = |entry: &Entry| TABLES.contains(&entry.sort.as_str());
    let alone = |entry: &Entry| {
        // The type of a table's arrays has a name made of the table's, which another table's must not take at the same moment.
        let name = !entry.name.starts_with('_') && entry.name.len() < 62;
        // A constant list of tables in a default is no dependency for the server, and must find them all the same.
        let names_none = !entry.text.contains("::reg");
        entry.sort == "TABLE" && name && names_none && !bound.contains(&(entry.schema.clone(), entry.name.clone()))
    };
    let mut found: Vec<Stretch> = Vec::new();
    for run in entries.chunk_by(|a, b| among(a) == among(b)) {
        let (beside, mut in_order): (Vec<&Entry>, Vec<&Entry>) = run.iter().partition(|entry| alone(entry));
        if beside.len() < FEW {
            in_order = run.to_vec();
        } else {
            found.push(Stretch::Beside(beside));
        }
        match found.last_mut() {
            Some(Stretch::InOrder(before)) => before.append(&mut in_order),
            _ if in_order.is_empty() => {}
            _ => found.push(Stretch::InOrder(in_order)),
        }
    }
    found
}

/// Tables whose definition names another relation or its type, by schema and name as `pg_dump` writes them into headers. A sequence
/// that a table owns is none: `pg_dump` writes such a default apart.
const BOUND: &str = "\
    WITH part (owner, classid, objid) AS ( \
        SELECT oid, 'pg_class'::regclass, oid FROM pg_class WHERE relkind IN ('r', 'p') \
        UNION ALL SELECT adrelid, 'pg_attrdef'::regclass, oid FROM pg_attrdef \
        UNION ALL SELECT conrelid, 'pg_constraint'::regclass, oid FROM pg_constraint WHERE contype NOT IN ('f', 'p', 'u', 'x')) \
    SELECT DISTINCT translate(n.nspname, E'\\n\\r', '  '), translate(c.relname, E'\\n\\r', '  ') \
    FROM part JOIN pg_depend d ON d.classid = part.classid AND d.objid = part.objid \
    JOIN pg_class c ON c.oid = part.owner JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid LEFT JOIN pg_type e ON e.oid = t.typelem \
    WHERE CASE WHEN d.refclassid = 'pg_class'::regclass THEN d.refobjid <> c.oid AND NOT EXISTS ( \
            SELECT FROM pg_depend o WHERE o.classid = 'pg_class'::regclass AND o.objid = d.refobjid \
                AND o.refclassid = 'pg_class'::regclass AND o.refobjid = c.oid AND o.deptype IN ('a', 'i')) \
        ELSE coalesce(nullif(t.typrelid, 0), e.typrelid, 0) NOT IN (0, c.oid) END";

/// See [`stretches`].
///
/// # Errors
/// When the session is gone.
pub async fn bound(session: &Session) -> anyhow::Result<BTreeSet<(String, String)>> {
    let rows = session.query(BOUND, &[]).await.context("reading what tables need of each other")?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Statements as one text, without settings that stand already.
pub fn together(texts: &[&str]) -> String {
    let mut standing: Vec<&str> = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for text in texts {
        let mut rest = *text;
        while let Some((line, after)) = rest.split_once('\n').filter(|(line, _)| line.starts_with("SET default_")) {
            rest = after;
            if !standing.contains(&line) {
                let setting = |line: &str| line.split('=').next().map(str::to_owned);
                standing.retain(|known| setting(known) != setting(line));
                standing.push(line);
                lines.push(line);
            }
        }
        lines.push(rest);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sort: &str, name: &str) -> Entry {
        Entry { name: name.to_owned(), sort: sort.to_owned(), schema: "s".to_owned(), text: String::new() }
    }

    #[test]
    fn tables_that_stand_alone_come_beside_each_other() {
        let long = "x".repeat(62);
        let mut all = vec![entry("TYPE", "mood"), entry("TABLE", "b"), entry("SEQUENCE", "b_id_seq"), entry("VIEW", "v")];
        all.extend((0..FEW).map(|number| entry("TABLE", &format!("t{number}"))));
        all.extend([entry("COMMENT", "TABLE t1"), entry("TABLE", "child"), entry("TABLE", "_b"), entry("TABLE", &long)]);
        all.push(Entry {
            text: "CREATE TABLE named (a regclass[] DEFAULT '{b}'::regclass[])".to_owned(),
            ..entry("TABLE", "named")
        });
        all.extend([entry("FUNCTION", "f(b)"), entry("TABLE", "c"), entry("TABLE", "d"), entry("TABLE ATTACH", "c")]);
        let bound = BTreeSet::from([("s".to_owned(), "child".to_owned())]);
        let list: Vec<&Entry> = all.iter().collect();
        let said: Vec<String> = stretches(&list, &bound)
            .into_iter()
            .map(|stretch| match stretch {
                Stretch::InOrder(some) => some.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(" "),
                Stretch::Beside(some) => some.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(" | "),
            })
            .collect();
        let rest = format!("b_id_seq v TABLE t1 child _b {long} named f(b) c d c");
        assert_eq!(said, ["mood", "b | t0 | t1 | t2 | t3 | t4 | t5 | t6 | t7", &rest]);
        assert!(stretches(&[], &bound).is_empty());
    }

    #[test]
    fn a_setting_that_stands_is_not_said_again() {
        let (heap, other) = ("SET default_tablespace = '';\nSET default_x = heap;\nA", "SET default_tablespace = fast;\nB");
        let text = together(&[heap, heap, other, "C", heap]);
        assert_eq!(
            text,
            "SET default_tablespace = '';\nSET default_x = heap;\nA\nA\nSET default_tablespace = fast;\nB\nC\nSET default_tablespace = '';\nA"
        );
    }
}
