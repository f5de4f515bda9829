//! Large objects, which no projection carries.

use async_trait::async_trait;

use super::Topic;
use super::ground::Ground;
use crate::terms::{Finding, Severity, Side};

/// Large objects of blue (PostgreSQL manual, chapter 35).
pub(super) struct LargeObjects;

#[async_trait]
impl Topic for LargeObjects {
    fn name(&self) -> &'static str {
        "large objects"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        if ground.side != Side::Blue || !ground.needs.two_sides {
            return Ok(Vec::new());
        }
        let count: i64 = ground.session.query_one("SELECT count(*) FROM pg_largeobject_metadata", &[]).await?.get(0);
        if count == 0 {
            return Ok(Vec::new());
        }
        let object = format!("{count} large object{}", if count == 1 { "" } else { "s" });
        let what = "are not carried to green: a copied oid would point to nothing there";
        let next = "move them into a bytea column first, or carry them with pg_dump --large-objects and a step of kind run_hook";
        Ok(vec![ground.finding(Severity::Warning, &object, what, next)])
    }
}
