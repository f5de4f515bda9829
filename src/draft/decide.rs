//! From two inventories to a draft. Pure.

use std::collections::BTreeSet;

use super::{Column, Draft, Drafted, Inventory, Table};
use crate::projection::TargetColumn;
use crate::sql::{Ident, QualifiedName};
use crate::suggest::nearest;

/// What both catalogs say, and nothing more: where they leave a choice, it stays open.
pub fn decide(blue: &Inventory, green: &Inventory) -> Draft {
    let mut draft = Draft::default();
    let mut used: BTreeSet<&QualifiedName> = BTreeSet::new();
    for table in &green.tables {
        let from = blue.tables.iter().find(|other| other.name == table.name);
        used.extend(from.map(|from| &from.name));
        let name = table.name.plain();
        match from {
            _ if table.rows > 0 => {
                let rows = if table.rows == 1 { "one row" } else { "rows" };
                draft.notes.push(format!("{name} holds {rows} on green already and is left as it is"));
            }
            Some(from) if same(from, table, green) => draft.same.push(name),
            from => draft.projections.push(projection(table, from, blue, green)),
        }
    }
    let unused = blue.tables.iter().filter(|table| !used.contains(&table.name));
    draft.notes.extend(unused.map(|table| format!("{} of blue has no table of its name on green", table.name.plain())));
    draft.constants = constants(green);
    draft
}

/// Whether a table's rows can be carried as they are: the same columns by name, of types that fit, and a key on blue.
fn same(blue: &Table, green: &Table, inventory: &Inventory) -> bool {
    let names = |table: &Table| -> BTreeSet<Ident> {
        table.target.columns.iter().filter(|column| !column.generated).map(|column| column.name.clone()).collect()
    };
    let fits = |column: &TargetColumn| {
        blue.target.column(&column.name).is_some_and(|from| from.type_oid == column.type_oid && fit(from, column, inventory))
    };
    names(blue) == names(green) && green.target.columns.iter().filter(|column| !column.generated).all(fits) && key(blue).is_some()
}

/// The first unique index over NOT NULL columns; the primary key comes first.
fn key(table: &Table) -> Option<Vec<String>> {
    let not_null = |column: &String| table.target.column(&Ident::new(column)).is_some_and(|column| column.not_null);
    let found = table.target.unique.iter().find(|columns| !columns.is_empty() && columns.iter().all(not_null));
    found.map(|columns| columns.iter().cloned().collect())
}

/// Whether blue's values are green's without a word: the same type of the server's own, texts, or a cast that an assignment makes and
/// that no time zone decides.
fn fit(from: &TargetColumn, to: &TargetColumn, inventory: &Inventory) -> bool {
    let texts = from.category == 'S' && to.category == 'S';
    let by_zone = from.category == 'D' && to.category == 'D' && from.type_oid != to.type_oid;
    let same = from.type_oid == to.type_oid && from.built_in();
    same || texts || !by_zone && inventory.casts.contains(&(from.type_oid, to.type_oid))
}

/// The constants that stand for tables of green that hold exactly one row: for each that others point to.
fn constants(green: &Inventory) -> Vec<(String, String)> {
    let parents = green.tables.iter().filter(|table| table.rows == 0).flat_map(|table| &table.parents);
    let of = |parent: &super::Parent| {
        let single = green.tables.iter().any(|table| table.name == parent.table && table.rows == 1);
        single.then(|| (constant(parent), format!("SELECT {} FROM {}", parent.referenced, parent.table)))
    };
    let found: BTreeSet<(String, String)> = parents.filter_map(of).collect();
    found.into_iter().collect()
}

fn constant(parent: &super::Parent) -> String {
    let plain = |text: &str| {
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect::<String>()
    };
    format!("{}_{}", plain(parent.table.name().as_str()), plain(parent.referenced.as_str()))
}

fn projection(table: &Table, from: Option<&Table>, blue: &Inventory, green: &Inventory) -> Drafted {
    let name = table.name.plain();
    let keys: BTreeSet<String> = key(table).into_iter().flatten().collect();
    let mut drafted = Drafted {
        table: name.clone(),
        from: from.map(|from| from.name.clone()),
        alike: String::new(),
        key: keys.iter().cloned().collect(),
        defaulted: Vec::new(),
        columns: Vec::new(),
        remarks: Vec::new(),
    };
    if from.is_none() {
        drafted.alike = format!("which tables of blue {name} comes from; {}", alike_tables(table, blue));
    }
    for column in table.target.columns.iter().filter(|column| !column.generated) {
        let there = from.and_then(|from| from.target.column(&column.name));
        let single = table.parents.iter().find(|parent| {
            parent.column == column.name && green.tables.iter().any(|other| other.name == parent.table && other.rows == 1)
        });
        let needed = !column.optional || keys.contains(column.name.as_str());
        let label = column.name.as_str().to_owned();
        let expression = match (there, single) {
            (Some(there), _) if fit(there, column, green) => Some(format!("t.{}", said(&there.name))),
            (None, Some(parent)) => Some(format!("(SELECT {} FROM green)", constant(parent))),
            (Some(_), _) => None,
            (None, None) if needed => None,
            (None, None) => {
                drafted.defaulted.push(label);
                continue;
            }
        };
        let what = if expression.is_some() { String::new() } else { open(column, there, from) };
        drafted.columns.push(Column { name: label, expression, what });
    }
    if keys.is_empty() {
        drafted
            .remarks
            .push("green's table has no unique index over NOT NULL columns: add one, and name its columns as key".to_owned());
    }
    if !drafted.defaulted.is_empty() {
        drafted.remarks.push("`defaulted` columns get green's default, or NULL: see that this is right".to_owned());
    }
    if let Some(from) = from {
        let left: Vec<&str> = without_place(from, table);
        if !left.is_empty() {
            drafted.remarks.push(format!("columns of blue without a place: {}", left.join(", ")));
        }
    }
    drafted
}

/// What is to be decided about a column.
fn open(column: &TargetColumn, there: Option<&TargetColumn>, from: Option<&Table>) -> String {
    let sort = format!("{}{}", column.full_type, if column.not_null { ", NOT NULL" } else { "" });
    match (there, from) {
        (Some(there), _) => {
            let hint = match (there.category, column.category) {
                ('D', 'D') => format!("; if blue's times are UTC: t.{} AT TIME ZONE 'UTC'", said(&there.name)),
                _ => String::new(),
            };
            format!("{sort}; blue's is {}{hint}", there.full_type)
        }
        (None, Some(from)) => {
            let names = from.target.columns.iter().map(|other| other.name.as_str());
            let near = nearest(column.name.as_str(), names).map(|near| format!("; alike on blue: {near}"));
            format!("{sort}; not on blue{}", near.unwrap_or_default())
        }
        (None, None) => sort,
    }
}

/// The columns of blue that green has no column for.
fn without_place<'a>(blue: &'a Table, green: &Table) -> Vec<&'a str> {
    let there = |column: &&TargetColumn| green.target.column(&column.name).is_none();
    blue.target.columns.iter().filter(there).map(|column| column.name.as_str()).collect()
}

/// The tables of blue that have most column names in common with a table.
fn alike_tables(table: &Table, blue: &Inventory) -> String {
    let common = |other: &Table| table.target.columns.iter().filter(|column| other.target.column(&column.name).is_some()).count();
    let mut rated: Vec<(usize, String)> =
        blue.tables.iter().map(|other| (common(other), other.name.plain())).filter(|(count, _)| *count > 0).collect();
    rated.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let named: Vec<String> =
        rated.iter().take(3).map(|(count, name)| format!("{name} ({count} columns of the same name)")).collect();
    if named.is_empty() {
        "no table of blue has a column of the same name".to_owned()
    } else {
        format!("alike: {}", named.join(", "))
    }
}

/// A column's name in SQL: in quotes where it needs them.
fn said(name: &Ident) -> String {
    let plain =
        name.as_str().bytes().enumerate().all(|(at, b)| b.is_ascii_lowercase() || b == b'_' || at > 0 && b.is_ascii_digit());
    if plain && !name.as_str().is_empty() && !RESERVED.contains(&name.as_str()) {
        name.as_str().to_owned()
    } else {
        name.to_string()
    }
}

/// Words that are no column names after a dot either way round, or read badly: those go in quotes.
const RESERVED: &[&str] = &["user", "order", "group", "select", "from", "where", "table", "end", "default", "primary"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::Target;

    fn column(name: &str, oid: u32, sort: &str, category: char, optional: bool) -> TargetColumn {
        TargetColumn {
            name: Ident::new(name),
            type_oid: oid,
            bare_type: sort.to_owned(),
            full_type: sort.to_owned(),
            category,
            generated: false,
            optional,
            not_null: !optional,
        }
    }

    fn table(name: &str, rows: usize, columns: Vec<TargetColumn>) -> Table {
        let key = BTreeSet::from([columns[0].name.as_str().to_owned()]);
        let target = Target {
            table: QualifiedName::new("public", name),
            oid: 1,
            plain: true,
            owned: true,
            estimated_rows: -1,
            blocks: 0,
            block_size: 8192,
            columns,
            unique: vec![key],
        };
        Table { name: QualifiedName::bare(name), target, rows, parents: Vec::new() }
    }

    fn id() -> TargetColumn {
        column("id", 23, "integer", 'N', false)
    }

    fn inventory(tables: Vec<Table>) -> Inventory {
        Inventory { tables, casts: BTreeSet::from([(23, 20), (1114, 1184)]) }
    }

    #[test]
    fn what_the_catalogs_leave_open_stays_open() {
        let text = |name: &str, optional| column(name, 25, "text", 'S', optional);
        let blue = inventory(vec![
            table("same", 5, vec![id(), text("a", true)]),
            table("changed", 5, vec![id(), text("mail", true), column("at", 1114, "timestamp", 'D', true), text("gone", true)]),
            table("left", 5, vec![id()]),
        ]);
        let mut changed = table(
            "changed",
            0,
            vec![
                column("id", 20, "bigint", 'N', false),
                text("email", false),
                column("at", 1184, "timestamp with time zone", 'D', true),
                text("note", true),
                column("net", 2950, "uuid", 'U', false),
            ],
        );
        changed.parents = vec![super::super::Parent {
            column: Ident::new("net"),
            table: QualifiedName::bare("networks"),
            referenced: Ident::new("id"),
        }];
        let green = inventory(vec![
            table("same", 0, vec![id(), text("a", true)]),
            changed,
            table("networks", 1, vec![column("id", 2950, "uuid", 'U', false)]),
            table("new", 0, vec![id(), text("mail", false)]),
        ]);
        let draft = decide(&blue, &green);
        assert_eq!(draft.same, ["same"]);
        assert_eq!(draft.constants, [("networks_id".to_owned(), "SELECT \"id\" FROM \"networks\"".to_owned())]);
        assert_eq!(draft.notes.len(), 2, "{:?}", draft.notes);
        let (changed, new) = (&draft.projections[0], &draft.projections[1]);
        let expressions: Vec<Option<&str>> = changed.columns.iter().map(|column| column.expression.as_deref()).collect();
        assert_eq!(expressions, [Some("t.id"), None, None, Some("(SELECT networks_id FROM green)")]);
        assert!(changed.columns[1].what.contains("alike on blue: mail"), "{:?}", changed.columns[1]);
        assert!(changed.columns[2].what.contains("AT TIME ZONE 'UTC'"), "{:?}", changed.columns[2]);
        assert_eq!(changed.defaulted, ["note"]);
        assert!(changed.remarks.iter().any(|remark| remark.contains("mail, gone")), "{:?}", changed.remarks);
        assert!(new.from.is_none() && new.alike.contains("changed (2 columns"), "{new:?}");
        assert!(new.columns.iter().all(|column| column.expression.is_none()));
    }

    #[test]
    fn names_are_quoted_where_they_must_be() {
        assert_eq!(
            [said(&Ident::new("a_1")), said(&Ident::new("Odd")), said(&Ident::new("user"))],
            ["a_1", "\"Odd\"", "\"user\""]
        );
    }
}
