//! Extensions that blue has and green cannot have or has not yet.

use async_trait::async_trait;

use super::Comparison;
use super::ground::Ground;
use crate::sql::Ident;
use crate::terms::{Finding, Severity};

/// Installed on blue, against available on green.
pub(super) struct Extensions;

#[async_trait]
impl Comparison for Extensions {
    fn name(&self) -> &'static str {
        "extensions"
    }

    async fn ask(&self, blue: &Ground<'_>, green: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let installed = "SELECT extname::text, extversion FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1";
        let available = "SELECT name::text, installed_version IS NOT NULL FROM pg_available_extensions";
        let available: Vec<(String, bool)> =
            green.session.query(available, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect();
        let mut findings = Vec::new();
        for row in blue.session.query(installed, &[]).await? {
            let (name, version): (String, String) = (row.get(0), row.get(1));
            let object = format!("extension {name}");
            match available.iter().find(|(known, _)| *known == name) {
                Some((_, true)) => {}
                Some((_, false)) => findings.push(green.finding(
                    Severity::Note,
                    &object,
                    format!("is not installed; blue has version {version}"),
                    format!("if the application needs it, on green: CREATE EXTENSION {}", Ident::new(&name)),
                )),
                None => findings.push(green.finding(
                    Severity::Warning,
                    &object,
                    format!("is not available on green's server; blue has version {version}, and what uses it will be missing"),
                    "install the extension's package on green's server, or make sure nothing uses it",
                )),
            }
        }
        Ok(findings)
    }
}
