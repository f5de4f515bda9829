//! The statements that bring staged rows into green's tables. Pure.
//!
//! Staged are, per table: `keys` (every key that may have changed) and `rows` (what the projection gives for them now). Rows
//! that are in both `keys` and the table but not in `rows` go. The order keeps every constraint at every moment: new rows
//! parents first, then changed ones, then those that go, children first. What it cannot keep is a unique value that moves
//! from one row to another, or a value that other rows point to and that changes in place: such rows are *in the way*. They
//! are taken out first, together with all that points at them, and put back with the new rows.

use super::green::{Equality, ForeignKey, Green, GreenTable};
use crate::sql::Ident;

/// A staging table of the projection at this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Staging {
    /// Keys that may have changed.
    Keys,
    /// Their rows.
    Rows,
    /// Keys of rows in the way.
    Way,
    /// Rows that were taken out and are not dirty, whole.
    Saved,
}

impl Staging {
    /// Its name for the projection at `place`.
    pub fn of(self, place: usize) -> String {
        let name = match self {
            Staging::Keys => "keys",
            Staging::Rows => "rows",
            Staging::Way => "way",
            Staging::Saved => "saved",
        };
        format!("pg_temp.crossfade_{name}_{place}")
    }
}

fn list(columns: &[Ident], alias: &str) -> String {
    columns.iter().map(|column| format!("{alias}{column}")).collect::<Vec<_>>().join(", ")
}

/// `a.k = b.k AND ...`
fn same(columns: &[Ident], a: &str, b: &str) -> String {
    columns.iter().map(|column| format!("{a}.{column} = {b}.{column}")).collect::<Vec<_>>().join(" AND ")
}

fn pairs(left: &[Ident], a: &str, right: &[Ident], b: &str) -> String {
    left.iter().zip(right).map(|(l, r)| format!("{a}.{l} = {b}.{r}")).collect::<Vec<_>>().join(" AND ")
}

impl GreenTable {
    fn filled(&self) -> Vec<Ident> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// Whether rows `g` and `r` differ in one of the columns that `of` picks.
    fn differ(&self, of: impl Fn(&Ident) -> bool) -> Option<String> {
        let differ = self.columns.iter().filter(|column| of(&column.name)).map(|column| {
            let side = |alias: &str| match column.equality {
                Equality::Own => format!("{alias}.{}", column.name),
                Equality::Bytes => format!("{alias}.{}::text COLLATE \"C\"", column.name),
                Equality::Text => format!("{alias}.{}::text", column.name),
            };
            format!("{} IS DISTINCT FROM {}", side("g"), side("r"))
        });
        let differ: Vec<String> = differ.collect();
        (!differ.is_empty()).then(|| differ.join(" OR "))
    }
}

impl Green {
    /// Makes the staging tables for keys and rows. They empty themselves at the end of each transaction.
    pub fn create_stage(&self, place: usize) -> String {
        let table = &self.tables[place];
        format!(
            "CREATE TEMP TABLE crossfade_keys_{place} ON COMMIT DELETE ROWS AS SELECT {} FROM {name} WITH NO DATA; \
             CREATE TEMP TABLE crossfade_rows_{place} ON COMMIT DELETE ROWS AS SELECT 0::smallint AS \"crossfade source\", {} FROM {name} WITH NO DATA",
            list(&table.key, ""),
            list(&table.filled(), ""),
            name = table.table
        )
    }

    /// Makes the staging tables for rows in the way, of every table.
    pub fn create_way(&self) -> String {
        let create = self.tables.iter().enumerate().map(|(place, table)| {
            format!(
                "CREATE TEMP TABLE crossfade_way_{place} ON COMMIT DELETE ROWS AS SELECT {} FROM {name} WITH NO DATA; \
                 CREATE TEMP TABLE crossfade_saved_{place} ON COMMIT DELETE ROWS AS SELECT {} FROM {name} WITH NO DATA",
                list(&table.key, ""),
                list(&table.all, ""),
                name = table.table
            )
        });
        create.collect::<Vec<_>>().join("; ")
    }

    /// `table (columns)` to stage keys into.
    pub fn keys_into(&self, place: usize) -> String {
        format!("{} ({})", Staging::Keys.of(place), list(&self.tables[place].key, ""))
    }

    /// `table (columns)` to stage rows into; the first column is the source's number.
    pub fn rows_into(&self, place: usize) -> String {
        format!("{} (\"crossfade source\", {})", Staging::Rows.of(place), list(&self.tables[place].filled(), ""))
    }

    /// Stages keys given as text: `$1`... are `text[]`, one for each key column, of these types.
    pub fn stage_keys<'t>(&self, place: usize, types: impl Iterator<Item = &'t str>) -> String {
        let arrays = types.enumerate().map(|(n, of_type)| format!("${}::text[]::{of_type}[]", n + 1));
        format!("INSERT INTO {} SELECT * FROM unnest({})", self.keys_into(place), arrays.collect::<Vec<_>>().join(", "))
    }

    /// Stages the key of every row of the table.
    pub fn every_key(&self, place: usize) -> String {
        let table = &self.tables[place];
        format!("INSERT INTO {} SELECT {} FROM {}", self.keys_into(place), list(&table.key, ""), table.table)
    }

    /// Leaves each row of each source once: several pieces of a batch may have asked for it.
    pub fn once(&self, place: usize) -> String {
        let rows = Staging::Rows.of(place);
        format!(
            "DELETE FROM {rows} WHERE ctid = ANY (ARRAY(SELECT d.ctid FROM (SELECT ctid, row_number() OVER (PARTITION BY {}, \
             \"crossfade source\") AS nth FROM {rows}) AS d WHERE d.nth > 1))",
            list(&self.tables[place].key, "")
        )
    }

    /// How many keys several sources give.
    pub fn twice(&self, place: usize) -> String {
        let key = list(&self.tables[place].key, "");
        format!("SELECT count(*) FROM (SELECT FROM {} GROUP BY {key} HAVING count(*) > 1) AS d", Staging::Rows.of(place))
    }

    /// Queries that give the keys of dirty rows in the way, each as columns of [`Staging::Way`].
    pub fn in_the_way(&self, place: usize) -> Vec<String> {
        let table = &self.tables[place];
        let (name, keys, rows) = (&table.table, Staging::Keys.of(place), Staging::Rows.of(place));
        let mut queries = Vec::new();
        for unique in &table.uniques {
            let columns = |from: &str| {
                let values = unique.expressions.iter().enumerate().map(|(n, text)| format!(", ({text}) AS \"crossfade {n}\""));
                let filter = unique.predicate.as_ref().map_or(String::new(), |filter| format!(" WHERE {filter}"));
                format!("(SELECT {}{} FROM {from}{filter})", list(&table.key, ""), values.collect::<String>())
            };
            let equal = if unique.nulls_equal { "IS NOT DISTINCT FROM" } else { "=" };
            let values = (0..unique.expressions.len()).map(|n| format!("g.\"crossfade {n}\" {equal} r.\"crossfade {n}\""));
            queries.push(format!(
                "SELECT {} FROM {} AS r JOIN {} AS g ON {} WHERE NOT ({}) AND EXISTS (SELECT FROM {keys} AS k WHERE {})",
                list(&table.key, "g."),
                columns(&rows),
                columns(&name.to_string()),
                values.collect::<Vec<_>>().join(" AND "),
                same(&table.key, "g", "r"),
                same(&table.key, "g", "k")
            ));
        }
        for key in self.foreign_keys.iter().filter(|key| key.parent == place) {
            let moves = |column: &Ident| key.referenced.contains(column) && !table.key.contains(column);
            if let Some(differ) = table.differ(moves) {
                queries.push(format!(
                    "SELECT {} FROM {rows} AS r JOIN {name} AS g ON {} WHERE ({differ}) AND EXISTS (SELECT FROM {} AS c WHERE {})",
                    list(&table.key, "g."),
                    same(&table.key, "g", "r"),
                    self.tables[key.child].table,
                    pairs(&key.columns, "c", &key.referenced, "g")
                ));
            }
        }
        let fixed = |column: &Ident| {
            table.columns.iter().any(|known| known.name == *column && !known.settable) && !table.key.contains(column)
        };
        if let Some(differ) = table.differ(fixed) {
            queries.push(format!(
                "SELECT {} FROM {rows} AS r JOIN {name} AS g ON {} WHERE {differ}",
                list(&table.key, "g."),
                same(&table.key, "g", "r")
            ));
        }
        queries
    }

    /// Stages what a query of [`Green::in_the_way`] gives.
    pub fn put_in_way(&self, place: usize, query: &str) -> String {
        format!("INSERT INTO {} ({}) {query}", Staging::Way.of(place), list(&self.tables[place].key, ""))
    }

    /// Stages the rows that point at rows in the way, one step further.
    pub fn more_in_way(&self, key: &ForeignKey) -> String {
        let (child, parent) = (&self.tables[key.child], &self.tables[key.parent]);
        format!(
            "INSERT INTO {way} ({}) SELECT DISTINCT {} FROM {} AS w JOIN {} AS p ON {} JOIN {} AS c ON {} \
             WHERE NOT EXISTS (SELECT FROM {way} AS x WHERE {})",
            list(&child.key, ""),
            list(&child.key, "c."),
            Staging::Way.of(key.parent),
            parent.table,
            same(&parent.key, "p", "w"),
            child.table,
            pairs(&key.columns, "c", &key.referenced, "p"),
            same(&child.key, "x", "c"),
            way = Staging::Way.of(key.child)
        )
    }

    /// Keeps the rows in the way that are not dirty. `staged` tells whether the table has keys staged.
    pub fn save(&self, place: usize, staged: bool) -> String {
        let table = &self.tables[place];
        let clean = match staged {
            true => {
                format!(" AND NOT EXISTS (SELECT FROM {} AS k WHERE {})", Staging::Keys.of(place), same(&table.key, "k", "g"))
            }
            false => String::new(),
        };
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM {} AS g WHERE EXISTS (SELECT FROM {} AS w WHERE {}){clean}",
            Staging::Saved.of(place),
            list(&table.all, ""),
            list(&table.all, "g."),
            table.table,
            Staging::Way.of(place),
            same(&table.key, "w", "g")
        )
    }

    /// Takes the rows in the way out.
    pub fn take_out(&self, place: usize) -> String {
        let table = &self.tables[place];
        let way = Staging::Way.of(place);
        format!("DELETE FROM {} AS g WHERE EXISTS (SELECT FROM {way} AS w WHERE {})", table.table, same(&table.key, "w", "g"))
    }

    /// Inserts the rows that are not there; with `saved` those that were taken out too, in the same statement, because rows of
    /// one table may point at each other.
    pub fn insert(&self, place: usize, rows: bool, saved: bool) -> Option<String> {
        let table = &self.tables[place];
        let new = || {
            format!(
                "INSERT INTO {name} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} AS r WHERE NOT EXISTS (SELECT FROM {name} AS g WHERE {})",
                list(&table.filled(), ""),
                list(&table.filled(), "r."),
                Staging::Rows.of(place),
                same(&table.key, "g", "r"),
                name = table.table
            )
        };
        let back = || {
            let all = list(&table.all, "");
            format!("INSERT INTO {} ({all}) OVERRIDING SYSTEM VALUE SELECT {all} FROM {}", table.table, Staging::Saved.of(place))
        };
        match (rows, saved) {
            (true, true) => Some(format!("WITH back AS ({}) {}", back(), new())),
            (true, false) => Some(new()),
            (false, true) => Some(back()),
            (false, false) => None,
        }
    }

    /// Updates the rows that are there and differ.
    pub fn update(&self, place: usize) -> Option<String> {
        let table = &self.tables[place];
        let set: Vec<String> = table
            .columns
            .iter()
            .filter(|column| column.settable)
            .map(|column| format!("{name} = r.{name}", name = column.name))
            .collect();
        let differ = table.differ(|_| true)?;
        (!set.is_empty()).then(|| {
            format!(
                "UPDATE {} AS g SET {} FROM {} AS r WHERE {} AND ({differ})",
                table.table,
                set.join(", "),
                Staging::Rows.of(place),
                same(&table.key, "g", "r")
            )
        })
    }

    /// Deletes the rows that the projection no longer gives.
    pub fn delete(&self, place: usize) -> String {
        let table = &self.tables[place];
        format!(
            "DELETE FROM {} AS g USING (SELECT DISTINCT {} FROM {}) AS k WHERE {} AND NOT EXISTS (SELECT FROM {} AS r WHERE {})",
            table.table,
            list(&table.key, ""),
            Staging::Keys.of(place),
            same(&table.key, "g", "k"),
            Staging::Rows.of(place),
            same(&table.key, "r", "k")
        )
    }
}
