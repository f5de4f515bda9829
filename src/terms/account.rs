//! Where every row is: what went from blue to green, what was left out, what is set aside.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The account of one green table. Every number is a count that a server made, in the snapshots of one comparison; none is the
/// difference of others, so that they can contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The green table.
    pub table: String,
    /// Rows the projection gives on blue.
    pub projected: u64,
    /// Rows green holds.
    pub held: u64,
    /// Rows that the run removed from it, which are in green's `crossfade.quarantine`.
    pub set_aside: u64,
    /// Rows that the run changed in it; as they were they are in green's `crossfade.quarantine`.
    pub mended: u64,
    /// The blue tables its rows come from.
    pub from: Vec<Origin>,
}

/// The rows of one blue table, seen from one green table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The blue table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// Those that are in a row of the projection.
    pub brought: u64,
    /// Those that a join or a `where` of the projection leaves out. Blue still holds them.
    pub left_out: u64,
    /// Rows that the run removed from it before, which are in blue's `crossfade.quarantine`.
    pub set_aside: u64,
    /// Rows that the run changed in it; as they were they are in blue's `crossfade.quarantine`.
    pub mended: u64,
}

impl Account {
    /// What does not add up: the object, and why.
    pub fn contradictions(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let Account { table, projected, held, set_aside, .. } = self;
        if *projected != held + set_aside {
            let what = format!("{projected} rows by projection, but {held} on green and {set_aside} set aside there");
            found.push((format!("table {table} on green"), what));
        }
        for Origin { table: origin, rows, brought, left_out, .. } in &self.from {
            if *rows != brought + left_out {
                let what = format!("{rows} rows, but {brought} brought to {table} and {left_out} left out of it");
                found.push((format!("table {origin} on blue"), what));
            }
        }
        found
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { table, projected, held, set_aside, mended, from } = self;
        write!(f, "{table}: {projected} by projection = {held} on green + {set_aside} set aside there")?;
        if *mended > 0 {
            write!(f, " ({mended} of them mended)")?;
        }
        for Origin { table, rows, brought, left_out, set_aside, mended } in from {
            write!(f, "\n  {table} on blue: {rows} = {brought} brought + {left_out} left out")?;
            if *set_aside > 0 {
                write!(f, "; {set_aside} more set aside before")?;
            }
            if *mended > 0 {
                write!(f, "; {mended} mended before")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_may_contradict_each_other() {
        let origin = |rows, brought, left_out| Origin { table: "b".to_owned(), rows, brought, left_out, set_aside: 0, mended: 0 };
        let account = |projected, held, set_aside, origin| Account {
            table: "g".to_owned(),
            projected,
            held,
            set_aside,
            mended: 0,
            from: vec![origin],
        };
        assert!(account(9, 7, 2, origin(10, 9, 1)).contradictions().is_empty());
        let lost = account(9, 7, 1, origin(10, 9, 1)).contradictions();
        assert_eq!(lost[0].1, "9 rows by projection, but 7 on green and 1 set aside there");
        let twice = account(9, 7, 2, origin(10, 9, 2)).contradictions();
        assert_eq!(twice[0].0, "table b on blue");
    }
}
