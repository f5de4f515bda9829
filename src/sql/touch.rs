//! Which existing relations a statement touches, and the strongest lock it takes on each (PostgreSQL manual 13.3.1 and the
//! pages of the statements).

use std::fmt;

use squawk_syntax::ast::{self, AlterColumnOption, AlterTableAction, AstNode, Stmt};
use squawk_syntax::{SyntaxKind, SyntaxNode};

use super::contents::Contents;
use super::parser::{find, is_cte, name_in, owner_in};
use super::statement::concurrently;
use super::{LockMode, QualifiedName};

/// An existing relation a statement names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// The relation: a table, or an index where the statement names only that.
    pub relation: QualifiedName,
    /// The strongest lock on it; of an index named alone, that on its table.
    pub lock: LockMode,
    /// Whether the statement may read all rows of it.
    pub scans: bool,
}

impl fmt::Display for Touch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}: blocks {}", self.lock, self.relation.plain(), self.lock.blocks())
    }
}

/// The table, view or index that a statement creates.
pub(super) fn creates(stmt: &Stmt) -> Option<QualifiedName> {
    match stmt {
        Stmt::CreateTable(create) => name_in(create.table_name()?.syntax()),
        Stmt::CreateTableAs(create) => name_in(create.table_name()?.syntax()),
        Stmt::CreateView(create) => name_in(create.view()?.syntax()),
        Stmt::CreateMaterializedView(create) => name_in(create.view()?.syntax()),
        Stmt::CreateIndex(create) => {
            let index = name_in(create.index()?.syntax())?;
            let table = name_in(create.table_relation_name()?.syntax())?;
            Some(table.sibling(index.name().as_str()))
        }
        _ => None,
    }
}

/// The touches of a statement; `None` for kinds this module does not know.
pub(super) fn touches(stmt: &Stmt, contents: &Contents) -> Option<Vec<Touch>> {
    use LockMode::*;
    let node = stmt.syntax();
    let slow = |weak, strong| if concurrently(stmt, contents) { weak } else { strong };
    let mut found = Touches::default();
    match stmt {
        Stmt::CreateIndex(create) => {
            found.first(create.table_relation_name(), slow(ShareUpdateExclusive, Share), true);
        }
        Stmt::DropIndex(drop) => {
            drop.index_refs().for_each(|index| found.first(Some(index), slow(ShareUpdateExclusive, AccessExclusive), false))
        }
        Stmt::AlterIndex(alter) => {
            let lock = match alter.action() {
                Some(ast::AlterIndexAction::SetTablespace(_)) => AccessExclusive,
                _ => ShareUpdateExclusive,
            };
            found.first(alter.index_ref(), lock, false);
        }
        Stmt::Reindex(reindex) => match reindex.reindex_target() {
            Some(ast::ReindexTarget::ReindexTargetTable(table)) => {
                found.first(Some(table), slow(ShareUpdateExclusive, Share), true)
            }
            Some(ast::ReindexTarget::ReindexTargetIndex(index)) => {
                found.first(Some(index), slow(ShareUpdateExclusive, AccessExclusive), false)
            }
            _ => return None,
        },
        Stmt::AlterTable(alter) => alter_table(alter, contents, &mut found),
        Stmt::CreateTable(create) => {
            found.references(node, contents, false);
            found.each(node, contents, &[SyntaxKind::INHERITS], ShareUpdateExclusive, false);
            found.first(create.partition_of(), AccessExclusive, false);
            found.each(node, contents, &[SyntaxKind::LIKE_CLAUSE], AccessShare, false);
        }
        Stmt::DropTable(drop) => drop.table_name_refs().for_each(|table| found.first(Some(table), AccessExclusive, false)),
        Stmt::DropView(drop) => drop.view_refs().for_each(|view| found.first(Some(view), AccessExclusive, false)),
        Stmt::DropMaterializedView(_) | Stmt::DropForeignTable(_) | Stmt::DropSequence(_) => {
            found.all_paths(node, AccessExclusive);
        }
        Stmt::Truncate(truncate) => {
            let tables = truncate.table_list().into_iter().flat_map(|list| list.table_relation_names());
            tables.for_each(|table| found.first(Some(table), AccessExclusive, false));
        }
        Stmt::Lock(lock) => {
            let mode = lock.lock_mode_clause().and_then(|clause| clause.lock_mode()).map_or(AccessExclusive, named_mode);
            let tables = lock.relation_list().into_iter().flat_map(|list| list.relation_names());
            tables.for_each(|table| found.first(Some(table), mode, false));
        }
        Stmt::Insert(_)
        | Stmt::Update(_)
        | Stmt::Delete(_)
        | Stmt::Merge(_)
        | Stmt::Select(_)
        | Stmt::CompoundSelect(_)
        | Stmt::ParenSelect(_)
        | Stmt::SelectInto(_)
        | Stmt::Values(_)
        | Stmt::Table(_)
        | Stmt::CreateTableAs(_)
        | Stmt::CreateMaterializedView(_) => found.rows(node, contents, true),
        Stmt::CreateView(create) => {
            found.rows(node, contents, false);
            if create.or_replace().is_some() {
                found.first(create.view(), AccessExclusive, false);
            }
        }
        Stmt::Refresh(refresh) => found.first(refresh.view_ref(), slow(Exclusive, AccessExclusive), true),
        Stmt::CommentOn(comment) => match comment.comment_object()? {
            ast::CommentObject::ObjectColumn(column) => found.add(owner_in(column.syntax()), ShareUpdateExclusive, false),
            ast::CommentObject::ObjectTable(it) => found.first(Some(it), ShareUpdateExclusive, false),
            ast::CommentObject::ObjectIndex(it) => found.first(Some(it), ShareUpdateExclusive, false),
            ast::CommentObject::ObjectView(it) => found.first(Some(it), ShareUpdateExclusive, false),
            ast::CommentObject::ObjectMaterializedView(it) => found.first(Some(it), ShareUpdateExclusive, false),
            ast::CommentObject::ObjectConstraint(it) => found.first(it.table_name_ref(), AccessShare, false),
            _ => {}
        },
        Stmt::CreateTrigger(create) => {
            found.first(create.on_relation(), ShareRowExclusive, false);
            found.first(create.from_table(), ShareRowExclusive, false);
        }
        Stmt::DropTrigger(drop) => found.first(drop.on_relation(), AccessExclusive, false),
        Stmt::CreatePolicy(create) => found.first(create.on_table(), AccessExclusive, false),
        Stmt::DropPolicy(drop) => found.first(drop.on_table(), AccessExclusive, false),
        Stmt::AlterPolicy(alter) => found.first(alter.on_table(), AccessExclusive, false),
        Stmt::DropRule(drop) => found.first(drop.on_relation(), AccessExclusive, false),
        Stmt::AlterTrigger(alter) => found.first(alter.on_relation(), AccessExclusive, false),
        Stmt::AlterView(alter) => found.first(alter.view_ref(), AccessExclusive, false),
        Stmt::AlterMaterializedView(alter) => found.first(alter.view_ref(), AccessExclusive, false),
        Stmt::CreateStatistics(create) => found.first(create.from_table(), ShareUpdateExclusive, false),
        Stmt::CreateRule(create) => found.first(create.rule_on(), AccessExclusive, false),
        Stmt::Vacuum(vacuum) => {
            let lock = if vacuum.is_full() { AccessExclusive } else { ShareUpdateExclusive };
            found.listed(vacuum.table_and_columns_list()?, lock);
        }
        Stmt::Analyze(analyze) => found.listed(analyze.table_and_columns_list()?, ShareUpdateExclusive),
        Stmt::Cluster(cluster) => found.first(Some(cluster.table_name_ref()?), AccessExclusive, true),
        Stmt::CreateSchema(create) if create.schema_elements().next().is_none() => {}
        Stmt::CreateFunction(_)
        | Stmt::CreateProcedure(_)
        | Stmt::CreateType(_)
        | Stmt::CreateDomain(_)
        | Stmt::CreateSequence(_)
        | Stmt::DropFunction(_)
        | Stmt::DropProcedure(_)
        | Stmt::Set(_) => {}
        _ => return None,
    }
    Some(found.0)
}

fn alter_table(alter: &ast::AlterTable, contents: &Contents, found: &mut Touches) {
    use LockMode::*;
    let table = alter.table_relation_name().and_then(|table| name_in(table.syntax()));
    for action in alter.actions() {
        let (lock, scans) = match &action {
            AlterTableAction::ValidateConstraint(_) => (ShareUpdateExclusive, true),
            AlterTableAction::AddConstraint(add) => added_constraint(add),
            AlterTableAction::SetOptions(options) => (storage_lock(options.syntax()), false),
            AlterTableAction::ResetOptions(options) => (storage_lock(options.syntax()), false),
            AlterTableAction::ClusterOn(_) | AlterTableAction::SetWithoutCluster(_) => (ShareUpdateExclusive, false),
            AlterTableAction::EnableTrigger(_)
            | AlterTableAction::DisableTrigger(_)
            | AlterTableAction::EnableAlwaysTrigger(_)
            | AlterTableAction::EnableReplicaTrigger(_) => (ShareRowExclusive, false),
            AlterTableAction::AttachPartition(attach) => {
                found.first(attach.table_name_ref(), AccessExclusive, true);
                (ShareUpdateExclusive, false)
            }
            AlterTableAction::DetachPartition(detach) => {
                // CONCURRENTLY takes the partition itself at its end, when no query reaches it through the table any more; FINALIZE does not.
                let (lock, own) = match detach.detach_partition_option() {
                    None => (AccessExclusive, AccessExclusive),
                    Some(ast::DetachPartitionOption::DetachConcurrently(_)) => (ShareUpdateExclusive, AccessExclusive),
                    Some(_) => (ShareUpdateExclusive, ShareUpdateExclusive),
                };
                found.first(detach.table_name_ref(), own, false);
                (lock, false)
            }
            AlterTableAction::InheritTable(inherit) => {
                found.first(inherit.table_name_ref(), ShareUpdateExclusive, false);
                (AccessExclusive, false)
            }
            AlterTableAction::AlterColumn(column) => altered_column(column.option()),
            AlterTableAction::AddColumn(add) => (AccessExclusive, added_column(add)),
            AlterTableAction::SetTablespace(_)
            | AlterTableAction::SetLogged(_)
            | AlterTableAction::SetUnlogged(_)
            | AlterTableAction::SetAccessMethod(_) => (AccessExclusive, true),
            _ => (AccessExclusive, false),
        };
        // What a foreign key points to is read with it; a new column that is NULL in every row points to nothing.
        let pointed = match &action {
            AlterTableAction::AddConstraint(_) => scans,
            AlterTableAction::AddColumn(add) => has_default(add),
            _ => false,
        };
        found.references(action.syntax(), contents, pointed);
        found.add(table.clone(), lock, scans);
    }
    found.0.sort_by_key(|touch| Some(&touch.relation) != table.as_ref()); // the table itself first
}

/// Whether a new column makes the server read every row: for what has to be computed, indexed or looked at. NOT NULL is looked at where
/// there is no default.
fn added_column(add: &ast::AddColumn) -> bool {
    use ast::Constraint;
    let default = has_default(add);
    add.constraints().any(|constraint| match constraint {
        Constraint::GeneratedConstraint(_)
        | Constraint::UniqueConstraint(_)
        | Constraint::PrimaryKeyConstraint(_)
        | Constraint::CheckConstraint(_) => true,
        Constraint::NotNullConstraint(_) => !default,
        Constraint::ReferencesConstraint(_) => default,
        _ => false,
    })
}

fn has_default(add: &ast::AddColumn) -> bool {
    add.constraints().any(|constraint| matches!(constraint, ast::Constraint::DefaultConstraint(_)))
}

fn added_constraint(add: &ast::AddConstraint) -> (LockMode, bool) {
    let constraint = add.constraint();
    let valid = !constraint.as_ref().is_some_and(|constraint| constraint.is_not_valid());
    let indexed = valid && find::<ast::UsingIndexName>(add.syntax()).is_some();
    match constraint {
        Some(ast::Constraint::ForeignKeyConstraint(_)) => (LockMode::ShareRowExclusive, valid),
        _ => (LockMode::AccessExclusive, valid && !indexed),
    }
}

fn altered_column(option: Option<AlterColumnOption>) -> (LockMode, bool) {
    match option {
        Some(AlterColumnOption::SetStatistics(_) | AlterColumnOption::SetOptions(_) | AlterColumnOption::ResetOptions(_)) => {
            (LockMode::ShareUpdateExclusive, false)
        }
        // SET NOT NULL skips the scan where a valid CHECK proves it, a type change where the types allow: the text does not tell.
        Some(AlterColumnOption::SetNotNull(_) | AlterColumnOption::SetType(_) | AlterColumnOption::SetExpression(_)) => {
            (LockMode::AccessExclusive, true)
        }
        _ => (LockMode::AccessExclusive, false),
    }
}

/// Storage parameters take SHARE UPDATE EXCLUSIVE, but `user_catalog_table` (ALTER TABLE, "SET ( storage_parameter )").
fn storage_lock(options: &SyntaxNode) -> LockMode {
    let catalog = options.text().to_string().to_ascii_lowercase().contains("user_catalog_table");
    if catalog { LockMode::AccessExclusive } else { LockMode::ShareUpdateExclusive }
}

fn named_mode(mode: ast::LockMode) -> LockMode {
    match mode {
        ast::LockMode::AccessShare(_) => LockMode::AccessShare,
        ast::LockMode::RowShare(_) => LockMode::RowShare,
        ast::LockMode::RowExclusive(_) => LockMode::RowExclusive,
        ast::LockMode::ShareUpdateExclusive(_) => LockMode::ShareUpdateExclusive,
        ast::LockMode::Share(_) => LockMode::Share,
        ast::LockMode::ShareRowExclusive(_) => LockMode::ShareRowExclusive,
        ast::LockMode::Exclusive(_) => LockMode::Exclusive,
        ast::LockMode::AccessExclusive(_) => LockMode::AccessExclusive,
    }
}

#[derive(Default)]
struct Touches(Vec<Touch>);

impl Touches {
    fn add(&mut self, relation: Option<QualifiedName>, lock: LockMode, scans: bool) {
        let Some(relation) = relation else { return };
        match self.0.iter_mut().find(|touch| touch.relation == relation) {
            Some(touch) => {
                touch.lock = touch.lock.max(lock);
                touch.scans |= scans;
            }
            None => self.0.push(Touch { relation, lock, scans }),
        }
    }

    /// The first name in a node.
    fn first(&mut self, node: Option<impl AstNode>, lock: LockMode, scans: bool) {
        self.add(node.and_then(|node| name_in(node.syntax())), lock, scans);
    }

    fn listed(&mut self, list: ast::TableAndColumnsList, lock: LockMode) {
        list.table_and_columnss().for_each(|table| self.first(table.table_relation_name(), lock, true));
    }

    /// Every table or relation name inside the nodes of these kinds.
    fn each(&mut self, node: &SyntaxNode, contents: &Contents, kinds: &[SyntaxKind], lock: LockMode, scans: bool) {
        if !contents.any(kinds) {
            return;
        }
        for part in node.descendants().filter(|part| kinds.contains(&part.kind())) {
            for name in part.children().filter(|child| is_relation(child.kind())) {
                self.add(name_in(&name), lock, scans);
            }
        }
    }

    /// Every path of the statement.
    fn all_paths(&mut self, node: &SyntaxNode, lock: LockMode) {
        for child in node.children() {
            self.add(name_in(&child), lock, false);
        }
    }

    /// The referenced tables of foreign keys.
    fn references(&mut self, node: &SyntaxNode, contents: &Contents, scans: bool) {
        let kinds = [SyntaxKind::REFERENCES_CONSTRAINT, SyntaxKind::FOREIGN_KEY_CONSTRAINT];
        self.each(node, contents, &kinds, LockMode::ShareRowExclusive, scans);
    }

    /// Everything a statement on rows names.
    fn rows(&mut self, node: &SyntaxNode, contents: &Contents, scans: bool) {
        if !contents.any(&[SyntaxKind::RELATION_NAME_REF, SyntaxKind::TABLE_NAME_REF]) {
            return;
        }
        let (with, locking) = (contents.has(SyntaxKind::WITH_CLAUSE), contents.has(SyntaxKind::LOCKING_CLAUSE));
        for name in node.descendants().filter(|node| is_relation(node.kind())) {
            let Some(relation) = name_in(&name).filter(|relation| !with || !is_cte(relation, &name)) else { continue };
            let written = name
                .ancestors()
                .skip(1)
                .find(|outer| outer.kind() != SyntaxKind::RELATION_NAME && outer.kind() != SyntaxKind::TABLE_RELATION_NAME);
            let kind = written.as_ref().map(SyntaxNode::kind);
            let lock = match (kind, &written) {
                (Some(SyntaxKind::INSERT | SyntaxKind::UPDATE | SyntaxKind::DELETE | SyntaxKind::MERGE), _) => {
                    LockMode::RowExclusive
                }
                _ if locking && locks_rows(&name) => LockMode::RowShare,
                _ => LockMode::AccessShare,
            };
            self.add(Some(relation), lock, scans && kind != Some(SyntaxKind::INSERT));
        }
    }
}

/// Whether the query level around `name` has `FOR UPDATE` or the like. With `OF` this counts tables that are not named there.
fn locks_rows(name: &SyntaxNode) -> bool {
    name.ancestors()
        .find(|outer| outer.kind() == SyntaxKind::SELECT)
        .is_some_and(|select| select.children().any(|clause| clause.kind() == SyntaxKind::LOCKING_CLAUSE))
}

fn is_relation(kind: SyntaxKind) -> bool {
    matches!(kind, SyntaxKind::RELATION_NAME_REF | SyntaxKind::TABLE_NAME_REF)
}

#[cfg(test)]
mod tests {
    use crate::sql::{Block, Effect, Statement, split};

    fn one(text: &str) -> Statement {
        split(text).unwrap_or_else(|faults| panic!("{text}: {faults:?}")).remove(0)
    }

    /// `table=LOCK` of each touch, `*` where it scans; `?` when not known.
    fn locks(text: &str) -> String {
        let statement = one(text);
        let Some(touches) = statement.touches() else { return "?".to_owned() };
        let each = |t: &super::Touch| format!("{}={}{}", t.relation.plain(), t.lock, if t.scans { "*" } else { "" });
        touches.iter().map(each).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn indexes() {
        assert_eq!(locks("CREATE UNIQUE INDEX i ON s.t (a)"), "s.t=SHARE*");
        assert_eq!(locks("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)"), "t=SHARE UPDATE EXCLUSIVE*");
        assert_eq!(locks("DROP INDEX a, s.b"), "a=ACCESS EXCLUSIVE s.b=ACCESS EXCLUSIVE");
        assert_eq!(locks("DROP INDEX CONCURRENTLY IF EXISTS a"), "a=SHARE UPDATE EXCLUSIVE");
        assert_eq!(locks("ALTER INDEX IF EXISTS a RENAME TO b"), "a=SHARE UPDATE EXCLUSIVE");
        assert_eq!(locks("REINDEX TABLE t"), "t=SHARE*");
        assert_eq!(locks("REINDEX SCHEMA s"), "?");
    }

    #[test]
    fn alter_table() {
        for (action, expected) in [
            ("ADD COLUMN a int", "t=ACCESS EXCLUSIVE"),
            ("ADD COLUMN a int REFERENCES s.u (b)", "t=ACCESS EXCLUSIVE s.u=SHARE ROW EXCLUSIVE"),
            ("ADD COLUMN a int DEFAULT 1 REFERENCES u (b)", "t=ACCESS EXCLUSIVE* u=SHARE ROW EXCLUSIVE*"),
            ("ADD COLUMN a int NOT NULL", "t=ACCESS EXCLUSIVE*"),
            ("ADD COLUMN a int NOT NULL DEFAULT 1", "t=ACCESS EXCLUSIVE"),
            ("DROP COLUMN IF EXISTS a CASCADE", "t=ACCESS EXCLUSIVE"),
            ("ALTER COLUMN a SET NOT NULL", "t=ACCESS EXCLUSIVE*"),
            ("ALTER COLUMN a DROP NOT NULL, ALTER a DROP DEFAULT", "t=ACCESS EXCLUSIVE"),
            ("ALTER COLUMN a SET DEFAULT now()", "t=ACCESS EXCLUSIVE"),
            ("ALTER COLUMN a TYPE bigint USING a::bigint", "t=ACCESS EXCLUSIVE*"),
            ("ALTER COLUMN a SET STATISTICS 100", "t=SHARE UPDATE EXCLUSIVE"),
            ("ADD CONSTRAINT c CHECK (a > 0)", "t=ACCESS EXCLUSIVE*"),
            ("ADD CONSTRAINT c CHECK (a > 0) NOT VALID", "t=ACCESS EXCLUSIVE"),
            ("ADD CONSTRAINT c UNIQUE USING INDEX i", "t=ACCESS EXCLUSIVE"),
            ("ADD PRIMARY KEY (a)", "t=ACCESS EXCLUSIVE*"),
            ("ADD FOREIGN KEY (a) REFERENCES u (b)", "t=SHARE ROW EXCLUSIVE* u=SHARE ROW EXCLUSIVE*"),
            ("ADD FOREIGN KEY (a) REFERENCES u (b) NOT VALID", "t=SHARE ROW EXCLUSIVE u=SHARE ROW EXCLUSIVE"),
            ("VALIDATE CONSTRAINT c", "t=SHARE UPDATE EXCLUSIVE*"),
            ("DROP CONSTRAINT c", "t=ACCESS EXCLUSIVE"),
            ("RENAME COLUMN a TO b", "t=ACCESS EXCLUSIVE"),
            ("RENAME TO u", "t=ACCESS EXCLUSIVE"),
            ("SET SCHEMA s", "t=ACCESS EXCLUSIVE"),
            ("SET (fillfactor = 70)", "t=SHARE UPDATE EXCLUSIVE"),
            ("SET (user_catalog_table = true)", "t=ACCESS EXCLUSIVE"),
            ("DISABLE TRIGGER ALL", "t=SHARE ROW EXCLUSIVE"),
            ("ATTACH PARTITION p FOR VALUES IN (1)", "t=SHARE UPDATE EXCLUSIVE p=ACCESS EXCLUSIVE*"),
            ("DETACH PARTITION p CONCURRENTLY", "t=SHARE UPDATE EXCLUSIVE p=ACCESS EXCLUSIVE"),
            ("OWNER TO joe", "t=ACCESS EXCLUSIVE"),
        ] {
            assert_eq!(locks(&format!("ALTER TABLE ONLY t {action}")), expected, "{action}");
        }
    }

    #[test]
    fn tables_and_rows() {
        for (text, expected) in [
            (
                "CREATE TABLE t (a int REFERENCES u, FOREIGN KEY (a) REFERENCES v (b))",
                "u=SHARE ROW EXCLUSIVE v=SHARE ROW EXCLUSIVE",
            ),
            ("CREATE TABLE t (LIKE u)", "u=ACCESS SHARE"),
            ("CREATE TABLE t AS SELECT a FROM u", "u=ACCESS SHARE*"),
            ("CREATE TABLE p PARTITION OF t DEFAULT", "t=ACCESS EXCLUSIVE"),
            ("DROP TABLE IF EXISTS a, b", "a=ACCESS EXCLUSIVE b=ACCESS EXCLUSIVE"),
            ("INSERT INTO t (a) SELECT a FROM u", "t=ROW EXCLUSIVE u=ACCESS SHARE*"),
            ("UPDATE t SET a = 1 FROM u WHERE u.b = t.b", "t=ROW EXCLUSIVE* u=ACCESS SHARE*"),
            ("DELETE FROM ONLY t USING u", "t=ROW EXCLUSIVE* u=ACCESS SHARE*"),
            ("WITH g AS (DELETE FROM t RETURNING a) INSERT INTO u (a) SELECT a FROM g", "t=ROW EXCLUSIVE* u=ROW EXCLUSIVE"),
            ("WITH t AS (SELECT a FROM t) SELECT a FROM t", "t=ACCESS SHARE*"),
            ("SELECT a FROM t FOR UPDATE", "t=ROW SHARE*"),
            ("TRUNCATE a, ONLY b", "a=ACCESS EXCLUSIVE b=ACCESS EXCLUSIVE"),
            ("LOCK TABLE a, b IN SHARE ROW EXCLUSIVE MODE", "a=SHARE ROW EXCLUSIVE b=SHARE ROW EXCLUSIVE"),
            ("LOCK a", "a=ACCESS EXCLUSIVE"),
            ("COMMENT ON COLUMN s.t.c IS 'x'", "s.t=SHARE UPDATE EXCLUSIVE"),
            ("COMMENT ON TABLE \"T\" IS 'x'", "T=SHARE UPDATE EXCLUSIVE"),
            ("CREATE VIEW v AS SELECT a FROM t", "t=ACCESS SHARE"),
            ("CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f()", "t=SHARE ROW EXCLUSIVE"),
            ("DROP TRIGGER g ON t", "t=ACCESS EXCLUSIVE"),
            ("VACUUM (FULL) a, b", "a=ACCESS EXCLUSIVE* b=ACCESS EXCLUSIVE*"),
            ("ANALYZE t (a)", "t=SHARE UPDATE EXCLUSIVE*"),
            ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", "v=EXCLUSIVE*"),
            ("CREATE SCHEMA s", ""),
            ("DO $$ BEGIN PERFORM 1; END $$", "?"),
        ] {
            assert_eq!(locks(text), expected, "{text}");
        }
        let index = one("CREATE INDEX i ON s.t (a)");
        assert_eq!(index.strongest().unwrap().to_string(), "SHARE on s.t: blocks writes");
        assert_eq!(index.creates().unwrap().plain(), "s.i");
        let table = one("CREATE TABLE s.t (a int)").creates().unwrap().clone();
        assert_eq!(index.strongest_beside(&[table].into()), None);
    }

    #[test]
    fn blocks_effects_and_patience() {
        for text in [
            "CREATE INDEX CONCURRENTLY i ON t (a)",
            "DROP INDEX CONCURRENTLY i",
            "REINDEX (CONCURRENTLY) TABLE t",
            "VACUUM t",
            "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
        ] {
            let statement = one(text);
            assert_eq!((statement.block(), statement.waits_harmlessly()), (Block::Outside, true), "{text}");
        }
        for text in ["CREATE DATABASE d", "VACUUM FULL t", "REINDEX DATABASE d", "ALTER SYSTEM SET work_mem = '1MB'"] {
            let statement = one(text);
            assert_eq!((statement.block(), statement.waits_harmlessly()), (Block::Outside, false), "{text}");
        }
        for text in ["ALTER TYPE e ADD VALUE 'x'", "CREATE INDEX i ON t (a)", "REFRESH MATERIALIZED VIEW CONCURRENTLY v"] {
            let statement = one(text);
            assert_eq!((statement.block(), statement.waits_harmlessly()), (Block::Inside, false), "{text}");
        }
        assert!(one("ALTER TABLE t VALIDATE CONSTRAINT c").waits_harmlessly());
        assert!(!one("ALTER TABLE t VALIDATE CONSTRAINT c, DROP COLUMN a").waits_harmlessly());
        assert!(one("ANALYZE").waits_harmlessly());
        assert_eq!(one("BEGIN").block(), Block::Control);
        assert_eq!(*one("SET search_path = x").effect(), Effect::SessionSetting);
        assert_eq!(*one("SET LOCAL search_path = x").effect(), Effect::Other);
        assert_eq!(*one("COPY t FROM stdin").effect(), Effect::ClientCopy);
        let Effect::BuildIndex { index: Some(index), table } =
            one("CREATE INDEX CONCURRENTLY \"I i\" ON s.t (a)").effect().clone()
        else {
            panic!("no build")
        };
        assert_eq!((index.as_str(), table.plain().as_str()), ("I i", "s.t"));
    }

    #[test]
    fn kinds_read_as_sql() {
        for (text, expected) in [
            (
                "ALTER TABLE t ADD COLUMN a int, ADD COLUMN b int, ALTER c SET NOT NULL",
                "ALTER TABLE ADD COLUMN, ALTER COLUMN SET NOT NULL",
            ),
            ("ALTER TABLE t ADD CHECK (a > 0) NOT VALID", "ALTER TABLE ADD CHECK CONSTRAINT NOT VALID"),
            ("ALTER INDEX i RENAME TO j", "ALTER INDEX RENAME"),
            ("CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX CONCURRENTLY"),
            ("(SELECT 1) UNION SELECT 2", "SELECT"),
        ] {
            assert_eq!(one(text).kind(), expected, "{text}");
        }
    }
}
