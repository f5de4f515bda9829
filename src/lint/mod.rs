//! What existing SQL migrations do to a live database, said without one. Pure: text in, findings out.
//!
//! The journey: [`layout`] puts files into the order of the tool they are written for; each file becomes a [`Script`] of
//! statements with their [`act`]s; the [`state`] walks over all scripts in order, and at each statement every rule of
//! [`rules`] looks at the scene. [`render`] prints what they found.

pub mod act;
mod config;
mod count;
mod effect;
mod finding;
pub mod layout;
mod read;
pub mod render;
pub mod rewrite;
pub mod rules;
mod scene;
mod script;
mod source;
pub mod state;
mod suppress;

use std::collections::HashSet;
use std::ops::Range;

pub use config::{Config, DEFAULT_VERSION, no_rule};
pub use effect::Described;
pub use finding::{Estimate, Finding, Level, Lines, Lock};
pub use script::{Piece, Script, Within};
pub use source::Fault;

use crate::sql::QualifiedName;
use crate::sql::parser::with_room;
use act::What;
use rules::Rule;
use scene::{Hit, Hits, Scene};
use state::{KnownIndex, KnownTable, State, key};

/// A file to look at.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// Its name for reports.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Whether its tool runs it as one transaction.
    pub wrapped: bool,
    /// Whether it counts as applied: read for what it creates, not reported.
    pub applied: bool,
    /// Whether the section that takes the migration back is asked for.
    pub down: bool,
}

/// What a database tells about itself.
#[derive(Debug, Default)]
pub struct Known {
    /// Its tables.
    pub tables: Vec<(QualifiedName, KnownTable)>,
    /// Its indexes, with their tables.
    pub indexes: Vec<(QualifiedName, KnownIndex)>,
}

impl Known {
    /// Nothing: no database was asked.
    pub fn new() -> Self {
        Self::default()
    }
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// The files, in the order they were looked at.
    pub scripts: Vec<Script>,
    /// The findings by file and place.
    pub findings: Vec<Finding>,
    /// Findings that a comment silenced.
    pub ignored: usize,
    /// Every statement that runs, with what it does.
    pub described: Vec<Described>,
}

impl Report {
    /// How many findings have this level.
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// How many statements were looked at.
    pub fn statements(&self) -> usize {
        self.described.len()
    }
}

/// What the whole set changes, known before the first statement is looked at.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Tables that get, lose or rename columns.
    pub columns: HashSet<QualifiedName>,
    /// Leading columns of the indexes that the set creates, by table.
    pub indexes: Vec<(QualifiedName, Vec<String>)>,
}

/// Looks at files in the given order, with what a database told about its tables.
///
/// # Errors
/// When the machine refuses a thread.
pub fn lint(inputs: Vec<Input>, config: &Config, known: Known) -> Result<Report, &'static str> {
    let scripts = read_all(inputs)?;
    let changes = changes(&scripts);
    let mut state = State::default();
    let asked = !known.tables.is_empty();
    state.tables = known.tables.into_iter().map(|(name, table)| (key(&name), table)).collect();
    let index = |(name, index): (QualifiedName, KnownIndex)| (key(&name), KnownIndex { table: key(&index.table), ..index });
    state.indexes = known.indexes.into_iter().map(index).collect();
    let there: HashSet<QualifiedName> = state.tables.keys().cloned().collect();
    let rules: Vec<(&Rule, Level)> = rules::all()
        .map(|rule| (rule, config.level(rule.id).unwrap_or(rule.level)))
        .filter(|(_, level)| *level != Level::Off)
        .collect();
    let mut walk = Walk { config, rules, changes, state, there, asked, findings: Vec::new(), ignored: 0, described: Vec::new() };
    for (index, script) in scripts.iter().enumerate() {
        walk.script(index, script);
    }
    let (mut findings, ignored, described) = (walk.findings, walk.ignored, walk.described);
    findings.sort_by(|a, b| (a.file, a.at.start, a.rule).cmp(&(b.file, b.at.start, b.rule)));
    findings.dedup_by(|a, b| (a.file, a.rule, &a.at, &a.message) == (b.file, b.rule, &b.at, &b.message));
    Ok(Report { scripts, findings, ignored, described })
}

/// Reads all files, on as many threads as there are processors.
fn read_all(inputs: Vec<Input>) -> Result<Vec<Script>, &'static str> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(inputs.len().max(1));
    let size = inputs.len().div_ceil(threads).max(1);
    let mut parts: Vec<Vec<Input>> = Vec::new();
    let mut inputs = inputs.into_iter().peekable();
    while inputs.peek().is_some() {
        parts.push(inputs.by_ref().take(size).collect());
    }
    let read = |part: Vec<Input>| with_room(|| part.into_iter().map(guarded).collect::<Vec<_>>());
    let parts: Vec<Result<Vec<Script>, &'static str>> = match parts.len() {
        0 | 1 => parts.into_iter().map(read).collect(),
        _ => std::thread::scope(|scope| {
            let running: Vec<_> = parts.into_iter().map(|part| scope.spawn(|| read(part))).collect();
            running.into_iter().map(|thread| thread.join().unwrap_or(Err("the parser failed"))).collect()
        }),
    };
    Ok(parts.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// Reads a file; a fault of the parser itself becomes a finding.
fn guarded(input: Input) -> Script {
    let (name, text, applied) = (input.name.clone(), input.text.clone(), input.applied);
    std::panic::catch_unwind(|| Script::read(input)).unwrap_or_else(|_| {
        let fault =
            Fault { rule: "syntax-error", at: 0..text.len(), point: 0, message: "the parser failed on this file".to_owned() };
        let lines = Lines::of(&text);
        let empty = (Vec::new(), Vec::new(), Vec::new());
        Script {
            name,
            text,
            lines,
            pieces: empty.0,
            faults: vec![fault],
            data: empty.1,
            comments: empty.2,
            wrapped: false,
            applied,
        }
    })
}

fn changes(scripts: &[Script]) -> Changes {
    let mut changes = Changes::default();
    let pending = scripts.iter().filter(|script| !script.applied);
    for act in pending.flat_map(|script| &script.pieces).flat_map(|piece| &piece.acts) {
        match &act.what {
            What::AddColumn { table, .. } | What::DropColumn { table, .. } | What::RenameColumn { table, .. } => {
                changes.columns.insert(key(table));
            }
            What::CreateIndex { table, index } => changes.indexes.push((key(table), index.keys.clone())),
            _ => {}
        }
    }
    changes
}

struct Walk<'a> {
    config: &'a Config,
    rules: Vec<(&'static Rule, Level)>,
    changes: Changes,
    state: State,
    /// Tables that the asked database has.
    there: HashSet<QualifiedName>,
    asked: bool,
    findings: Vec<Finding>,
    ignored: usize,
    described: Vec<Described>,
}

impl Walk<'_> {
    fn script(&mut self, index: usize, script: &Script) {
        self.state.applied = script.applied;
        self.state.begin_file(script.wrapped);
        let mut ignores = suppress::ignores(script);
        let mut hits: Vec<Finding> = Vec::new();
        if !script.applied {
            for fault in &script.faults {
                let at = fault.point..fault.at.end.max(fault.point);
                let hit = Hit { at, message: fault.message.clone(), ..Hit::default() };
                if let Some((rule, level)) = self.rules.iter().find(|(rule, _)| rule.id == fault.rule) {
                    hits.push(self.finding(rule, *level, index, None, fault.at.clone(), hit));
                }
            }
        }
        let mut implicit = false;
        for (at, piece) in script.pieces.iter().enumerate() {
            if piece.within == Within::Function {
                continue;
            }
            let block =
                script.pieces.get(at + 1).is_some_and(|next| next.within == Within::Block) || piece.within == Within::Block;
            let begun = block && self.begin_implicit();
            implicit |= begun;
            self.piece(index, script, piece, &mut hits);
            if implicit && script.pieces.get(at + 1).is_none_or(|next| next.within != Within::Block) {
                self.state.transaction = None;
                implicit = false;
            }
            let made = piece.acts.iter().find_map(|act| match &act.what {
                What::CreateFunction { name, .. } => Some(name.name().as_str().to_owned()),
                _ => None,
            });
            if let Some(name) = made.filter(|_| !script.applied) {
                let body = script.pieces[at + 1..].iter().take_while(|inner| inner.within == Within::Function).cloned();
                self.state.functions.insert(name, body.collect());
            }
        }
        let end = script.pieces.last().map_or(0..0, |piece| piece.at.clone());
        let last = Piece {
            at: end,
            kind: String::new(),
            block: crate::sql::Block::Inside,
            touches: Some(Vec::new()),
            effect: crate::sql::Effect::Other,
            acts: Vec::new(),
            within: Within::File,
            only: false,
        };
        self.look(index, script, &last, true, &mut hits);
        for finding in hits {
            match ignores.iter_mut().find(|ignore| ignore.covers(finding.rule, &finding.at)) {
                Some(ignore) => {
                    ignore.used = true;
                    self.ignored += 1;
                }
                None => self.findings.push(finding),
            }
        }
        if let Some((rule, level)) = self.rules.iter().find(|(rule, _)| rule.id == "ignore-without-effect").copied()
            && !script.applied
        {
            for ignore in &ignores {
                if let Some(message) = ignore.trouble() {
                    let hit = Hit { at: ignore.at.clone(), message, ..Hit::default() };
                    let finding = self.finding(rule, level, index, None, ignore.at.clone(), hit);
                    self.findings.push(finding);
                }
            }
        }
    }

    /// Begins the transaction that a `DO` block alone is; whether there was none.
    fn begin_implicit(&mut self) -> bool {
        let none = self.state.transaction.is_none();
        if none {
            self.state.transaction = Some(state::Transaction::default());
        }
        none
    }

    /// Looks at a statement, and at the bodies of functions of this set that it calls.
    fn piece(&mut self, index: usize, script: &Script, piece: &Piece, hits: &mut Vec<Finding>) {
        let resolved = effect::resolved(piece, &self.state);
        let piece = resolved.as_ref();
        if !script.applied {
            self.described.push(effect::describe(index, piece, &self.state, self.config.pg_version));
        }
        self.look(index, script, piece, false, hits);
        let line = script.lines.place(&script.text, piece.at.start).0;
        self.state.apply(piece, line, &format!("{}:{line}", script.name));
        if self.asked {
            // What the database has is not new, whatever the files say.
            for act in &piece.acts {
                if let What::CreateTable { table, .. } = &act.what
                    && self.there.contains(&key(table))
                    && let Some(known) = self.state.tables.get_mut(&key(table))
                {
                    known.new = false;
                }
            }
        }
        let calls = piece.acts.iter().filter_map(|act| match &act.what {
            What::Calls(names) => Some(names),
            _ => None,
        });
        let called: Vec<Piece> =
            calls.flatten().filter_map(|name| self.state.functions.get(name.name().as_str())).flatten().cloned().collect();
        let begun = !called.is_empty() && self.begin_implicit();
        for mut inner in called {
            inner.within = Within::Block;
            inner.acts.iter_mut().for_each(|act| act.at = piece.at.clone());
            inner.acts.retain(|act| !matches!(act.what, What::Calls(_)));
            inner.at = piece.at.clone();
            if !script.applied {
                self.described.push(effect::describe(index, &inner, &self.state, self.config.pg_version));
            }
            self.look(index, script, &inner, false, hits);
            self.state.apply(&inner, line, &format!("{}:{line}", script.name));
        }
        if begun {
            self.state.transaction = None;
        }
    }

    fn look(&mut self, index: usize, script: &Script, piece: &Piece, end: bool, hits: &mut Vec<Finding>) {
        if script.applied {
            return;
        }
        let scene = Scene { piece, script, state: &self.state, changes: &self.changes, pg: self.config.pg_version, end };
        let mut found: Vec<(&'static Rule, Level, Hit)> = Vec::new();
        for (rule, level) in &self.rules {
            let mut said = Hits::default();
            (rule.check)(&scene, &mut said);
            found.extend(said.0.into_iter().map(|hit| (*rule, *level, hit)));
        }
        for (rule, level, hit) in found {
            hits.push(self.finding(rule, level, index, Some(piece), piece.at.clone(), hit));
        }
    }

    fn finding(
        &self,
        rule: &'static Rule,
        level: Level,
        file: usize,
        piece: Option<&Piece>,
        statement: Range<usize>,
        hit: Hit,
    ) -> Finding {
        let touches = || piece.iter().flat_map(|piece| piece.touches.iter().flatten());
        let locks: Vec<Lock> = touches()
            .filter(|touch| self.state.hot(&touch.relation))
            .map(|touch| Lock { relation: touch.relation.clone(), mode: touch.lock })
            .collect();
        // A level from the configuration stands.
        let configured = self.config.level(rule.id).is_some();
        let mut level = if configured { level } else { hit.level.unwrap_or(level) };
        let estimate = touches().filter(|_| rule.scales).find_map(|touch| self.estimate(&touch.relation));
        if let (Some(estimate), false) = (&estimate, configured) {
            level = level.min(match estimate.milliseconds {
                0..50 => Level::Note,
                50..1000 => Level::Warning,
                _ => Level::Error,
            });
        }
        Finding {
            rule: rule.id,
            level,
            file,
            at: hit.at,
            statement,
            message: hit.message,
            locks,
            safe_form: hit.safe.unwrap_or_else(|| rule.safe.to_owned()),
            query: hit.query,
            estimate,
        }
    }

    /// From a table's size to milliseconds, at 100 MB/s: a cautious figure for reading, sorting and writing alike.
    fn estimate(&self, relation: &QualifiedName) -> Option<Estimate> {
        const BYTES_PER_MILLISECOND: u64 = 100_000;
        let table = match self.state.indexes.get(&key(relation)) {
            Some(index) => index.table.clone(),
            None => key(relation),
        };
        let size = self.state.tables.get(&table)?.size?;
        let bytes = size.bytes + size.index_bytes;
        Some(Estimate { table, rows: size.rows, bytes, milliseconds: bytes / BYTES_PER_MILLISECOND })
    }
}

/// A type as the server writes it (`format_type`); `None` when it is no type.
pub fn type_of(text: &str) -> Option<act::Ty> {
    read::type_of(text)
}
