//! How blue's planner would read the rows of a projection: the joins it takes, and what would not fit into memory.
//!
//! What EXPLAIN estimates, without running anything: whether a sort or a hash table spills is known only when it runs, but its
//! planner assumes that it does when rows times width is more than it may hold (PostgreSQL manual 20.4.1: `work_mem`, and
//! `hash_mem_multiplier` times as much for hash tables).

use serde_json::Value;

use super::{Blocks, Bound, BoundSource};
use crate::pg::Session;

/// What a sort, a hash table or a stored result holds beside the values of each row, in bytes.
const ROW: u64 = 32;

/// How the rows of one part of a source would be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadPlan {
    /// The joins, in the planner's words, each once: `Nested Loop`, `Hash Join`, `Merge Join`.
    pub joins: Vec<String>,
    /// What would not fit into memory.
    pub spills: Vec<Spill>,
}

/// A node of a plan that would write temporary files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spill {
    /// The node, in the planner's words: `Sort`, `Hash`.
    pub node: String,
    /// The table that it reads first.
    pub table: String,
    /// What it would hold, in bytes.
    pub bytes: u64,
    /// What it may hold in memory, in bytes.
    pub memory: u64,
}

/// What a session may hold in memory, in bytes.
#[derive(Debug, Clone, Copy)]
struct Memory {
    sorts: u64,
    hashes: u64,
}

impl ReadPlan {
    /// Asks the planner of a session that has the settings of those that read. Changes nothing.
    ///
    /// # Errors
    /// When the session is gone or may not read the tables.
    pub async fn of(blue: &Session, bound: &Bound, source: &BoundSource, blocks: Blocks) -> anyhow::Result<Self> {
        let settings = "SELECT pg_size_bytes(current_setting('work_mem')), coalesce(current_setting('hash_mem_multiplier', true), '1')::float8";
        let row = blue.query_one(settings, &[]).await?;
        let (work_mem, multiplier): (i64, f64) = (row.get(0), row.get(1));
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
        let memory = Memory { sorts: work_mem.unsigned_abs(), hashes: (work_mem as f64 * multiplier) as u64 };
        let plan: Value = blue.query_one(&format!("EXPLAIN (FORMAT JSON) {}", bound.rows(source, blocks)), &[]).await?.get(0);
        Ok(weigh(&plan[0]["Plan"], memory))
    }

    /// Adds how another source is read.
    pub fn and(&mut self, other: Self) {
        self.joins.extend(other.joins);
        self.joins.sort();
        self.joins.dedup();
        self.spills.extend(other.spills);
    }

    /// The joins as a clause: `hash join and nested loop`; empty for a plain scan.
    pub fn joins_told(&self) -> String {
        self.joins.iter().map(|join| join.to_lowercase()).collect::<Vec<_>>().join(" and ")
    }

    /// What would not fit, as a clause; `None` when everything does.
    pub fn spills_told(&self) -> Option<String> {
        let spills = self.spills.iter().map(|spill| {
            let Spill { node, table, bytes, memory } = spill;
            format!("{} over {table} needs about {} MB, {} MB fit", node.to_lowercase(), bytes.div_ceil(1 << 20), memory >> 20)
        });
        let spills = spills.collect::<Vec<_>>();
        (!spills.is_empty()).then(|| format!("temporary files on blue: {}", spills.join(", ")))
    }
}

/// Reads a plan. Pure.
fn weigh(plan: &Value, memory: Memory) -> ReadPlan {
    let mut found = ReadPlan::default();
    visit(plan, memory, &mut found);
    found
}

fn visit(node: &Value, memory: Memory, found: &mut ReadPlan) {
    let kind = node["Node Type"].as_str().unwrap_or_default();
    if matches!(kind, "Nested Loop" | "Hash Join" | "Merge Join") && !found.joins.iter().any(|join| join == kind) {
        found.joins.push(kind.to_owned());
    }
    let may = match (kind, node["Strategy"].as_str()) {
        ("Hash", _) | ("Aggregate" | "SetOp", Some("Hashed")) => Some(memory.hashes),
        ("Sort" | "Materialize" | "CTE Scan" | "WindowAgg", _) => Some(memory.sorts),
        _ => None,
    };
    let rows = node["Plan Rows"].as_f64().unwrap_or(0.0);
    let width = node["Plan Width"].as_u64().unwrap_or(0).next_multiple_of(8) + ROW;
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
    let bytes = (rows * width as f64) as u64;
    if let Some(memory) = may.filter(|may| bytes > *may) {
        found.spills.push(Spill { node: kind.to_owned(), table: first_table(node), bytes, memory });
    }
    for below in node["Plans"].as_array().into_iter().flatten() {
        visit(below, memory, found);
    }
}

/// The table that a node reads first.
fn first_table(node: &Value) -> String {
    let own = node["Relation Name"].as_str().or(node["CTE Name"].as_str()).map(str::to_owned);
    let below = || node["Plans"].as_array().into_iter().flatten().map(first_table).find(|table| !table.is_empty());
    own.or_else(below).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rows: u64) -> Value {
        serde_json::json!({"Node Type": "Hash Join", "Plan Rows": 10, "Plan Width": 8, "Plans": [
            {"Node Type": "Tid Range Scan", "Relation Name": "token", "Plan Rows": 10, "Plan Width": 8},
            {"Node Type": "Hash", "Plan Rows": rows, "Plan Width": 100, "Plans": [
                {"Node Type": "Seq Scan", "Relation Name": "consent", "Plan Rows": rows, "Plan Width": 100}]}]})
    }

    const MEMORY: Memory = Memory { sorts: 4 << 20, hashes: 8 << 20 };

    #[test]
    fn what_fits_does_not_spill() {
        let read = weigh(&plan(1000), MEMORY);
        assert_eq!((read.joins.as_slice(), read.spills.len()), (["Hash Join".to_owned()].as_slice(), 0));
        assert_eq!((read.joins_told().as_str(), read.spills_told()), ("hash join", None));
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_table() {
        let read = weigh(&plan(1_000_000), MEMORY);
        let spill = Spill { node: "Hash".to_owned(), table: "consent".to_owned(), bytes: 136_000_000, memory: 8 << 20 };
        assert_eq!(read.spills, [spill]);
        let told = "temporary files on blue: hash over consent needs about 130 MB, 8 MB fit";
        assert_eq!(read.spills_told().as_deref(), Some(told));
    }

    #[test]
    fn several_sources_are_told_together() {
        let mut both = weigh(&plan(10), MEMORY);
        both.and(weigh(&serde_json::json!({"Node Type": "Nested Loop", "Plan Rows": 1, "Plan Width": 8}), MEMORY));
        both.and(weigh(&plan(10), MEMORY));
        assert_eq!(both.joins_told(), "hash join and nested loop");
    }

    #[test]
    fn a_plain_scan_has_nothing_to_tell() {
        let read = weigh(&serde_json::json!({"Node Type": "Seq Scan", "Plan Rows": 1e9, "Plan Width": 1000}), MEMORY);
        assert_eq!((read.joins_told().as_str(), read.spills_told()), ("", None));
    }
}
