//! The plan file as written: TOML, unknown keys refused.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::schema::AnyStep;
use super::{DatabaseRef, Problem};
use crate::limits::LimitsFile;
use crate::notify::Keys as NotifyKeys;
use crate::step::GuardKeys;
use crate::suggest::with_suggestion;

/// The version of the plan format this crossfade reads.
pub(super) const FORMAT: u32 = 1;

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanFile {
    pub format: u32,
    pub name: String,
    #[serde(default)]
    pub description: String,
    pub blue: DatabaseRef,
    pub green: Option<DatabaseRef>,
    #[serde(default)]
    pub limits: LimitsFile,
    #[serde(default)]
    #[schemars(with = "Vec<GuardKeys>")]
    pub guard: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    #[schemars(with = "Vec<NotifyKeys>")]
    pub notify: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    #[schemars(with = "Vec<AnyStep>")]
    pub step: Vec<Spanned<toml::Table>>,
}

/// Parses the text of a plan file.
pub(super) fn parse(path: &Path, text: &str) -> Result<PlanFile, Problem> {
    toml::from_str(text).map_err(|error| {
        let problem = Problem::in_file(path, with_suggestion(error.message()));
        match error.span() {
            Some(span) => problem.at(line_of(text, span.start)),
            None => problem,
        }
    })
}

/// The line, from 1, that holds this byte.
pub(super) fn line_of(text: &str, byte: usize) -> usize {
    text.as_bytes()[..byte.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}
