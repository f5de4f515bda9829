//! The triggers of a captured table and the functions they call, as SQL. Pure.
//!
//! One function per table and event: its statement is planned once per session. It runs with the rights of crossfade's role, so
//! writers need none; every name in it is qualified, its search path is fixed, and no writer's setting changes the text of a
//! value.

use super::shape::{Column, Shape};
use crate::sql::{Ident, Literal, QualifiedName};
use crate::terms::key_digest;

/// What happens to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Event {
    pub const ALL: [Event; 4] = [Event::Insert, Event::Update, Event::Delete, Event::Truncate];

    fn word(self) -> &'static str {
        match self {
            Event::Insert => "insert",
            Event::Update => "update",
            Event::Delete => "delete",
            Event::Truncate => "truncate",
        }
    }

    /// The tables of changed rows it gives its trigger.
    fn referencing(self) -> &'static str {
        match self {
            Event::Insert => " REFERENCING NEW TABLE AS new_rows",
            Event::Update => " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
            Event::Delete => " REFERENCING OLD TABLE AS old_rows",
            Event::Truncate => "",
        }
    }

    /// The trigger's name; the same for every run, so that two of them cannot capture one table.
    pub fn trigger(self) -> Ident {
        Ident::new(format!("crossfade_capture_{}", self.word()))
    }

    /// The function's name in schema `crossfade`: one per table, so that two runs cannot capture it at once.
    pub fn function(self, table: &QualifiedName) -> String {
        format!("capture_{}_{}", key_digest(&table.plain()), self.word())
    }
}

/// The statements that make the functions.
pub(super) fn functions(id: i32, shape: &Shape) -> Vec<String> {
    let mut statements = Vec::new();
    for event in Event::ALL {
        let name = QualifiedName::new("crossfade", event.function(&shape.table));
        let settings: String = match event {
            Event::Truncate => String::new(),
            _ => shape.pins().iter().map(|pin| format!(" SET {pin}")).collect(),
        };
        let body = format!("BEGIN {} RETURN NULL; END", statement(id, event, shape));
        statements.push(format!(
            "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path TO pg_catalog, pg_temp{settings} AS {}",
            Literal::new(body)
        ));
        statements.push(format!("REVOKE ALL ON FUNCTION {name}() FROM PUBLIC"));
    }
    statements
}

/// The statements that set the triggers, which fire for replicas' sessions too.
pub(super) fn triggers(table: &QualifiedName) -> Vec<String> {
    let create = |event: Event| {
        format!(
            "CREATE TRIGGER {} AFTER {} ON {table}{} FOR EACH STATEMENT EXECUTE FUNCTION {}()",
            event.trigger(),
            event.word().to_uppercase(),
            event.referencing(),
            QualifiedName::new("crossfade", event.function(table))
        )
    };
    let always = Event::ALL.map(|event| format!("ENABLE ALWAYS TRIGGER {}", event.trigger()));
    Event::ALL.into_iter().map(create).chain([format!("ALTER TABLE {table} {}", always.join(", "))]).collect()
}

/// The operation of an UPDATE's keys: `u` where as many rows have them after it as before, so that only other columns changed;
/// `c` where rows came to have them or have them no longer.
const KIND: &str = "CASE WHEN pg_catalog.count(*) FILTER (WHERE t.new) OPERATOR(pg_catalog.=) \
    pg_catalog.count(*) FILTER (WHERE NOT t.new) THEN 'u'::pg_catalog.\"char\" ELSE 'c'::pg_catalog.\"char\" END";

fn statement(id: i32, event: Event, shape: &Shape) -> String {
    let keys: Vec<String> = shape.columns.iter().map(|column| text("t", column)).collect();
    let keys = format!("ARRAY[{}]", keys.join(", "));
    let into = "INSERT INTO crossfade.outbox (captured, operation, keys)";
    match event {
        Event::Truncate => format!("{into} VALUES ({id}, 't', NULL);"),
        Event::Insert => format!("{into} SELECT {id}, 'i', {keys} FROM new_rows AS t;"),
        Event::Delete => format!("{into} SELECT {id}, 'd', {keys} FROM old_rows AS t;"),
        Event::Update => match shape.compared() {
            None => format!(
                "{into} SELECT {id}, {KIND}, t.keys FROM (SELECT {keys} AS keys, true AS new FROM new_rows AS t \
                 UNION ALL SELECT {keys}, false FROM old_rows AS t) AS t GROUP BY t.keys;"
            ),
            Some((same, watched)) => format!("{into} SELECT {id}, {KIND}, {}", changed(shape, &same, &watched)),
        },
    }
}

/// The keys, old and new, of rows of which something counts that changed. A row is known by `same` (its identity and the captured
/// columns): where both an old and a new row have these values, it is one row, and `watched` decides. Grouping spills to disk,
/// so that a statement on millions of rows needs little memory.
fn changed(shape: &Shape, same: &[&Column], watched: &[&Column]) -> String {
    let known: Vec<String> = same.iter().enumerate().map(|(n, column)| format!("{} AS s{n}", exact("t", column))).collect();
    let values: Vec<String> =
        watched.iter().enumerate().map(|(n, column)| format!("{} AS w{n}", text("t", &column.name))).collect();
    let columns = [known, values].concat().join(", ");
    let place = |name: &Ident| same.iter().position(|column| column.name == *name);
    let keys: Vec<String> = shape.columns.iter().filter_map(place).map(|n| format!("(t.s{n})::pg_catalog.text")).collect();
    let groups: Vec<String> = (0..same.len()).map(|n| format!("t.s{n}")).collect();
    let count = "pg_catalog.count(*) FILTER (WHERE";
    let mut having = format!("{count} t.new) OPERATOR(pg_catalog.<>) 1 OR {count} NOT t.new) OPERATOR(pg_catalog.<>) 1");
    for n in 0..watched.len() {
        having += &format!(
            " OR pg_catalog.max(t.w{n}) FILTER (WHERE t.new) IS DISTINCT FROM pg_catalog.max(t.w{n}) FILTER (WHERE NOT t.new)"
        );
    }
    format!(
        "ARRAY[{}] FROM (SELECT {columns}, true AS new FROM new_rows AS t UNION ALL SELECT {columns}, false FROM old_rows AS t) AS t \
         GROUP BY {} HAVING {having};",
        keys.join(", "),
        groups.join(", ")
    )
}

/// A column's value as text that equals another only when they are the same bytes.
fn text(row: &str, column: &Ident) -> String {
    format!("({row}.{column})::pg_catalog.text COLLATE pg_catalog.\"C\"")
}

/// The same, or the value itself where its type's equality is as exact.
fn exact(row: &str, column: &Column) -> String {
    if column.exact { format!("{row}.{}", column.name) } else { text(row, &column.name) }
}
