//! What a table is like, as far as its triggers depend on it, and what forbids to capture it.

use super::trigger::Event;
use crate::pg::{Session, table_state};
use crate::projection::{Captured, read_target};
use crate::sql::{Ident, QualifiedName};
use crate::terms::{Finding, RunId, Severity};

/// A table to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The table, with its schema.
    pub table: QualifiedName,
    /// `pg_class.oid`.
    pub oid: u32,
    /// The columns whose values are keys.
    pub columns: Vec<Ident>,
    /// The columns whose change counts beside these; `None`: any.
    pub watch: Option<Vec<Ident>>,
    /// Whether a TRUNCATE records the keys of every row that it removes, as a DELETE would: for those who must know each.
    pub rows_of_truncate: bool,
    /// The columns of a unique index over NOT NULL columns.
    identity: Option<Vec<Ident>>,
    /// Every column of the table.
    all: Vec<Column>,
}

/// A column of a captured table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    /// Its name.
    pub name: Ident,
    /// Whether two values of its type are equal only when their text is.
    pub exact: bool,
    /// The types it is made of, through domains, arrays, ranges and rows; own types with their schema.
    parts: Vec<String>,
    /// A type of its parts that is turned into text by a function of SQL.
    converted: Option<String>,
}

/// Types whose text depends on settings, and the settings under which it does not.
const SETTINGS: &[(&[&str], &[&str])] = &[
    (&["date", "timestamp", "timestamptz"], &["datestyle TO 'ISO, MDY'"]),
    (&["timestamptz"], &["timezone TO 'UTC'"]),
    (&["interval"], &["intervalstyle TO 'postgres'"]),
    (&["float4", "float8", "point", "lseg", "box", "path", "polygon", "line", "circle"], &["extra_float_digits TO 1"]),
    (&["bytea"], &["bytea_output TO 'hex'"]),
];

/// Types whose text depends on what cannot be fixed: a locale, names that come and go.
const UNSTABLE: &[&str] = &["money", "aclitem", "record", "anyarray", "pg_node_tree"];

/// Types with an equality as exact as that of their text.
const EXACT: &[&str] = &["bool", "int2", "int4", "int8", "oid", "uuid", "date", "timestamp", "timestamptz"];

impl Column {
    /// Whether it is a floating-point number.
    pub(super) fn float(&self) -> bool {
        matches!(self.parts.as_slice(), [one] if matches!(one.as_str(), "float4" | "float8"))
    }

    /// Why its text cannot be a key.
    fn unstable(&self) -> Option<String> {
        let unstable = |part: &&String| part.starts_with("reg") || UNSTABLE.contains(&part.as_str());
        match (self.parts.iter().find(unstable), &self.converted) {
            (Some(part), _) => Some(format!("is of type {part}, whose text is not the same for every session")),
            (None, Some(part)) => Some(format!("is of type {part}, which a function of its own turns into text")),
            (None, None) => None,
        }
    }
}

impl Shape {
    /// Reads what the triggers of a table depend on; `None` when there is no such table or column.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn read(blue: &Session, captured: &Captured) -> anyhow::Result<Option<Self>> {
        let Some(target) = read_target(blue, &captured.table).await? else { return Ok(None) };
        let not_null = |name: &String| target.column(&Ident::new(name)).is_some_and(|column| column.not_null);
        let identity = target.unique.iter().find(|columns| !columns.is_empty() && columns.iter().all(not_null));
        let rows = blue.query(COLUMNS, &[&target.oid]).await?;
        let all = rows
            .iter()
            .map(|row| {
                let parts: Vec<String> = row.get(1);
                let exact = matches!(parts.as_slice(), [one] if EXACT.contains(&one.as_str()));
                Column { name: Ident::new(row.get::<_, String>(0)), exact, parts, converted: row.get(2) }
            })
            .collect();
        let shape = Self {
            table: target.table.clone(),
            oid: target.oid,
            columns: captured.columns.clone(),
            watch: captured.watch.clone(),
            rows_of_truncate: false,
            identity: identity.map(|columns| columns.iter().map(Ident::new).collect()),
            all,
        };
        let whole = shape.named().all(|name| shape.column(name).is_some());
        Ok(whole.then_some(shape))
    }

    /// The settings its functions need.
    pub(super) fn pins(&self) -> Vec<&'static str> {
        let used = |type_: &&str| {
            self.named().filter_map(|name| self.column(name)).any(|column| column.parts.iter().any(|p| p == type_))
        };
        let rules = SETTINGS.iter().filter(|(types, _)| types.iter().any(&used));
        rules.flat_map(|(_, settings)| settings.iter().copied()).collect()
    }

    /// The columns by which an old and a new row are known to be one, and those whose change counts. `None` when any UPDATE
    /// counts: nothing says which change matters, or which row is which.
    pub(super) fn compared(&self) -> Option<(Vec<&Column>, Vec<&Column>)> {
        let (watch, identity) = (self.watch.as_ref()?, self.identity.as_ref()?);
        let mut same: Vec<&Ident> = identity.iter().chain(&self.columns).collect();
        same.sort();
        same.dedup();
        let watched = watch.iter().filter(|name| !same.contains(name));
        let find = |name: &Ident| self.column(name);
        Some((same.iter().filter_map(|name| find(name)).collect(), watched.filter_map(find).collect()))
    }

    /// The captured columns.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter_map(|name| self.column(name))
    }

    fn column(&self, name: &Ident) -> Option<&Column> {
        self.all.iter().find(|column| column.name == *name)
    }

    /// Every column that the functions name.
    fn named(&self) -> impl Iterator<Item = &Ident> {
        let watched = self.watch.iter().flat_map(|watch| watch.iter().chain(self.identity.iter().flatten()));
        self.columns.iter().chain(watched)
    }
}

/// What forbids to capture these tables, by triggers or from a slot, all at once. Changes nothing.
///
/// # Errors
/// When the session is gone.
pub async fn obstacles(blue: &Session, tables: &[Captured], run: &RunId, slot: bool) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for captured in tables {
        let object = format!("table {} on blue", captured.table.plain());
        let mut blocks = |what: String, next: String| {
            findings.push(Finding { severity: Severity::Blocks, object: object.clone(), what, next });
        };
        let Some(state) = table_state(blue, &captured.table).await? else {
            blocks("does not exist".to_owned(), "correct the plan or the projections".to_owned());
            continue;
        };
        let (name, trigger) = (state.name.plain(), Event::Insert.trigger());
        let row = blue.query_one(FORM, &[&captured.table.to_string(), &run.as_str(), &name, &trigger.as_str()]).await?;
        let (form, owned, subscribed, other): (Option<String>, bool, bool, Option<String>) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        if let Some(form) = form {
            let next = "leave it out of `projections` and `tables`, or follow it through an ordinary table";
            let who = if slot { "a slot would not tell" } else { "triggers would not see" };
            blocks(format!("{form}: {who} all its changes"), next.to_owned());
        }
        if !owned {
            let next = format!("run as the owner of {}, or GRANT the owner's role to this one", state.name);
            let what = if slot { "it may not publish it" } else { "it may set no triggers" };
            blocks(format!("belongs to a role this one is not a member of: {what}"), next);
        }
        if subscribed && !slot {
            let what = "is filled by a subscription, whose changes fire no statement triggers";
            blocks(what.to_owned(), "capture on the publisher, or drop the subscription first".to_owned());
        }
        if let Some(other) = other {
            let next = "`crossfade rollback` that run, then run again".to_owned();
            blocks(format!("is captured for run {other} already"), next);
        }
        if row.get(4) {
            let what = format!("has a trigger {} that no run knows of", trigger.as_str());
            blocks(what, "drop the triggers crossfade_capture_* of this table, then run again".to_owned());
        }
        let target = read_target(blue, &captured.table).await?;
        let known = |name: &&Ident| target.as_ref().is_some_and(|target| target.column(name).is_some());
        let mut missing = captured.columns.iter().chain(captured.watch.iter().flatten()).filter(|name| !known(name));
        if let Some(column) = missing.next() {
            blocks(format!("has no column {}", column.as_str()), "correct the projections".to_owned());
        }
        if captured.columns.is_empty() {
            blocks(
                "gives no column that a changed row could be found by".to_owned(),
                "name a driving `key` in the projection".to_owned(),
            );
        }
        if let Some(shape) = Shape::read(blue, captured).await? {
            for column in shape.named().filter_map(|name| shape.column(name)) {
                if let Some(what) = column.unstable() {
                    let next = "capture the table by another column, or give this one another type".to_owned();
                    blocks(format!("cannot be captured by column {}: it {what}", column.name.as_str()), next);
                }
            }
        }
    }
    findings.dedup();
    Ok(findings)
}

/// What the table is when it is no ordinary one, whether our role may act as its owner, whether a subscription fills it, and
/// another run that captures it.
const FORM: &str = "SELECT CASE WHEN c.relkind = 'p' THEN 'is partitioned' WHEN c.relkind = 'f' THEN 'is a foreign table' \
                                WHEN c.relkind <> 'r' THEN 'is no table' WHEN c.relispartition THEN 'is a partition' \
                                WHEN c.relpersistence = 't' THEN 'is temporary' \
                                WHEN c.relpersistence = 'u' THEN 'is unlogged and emptied by a crash of the server' \
                                WHEN EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhparent, i.inhrelid)) THEN 'is part of an inheritance tree' \
                           END, \
                           pg_has_role(c.relowner, 'USAGE'), \
                           EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid), \
                           (SELECT k.run FROM crossfade.captured k \
                            WHERE (k.table_oid = c.oid OR k.table_name = $3) AND k.run <> $2 LIMIT 1), \
                           EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = $4) \
                           AND NOT EXISTS (SELECT FROM crossfade.captured k WHERE k.table_oid = c.oid) \
                    FROM pg_class c WHERE c.oid = to_regclass($1::text)";

/// Per column: the types it is made of, through domains, arrays, ranges and rows, and an own type among them that a function
/// casts to text.
const COLUMNS: &str = "WITH RECURSIVE part(attnum, oid) AS ( \
        SELECT a.attnum, a.atttypid FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped \
        UNION SELECT part.attnum, inner_type.oid FROM part JOIN pg_type t ON t.oid = part.oid CROSS JOIN LATERAL ( \
            SELECT t.typbasetype WHERE t.typtype = 'd' \
            UNION ALL SELECT t.typelem WHERE t.typcategory = 'A' AND t.typelem <> 0 \
            UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid OR (to_jsonb(r) ->> 'rngmultitypid')::oid = t.oid \
            UNION ALL SELECT f.atttypid FROM pg_attribute f WHERE t.typtype = 'c' AND f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped \
        ) AS inner_type(oid)) \
    SELECT a.attname::text, \
           ARRAY(SELECT CASE WHEN t.oid < 16384 THEN t.typname::text ELSE n.nspname || '.' || t.typname END \
                 FROM part JOIN pg_type t ON t.oid = part.oid JOIN pg_namespace n ON n.oid = t.typnamespace \
                 WHERE part.attnum = a.attnum ORDER BY 1), \
           (SELECT n.nspname || '.' || t.typname \
            FROM part JOIN pg_type t ON t.oid = part.oid JOIN pg_namespace n ON n.oid = t.typnamespace \
                 JOIN pg_cast c ON c.castsource = t.oid AND c.casttarget = 'text'::regtype AND c.castmethod = 'f' \
            WHERE part.attnum = a.attnum AND t.oid >= 16384 ORDER BY 1 LIMIT 1) \
    FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
