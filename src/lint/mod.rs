//! What existing SQL migrations do to a live database, said without one. Pure: text in, findings out.
//!
//! The journey: [`layout`] puts files into the order of the tool they are written for; each file becomes a [`Script`] of
//! statements with their [`act`]s; the [`state`] walks over all scripts in order, and at each statement every rule of
//! [`rules`] looks at the scene. [`render`] prints what they found.

pub mod act;
mod changes;
mod config;
mod count;
mod effect;
mod finding;
pub mod layout;
mod parallel;
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
use changes::{Changes, Later};
use parallel::in_order;
use rules::Rule;
use scene::{Hit, Hits, Scene};
use state::{KnownIndex, KnownTable, State, key};
use suppress::Ignore;

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

/// Looks at files in the given order, with what a database told about its tables. A file is looked at as soon as it and those before
/// it are read, while others are still being read.
///
/// # Errors
/// When the machine refuses a thread.
pub fn lint(inputs: Vec<Input>, config: &Config, known: Known) -> Result<Report, &'static str> {
    look(inputs, config, known, |script| script)
}

/// The same for a report alone: the statements of a file are let go of as soon as they were looked at.
///
/// # Errors
/// Likewise.
pub fn report(inputs: Vec<Input>, config: &Config, known: Known) -> Result<Report, &'static str> {
    look(inputs, config, known, |script| Script { pieces: Vec::new(), ..script })
}

fn look(inputs: Vec<Input>, config: &Config, known: Known, keep: fn(Script) -> Script) -> Result<Report, &'static str> {
    // Rules parse as well.
    with_room(|| {
        let mut walk = Walk::new(config, known);
        let mut scripts = Vec::with_capacity(inputs.len());
        read_each(inputs, |script| {
            walk.script(scripts.len(), &script);
            scripts.push(keep(script));
        })?;
        Ok(walk.finish(scripts))
    })?
}

/// Reads all files.
fn read_all(inputs: Vec<Input>) -> Result<Vec<Script>, &'static str> {
    let mut scripts = Vec::with_capacity(inputs.len());
    read_each(inputs, |script| scripts.push(script))?;
    Ok(scripts)
}

/// Reads all files and gives them to the caller's in their order.
fn read_each(inputs: Vec<Input>, mut each: impl FnMut(Script)) -> Result<(), &'static str> {
    const TOGETHER: usize = 8;
    let mut inputs = inputs.into_iter().peekable();
    let mut parts: Vec<Vec<Input>> = Vec::new();
    while inputs.peek().is_some() {
        parts.push(inputs.by_ref().take(TOGETHER).collect());
    }
    let read = |part: Vec<Input>| part.into_iter().map(guarded).collect::<Vec<Script>>();
    in_order(parts, read, |part| part.into_iter().for_each(&mut each))
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

struct Walk<'a> {
    config: &'a Config,
    rules: Vec<(&'static Rule, Level)>,
    changes: Changes,
    state: State,
    /// Tables that the asked database has.
    there: HashSet<QualifiedName>,
    asked: bool,
    /// By file.
    findings: Vec<Finding>,
    /// What is to be decided about some of them.
    later: Vec<(usize, Later)>,
    /// The comments of each file that ask for silence.
    ignores: Vec<Vec<Ignore>>,
    described: Vec<Described>,
}

impl<'a> Walk<'a> {
    fn new(config: &'a Config, known: Known) -> Self {
        let asked = !known.tables.is_empty();
        let state = State::of(known);
        let there = state.tables.keys().cloned().collect();
        let rules = rules::all()
            .map(|rule| (rule, config.level(rule.id).unwrap_or(rule.level)))
            .filter(|(_, level)| *level != Level::Off)
            .collect();
        let changes = Changes::default();
        Self {
            config,
            rules,
            changes,
            state,
            there,
            asked,
            findings: Vec::new(),
            later: Vec::new(),
            ignores: Vec::new(),
            described: Vec::new(),
        }
    }

    /// Decides what depends on the whole set, leaves out what comments silence, and puts the findings of each file in their order.
    fn finish(self, scripts: Vec<Script>) -> Report {
        let Self { config, rules, changes, mut findings, later, ignores, described, .. } = self;
        let mut stands = vec![true; findings.len()];
        for (at, later) in later {
            let configured = config.level(findings[at].rule).is_some();
            stands[at] = changes.decide(&later, &mut findings[at], configured);
        }
        let (mut ignored, mut troubles, mut at) = (0, Vec::new(), 0);
        let trouble = rules.iter().find(|(rule, _)| rule.id == "ignore-without-effect");
        for (file, (script, mut ignores)) in scripts.iter().zip(ignores).enumerate() {
            while let Some(finding) = findings.get(at).filter(|finding| finding.file == file) {
                let ignore = ignores.iter_mut().find(|ignore| stands[at] && ignore.covers(finding.rule, &finding.at));
                if let Some(ignore) = ignore {
                    (ignore.used, stands[at]) = (true, false);
                    ignored += 1;
                }
                at += 1;
            }
            if let Some((rule, level)) = trouble.filter(|_| !script.applied) {
                let said = ignores.iter().filter_map(|ignore| Some((ignore, ignore.trouble()?)));
                troubles.extend(said.map(|(ignore, message)| Finding {
                    rule: rule.id,
                    level: *level,
                    file,
                    at: ignore.at.clone(),
                    statement: ignore.at.clone(),
                    message,
                    locks: Vec::new(),
                    safe_form: rule.safe.to_owned(),
                    query: None,
                    estimate: None,
                }));
            }
        }
        let mut stands = stands.into_iter();
        findings.retain(|_| stands.next() == Some(true));
        if !troubles.is_empty() {
            findings.append(&mut troubles);
            findings.sort_by_key(|finding| finding.file);
        }
        for file in findings.chunk_by_mut(|a, b| a.file == b.file) {
            file.sort_by(|a, b| (a.at.start, a.rule).cmp(&(b.at.start, b.rule)));
        }
        findings.dedup_by(|a, b| (a.file, a.rule, &a.at, &a.message) == (b.file, b.rule, &b.at, &b.message));
        Report { scripts, findings, ignored, described }
    }

    fn script(&mut self, index: usize, script: &Script) {
        self.state.applied = script.applied;
        self.state.begin_file(script.wrapped);
        self.changes.take(script);
        self.ignores.push(suppress::ignores(script));
        if !script.applied {
            for fault in &script.faults {
                let at = fault.point..fault.at.end.max(fault.point);
                let hit = Hit { at, message: fault.message.clone(), ..Hit::default() };
                if let Some((rule, level)) = self.rules.iter().find(|(rule, _)| rule.id == fault.rule) {
                    let (rule, level) = (*rule, *level);
                    self.say(rule, level, index, None, fault.at.clone(), hit);
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
            self.piece(index, script, piece);
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
        self.look(index, script, &last, true);
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
    fn piece(&mut self, index: usize, script: &Script, piece: &Piece) {
        let resolved = effect::resolved(piece, &self.state, self.config.pg_version);
        let piece = resolved.as_ref();
        if !script.applied {
            self.described.push(effect::describe(index, piece, &self.state, self.config.pg_version));
        }
        self.look(index, script, piece, false);
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
            let inner = effect::resolved(&inner, &self.state, self.config.pg_version);
            let inner = inner.as_ref();
            if !script.applied {
                self.described.push(effect::describe(index, inner, &self.state, self.config.pg_version));
            }
            self.look(index, script, inner, false);
            self.state.apply(inner, line, &format!("{}:{line}", script.name));
        }
        if begun {
            self.state.transaction = None;
        }
    }

    fn look(&mut self, index: usize, script: &Script, piece: &Piece, end: bool) {
        if script.applied {
            return;
        }
        let scene = Scene { piece, script, state: &self.state, pg: self.config.pg_version, end };
        let mut found: Vec<(&'static Rule, Level, Hit)> = Vec::new();
        let mut said = Hits::default();
        for (rule, level) in &self.rules {
            (rule.check)(&scene, &mut said);
            if !said.0.is_empty() {
                found.extend(said.0.drain(..).map(|hit| (*rule, *level, hit)));
            }
        }
        for (rule, level, hit) in found {
            self.say(rule, level, index, Some(piece), piece.at.clone(), hit);
        }
    }

    fn say(
        &mut self,
        rule: &'static Rule,
        level: Level,
        file: usize,
        piece: Option<&Piece>,
        statement: Range<usize>,
        mut hit: Hit,
    ) {
        self.later.extend(hit.later.take().map(|later| (self.findings.len(), later)));
        let finding = self.finding(rule, level, file, piece, statement, hit);
        self.findings.push(finding);
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
