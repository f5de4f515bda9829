//! Comments that switch rules off for one statement: `-- crossfade-lint: ignore RULE, RULE: why`.

use std::ops::Range;

use super::rules;
use super::script::{Script, Within};

/// What a comment for this linter begins with.
const MARK: &str = "crossfade-lint:";

/// A comment that asks for silence.
#[derive(Debug)]
pub(super) struct Ignore {
    /// The comment's bytes.
    pub at: Range<usize>,
    /// The statement it is for; empty when none follows.
    pub statement: Range<usize>,
    /// The rules it names.
    pub rules: Vec<String>,
    /// Whether one of them kept silent because of it.
    pub used: bool,
}

/// The comments of a file that ask for silence. A comment is for the statement that it stands in or before.
pub(super) fn ignores(script: &Script) -> Vec<Ignore> {
    if !script.comments.iter().any(|comment| script.text[comment.clone()].contains(MARK)) {
        return Vec::new();
    }
    let statements: Vec<&Range<usize>> =
        script.pieces.iter().filter(|piece| piece.within == Within::File).map(|piece| &piece.at).collect();
    let mut found = Vec::new();
    for comment in &script.comments {
        let text = script.text[comment.clone()].trim_start_matches(['-', '/', '*']).trim_end_matches(['*', '/']).trim();
        let Some(rest) = text.strip_prefix(MARK).map(str::trim).and_then(|rest| rest.strip_prefix("ignore")) else {
            continue;
        };
        let names = rest.split(':').next().unwrap_or_default();
        let rules = names.split([',', ' ', '\t']).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        // The first statement that ends after the comment holds it or follows it.
        let after = statements.partition_point(|at| at.end <= comment.start);
        let statement = statements.get(after).map_or(0..0, |at| (*at).clone());
        found.push(Ignore { at: comment.clone(), statement, rules, used: false });
    }
    found
}

impl Ignore {
    /// Whether it is about this rule at this place.
    pub(super) fn covers(&self, rule: &str, at: &Range<usize>) -> bool {
        let within = self.statement.start <= at.start && at.start < self.statement.end.max(self.statement.start + 1);
        within && !self.statement.is_empty() && self.rules.iter().any(|name| name == rule)
    }

    /// What is wrong with it.
    pub(super) fn trouble(&self) -> Option<String> {
        if self.rules.is_empty() {
            return Some("this comment names no rule: write `crossfade-lint: ignore RULE: why`".to_owned());
        }
        let unknown: Vec<&str> = self.rules.iter().map(String::as_str).filter(|name| rules::find(name).is_none()).collect();
        if !unknown.is_empty() {
            return Some(super::config::no_rule(unknown[0]));
        }
        (!self.used).then(|| "this comment silences nothing: no rule that it names finds anything in the statement".to_owned())
    }
}
