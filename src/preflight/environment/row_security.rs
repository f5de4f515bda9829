//! Row-level security that hides rows from this role.

use async_trait::async_trait;

use super::Topic;
use super::ground::Ground;
use crate::step::Use;
use crate::terms::{Finding, Severity};

/// Tables whose policies apply to this role (PostgreSQL manual 5.8): without owning them and FORCE off, or BYPASSRLS.
pub(super) struct RowSecurity;

#[async_trait]
impl Topic for RowSecurity {
    fn name(&self) -> &'static str {
        "row-level security"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let (role, _) = ground.role_and_database().await?;
        let mut findings = Vec::new();
        for table in ground.tables().await? {
            if !table.is_used(&[Use::Reads, Use::Carries, Use::Writes, Use::Walks, Use::Fills]) {
                continue;
            }
            if ground.session.query_one("SELECT row_security_active($1::oid)", &[&table.oid]).await?.get(0) {
                let what = format!("its policies apply to role {role}: rows they hide would be missed without an error");
                let next = format!("ALTER ROLE {role} BYPASSRLS, or use a role that has it");
                findings.push(ground.finding(Severity::Blocks, &table.label(), what, next));
            }
        }
        Ok(findings)
    }
}
