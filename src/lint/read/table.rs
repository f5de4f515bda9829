//! Tables and indexes.

use squawk_syntax::ast::{self, AlterColumnOption, AlterTableAction, AstNode, Stmt};
use squawk_syntax::{SyntaxKind, SyntaxNode};

use super::{Acts, column, expression, holds, plain, text, token};
use crate::lint::act::{Column, NewIndex, NewTable, What};
use crate::sql::QualifiedName;
use crate::sql::contents::Contents;
use crate::sql::parser::{name_in, words};

pub(super) fn read(stmt: &Stmt, contents: &Contents, acts: &mut Acts<'_>) {
    let node = stmt.syntax();
    match stmt {
        Stmt::CreateTable(create) => acts.some(node, create_table(create)),
        Stmt::CreateTableAs(create) => {
            let temporary = create.persistence().is_some_and(|p| temporary(p.syntax()));
            let new =
                NewTable { temporary, if_not_exists: create.if_not_exists().is_some(), derived: true, ..NewTable::default() };
            acts.some(node, named(create.table_name()).map(|table| What::CreateTable { table, new: new.into() }));
        }
        Stmt::SelectInto(_) => {
            let into = node.descendants().find(|below| below.kind() == SyntaxKind::INTO_CLAUSE);
            let table = into.as_ref().and_then(name_in);
            let new = NewTable { temporary: into.is_some_and(|into| temporary(&into)), derived: true, ..NewTable::default() };
            acts.some(node, table.map(|table| What::CreateTable { table, new: new.into() }));
        }
        Stmt::AlterTable(alter) => {
            let Some(table) = named(alter.table_relation_name()) else {
                return acts.add(node, What::Unread { why: "ALTER TABLE ALL IN TABLESPACE names no table".to_owned() });
            };
            alter.actions().for_each(|action| alter_table(&table, "table", &action, contents, acts));
        }
        Stmt::AlterForeignTable(alter) => {
            let Some(table) = named(alter.table_relation_name()) else { return };
            alter.actions().for_each(|action| alter_table(&table, "foreign table", &action, contents, acts));
        }
        Stmt::CreateIndex(create) => {
            let keys = create.partition_item_list().into_iter().flat_map(|list| list.partition_items());
            let index = NewIndex {
                name: create.index().and_then(|index| name_in(index.syntax())).map(|name| name.name().as_str().to_owned()),
                unique: create.unique_token().is_some(),
                concurrently: create.concurrently_token().is_some(),
                if_not_exists: create.if_not_exists().is_some(),
                keys: keys.filter_map(|item| item.expr()).map(|expr| key(expr.syntax())).collect(),
                predicate: create.where_clause().and_then(|clause| clause.expr()).map(|expr| text(expr.syntax())),
            };
            acts.some(node, named(create.table_relation_name()).map(|table| What::CreateIndex { table, index: index.into() }));
            if contents.has(SyntaxKind::NULLS_NOT_DISTINCT) {
                acts.add(node, What::Needs { what: "NULLS NOT DISTINCT", since: 15 });
            }
        }
        Stmt::DropIndex(drop) => {
            let concurrently = drop.concurrently_token().is_some();
            drop.index_refs()
                .for_each(|index| acts.some(node, named(Some(index)).map(|index| What::DropIndex { index, concurrently })));
        }
        Stmt::Reindex(reindex) => {
            let target = reindex.reindex_target().map(|target| target.syntax().clone());
            let name = target.as_ref().and_then(name_in).map(|name| name.plain()).unwrap_or_default();
            let kind = target.map(|target| words(target.kind()).replace("REINDEX TARGET ", "")).unwrap_or_default();
            let concurrently = reindex.is_concurrently();
            acts.add(node, What::Reindex { target: format!("{kind} {name}").trim().to_owned(), concurrently });
        }
        Stmt::DropTable(drop) => {
            let if_exists = drop.if_exists().is_some();
            drop.table_name_refs()
                .for_each(|table| acts.some(node, named(Some(table)).map(|table| What::DropTable { table, if_exists })));
        }
        _ => {}
    }
}

/// The name of a key that is a plain column; otherwise its text.
fn key(node: &SyntaxNode) -> String {
    match node.kind() {
        SyntaxKind::NAME_REF => ast::normalize_name_node(node),
        _ => text(node),
    }
}

pub(super) fn named(node: Option<impl AstNode>) -> Option<QualifiedName> {
    name_in(node?.syntax())
}

fn temporary(node: &SyntaxNode) -> bool {
    let text = text(node).to_lowercase();
    text.split_whitespace().any(|word| word == "temp" || word == "temporary")
}

fn create_table(create: &ast::CreateTable) -> Option<What> {
    let table = named(create.table_name())?;
    let mut new = NewTable {
        temporary: create.persistence().is_some_and(|p| temporary(p.syntax())),
        if_not_exists: create.if_not_exists().is_some(),
        partition_of: named(create.partition_of()),
        partitioned: create.partition_by().is_some(),
        derived: create.inherits().is_some() || create.of_type().is_some() || create.partition_of().is_some(),
        ..NewTable::default()
    };
    for arg in create.table_arg_list().into_iter().flat_map(|list| list.args()) {
        match arg {
            ast::TableArg::Column(given) => {
                let name = plain(given.name()).unwrap_or_default();
                let parts: Vec<SyntaxNode> = given.clauses().map(|clause| clause.syntax().clone()).collect();
                new.columns.push(column::column(name, given.ty(), parts.into_iter()));
            }
            ast::TableArg::LikeClause(_) => new.derived = true,
            ast::TableArg::TableConstraint(constraint) => new.constraints.extend(column::constraint(constraint.syntax())),
        }
    }
    Some(What::CreateTable { table, new: new.into() })
}

fn alter_table(table: &QualifiedName, object: &str, action: &AlterTableAction, contents: &Contents, acts: &mut Acts<'_>) {
    let node = action.syntax();
    let table = table.clone();
    let other = |table| What::AlterTableOther { table, action: words(node.kind()).to_owned() };
    let what = match action {
        AlterTableAction::AddColumn(add) => {
            let parts: Vec<SyntaxNode> = add.constraints().map(|constraint| constraint.syntax().clone()).collect();
            let column = column::column(plain(add.column_name()).unwrap_or_default(), add.ty(), parts.into_iter());
            added(&column, node, acts);
            What::AddColumn { table, column: column.into(), if_not_exists: add.if_not_exists().is_some() }
        }
        AlterTableAction::DropColumn(drop) => What::DropColumn {
            table,
            column: plain(drop.column_name_ref()).unwrap_or_default(),
            cascade: matches!(drop.drop_behavior(), Some(ast::DropBehavior::Cascade(_))),
        },
        AlterTableAction::RenameColumn(rename) => What::RenameColumn {
            table,
            from: plain(rename.column_name_ref()).unwrap_or_default(),
            to: plain(rename.column_name()).unwrap_or_default(),
        },
        AlterTableAction::TableRenameTo(rename) => What::Rename {
            object: object.to_owned(),
            name: table,
            to: named(rename.table_name()).map(|name| name.name().as_str().to_owned()).unwrap_or_default(),
        },
        AlterTableAction::RenameConstraint(_) => other(table),
        AlterTableAction::SetSchema(_) => What::SetSchema { object: object.to_owned(), name: table },
        AlterTableAction::AlterColumn(alter) => match altered(table.clone(), alter) {
            Some(what) => what,
            None => other(table),
        },
        AlterTableAction::AddConstraint(add) => {
            let constraint = add.constraint().and_then(|constraint| column::constraint(constraint.syntax()));
            match constraint {
                Some(constraint) => What::AddConstraint { table, constraint: constraint.into() },
                None => other(table),
            }
        }
        AlterTableAction::DropConstraint(drop) => {
            What::DropConstraint { table, name: plain(drop.constraint_name_ref()).unwrap_or_default() }
        }
        AlterTableAction::ValidateConstraint(validate) => {
            What::ValidateConstraint { table, name: plain(validate.constraint_name_ref()).unwrap_or_default() }
        }
        AlterTableAction::SetLogged(_) => What::Rewrite { table, how: "SET LOGGED" },
        AlterTableAction::SetUnlogged(_) => What::Rewrite { table, how: "SET UNLOGGED" },
        AlterTableAction::SetTablespace(_) => What::Rewrite { table, how: "SET TABLESPACE" },
        AlterTableAction::SetAccessMethod(_) => What::Rewrite { table, how: "SET ACCESS METHOD" },
        AlterTableAction::ReplicaIdentity(_) if holds(node, SyntaxKind::REPLICA_IDENTITY_FULL) => {
            What::ReplicaIdentityFull { table }
        }
        AlterTableAction::EnableRls(_) => What::RowSecurity { table, how: "ENABLE" },
        AlterTableAction::DisableRls(_) => What::RowSecurity { table, how: "DISABLE" },
        AlterTableAction::ForceRls(_) => What::RowSecurity { table, how: "FORCE" },
        AlterTableAction::NoForceRls(_) => What::RowSecurity { table, how: "NO FORCE" },
        AlterTableAction::DisableTrigger(_) => What::DisableTrigger { table },
        AlterTableAction::EnableTrigger(_)
        | AlterTableAction::EnableAlwaysTrigger(_)
        | AlterTableAction::EnableReplicaTrigger(_) => What::EnableTrigger { table },
        AlterTableAction::AttachPartition(attach) => match named(attach.table_name_ref()) {
            Some(partition) => {
                let default = text(node).to_lowercase().trim_end().ends_with("default");
                What::AttachPartition { table, partition, default }
            }
            None => other(table),
        },
        AlterTableAction::DetachPartition(detach) => match named(detach.table_name_ref()) {
            Some(partition) => {
                if holds(node, SyntaxKind::DETACH_CONCURRENTLY) {
                    acts.add(node, What::Needs { what: "DETACH PARTITION CONCURRENTLY", since: 14 });
                }
                What::DetachPartition { table, partition, concurrently: detach.detach_partition_option().is_some() }
            }
            None => other(table),
        },
        AlterTableAction::InheritTable(inherit) => match named(inherit.table_name_ref()) {
            Some(parent) => What::Inherit { table, parent, on: true },
            None => other(table),
        },
        AlterTableAction::NoInheritTable(inherit) => match named(inherit.table_name_ref()) {
            Some(parent) => What::Inherit { table, parent, on: false },
            None => other(table),
        },
        _ => other(table),
    };
    acts.add(node, what);
    if contents.has(SyntaxKind::CASCADE) && holds(node, SyntaxKind::CASCADE) && token_drop(node) {
        acts.add(node, What::Cascade { object: words(node.kind()).to_owned() });
    }
}

fn token_drop(node: &SyntaxNode) -> bool {
    token(node, SyntaxKind::DROP_KW)
}

/// What a new column needs of the server.
fn added(column: &Column, node: &SyntaxNode, acts: &mut Acts<'_>) {
    if column.virtual_column {
        acts.add(node, What::Needs { what: "a virtual generated column", since: 18 });
    }
    if column.stored {
        acts.add(node, What::Needs { what: "a stored generated column", since: 12 });
    }
}

fn altered(table: QualifiedName, alter: &ast::AlterColumn) -> Option<What> {
    let column = plain(alter.column_name_ref())?;
    Some(match alter.option()? {
        AlterColumnOption::SetType(set) => What::SetType {
            table,
            column,
            ty: set.ty().map(|ty| expression::ty(ty.syntax())).unwrap_or_default().into(),
            using: set.using_expr().map(|using| text(using.syntax())),
        },
        AlterColumnOption::SetNotNull(_) => What::SetNotNull { table, column },
        AlterColumnOption::DropNotNull(_) => What::DropNotNull { table, column },
        AlterColumnOption::SetDefault(set) => match set.expr().and_then(|expr| expression::expression(expr.syntax())) {
            Some(default) => What::SetDefault { table, column, default: default.into() },
            None => What::DropDefault { table, column },
        },
        AlterColumnOption::DropDefault(_) => What::DropDefault { table, column },
        AlterColumnOption::AddGenerated(_)
        | AlterColumnOption::SetGenerated(_)
        | AlterColumnOption::SetGeneratedOptions(_)
        | AlterColumnOption::SetSequenceOption(_) => What::AlterIdentity { table, column, drop: false },
        AlterColumnOption::DropIdentity(_) => What::AlterIdentity { table, column, drop: true },
        AlterColumnOption::SetExpression(_) => What::SetExpression { table, column },
        AlterColumnOption::DropExpression(_) => What::DropExpression { table, column },
        _ => return None,
    })
}
