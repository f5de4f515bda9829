//! The triggers of a captured table and the functions they call, as SQL. Pure.
//!
//! One function per table and event: its statement is planned once per session. It runs with the rights of crossfade's role, so
//! writers need none; no writer's setting changes the text of a value. Functions set no search path, which would cost a writer as
//! much again as the row they write: every name in them is qualified, operators too, and the tables of changed rows come before
//! any table of the same name.

use super::shape::{Column, Shape};
use crate::sql::{Ident, Literal, QualifiedName};
use crate::terms::key_digest;

/// What happens to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Insert,
    Update,
    /// A row whose captured columns changed: the values it had and those it has.
    Moved,
    Delete,
    Truncate,
}

impl Event {
    pub const ALL: [Event; 5] = [Event::Insert, Event::Update, Event::Moved, Event::Delete, Event::Truncate];

    fn word(self) -> &'static str {
        match self {
            Event::Insert => "insert",
            Event::Update => "update",
            Event::Moved => "moved",
            Event::Delete => "delete",
            Event::Truncate => "truncate",
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

/// What happens on a table of this shape that needs a trigger. Where every UPDATE counts, rows that keep their captured columns
/// are the rule: those that do not are left to a trigger of their own, whose condition costs next to nothing.
fn events(shape: &Shape) -> impl Iterator<Item = Event> {
    let compares = shape.compared().is_some();
    Event::ALL.into_iter().filter(move |event| *event != Event::Moved || !compares)
}

/// The statements that make the functions.
pub(super) fn functions(id: i32, shape: &Shape) -> Vec<String> {
    let mut statements = Vec::new();
    for event in events(shape) {
        let name = QualifiedName::new("crossfade", event.function(&shape.table));
        let settings: String = match event {
            Event::Truncate if !shape.rows_of_truncate => String::new(),
            // A policy that would hide rows is an error then.
            Event::Truncate => [" SET row_security TO off".to_owned()].into_iter().chain(pins(shape)).collect(),
            _ => pins(shape).collect(),
        };
        let body = format!("BEGIN {} RETURN NULL; END", statement(id, event, shape));
        statements.push(format!(
            "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER{settings} AS {}",
            Literal::new(body)
        ));
        statements.push(format!("REVOKE ALL ON FUNCTION {name}() FROM PUBLIC"));
    }
    statements
}

fn pins(shape: &Shape) -> impl Iterator<Item = String> {
    shape.pins().into_iter().map(|pin| format!(" SET {pin}"))
}

/// The statements that set the triggers, which fire for replicas' sessions too.
pub(super) fn triggers(shape: &Shape) -> Vec<String> {
    let table = &shape.table;
    let create = |event: Event| {
        let when = match event {
            Event::Insert => format!("INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT"),
            Event::Update if shape.compared().is_none() => {
                format!("UPDATE ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT")
            }
            Event::Update => {
                format!("UPDATE ON {table} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT")
            }
            Event::Moved => {
                let moved: Vec<String> = shape.keys().map(differs).collect();
                let moved = moved.join(" OR ");
                format!("UPDATE ON {table} FOR EACH ROW WHEN ({moved})")
            }
            Event::Delete => format!("DELETE ON {table} REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT"),
            Event::Truncate => format!("TRUNCATE ON {table} FOR EACH STATEMENT"),
        };
        let function = QualifiedName::new("crossfade", event.function(table));
        let before = event == Event::Truncate && shape.rows_of_truncate;
        let moment = if before { "BEFORE" } else { "AFTER" };
        format!("CREATE TRIGGER {} {moment} {when} EXECUTE FUNCTION {function}()", event.trigger())
    };
    let always: Vec<String> = events(shape).map(|event| format!("ENABLE ALWAYS TRIGGER {}", event.trigger())).collect();
    events(shape).map(create).chain([format!("ALTER TABLE {table} {}", always.join(", "))]).collect()
}

/// The operation of an UPDATE's keys: `u` where as many rows have them after it as before, so that only other columns changed;
/// `c` where rows came to have them or have them no longer.
const KIND: &str = "CASE WHEN pg_catalog.count(*) FILTER (WHERE t.new) OPERATOR(pg_catalog.=) \
    pg_catalog.count(*) FILTER (WHERE NOT t.new) THEN 'u'::pg_catalog.\"char\" ELSE 'c'::pg_catalog.\"char\" END";

fn statement(id: i32, event: Event, shape: &Shape) -> String {
    let keys = |row: &str| {
        let keys: Vec<String> = shape.columns.iter().map(|column| text(row, column)).collect();
        format!("ARRAY[{}]", keys.join(", "))
    };
    let into = "INSERT INTO crossfade.outbox (captured, operation, keys)";
    match (event, shape.compared()) {
        (Event::Truncate, _) if shape.rows_of_truncate => {
            // By the table's present name: a renamed table is found out by the reader, and its TRUNCATE does not fail here.
            let rows = Literal::new(format!("{into} SELECT {id}, 'd', {} FROM ONLY ", keys("t")));
            format!("EXECUTE pg_catalog.concat({rows}, TG_RELID::pg_catalog.regclass, ' AS t'); {into} VALUES ({id}, 't', NULL);")
        }
        (Event::Truncate, _) => format!("{into} VALUES ({id}, 't', NULL);"),
        (Event::Insert, _) => format!("{into} SELECT {id}, 'i', {} FROM new_rows AS t;", keys("t")),
        (Event::Delete, _) => format!("{into} SELECT {id}, 'd', {} FROM old_rows AS t;", keys("t")),
        (Event::Moved, _) => format!("{into} VALUES ({id}, 'c', {}), ({id}, 'c', {});", keys("OLD"), keys("NEW")),
        (Event::Update, None) => format!("{into} SELECT {id}, 'u', {} FROM new_rows AS t;", keys("t")),
        (Event::Update, Some((same, watched))) => format!("{into} SELECT {id}, {KIND}, {}", changed(shape, &same, &watched)),
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
        // Two values that differ, or one and a NULL.
        having += &format!(
            " OR pg_catalog.count(DISTINCT t.w{n}) OPERATOR(pg_catalog.>) 1 OR pg_catalog.count(t.w{n}) OPERATOR(pg_catalog.=) 1"
        );
    }
    format!(
        "ARRAY[{}] FROM (SELECT {columns}, true AS new FROM new_rows AS t UNION ALL SELECT {columns}, false FROM old_rows AS t) AS t \
         GROUP BY {} HAVING {having};",
        keys.join(", "),
        groups.join(", ")
    )
}

/// Whether a row's value became another one, or another text of an equal one. What a float's text is here depends on the
/// writer's settings: its value is asked too.
fn differs(column: &Column) -> String {
    let distinct = |old: String, new: String| format!("{old} IS DISTINCT FROM {new}");
    let (old, new) = (format!("OLD.{}", column.name), format!("NEW.{}", column.name));
    let texts = distinct(text("OLD", &column.name), text("NEW", &column.name));
    match (column.exact, column.float()) {
        (true, _) => distinct(old, new),
        (false, true) => format!("{} OR {texts}", distinct(old, new)),
        (false, false) => texts,
    }
}

/// A column's value as text that equals another only when they are the same bytes.
fn text(row: &str, column: &Ident) -> String {
    format!("({row}.{column})::pg_catalog.text COLLATE pg_catalog.\"C\"")
}

/// The same, or the value itself where its type's equality is as exact.
fn exact(row: &str, column: &Column) -> String {
    if column.exact { format!("{row}.{}", column.name) } else { text(row, &column.name) }
}
