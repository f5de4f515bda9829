//! What is known at a point of the script: tables that nobody else uses yet, locks that are held, time limits that are set.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Known;
use super::act::{Column, Constraint, Demands, Ty, What};
use super::script::{Piece, Within};
use crate::sql::{LockMode, QualifiedName};

/// A column, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct KnownColumn {
    /// Its type.
    pub ty: Option<Ty>,
    /// Whether it refuses NULL.
    pub not_null: bool,
    /// Whether this set of migrations adds it.
    pub new: bool,
    /// What stands on it, when a database was asked and this set has not altered its table since.
    pub dependents: Option<Dependents>,
}

/// What stands on a column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dependents {
    /// Its default, as SQL.
    pub default: Option<String>,
    /// Its comment.
    pub comment: Option<String>,
    /// Sequences that go when it goes.
    pub sequences: Vec<QualifiedName>,
    /// Indexes and constraints of its table.
    pub standing: Vec<Standing>,
    /// What no other column can take the place of it for, in words.
    pub unfit: Vec<String>,
}

/// An index or a constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which of them.
    pub kind: StandingKind,
    /// Its name.
    pub name: String,
    /// As the server writes it.
    pub definition: String,
}

/// What stands on a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandingKind {
    /// An index of its own.
    Index,
    /// A primary key or UNIQUE constraint with its index.
    Key,
    /// A CHECK or a foreign key to another table.
    Rule,
}

/// A table, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct KnownTable {
    /// Whether this set of migrations creates it, so that nobody else uses it yet.
    pub new: bool,
    /// Its columns.
    pub columns: HashMap<String, KnownColumn>,
    /// Whether it is partitioned.
    pub partitioned: bool,
    /// Its partitions.
    pub partitions: Vec<QualifiedName>,
    /// Columns that a valid CHECK shows not to be NULL.
    pub proven: Vec<String>,
    /// Its constraints.
    pub constraints: Vec<Constraint>,
    /// The leading columns of its indexes.
    pub indexed: Vec<Vec<String>>,
    /// Rows and bytes, when a database was asked.
    pub size: Option<Size>,
}

/// The size of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Rows by the server's statistics.
    pub rows: u64,
    /// Bytes of the table with TOAST.
    pub bytes: u64,
    /// Bytes of its indexes.
    pub index_bytes: u64,
}

/// An index, as far as it is known.
#[derive(Debug, Clone)]
pub struct KnownIndex {
    /// Its table.
    pub table: QualifiedName,
    /// Its columns.
    pub columns: Vec<String>,
    /// Whether this set of migrations creates it.
    pub new: bool,
}

/// A lock that the running transaction holds.
#[derive(Debug, Clone)]
pub struct Held {
    /// The relation.
    pub relation: QualifiedName,
    /// The mode.
    pub mode: LockMode,
    /// The line of the statement that took it.
    pub line: usize,
}

/// A running transaction.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    /// Whether the file began it itself.
    pub explicit: bool,
    /// Its locks on existing relations, in the order in which they were taken; each relation once per strength.
    pub held: Vec<Held>,
    /// Values added to enum types in it.
    pub enum_values: Vec<(QualifiedName, String)>,
    /// Constraints added NOT VALID in it, with the line.
    pub not_valid: Vec<(QualifiedName, String, usize)>,
    /// Enum types created in it.
    pub new_types: Vec<QualifiedName>,
    /// Tables with an `ALTER TABLE` as the last statement: for statements that could be one.
    pub last_altered: Option<(QualifiedName, usize)>,
}

/// An order in which two relations were locked in one transaction.
#[derive(Debug, Clone)]
pub struct Order {
    /// Locked first.
    pub first: QualifiedName,
    /// Locked after it.
    pub then: QualifiedName,
    /// Where.
    pub place: String,
}

/// Everything that is known.
#[derive(Debug, Default)]
pub struct State {
    /// Tables by name, without the schema `public`.
    pub tables: HashMap<QualifiedName, KnownTable>,
    /// Indexes likewise.
    pub indexes: HashMap<QualifiedName, KnownIndex>,
    /// Settings of the session and of the transaction.
    pub settings: HashMap<String, String>,
    /// The transaction that is running.
    pub transaction: Option<Transaction>,
    /// The orders of earlier transactions.
    pub orders: Vec<Order>,
    /// Functions created in this set, with what their bodies do.
    pub functions: HashMap<String, Vec<Piece>>,
    /// Types created in this set.
    pub types: Vec<QualifiedName>,
    /// Whether statements count as applied.
    pub applied: bool,
    /// Whether a database told what stands on columns.
    dependents: bool,
    /// The transaction's own settings, which end with it.
    local: Vec<(String, Option<String>)>,
}

/// The name under which a relation is known: `public.t` and `t` are the same.
pub fn key(name: &QualifiedName) -> QualifiedName {
    known_as(name).into_owned()
}

/// The same to look something up.
fn known_as(name: &QualifiedName) -> Cow<'_, QualifiedName> {
    match name.schema().map(crate::sql::Ident::as_str) {
        Some("public") => Cow::Owned(QualifiedName::bare(name.name().as_str())),
        _ => Cow::Borrowed(name),
    }
}

impl State {
    /// What a database told.
    pub fn of(known: Known) -> Self {
        let index = |(name, index): (QualifiedName, KnownIndex)| (key(&name), KnownIndex { table: key(&index.table), ..index });
        Self {
            dependents: !known.tables.is_empty(),
            tables: known.tables.into_iter().map(|(name, table)| (key(&name), table)).collect(),
            indexes: known.indexes.into_iter().map(index).collect(),
            ..Self::default()
        }
    }

    /// A table, when anything is known about it.
    pub fn table(&self, name: &QualifiedName) -> Option<&KnownTable> {
        self.tables.get(known_as(name).as_ref())
    }

    /// Whether others may use the relation: it exists already, as far as is known.
    pub fn hot(&self, name: &QualifiedName) -> bool {
        let name = known_as(name);
        if let Some(table) = self.tables.get(name.as_ref()) {
            return !table.new;
        }
        match self.indexes.get(name.as_ref()) {
            Some(index) => !index.new || self.hot(&index.table),
            None => true,
        }
    }

    /// Whether the column is added by this set, so that no code uses it yet.
    pub fn new_column(&self, table: &QualifiedName, column: &str) -> bool {
        self.table(table).and_then(|table| table.columns.get(column)).is_some_and(|column| column.new)
    }

    /// The type of a column.
    pub fn column_type(&self, table: &QualifiedName, column: &str) -> Option<&Ty> {
        self.table(table)?.columns.get(column)?.ty.as_ref()
    }

    /// Begins a file.
    pub fn begin_file(&mut self, wrapped: bool) {
        self.settings.clear();
        self.local.clear();
        self.transaction = wrapped.then(Transaction::default);
    }

    fn entry(&mut self, table: &QualifiedName) -> &mut KnownTable {
        self.tables.entry(key(table)).or_default()
    }

    /// Takes in what a statement leaves behind; `place` is for messages.
    pub fn apply(&mut self, piece: &Piece, line: usize, place: &str) {
        if piece.within == Within::Function {
            return;
        }
        self.hold(piece, line, place);
        let altered = piece.acts.iter().find_map(|act| match &act.what {
            What::AddColumn { table, .. }
            | What::DropColumn { table, .. }
            | What::SetNotNull { table, .. }
            | What::DropNotNull { table, .. }
            | What::SetDefault { table, .. }
            | What::DropDefault { table, .. }
            | What::SetType { table, .. }
            | What::DropConstraint { table, .. } => Some(key(table)),
            _ => None,
        });
        if !self.applied {
            self.forget_dependents(piece);
        }
        for act in &piece.acts {
            self.take(&act.what, line);
        }
        if let Some(transaction) = &mut self.transaction
            && piece.block != crate::sql::Block::Control
        {
            transaction.last_altered = altered.map(|table| (table, line));
        }
    }

    /// What stood on the columns of tables that are altered is not known any more. Names stay through changes of type, and a column
    /// that comes leaves the others alone.
    fn forget_dependents(&mut self, piece: &Piece) {
        let harmless = |what: &What| {
            matches!(what, What::SetType { .. } | What::AddColumn { .. } | What::Constants(_) | What::Repeatable | What::Once)
                || matches!(what, What::LongName(_) | What::Unqualified(_) | What::Needs { .. } | What::Stars(_))
        };
        if piece.touches.is_some() && piece.kind.starts_with("ALTER TABLE") && piece.acts.iter().all(|act| harmless(&act.what)) {
            return;
        }
        let strong = |touch: &&crate::sql::Touch| touch.lock >= LockMode::ShareUpdateExclusive;
        let forget = |table: &mut KnownTable| table.columns.values_mut().for_each(|column| column.dependents = None);
        let Some(touches) = &piece.touches else {
            // Without a database there is nothing to forget.
            if self.dependents {
                self.tables.values_mut().for_each(forget);
            }
            return;
        };
        for name in touches.iter().filter(strong).map(|touch| key(&touch.relation)) {
            let table = self.indexes.get(&name).map_or(&name, |index| &index.table);
            self.tables.get_mut(table).into_iter().for_each(forget);
        }
    }

    /// Takes in the locks.
    fn hold(&mut self, piece: &Piece, line: usize, place: &str) {
        let taken: Vec<Held> = piece
            .touches
            .iter()
            .flatten()
            .filter(|touch| self.hot(&touch.relation))
            .map(|touch| Held { relation: key(&touch.relation), mode: touch.lock, line })
            .collect();
        let Some(transaction) = &mut self.transaction else { return };
        for held in taken {
            let known = transaction.held.iter().find(|other| other.relation == held.relation && other.mode >= held.mode);
            if known.is_some() {
                continue;
            }
            let strong = |held: &Held| held.mode >= LockMode::ShareUpdateExclusive;
            if strong(&held) && !self.applied {
                for earlier in transaction.held.iter().filter(|other| strong(other) && other.relation != held.relation) {
                    self.orders.push(Order {
                        first: earlier.relation.clone(),
                        then: held.relation.clone(),
                        place: place.to_owned(),
                    });
                }
            }
            transaction.held.push(held);
        }
    }

    fn take(&mut self, what: &What, line: usize) {
        let new = !self.applied;
        match what {
            What::CreateTable { table, new: made } => {
                if made.if_not_exists && self.table(table).is_some() {
                    return;
                }
                let mut known = KnownTable { new, partitioned: made.partitioned, ..KnownTable::default() };
                for column in &made.columns {
                    known.columns.insert(column.name.clone(), known_column(column, new));
                    known.constraints.extend(column.constraints.iter().cloned());
                }
                known.constraints.extend(made.constraints.iter().cloned());
                let keys = |c: &&Constraint| matches!(c.demands, Demands::PrimaryKey | Demands::Unique);
                known.indexed = known.constraints.iter().filter(keys).map(|c| c.columns.clone()).collect();
                let primary = known.constraints.iter().filter(|c| c.demands == Demands::PrimaryKey);
                for column in primary.flat_map(|c| c.columns.clone()).collect::<Vec<_>>() {
                    known.columns.entry(column).or_default().not_null = true;
                }
                self.tables.insert(key(table), known);
                if let Some(parent) = &made.partition_of {
                    self.entry(parent).partitions.push(key(table));
                }
            }
            What::AttachPartition { table, partition, .. } => self.entry(table).partitions.push(key(partition)),
            What::DetachPartition { table, partition, .. } => {
                self.entry(table).partitions.retain(|known| *known != key(partition));
            }
            What::CreateView { view, .. } | What::CreateMaterializedView { view } if self.table(view).is_none() => {
                self.tables.insert(key(view), KnownTable { new, ..KnownTable::default() });
            }
            What::AddColumn { table, column, .. } => {
                let known = known_column(column, new);
                let entry = self.entry(table);
                entry.columns.insert(column.name.clone(), known);
                entry.constraints.extend(column.constraints.iter().cloned());
            }
            What::DropColumn { table, column, .. } => {
                self.entry(table).columns.remove(column);
            }
            What::RenameColumn { table, from, to } => {
                let entry = self.entry(table);
                if let Some(column) = entry.columns.remove(from) {
                    entry.columns.insert(to.clone(), column);
                }
            }
            What::Rename { object, name, to } if matches!(object.as_str(), "table" | "view" | "materialized view") => {
                if let Some(table) = self.tables.remove(&key(name)) {
                    self.tables.insert(key(&name.sibling(to.as_str())), table);
                }
                for index in self.indexes.values_mut().filter(|index| index.table == key(name)) {
                    index.table = key(&name.sibling(to.as_str()));
                }
            }
            What::Rename { object, name, to } if object == "index" => {
                if let Some(index) = self.indexes.remove(&key(name)) {
                    self.indexes.insert(key(&name.sibling(to.as_str())), index);
                }
            }
            What::SetType { table, column, ty, .. } => {
                self.entry(table).columns.entry(column.clone()).or_default().ty = Some(ty.as_ref().clone());
            }
            What::SetNotNull { table, column } => {
                self.entry(table).columns.entry(column.clone()).or_default().not_null = true;
            }
            What::DropNotNull { table, column } => {
                self.entry(table).columns.entry(column.clone()).or_default().not_null = false;
            }
            What::AddConstraint { table, constraint } => self.constrain(table, constraint, line),
            What::ValidateConstraint { table, name } => {
                let entry = self.entry(table);
                let mut proven = None;
                if let Some(known) = entry.constraints.iter_mut().find(|known| known.name.as_ref() == Some(name)) {
                    known.not_valid = false;
                    proven = proves(known);
                }
                entry.proven.extend(proven);
            }
            What::DropConstraint { table, name } => {
                let entry = self.entry(table);
                entry.constraints.retain(|known| known.name.as_ref() != Some(name));
                let valid = entry.constraints.iter().filter(|known| !known.not_valid);
                entry.proven = valid.filter_map(proves).collect();
            }
            What::CreateIndex { table, index } => {
                self.entry(table).indexed.push(index.keys.clone());
                if let Some(name) = &index.name {
                    let known = KnownIndex { table: key(table), columns: index.keys.clone(), new };
                    self.indexes.insert(key(&table.sibling(name.as_str())), known);
                }
            }
            What::DropIndex { index, .. } => {
                self.indexes.remove(&key(index));
            }
            What::DropTable { table, .. } => {
                self.tables.remove(&key(table));
            }
            What::CreateEnum { name } if new => {
                self.types.push(key(name));
                if let Some(transaction) = &mut self.transaction {
                    transaction.new_types.push(key(name));
                }
            }
            What::AddEnumValue { name, value, .. } => {
                if let Some(transaction) = &mut self.transaction
                    && !transaction.new_types.contains(&key(name))
                {
                    transaction.enum_values.push((key(name), value.clone()));
                }
            }
            What::Set { name, value, local } => {
                if *local && self.transaction.is_some() {
                    self.local.push((name.clone(), self.settings.get(name).cloned()));
                }
                if !*local || self.transaction.is_some() {
                    self.settings.insert(name.clone(), value.clone());
                }
            }
            What::Begin if self.transaction.is_none() => {
                self.transaction = Some(Transaction { explicit: true, ..Transaction::default() });
            }
            What::End => {
                self.transaction = None;
                for (name, before) in std::mem::take(&mut self.local).into_iter().rev() {
                    match before {
                        Some(value) => self.settings.insert(name, value),
                        None => self.settings.remove(&name),
                    };
                }
            }
            _ => {}
        }
    }

    fn constrain(&mut self, table: &QualifiedName, constraint: &Constraint, line: usize) {
        if let (Some(transaction), true, Some(name)) = (&mut self.transaction, constraint.not_valid, &constraint.name) {
            transaction.not_valid.push((key(table), name.clone(), line));
        }
        let index = constraint.using_index.as_ref().and_then(|index| self.indexes.get(&key(&table.sibling(index.as_str()))));
        let indexed = index.map(|index| index.columns.clone());
        let entry = self.entry(table);
        if !constraint.not_valid {
            entry.proven.extend(proves(constraint));
        }
        let columns = indexed.unwrap_or_else(|| constraint.columns.clone());
        if matches!(constraint.demands, Demands::PrimaryKey | Demands::Unique) {
            entry.indexed.push(columns.clone());
        }
        if constraint.demands == Demands::PrimaryKey {
            for column in columns {
                entry.columns.entry(column).or_default().not_null = true;
            }
        }
        if constraint.demands == Demands::NotNull && !constraint.not_valid {
            for column in &constraint.columns {
                entry.columns.entry(column.clone()).or_default().not_null = true;
            }
        }
        entry.constraints.push(constraint.clone());
    }
}

fn known_column(column: &Column, new: bool) -> KnownColumn {
    KnownColumn {
        ty: Some(column.ty.clone()),
        not_null: column.not_null || column.identity || column.serial(),
        new,
        dependents: None,
    }
}

/// The column that a CHECK of the form `column IS NOT NULL` shows not to be NULL.
pub fn proves(constraint: &Constraint) -> Option<String> {
    let Demands::Check(text) = &constraint.demands else { return None };
    let inner = text.trim().trim_start_matches('(').trim_end_matches(')').trim();
    let at = inner.to_lowercase().find(" is not null")?;
    let (column, rest) = inner.split_at(at);
    let plain = column.trim_matches('"');
    let rest = rest.trim().len() == "is not null".len();
    let named = plain.chars().all(|c| c.is_alphanumeric() || c == '_');
    (rest && named).then(|| if column.starts_with('"') { plain.to_owned() } else { plain.to_lowercase() })
}
