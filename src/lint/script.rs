//! One file, read: its statements with their acts, and everything in it that is no statement.

use std::ops::Range;

use squawk_syntax::ast::{AstNode, Stmt};
use squawk_syntax::{SyntaxKind, SyntaxNode};

use super::act::{Act, What};
use super::finding::Lines;
use super::source::{self, Fault};
use super::{Input, read};
use crate::sql::contents::Contents;
use crate::sql::parser::readable;
use crate::sql::sound::checked;
use crate::sql::statement;
use crate::sql::{Block, Effect, Statement, Touch};

/// Where a statement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// In the file.
    File,
    /// In a `DO` block of the file: it runs when the block does.
    Block,
    /// In a function: it runs when that is called.
    Function,
}

/// One statement as the rules see it.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Its bytes in the file.
    pub at: Range<usize>,
    /// The kind in SQL's words.
    pub kind: String,
    /// How it stands to a transaction block.
    pub block: Block,
    /// The existing relations it locks; `None` when that is not known.
    pub touches: Option<Vec<Touch>>,
    /// What it leaves behind.
    pub effect: Effect,
    /// What it does.
    pub acts: Vec<Act>,
    /// Where it stands.
    pub within: Within,
    /// Whether it says ONLY, and so leaves partitions alone.
    pub only: bool,
}

/// A file, read.
#[derive(Debug)]
pub struct Script {
    /// Its name as given.
    pub name: String,
    /// Its text.
    pub text: String,
    /// From bytes to lines.
    pub lines: Lines,
    /// Its statements in order; those inside bodies follow the statement that holds the body.
    pub pieces: Vec<Piece>,
    /// What could not be read as SQL.
    pub faults: Vec<Fault>,
    /// What is known to be no SQL of this direction: `COPY` data, the section of the other direction.
    pub data: Vec<Range<usize>>,
    /// Its comments.
    pub comments: Vec<Range<usize>>,
    /// Whether its tool runs it as one transaction.
    pub wrapped: bool,
    /// Whether it counts as applied: read for what it creates, not reported.
    pub applied: bool,
}

impl Script {
    /// Reads a file. Never fails: what cannot be read becomes a fault. Must run where there is room for deep trees.
    pub(super) fn read(input: Input) -> Self {
        let source = source::read(&input.text, input.down);
        let mut script = Self {
            lines: Lines::of(&input.text),
            pieces: Vec::new(),
            faults: source.faults,
            data: source.data,
            comments: source.comments,
            wrapped: input.wrapped && !source.no_transaction,
            applied: input.applied,
            name: input.name,
            text: input.text,
        };
        if let Err(why) = readable(&source.sql) {
            script.fault(0..source.sql.len(), 0, why.to_owned());
            return script;
        }
        let (tree, errors) = checked(&source.sql);
        if let Some(at) = source.sql.find('\0') {
            script.fault(0..source.sql.len(), at, "a NUL character".to_owned());
            return script;
        }
        if errors.is_empty() {
            tree.stmts().for_each(|stmt| script.statement(&source.sql, 0, &stmt));
            return script;
        }
        for cut in cuts(tree.syntax(), &source.sql) {
            script.cut(&source.sql, cut);
        }
        script
    }

    fn fault(&mut self, at: Range<usize>, point: usize, message: String) {
        self.faults.push(Fault { rule: "syntax-error", at, point, message });
    }

    /// Reads a part of the file on its own, because another part has faults.
    fn cut(&mut self, sql: &str, cut: Range<usize>) {
        let part = &sql[cut.clone()];
        let (tree, errors) = checked(part);
        match errors.first() {
            None => tree.stmts().for_each(|stmt| self.statement(part, cut.start, &stmt)),
            Some(error) => {
                let point = cut.start + usize::from(error.range().start()).min(part.len());
                let start = cut.start + (part.len() - part.trim_start().len());
                self.fault(start..cut.end, point.max(start), error.message().to_owned());
            }
        }
    }

    fn statement(&mut self, sql: &str, offset: usize, stmt: &Stmt) {
        if matches!(stmt, Stmt::EmptyStmt(_)) {
            return;
        }
        let contents = Contents::of(stmt.syntax());
        let Some(statement) = statement::read_unplaced(sql, stmt, &contents) else { return };
        let shifted = |at: Range<usize>| at.start + offset..at.end + offset;
        let mut acts: Vec<Act> = read::acts(stmt, &contents).into_iter().map(|act| Act { at: shifted(act.at), ..act }).collect();
        let bodies = match stmt {
            Stmt::Do(_) | Stmt::CreateFunction(_) | Stmt::CreateProcedure(_) => read::bodies(stmt),
            _ => read::Bodies::default(),
        };
        acts.extend(bodies.unread.into_iter().map(|(at, why)| Act { what: What::Unread { why }, at: shifted(at) }));
        let within = if matches!(stmt, Stmt::Do(_)) { Within::Block } else { Within::Function };
        if within == Within::Block {
            acts.extend(bodies.dynamic.into_iter().map(|at| Act { what: What::Dynamic, at: shifted(at) }));
        }
        let mut outer = piece(Some(&statement), shifted(statement.range()), acts, Within::File);
        if within == Within::Block && matches!(stmt, Stmt::Do(_)) {
            outer.touches = Some(Vec::new()); // its statements follow, each with its own
        }
        self.pieces.push(outer);
        for inner in bodies.inner {
            let acts = inner.acts.into_iter().map(|act| Act { at: shifted(act.at), ..act }).collect();
            self.pieces.push(piece(inner.statement.as_ref(), shifted(inner.at), acts, within));
        }
    }
}

fn piece(statement: Option<&Statement>, at: Range<usize>, mut acts: Vec<Act>, within: Within) -> Piece {
    acts.shrink_to_fit();
    Piece {
        at,
        kind: statement.map_or_else(String::new, |statement| statement.kind().to_owned()),
        block: statement.map_or(Block::Inside, Statement::block),
        touches: statement.and_then(|statement| statement.touches().map(<[Touch]>::to_vec)),
        effect: statement.map_or(Effect::Other, |statement| statement.effect().clone()),
        acts,
        within,
        only: statement
            .is_some_and(|statement| statement.text().split_whitespace().take(12).any(|word| word.eq_ignore_ascii_case("only"))),
    }
}

/// The parts of a text between its semicolons, each with its semicolon. A body between `BEGIN ATOMIC` and `END` is not cut,
/// nor is a list in brackets.
fn cuts(tree: &SyntaxNode, sql: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut start, mut depth, mut atomic, mut before) = (0, 0usize, 0usize, SyntaxKind::SEMICOLON);
    let mut filled = false;
    for token in tree.descendants_with_tokens().filter_map(|element| element.into_token()) {
        if token.kind().is_trivia() {
            continue;
        }
        let end = usize::from(token.text_range().end());
        let word = token.text().to_ascii_lowercase();
        match word.as_str() {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            "atomic" if before == SyntaxKind::BEGIN_KW => atomic += 1,
            "case" if atomic > 0 => atomic += 1,
            "end" if atomic > 0 => atomic -= 1,
            _ => {}
        }
        before = token.kind();
        filled = true;
        if token.kind() == SyntaxKind::SEMICOLON && atomic == 0 {
            // A bracket that is open at the end of a line with a semicolon was never closed.
            if depth == 0 || sql[end..].starts_with(['\n', '\r']) || end == sql.len() {
                found.push(start..end);
                (start, depth, filled) = (end, 0, false);
            }
        }
    }
    if filled {
        found.push(start..sql.trim_end().len().max(start));
    }
    found
}
