//! Holds rows against demands and says in words what was found.

use super::ask::{Ask, asks};
use super::definitions::TableKey;
use super::reader::Reader;
use super::rows::Rows;
use super::several::{self, Several, Unanswered};
use super::suggest::{self, Fix};
use super::tally::{Probe, Tally, tally};
use crate::preflight::{Counted, Violation};
use crate::sql::{Demand, Ident, QualifiedName, Rule};
use crate::terms::{Finding, Severity};

/// Rows and how to speak of them.
pub(super) struct Inspection<'a> {
    /// Reads the rows' side.
    pub reader: &'a Reader,
    /// The rows.
    pub rows: &'a Rows,
    /// A percentage, when not every row is to be looked at.
    pub sample: Option<f64>,
    /// Rows of the table as estimated; for what a sample tells.
    pub estimate: u64,
    /// An earlier step that changes these rows in a way that cannot be looked ahead.
    pub pending: Option<String>,
    /// Where a repair belongs.
    pub repair: Repair<'a>,
}

/// Where a repair belongs.
pub(super) enum Repair<'a> {
    /// A `clean_rows` step on this table; the key names its rows.
    CleanRows(&'a TableKey),
    /// The projection.
    Projection,
}

/// The rows that a foreign key points to: a `SELECT` and its columns; or why they cannot be told.
pub(super) type Parents = Result<(String, Vec<Ident>), String>;

impl Inspection<'_> {
    /// What every demand about single rows asks, and `more`, each once.
    pub fn asks<'d>(&self, demands: impl Iterator<Item = &'d Demand>, more: Vec<Ask>) -> Vec<Ask> {
        let of = demands.filter(|demand| demand.checked).flat_map(|demand| asks(&demand.name, &demand.rule, self.rows));
        let mut all: Vec<Ask> = Vec::new();
        for ask in more.into_iter().chain(of) {
            if !all.iter().any(|known| known.probe == ask.probe && known.rule == ask.rule) {
                all.push(ask);
            }
        }
        all
    }

    /// The answers, from one pass.
    pub async fn single(&self, all: &[Ask]) -> anyhow::Result<Vec<Violation>> {
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let probes: Vec<Probe> = all.iter().map(|ask| ask.probe.clone()).collect();
        let found = tally(self.reader, self.rows, &probes, self.sample).await?;
        let mut violations = Vec::new();
        for (ask, hit) in all.iter().zip(&found.hits) {
            violations.extend(self.told(ask, hit, &found));
        }
        violations.extend(self.nothing_in_the_sample(&found, &violations));
        Ok(violations)
    }

    fn told(&self, ask: &Ask, hit: &super::tally::Hit, tally: &Tally) -> Option<Violation> {
        if let Some(why) = &hit.refused {
            return Some(self.unanswered(ask.rule, ask.column.as_ref(), &format!("rows that {}", ask.says[1]), why));
        }
        if hit.rows == 0 {
            return None;
        }
        let mut what = format!("{} {} {}", hit.rows, row_word(hit.rows), ask.says[usize::from(hit.rows != 1)]);
        if !hit.codes.is_empty() {
            what += &format!(" (SQLSTATE {})", hit.codes.join(", "));
        }
        let counted = match (self.sample, tally.ended_early) {
            (Some(percent), _) => {
                let all = self.estimate.max(tally.rows);
                // hits plus two standard deviations, scaled up
                let most = (hit.rows as f64 + 2.0 * (hit.rows as f64).sqrt() + 3.0) * all as f64 / tally.rows.max(1) as f64;
                what +=
                    &format!(" among the {} rows of a sample of {percent} % of the blocks; perhaps {most:.0} in all", tally.rows);
                Counted::Sampled { percent, rows: tally.rows, at_most: most as u64 }
            }
            (None, true) => {
                what += " at least; counting ended early";
                Counted::AtLeast
            }
            (None, false) => Counted::Exactly,
        };
        let severity = if ask.certain { Severity::Blocks } else { Severity::Warning };
        Some(self.violation(ask.rule, ask.column.as_ref(), severity, what, hit.rows, counted, hit.keys.clone(), ask.fix.as_ref()))
    }

    /// With zero hits among n rows, at most 3/n of all rows are of that kind, with 95 % certainty (the rule of three).
    fn nothing_in_the_sample(&self, tally: &Tally, found: &[Violation]) -> Option<Violation> {
        let percent = self.sample?;
        if found.iter().any(|violation| violation.count > 0) {
            return None;
        }
        let all = self.estimate.max(tally.rows);
        let at_most = (3 * all).checked_div(tally.rows).map_or(all, |most| most.min(all));
        let what = format!(
            "none of the {} rows in a sample of {percent} % of the blocks breaks a rule about single rows: with 95 % certainty at most \
             {at_most} of about {all} do, if they are spread evenly; rules about several rows were held against every row",
            tally.rows
        );
        let counted = Counted::Sampled { percent, rows: tally.rows, at_most };
        let mut violation = self.violation("sample", None, Severity::Note, what, 0, counted, Vec::new(), None);
        "run without --sample to be sure".clone_into(&mut violation.finding.next);
        Some(violation)
    }

    /// A demand about several rows. `parents` is asked for the rows a foreign key points to.
    pub async fn several(&self, demand: &Demand, parents: Option<Parents>) -> anyhow::Result<Option<Violation>> {
        let name = &demand.name;
        Ok(match &demand.rule {
            Rule::Unique { keys, predicate, nulls_same } => {
                let found = several::repeated(
                    self.reader,
                    self.rows,
                    &several::Keys { keys, predicate: predicate.as_deref(), nulls_same: *nulls_same },
                )
                .await?;
                let list = keys.join(", ");
                let fix = self.surplus(keys, predicate.as_deref());
                self.answer("unique", found, &format!("keys of {name}"), fix, |found| {
                    let (keys, stand) = if found.groups == 1 { ("key", "stands") } else { ("keys", "stand") };
                    format!(
                        "{} {keys} of {name} ({list}) {stand} in more than one row: {} {} too many",
                        found.groups,
                        found.rows,
                        row_word(found.rows)
                    )
                })
            }
            Rule::ForeignKey { columns, references, full, .. } => {
                let found = match parents.unwrap_or_else(|| Err("its parents are not known".to_owned())) {
                    Ok((parents, referenced)) => {
                        let child = several::Child { rows: self.rows, columns, referenced: &referenced, full: *full };
                        several::orphans(self.reader, &child, &parents).await?.map(|found| (found, referenced))
                    }
                    Err(why) => Err(why),
                };
                let fix = found.as_ref().ok().map(|(_, referenced)| nowhere(columns, references, referenced));
                self.lost(name, references, found.map(|(found, _)| found), fix)
            }
            Rule::Exclude { elements, predicate } => {
                let found = several::excluded(self.reader, self.rows, elements, predicate.as_deref()).await?;
                let fix = self.later(elements, predicate.as_deref());
                self.answer("exclude", found, &format!("rows of {name}"), fix, |found| {
                    let stand = if found.rows == 1 { "stands" } else { "stand" };
                    format!("{} {} {stand} against another row by {name}", found.rows, row_word(found.rows))
                })
            }
            _ => None,
        })
    }

    /// What was found of rows whose key `name` points to no row of `references`.
    pub fn lost(&self, name: &str, references: &QualifiedName, found: Unanswered, fix: Option<String>) -> Option<Violation> {
        self.answer("foreign_key", found, &format!("keys of {name}"), fix, |found| {
            let point = if found.rows == 1 { "points" } else { "point" };
            format!("{} {} {point} to no row of {} ({name})", found.rows, row_word(found.rows), references.plain())
        })
    }

    fn answer(
        &self,
        rule: &'static str,
        found: Unanswered,
        asked: &str,
        fix: Option<String>,
        what: impl FnOnce(&Several) -> String,
    ) -> Option<Violation> {
        match found {
            Err(why) => Some(self.unanswered(rule, None, asked, &why)),
            Ok(found) if found.rows == 0 => None,
            Ok(found) => {
                let whole =
                    if self.sample.is_some() { " (every row was read: about several rows a sample tells nothing)" } else { "" };
                let words = what(&found) + whole;
                // Among the rows of a projection no condition of one row says so.
                let fix = fix.filter(|_| matches!(self.repair, Repair::CleanRows(_))).map(Fix::going);
                Some(self.violation(rule, None, Severity::Blocks, words, found.rows, Counted::Exactly, found.keys, fix.as_ref()))
            }
        }
    }

    fn unanswered(&self, rule: &'static str, column: Option<&Ident>, asked: &str, why: &str) -> Violation {
        let severity =
            if why.contains("SQLSTATE 42703") || why.contains("SQLSTATE 42P01") { Severity::Note } else { Severity::Warning };
        let what = format!("{asked}: cannot be told before the steps ahead have run: {why}");
        self.violation(rule, column, severity, what, 0, Counted::Exactly, Vec::new(), None)
    }

    #[allow(clippy::too_many_arguments)] // the fields of a violation, once
    fn violation(
        &self,
        rule: &'static str,
        column: Option<&Ident>,
        severity: Severity,
        mut what: String,
        count: u64,
        counted: Counted,
        keys: Vec<String>,
        fix: Option<&Fix>,
    ) -> Violation {
        let (mut severity, mut next) = (severity, String::new());
        let mut suggestion = None;
        if count > 0 {
            (next, suggestion) = match &self.repair {
                Repair::CleanRows(key) => {
                    let text = suggest::clean_rows(self.rows, key, &what, count, fix);
                    (
                        "put a clean_rows or backfill step before it: `crossfade preflight PLAN --suggest` writes one".to_owned(),
                        Some(text),
                    )
                }
                Repair::Projection => {
                    let next =
                        "correct the projection, its expressions or its `where`: `crossfade preflight PLAN --suggest` writes how";
                    (next.to_owned(), Some(suggest::projection(self.rows, &what, fix)))
                }
            };
        }
        if let Some(step) = self.pending.as_ref().filter(|_| severity == Severity::Blocks) {
            severity = Severity::Warning;
            what += &format!(" now; step {step} changes rows of this table before");
        }
        Violation {
            code: String::new(),
            finding: Finding { severity, object: self.rows.label.clone(), what, next },
            rule,
            table: Some(self.rows.table.plain()),
            column: column.map(|column| column.as_str().to_owned()),
            count,
            counted,
            keys,
            suggestion,
        }
    }

    /// The condition of rows that stand against one whose key comes before theirs, where the rule is about columns.
    fn later(&self, elements: &[(String, String)], predicate: Option<&str>) -> Option<String> {
        let Repair::CleanRows(key) = &self.repair else { return None };
        let known = |name: &Ident| self.rows.sources.iter().any(|source| source.columns.iter().any(|(column, _)| column == name));
        let columns: Vec<Ident> = elements.iter().map(|(text, _)| Ident::new(text.trim_matches('"'))).collect();
        let key = &key.columns;
        if key.is_empty() || predicate.is_some() || !columns.iter().all(known) {
            return None;
        }
        // Other names inside, so that those of the table mean the row itself.
        let inside = |n: usize| Ident::new(format!("earlier {n}"));
        let all: Vec<&Ident> = columns.iter().chain(key.iter()).collect();
        let renamed: Vec<String> = all.iter().enumerate().map(|(n, name)| format!("{name} AS {}", inside(n))).collect();
        let against = elements.iter().zip(&columns).enumerate().map(|(n, ((_, op), name))| format!("{} {op} {name}", inside(n)));
        let order = |names: Vec<String>| format!("to_jsonb(ARRAY[{}])::text", names.join(", "));
        Some(format!(
            "EXISTS (SELECT FROM (SELECT {} FROM {}) AS earlier WHERE {} < {} AND {})",
            renamed.join(", "),
            self.rows.table,
            order((columns.len()..all.len()).map(|n| format!("{}::text", inside(n))).collect()),
            order(key.iter().map(|name| format!("{name}::text")).collect()),
            against.collect::<Vec<_>>().join(" AND ")
        ))
    }

    /// The condition of all rows but the first of each key.
    fn surplus(&self, keys: &[String], predicate: Option<&str>) -> Option<String> {
        let Repair::CleanRows(key) = &self.repair else { return None };
        let key = &key.columns;
        if key.is_empty() {
            return None;
        }
        let own = key.iter().map(Ident::to_string).collect::<Vec<_>>().join(", ");
        let filled: Vec<String> = keys
            .iter()
            .map(|key| format!("({key}) IS NOT NULL"))
            .chain(predicate.map(|predicate| format!("({predicate})")))
            .collect();
        let (filled, keys) = (filled.join(" AND "), keys.join(", "));
        Some(format!(
            "{filled} AND ({own}) NOT IN (SELECT DISTINCT ON ({keys}) {own} FROM {} WHERE {filled} ORDER BY {keys}, {own})",
            self.rows.table
        ))
    }
}

/// The condition of rows whose key points nowhere.
pub(super) fn nowhere(columns: &[Ident], references: &QualifiedName, referenced: &[Ident]) -> String {
    let list = |of: &[Ident]| of.iter().map(Ident::to_string).collect::<Vec<_>>().join(", ");
    let filled = |of: &[Ident]| of.iter().map(|column| format!("{column} IS NOT NULL")).collect::<Vec<_>>().join(" AND ");
    format!(
        "{} AND ({}) NOT IN (SELECT {} FROM {references} WHERE {})",
        filled(columns),
        list(columns),
        list(referenced),
        filled(referenced)
    )
}

/// `row` or `rows`.
pub(super) fn row_word(count: u64) -> &'static str {
    if count == 1 { "row" } else { "rows" }
}
