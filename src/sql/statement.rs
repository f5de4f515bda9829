//! One statement: its text, and what it does as far as the text tells.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use squawk_syntax::SyntaxKind;
use squawk_syntax::ast::{self, AlterTableAction, AstNode};

use super::contents::Contents;
use super::demand::{self, Demand};
use super::parser::{find, ident_in, line_of, name_in, parsed, words};
use super::touch::{self, Touch};
use super::{Ident, LockMode, QualifiedName};

/// How a statement stands to a transaction block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// It may run in one.
    Inside,
    /// The server refuses it in one.
    Outside,
    /// It begins, ends or divides one itself.
    Control,
}

/// What a statement leaves behind, where the catalog can be asked for it; and what needs care beyond its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// `CREATE INDEX CONCURRENTLY`; without a name the server makes one up.
    BuildIndex {
        /// The index's name; it lies in the schema of its table.
        index: Option<Ident>,
        /// The table.
        table: QualifiedName,
    },
    /// `DROP INDEX CONCURRENTLY`.
    DropIndex(Vec<QualifiedName>),
    /// `ALTER TABLE ... VALIDATE CONSTRAINT` and nothing else.
    Validate {
        /// The table.
        table: QualifiedName,
        /// The constraints.
        constraints: Vec<Ident>,
    },
    /// `VACUUM` (not `FULL`), `ANALYZE`: may be done again at any time.
    Upkeep,
    /// `SET` or `RESET` of a setting that lasts as long as the session.
    SessionSetting,
    /// `COPY` from or to the client, which needs more than the statement.
    ClientCopy,
    /// Anything else.
    Other,
}

/// One statement of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    text: String,
    start: usize,
    line: usize,
    kind: String,
    block: Block,
    effect: Effect,
    creates: Option<QualifiedName>,
    touches: Option<Vec<Touch>>,
}

impl Statement {
    /// Its own text, without the `;`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its bytes in the text it was split from.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// The line it begins on, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The kind of statement in SQL's words: `CREATE INDEX CONCURRENTLY`, `ALTER TABLE ADD COLUMN, DROP COLUMN`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// How it stands to a transaction block.
    pub fn block(&self) -> Block {
        self.block
    }

    /// What it leaves behind.
    pub fn effect(&self) -> &Effect {
        &self.effect
    }

    /// The table, view or index it creates.
    pub fn creates(&self) -> Option<&QualifiedName> {
        self.creates.as_ref()
    }

    /// The existing relations it names, each with the strongest lock it takes there; `None` when that is not known for this
    /// kind of statement. Functions, triggers and foreign key actions that it sets off are not looked into.
    pub fn touches(&self) -> Option<&[Touch]> {
        self.touches.as_deref()
    }

    /// What it demands of the rows that are already there.
    pub fn demands(&self) -> Vec<Demand> {
        parsed(&self.text, |parse| parse.tree().stmts().flat_map(|stmt| demand::demands(&stmt)).collect()).unwrap_or_default()
    }

    /// Its strongest lock; `None` when it is not known or there is none.
    pub fn strongest(&self) -> Option<&Touch> {
        self.strongest_beside(&BTreeSet::new())
    }

    /// The strongest of its locks on relations other than `new` ones, which nobody else uses yet.
    pub fn strongest_beside(&self, new: &BTreeSet<QualifiedName>) -> Option<&Touch> {
        let known = self.touches()?.iter().filter(|touch| !new.contains(&touch.relation));
        known.reduce(|strong, touch| if touch.lock > strong.lock { touch } else { strong })
    }

    /// Whether its waits block nobody who reads or writes, so that it should wait as long as it takes: builds
    /// `CONCURRENTLY`, validation, upkeep.
    pub fn waits_harmlessly(&self) -> bool {
        let weak = |touch: &Touch| touch.lock <= LockMode::ShareUpdateExclusive;
        match self.effect {
            Effect::BuildIndex { .. } | Effect::DropIndex(_) | Effect::Validate { .. } => true,
            Effect::Upkeep => self.strongest().is_none_or(weak),
            // DETACH PARTITION CONCURRENTLY has its last lock when nobody comes by the table any more; cut short it is half done.
            _ => self.block == Block::Outside && (self.kind.starts_with("ALTER TABLE") || self.strongest().is_some_and(weak)),
        }
    }
}

/// The tables whose rows a statement changes.
pub fn written(statement: &Statement) -> Vec<QualifiedName> {
    let touches = statement.touches().unwrap_or_default().iter();
    touches.filter(|touch| touch.lock == LockMode::RowExclusive).map(|touch| touch.relation.clone()).collect()
}

/// Reads a parsed statement of `text`.
pub(super) fn read(text: &str, stmt: &ast::Stmt) -> Option<Statement> {
    let mut statement = read_unplaced(text, stmt, &Contents::of(stmt.syntax()))?;
    statement.line = line_of(text, statement.start);
    Some(statement)
}

/// The same with line 0, for those who count lines themselves: counting costs the length of the text before. `contents`
/// are those of the statement.
pub(crate) fn read_unplaced(text: &str, stmt: &ast::Stmt, contents: &Contents) -> Option<Statement> {
    let at = contents.extent.clone()?;
    Some(Statement {
        start: at.start,
        text: text.get(at)?.to_owned(),
        line: 0,
        kind: kind(stmt, contents),
        block: block(stmt, contents),
        effect: effect(stmt, contents),
        creates: touch::creates(stmt),
        touches: touch::touches(stmt, contents),
    })
}

fn kind(stmt: &ast::Stmt, contents: &Contents) -> String {
    let plain = match stmt {
        ast::Stmt::CompoundSelect(_) | ast::Stmt::ParenSelect(_) => "SELECT",
        other => words(other.syntax().kind()),
    };
    match stmt {
        ast::Stmt::AlterTable(alter) => {
            let mut actions: Vec<Cow<'static, str>> = alter.actions().map(|action| action_kind(&action)).collect();
            actions.dedup();
            format!("{plain} {}", actions.join(", "))
        }
        ast::Stmt::AlterIndex(alter) => match alter.action() {
            Some(ast::AlterIndexAction::IndexRenameTo(_)) => format!("{plain} RENAME"),
            Some(action) => format!("{plain} {}", words(action.syntax().kind())),
            None => plain.to_owned(),
        },
        ast::Stmt::Vacuum(vacuum) if vacuum.is_full() => format!("{plain} FULL"),
        _ if concurrently(stmt, contents) => format!("{plain} CONCURRENTLY"),
        _ => plain.to_owned(),
    }
}

fn action_kind(action: &AlterTableAction) -> Cow<'static, str> {
    match action {
        AlterTableAction::AlterColumn(column) => {
            let option = column.option().map_or("", |option| words(option.syntax().kind()));
            format!("ALTER COLUMN {option}").into()
        }
        AlterTableAction::AddConstraint(add) => {
            let valid = add.constraint().is_some_and(|constraint| constraint.is_not_valid());
            let of = add.constraint().map_or("", |constraint| words(constraint.syntax().kind()));
            format!("ADD {of}{}", if valid { " NOT VALID" } else { "" }).into()
        }
        AlterTableAction::TableRenameTo(_) => "RENAME".into(),
        other => words(other.syntax().kind()).into(),
    }
}

/// Whether the statement carries `CONCURRENTLY`.
pub(super) fn concurrently(stmt: &ast::Stmt, contents: &Contents) -> bool {
    match stmt {
        _ if !contents.has(SyntaxKind::CONCURRENTLY_KW) => false,
        ast::Stmt::CreateIndex(create) => create.concurrently_token().is_some(),
        ast::Stmt::DropIndex(drop) => drop.concurrently_token().is_some(),
        ast::Stmt::Reindex(reindex) => reindex.is_concurrently(),
        ast::Stmt::Refresh(refresh) => refresh.concurrently_token().is_some(),
        ast::Stmt::AlterTable(alter) => find::<ast::DetachConcurrently>(alter.syntax()).is_some(),
        _ => false,
    }
}

/// Statements that call `PreventInTransactionBlock` (each one's manual page says so).
fn block(stmt: &ast::Stmt, contents: &Contents) -> Block {
    use ast::Stmt;
    match stmt {
        Stmt::Begin(_)
        | Stmt::Commit(_)
        | Stmt::Rollback(_)
        | Stmt::SavepointCreate(_)
        | Stmt::ReleaseSavepoint(_)
        | Stmt::PrepareTransaction(_) => Block::Control,
        Stmt::CreateIndex(_) | Stmt::DropIndex(_) | Stmt::AlterTable(_) if concurrently(stmt, contents) => Block::Outside,
        Stmt::Reindex(reindex) => {
            let whole = !matches!(
                reindex.reindex_target(),
                Some(ast::ReindexTarget::ReindexTargetIndex(_) | ast::ReindexTarget::ReindexTargetTable(_))
            );
            if whole || reindex.is_concurrently() { Block::Outside } else { Block::Inside }
        }
        Stmt::Cluster(_) if name_in(stmt.syntax()).is_none() => Block::Outside,
        Stmt::Vacuum(_)
        | Stmt::CreateDatabase(_)
        | Stmt::DropDatabase(_)
        | Stmt::CreateTablespace(_)
        | Stmt::DropTablespace(_)
        | Stmt::AlterSystem(_)
        | Stmt::CreateSubscription(_)
        | Stmt::DropSubscription(_) => Block::Outside,
        _ => Block::Inside,
    }
}

fn effect(stmt: &ast::Stmt, contents: &Contents) -> Effect {
    let known = match stmt {
        ast::Stmt::CreateIndex(create) if concurrently(stmt, contents) => build(create),
        ast::Stmt::DropIndex(drop) if concurrently(stmt, contents) => {
            Some(Effect::DropIndex(drop.index_refs().filter_map(|index| name_in(index.syntax())).collect()))
        }
        ast::Stmt::AlterTable(alter) => validate(alter),
        ast::Stmt::Vacuum(vacuum) if vacuum.is_full() => None,
        ast::Stmt::Vacuum(_) | ast::Stmt::Analyze(_) => Some(Effect::Upkeep),
        ast::Stmt::Set(set) if !matches!(set.set_scope(), Some(ast::SetScope::LocalScope(_))) => Some(Effect::SessionSetting),
        ast::Stmt::Reset(_) | ast::Stmt::Discard(_) => Some(Effect::SessionSetting),
        ast::Stmt::Copy(_) if contents.any(&[SyntaxKind::COPY_STDIN, SyntaxKind::COPY_STDOUT]) => Some(Effect::ClientCopy),
        _ => None,
    };
    known.unwrap_or(Effect::Other)
}

fn build(create: &ast::CreateIndex) -> Option<Effect> {
    let table = name_in(create.table_relation_name()?.syntax())?;
    Some(Effect::BuildIndex { index: create.index().and_then(|index| ident_in(index.syntax())), table })
}

fn validate(alter: &ast::AlterTable) -> Option<Effect> {
    let table = name_in(alter.table_relation_name()?.syntax())?;
    let constraints: Option<Vec<Ident>> = alter
        .actions()
        .map(|action| match action {
            AlterTableAction::ValidateConstraint(validate) => ident_in(validate.constraint_name_ref()?.syntax()),
            _ => None,
        })
        .collect();
    constraints.filter(|constraints| !constraints.is_empty()).map(|constraints| Effect::Validate { table, constraints })
}
