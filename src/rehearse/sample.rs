//! Which rows a sample takes, so that rows that belong together stay together. Pure.
//!
//! Every table keeps the same share, so that each step's work is in proportion. A row goes with the row that its foreign key
//! points to, so that a session's tokens are in the sample where the session is; a row that points nowhere is drawn by a hash of
//! its key, and so is every row of a table without such a foreign key. Few rows that much else points to, and small tables that
//! stand alone (recorded versions, settings), are kept whole. What a sampled row points to beside that is brought after it.

use crate::sql::{Ident, QualifiedName};

/// A table of more rows than this is never kept whole.
const SMALL: u64 = 10_000;
/// Hashes are numbers below this.
const RANGE: f64 = (1_u64 << 30) as f64;

/// A table with rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: QualifiedName,
    /// Whether its rows are in partitions.
    pub partitioned: bool,
    /// Its rows.
    pub rows: u64,
    /// The columns of its primary key; empty where it has none.
    pub key: Vec<Ident>,
    /// Its columns, without generated ones.
    pub columns: Vec<Ident>,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The table that points, by its place in the list.
    pub child: usize,
    /// The table that is pointed to.
    pub parent: usize,
    /// The columns that point.
    pub columns: Vec<Ident>,
    /// The columns that are pointed to, in the same order.
    pub refers: Vec<Ident>,
}

/// How the rows of a table are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Every row.
    Whole,
    /// By a hash of the key.
    Hashed,
    /// With the row that this foreign key points to.
    With(usize),
}

/// How the rows of each table are chosen.
pub fn choose(tables: &[Table], links: &[Link]) -> Vec<Choice> {
    let largest = tables.iter().map(|table| table.rows).max().unwrap_or(0);
    let mut chosen: Vec<Option<Choice>> = vec![None; tables.len()];
    for table in 0..tables.len() {
        visit(table, tables, links, largest, &mut chosen, &mut Vec::new());
    }
    chosen.into_iter().map(|choice| choice.unwrap_or(Choice::Hashed)).collect()
}

fn visit(
    at: usize,
    tables: &[Table],
    links: &[Link],
    largest: u64,
    chosen: &mut Vec<Option<Choice>>,
    path: &mut Vec<usize>,
) -> Choice {
    if let Some(known) = chosen[at] {
        return known;
    }
    path.push(at);
    let mut with: Option<usize> = None;
    for (number, link) in links.iter().enumerate().filter(|(_, link)| link.child == at) {
        // A circle has no beginning: the rows of one of its tables are drawn, the others follow.
        if path.contains(&link.parent) || visit(link.parent, tables, links, largest, chosen, path) == Choice::Whole {
            continue;
        }
        if with.is_none_or(|best| tables[links[best].parent].rows < tables[link.parent].rows) {
            with = Some(number);
        }
    }
    path.pop();
    let rows = tables[at].rows;
    let alone = links.iter().all(|link| link.child != at && link.parent != at);
    let choice = match with {
        Some(link) => Choice::With(link),
        None if rows <= SMALL && (alone || rows * 10 <= largest) => Choice::Whole,
        None => Choice::Hashed,
    };
    *chosen[at].get_or_insert(choice)
}

/// The condition under which a row of the table is in a sample of this share; none: every row is. In it the row is called `t`.
pub fn condition(at: usize, tables: &[Table], links: &[Link], choices: &[Choice], share: f64) -> Option<String> {
    (share < 1.0).then(|| kept(at, "t", tables, links, choices, share))?
}

fn kept(at: usize, row: &str, tables: &[Table], links: &[Link], choices: &[Choice], share: f64) -> Option<String> {
    let own = || hashed(row, &tables[at].key, share);
    match choices[at] {
        Choice::Whole => None,
        Choice::Hashed => Some(own()),
        Choice::With(link) => {
            let Link { parent, columns, refers, .. } = &links[link];
            let nowhere: Vec<String> = columns.iter().map(|column| format!("{row}.{column} IS NULL")).collect();
            let nowhere = format!("(({}) AND {})", nowhere.join(" OR "), own());
            // Where the row that is pointed to is drawn by what is pointed to, that need not be looked up.
            if choices[*parent] == Choice::Hashed && tables[*parent].key == *refers {
                return Some(format!("({} OR {nowhere})", hashed(row, columns, share)));
            }
            let other = format!("{row}{}", parent);
            let table = &tables[*parent].name;
            let same: Vec<String> =
                columns.iter().zip(refers).map(|(column, refers)| format!("{other}.{refers} = {row}.{column}")).collect();
            let there = format!("SELECT FROM {table} AS {other} WHERE {}", same.join(" AND "));
            let with = match kept(*parent, &other, tables, links, choices, share) {
                Some(condition) => format!("EXISTS ({there} AND {condition})"),
                None => format!("EXISTS ({there})"),
            };
            // A row that points to one that is not there breaks its foreign key; such rows are work for a plan too.
            let points: Vec<String> = columns.iter().map(|column| format!("{row}.{column} IS NOT NULL")).collect();
            let broken = format!("({} AND NOT EXISTS ({there}) AND {})", points.join(" AND "), hashed(row, columns, share));
            Some(format!("({with} OR {nowhere} OR {broken})"))
        }
    }
}

/// Whether a row is drawn, by a hash of these columns; of the whole row where there are none.
fn hashed(row: &str, columns: &[Ident], share: f64) -> String {
    let text = match columns {
        [] => format!("{row}::text"),
        [one] => format!("{row}.{one}::text"),
        several => {
            let all: Vec<String> = several.iter().map(|column| format!("{row}.{column}")).collect();
            format!("ROW({})::text", all.join(", "))
        }
    };
    format!("(hashtextextended({text}, 0) & {}) < {}", (1_u64 << 30) - 1, (share * RANGE).round())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, rows: u64) -> Table {
        let key = vec![Ident::new("id")];
        Table { name: QualifiedName::bare(name), partitioned: false, rows, columns: key.clone(), key }
    }

    fn link(child: usize, column: &str, parent: usize) -> Link {
        Link { child, parent, columns: vec![Ident::new(column)], refers: vec![Ident::new("id")] }
    }

    #[test]
    fn rows_go_with_what_they_belong_to() {
        let tables =
            [table("token", 80_000), table("session", 50_000), table("client", 250), table("version", 90), table("log", 70_000)];
        let links = [link(0, "client", 2), link(0, "session", 1), link(1, "client", 2)];
        let choices = choose(&tables, &links);
        assert_eq!(choices, [Choice::With(1), Choice::Hashed, Choice::Whole, Choice::Whole, Choice::Hashed]);
        let of = |at, share| condition(at, &tables, &links, &choices, share);
        assert_eq!((of(2, 0.1), of(1, 1.0)), (None, None));
        let token = of(0, 0.5).unwrap();
        assert!(token.starts_with("((hashtextextended(t.\"session\"::text, 0) & 1073741823) < 536870912 OR "), "{token}");
        assert!(token.contains("t.\"session\" IS NULL") && token.contains("t.\"id\"::text"), "{token}");
    }

    #[test]
    fn a_chain_is_followed_to_its_beginning() {
        let tables = [table("a", 100), table("b", 100), table("c", 100)];
        let links = [link(0, "b", 1), link(1, "c", 2)];
        let choices = choose(&tables, &links);
        assert_eq!(choices, [Choice::With(0), Choice::With(1), Choice::Hashed]);
        let condition = condition(0, &tables, &links, &choices, 0.1).unwrap();
        assert!(condition.contains("EXISTS (SELECT FROM \"b\" AS t1 WHERE t1.\"id\" = t.\"b\" AND ("), "{condition}");
        assert!(condition.contains("hashtextextended(t1.\"c\"::text, 0)") && condition.contains("NOT EXISTS"), "{condition}");
    }

    #[test]
    fn circles_and_tables_that_point_to_themselves_end() {
        let tables = [table("a", 20_000), table("b", 30_000)];
        let choices = choose(&tables, &[link(0, "b", 1), link(1, "a", 0), link(0, "up", 0)]);
        assert_eq!(choices.iter().filter(|choice| matches!(choice, Choice::With(_))).count(), 1, "{choices:?}");
    }
}
