//! What a statement does, one act after the other: the facts that rules look at, with their places in the file.

use std::ops::Range;

use crate::sql::{LockMode, QualifiedName, Star};

/// One thing that a statement does.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// What it is.
    pub what: What,
    /// Its bytes in the file.
    pub at: Range<usize>,
}

/// A data type as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ty {
    /// In lower case with single spaces: `varchar(20)`, `timestamp with time zone`, `int[]`.
    pub text: String,
    /// The canonical name without modifiers: `varchar`, `timestamptz`, `int4`.
    pub base: String,
    /// The modifiers, `20` of `varchar(20)`.
    pub modifiers: Vec<i64>,
    /// Whether it is an array.
    pub array: bool,
}

/// How often the value of an expression changes, as far as its text tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volatility {
    /// Constants, `now()` and functions known to give one value per statement.
    Stable,
    /// A function that the linter does not know.
    Unknown,
    /// A function known to give each row its own value.
    Volatile,
}

/// An expression as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expr {
    /// Its text.
    pub text: String,
    /// How often its value changes.
    pub volatility: Volatility,
    /// The function that makes it so.
    pub function: Option<String>,
}

/// A column that is created.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Ty,
    /// `NOT NULL` or `PRIMARY KEY`.
    pub not_null: bool,
    /// `DEFAULT`, unless that is NULL.
    pub default: Option<Expr>,
    /// `GENERATED ... STORED`.
    pub stored: bool,
    /// `GENERATED ... VIRTUAL`.
    pub virtual_column: bool,
    /// `GENERATED ... AS IDENTITY`.
    pub identity: bool,
    /// Its constraints other than NOT NULL, DEFAULT and GENERATED.
    pub constraints: Vec<Constraint>,
}

impl Column {
    /// Whether its type is one of the serial pseudo-types.
    pub fn serial(&self) -> bool {
        matches!(self.ty.base.as_str(), "serial" | "bigserial" | "smallserial" | "serial4" | "serial8" | "serial2")
    }
}

/// What a constraint demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demands {
    /// `CHECK`, with its expression.
    Check(String),
    /// `FOREIGN KEY`.
    ForeignKey {
        /// The table it points to.
        references: QualifiedName,
        /// The columns it points to; empty: the primary key.
        referenced: Vec<String>,
    },
    /// `UNIQUE`.
    Unique,
    /// `PRIMARY KEY`.
    PrimaryKey,
    /// `EXCLUDE`.
    Exclude,
    /// `NOT NULL` as a table constraint (PostgreSQL 18).
    NotNull,
}

/// A constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// What it demands.
    pub demands: Demands,
    /// Its name, when one is given.
    pub name: Option<String>,
    /// Its columns.
    pub columns: Vec<String>,
    /// `NOT VALID`.
    pub not_valid: bool,
    /// `USING INDEX`.
    pub using_index: Option<String>,
}

/// An index that is created.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewIndex {
    /// Its name, when one is given.
    pub name: Option<String>,
    /// `UNIQUE`.
    pub unique: bool,
    /// `CONCURRENTLY`.
    pub concurrently: bool,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// Its keys: column names and expressions.
    pub keys: Vec<String>,
    /// `WHERE`.
    pub predicate: Option<String>,
}

/// A table that is created.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewTable {
    /// `TEMPORARY`.
    pub temporary: bool,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// Its columns; not those of `LIKE`, `INHERITS`, `OF`, `AS`.
    pub columns: Vec<Column>,
    /// Its table constraints.
    pub constraints: Vec<Constraint>,
    /// `PARTITION OF`.
    pub partition_of: Option<QualifiedName>,
    /// `PARTITION BY`.
    pub partitioned: bool,
    /// Whether columns come from elsewhere: `LIKE`, `INHERITS`, `OF`, `AS`.
    pub derived: bool,
}

/// The acts. There are many of them at once: what is large is boxed.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // the fields are SQL's own words
pub enum What {
    CreateTable {
        table: QualifiedName,
        new: Box<NewTable>,
    },
    AddColumn {
        table: QualifiedName,
        column: Box<Column>,
        if_not_exists: bool,
    },
    DropColumn {
        table: QualifiedName,
        column: String,
        cascade: bool,
    },
    RenameColumn {
        table: QualifiedName,
        from: String,
        to: String,
    },
    /// `object` is `table`, `view`, `type`, ... as in the statement.
    Rename {
        object: String,
        name: QualifiedName,
        to: String,
    },
    SetSchema {
        object: String,
        name: QualifiedName,
    },
    SetType {
        table: QualifiedName,
        column: String,
        ty: Box<Ty>,
        using: Option<String>,
    },
    SetNotNull {
        table: QualifiedName,
        column: String,
    },
    DropNotNull {
        table: QualifiedName,
        column: String,
    },
    SetDefault {
        table: QualifiedName,
        column: String,
        default: Box<Expr>,
    },
    DropDefault {
        table: QualifiedName,
        column: String,
    },
    /// `ADD`, `SET` or `DROP IDENTITY`.
    AlterIdentity {
        table: QualifiedName,
        column: String,
        drop: bool,
    },
    SetExpression {
        table: QualifiedName,
        column: String,
    },
    DropExpression {
        table: QualifiedName,
        column: String,
    },
    AddConstraint {
        table: QualifiedName,
        constraint: Box<Constraint>,
    },
    DropConstraint {
        table: QualifiedName,
        name: String,
    },
    ValidateConstraint {
        table: QualifiedName,
        name: String,
    },
    /// `SET LOGGED`, `SET UNLOGGED`, `SET TABLESPACE`, `SET ACCESS METHOD`.
    Rewrite {
        table: QualifiedName,
        how: &'static str,
    },
    ReplicaIdentityFull {
        table: QualifiedName,
    },
    /// `ENABLE`, `DISABLE`, `FORCE`, `NO FORCE`.
    RowSecurity {
        table: QualifiedName,
        how: &'static str,
    },
    DisableTrigger {
        table: QualifiedName,
    },
    EnableTrigger {
        table: QualifiedName,
    },
    AttachPartition {
        table: QualifiedName,
        partition: QualifiedName,
        default: bool,
    },
    DetachPartition {
        table: QualifiedName,
        partition: QualifiedName,
        concurrently: bool,
    },
    Inherit {
        table: QualifiedName,
        parent: QualifiedName,
        on: bool,
    },
    /// Any other `ALTER TABLE` action.
    AlterTableOther {
        table: QualifiedName,
        action: String,
    },
    CreateIndex {
        table: QualifiedName,
        index: Box<NewIndex>,
    },
    DropIndex {
        index: QualifiedName,
        concurrently: bool,
    },
    /// `target` in SQL's words with its name.
    Reindex {
        target: String,
        concurrently: bool,
    },
    DropTable {
        table: QualifiedName,
        if_exists: bool,
    },
    /// `DROP` of anything but tables and indexes.
    DropObject {
        object: String,
        name: QualifiedName,
    },
    Cascade {
        object: String,
    },
    Truncate {
        table: QualifiedName,
    },
    LockTable {
        table: QualifiedName,
        mode: LockMode,
    },
    Insert {
        table: QualifiedName,
        from_query: bool,
    },
    Update {
        table: QualifiedName,
        filtered: bool,
        columns: Vec<String>,
    },
    Delete {
        table: QualifiedName,
        filtered: bool,
    },
    Merge {
        table: QualifiedName,
    },
    Stars(Vec<Star>),
    CreateView {
        view: QualifiedName,
        or_replace: bool,
    },
    CreateMaterializedView {
        view: QualifiedName,
    },
    Refresh {
        view: QualifiedName,
        concurrently: bool,
    },
    CreateTrigger {
        table: QualifiedName,
    },
    CreatePolicy {
        table: QualifiedName,
    },
    CreateRule {
        table: QualifiedName,
    },
    CreateFunction {
        name: QualifiedName,
        or_replace: bool,
        definer: bool,
        search_path: bool,
    },
    CreateEnum {
        name: QualifiedName,
    },
    AddEnumValue {
        name: QualifiedName,
        value: String,
        placed: bool,
    },
    RenameEnumValue {
        name: QualifiedName,
        from: String,
    },
    /// `ALTER TYPE ... ALTER/ADD/DROP ATTRIBUTE`.
    AlterAttribute {
        name: QualifiedName,
    },
    CreateDomain {
        name: QualifiedName,
        constrained: bool,
    },
    /// `checked`: existing values are looked at now.
    AlterDomain {
        name: QualifiedName,
        checked: bool,
    },
    CreateSequence {
        name: QualifiedName,
    },
    AlterSequence {
        name: QualifiedName,
        restart: bool,
    },
    CreateExtension {
        name: String,
    },
    AlterExtensionUpdate {
        name: String,
    },
    CreateSchema {
        name: String,
    },
    Grant,
    Revoke,
    Vacuum {
        tables: Vec<QualifiedName>,
        full: bool,
    },
    Cluster {
        table: Option<QualifiedName>,
    },
    Set {
        name: String,
        value: String,
        local: bool,
    },
    Begin,
    /// `COMMIT`, `END`, `ROLLBACK` of the transaction, `PREPARE TRANSACTION`.
    End,
    /// SQL that a body puts together when it runs.
    Dynamic,
    /// A body in a language that is not read, or that could not be read.
    Unread {
        why: String,
    },
    /// The calls of a query: functions by name.
    Calls(Vec<QualifiedName>),
    /// A constant as it occurs, for values of new enum labels.
    Constants(Vec<String>),
    /// `CREATE ... IF NOT EXISTS`, `DROP ... IF EXISTS`, `OR REPLACE`: may run twice.
    Repeatable,
    /// A creation, drop or addition that fails when it runs twice.
    Once,
    /// A name of more than 63 bytes, which the server cuts off.
    LongName(String),
    /// A `CREATE`, `ALTER` or `DROP` of a table without its schema.
    Unqualified(QualifiedName),
    /// A newer server is needed: what for, and from which major version on.
    Needs {
        what: &'static str,
        since: u32,
    },
}
