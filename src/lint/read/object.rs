//! Everything that is neither a table, an index nor rows.

use squawk_syntax::ast::{self, AstNode, Stmt};
use squawk_syntax::{SyntaxKind, SyntaxNode};

use super::table::named;
use super::{Acts, Below, child, expression, holds, text};
use crate::lint::act::What;
use crate::sql::QualifiedName;
use crate::sql::parser::{name_in, words};
use crate::sql::star::stars_below;

pub(super) fn read(stmt: &Stmt, below: &Below<'_>, acts: &mut Acts<'_>) {
    let node = stmt.syntax();
    match stmt {
        Stmt::CreateView(create) => {
            let or_replace = create.or_replace().is_some();
            acts.some(node, named(create.view()).map(|view| What::CreateView { view, or_replace }));
        }
        Stmt::CreateMaterializedView(create) => {
            acts.some(node, named(create.view()).map(|view| What::CreateMaterializedView { view }));
        }
        Stmt::Refresh(refresh) => {
            let concurrently = refresh.concurrently_token().is_some();
            acts.some(node, named(refresh.view_ref()).map(|view| What::Refresh { view, concurrently }));
        }
        Stmt::CreateTrigger(create) => acts.some(node, named(create.on_relation()).map(|table| What::CreateTrigger { table })),
        Stmt::CreatePolicy(create) => acts.some(node, named(create.on_table()).map(|table| What::CreatePolicy { table })),
        Stmt::CreateRule(create) => acts.some(node, named(create.rule_on()).map(|table| What::CreateRule { table })),
        Stmt::CreateFunction(create) => function(node, create.or_replace().is_some(), named(create.name()), acts),
        Stmt::CreateProcedure(create) => function(node, create.or_replace().is_some(), first_name(node), acts),
        Stmt::CreateType(create) if holds(node, SyntaxKind::ENUM_TYPE) => {
            acts.some(node, named(create.type_name()).map(|name| What::CreateEnum { name }));
        }
        Stmt::AlterType(alter) => acts.some(node, named(alter.type_name_ref()).and_then(|name| alter_type(name, alter))),
        Stmt::CreateDomain(create) => {
            let constrained = holds(node, SyntaxKind::CHECK_CONSTRAINT) || holds(node, SyntaxKind::NOT_NULL_CONSTRAINT);
            acts.some(node, named(create.domain()).map(|name| What::CreateDomain { name, constrained }));
        }
        Stmt::AlterDomain(alter) => {
            let checked = match alter.action() {
                Some(ast::AlterDomainAction::AddConstraint(add)) => !add.constraint().is_some_and(|c| c.is_not_valid()),
                Some(ast::AlterDomainAction::SetNotNull(_)) => true,
                _ => false,
            };
            acts.some(node, named(alter.domain_ref()).map(|name| What::AlterDomain { name, checked }));
        }
        Stmt::CreateSequence(create) => acts.some(node, named(create.sequence()).map(|name| What::CreateSequence { name })),
        Stmt::AlterSequence(alter) => {
            let restart = text(node).to_lowercase().split_whitespace().any(|word| word == "restart");
            acts.some(node, named(alter.sequence_ref()).map(|name| What::AlterSequence { name, restart }));
        }
        Stmt::CreateExtension(_) => {
            acts.some(node, first_name(node).map(|name| What::CreateExtension { name: name.plain() }));
        }
        Stmt::AlterExtension(alter) if matches!(alter.action(), Some(ast::AlterExtensionAction::AlterExtensionUpdate(_))) => {
            acts.some(node, first_name(node).map(|name| What::AlterExtensionUpdate { name: name.plain() }));
        }
        Stmt::CreateSchema(create) => {
            let name = create.schema_name().map(|name| ast::normalize_name_node(&name));
            acts.some(node, name.map(|name| What::CreateSchema { name }));
        }
        Stmt::Grant(_) => acts.add(node, What::Grant),
        Stmt::Revoke(_) => acts.add(node, What::Revoke),
        Stmt::Set(_) => acts.some(node, set(node)),
        Stmt::Begin(_) => acts.add(node, What::Begin),
        Stmt::Commit(ast::Commit::CommitTransaction(_)) | Stmt::PrepareTransaction(_) => acts.add(node, What::End),
        Stmt::Rollback(_) if !text(node).to_lowercase().split_whitespace().any(|word| word == "to" || word == "prepared") => {
            acts.add(node, What::End);
        }
        _ => other(stmt, acts),
    }
    let found = match stmt {
        Stmt::CreateFunction(_) | Stmt::CreateProcedure(_) | Stmt::Do(_) => Vec::new(),
        _ if below.contents.any(&[SyntaxKind::STAR, SyntaxKind::INSERT]) => stars_below(node),
        _ => Vec::new(),
    };
    if !found.is_empty() {
        acts.add(node, What::Stars(found));
    }
}

/// Drops and renames of anything, by the form of their nodes.
fn other(stmt: &Stmt, acts: &mut Acts<'_>) {
    let node = stmt.syntax();
    let kind = words(node.kind());
    if let Some(object) = kind.strip_prefix("DROP ") {
        if !matches!(stmt, Stmt::DropTable(_) | Stmt::DropIndex(_)) {
            let names: Vec<QualifiedName> = match stmt {
                Stmt::DropTrigger(_) | Stmt::DropPolicy(_) | Stmt::DropRule(_) => {
                    let on = node.children().find(|c| matches!(c.kind(), SyntaxKind::ON_RELATION | SyntaxKind::ON_TABLE));
                    on.as_ref().and_then(name_in).into_iter().collect()
                }
                _ => {
                    node.children().filter(|c| format!("{:?}", c.kind()).ends_with("_REF")).filter_map(|c| name_of(&c)).collect()
                }
            };
            let names = if names.is_empty() { first_name(node).into_iter().collect() } else { names };
            names.into_iter().for_each(|name| acts.add(node, What::DropObject { object: object.to_lowercase(), name }));
        }
        if child(node, SyntaxKind::CASCADE).is_some() {
            acts.add(node, What::Cascade { object: kind.to_owned() });
        }
    }
    if let Some(object) = kind.strip_prefix("ALTER ") {
        for part in node.children() {
            let action = words(part.kind());
            let name = || name_of(node);
            if action.ends_with("RENAME TO") {
                let to = name_of(&part).map(|name| name.name().as_str().to_owned()).unwrap_or_default();
                acts.some(&part, name().map(|name| What::Rename { object: object.to_lowercase(), name, to }));
            } else if action == "SET SCHEMA" {
                acts.some(&part, name().map(|name| What::SetSchema { object: object.to_lowercase(), name }));
            } else if action == "RENAME COLUMN" {
                let columns = super::columns(&part);
                if let (Some(table), [from, to]) = (name(), columns.as_slice()) {
                    acts.add(&part, What::RenameColumn { table, from: from.clone(), to: to.clone() });
                }
            }
        }
    }
}

/// The name in a node: a path, or the first plain name.
fn name_of(node: &SyntaxNode) -> Option<QualifiedName> {
    name_in(node).or_else(|| first_name(node))
}

/// The first name that stands in a node of its own.
fn first_name(node: &SyntaxNode) -> Option<QualifiedName> {
    let named = node.descendants().skip(1).find(|below| {
        below.children().next().is_none()
            && below.children_with_tokens().filter(|e| !e.kind().is_trivia()).count() == 1
            && !matches!(below.kind(), SyntaxKind::OR_REPLACE | SyntaxKind::CASCADE | SyntaxKind::RESTRICT)
            && (format!("{:?}", below.kind()).ends_with("_REF") || !format!("{:?}", below.kind()).contains("CLAUSE"))
    })?;
    Some(name_in(node).unwrap_or_else(|| QualifiedName::bare(ast::normalize_name_node(&named))))
        .filter(|name| !name.name().as_str().is_empty())
}

fn function(node: &SyntaxNode, or_replace: bool, name: Option<QualifiedName>, acts: &mut Acts<'_>) {
    let options = node.children().find(|c| c.kind() == SyntaxKind::FUNC_OPTION_LIST);
    let said: Vec<String> = options
        .map(|list| list.children().filter(|o| o.kind() != SyntaxKind::AS_FUNC_OPTION).map(|o| text(&o).to_lowercase()).collect())
        .unwrap_or_default();
    let definer = said.iter().any(|option| option.contains("security") && option.contains("definer"));
    let search_path = said.iter().any(|option| option.starts_with("set") && option.contains("search_path"));
    acts.some(node, name.map(|name| What::CreateFunction { name, or_replace, definer, search_path }));
}

fn alter_type(name: QualifiedName, alter: &ast::AlterType) -> Option<What> {
    Some(match alter.action()? {
        ast::AlterTypeAction::AddValue(add) => What::AddEnumValue {
            name,
            value: add.literal().and_then(|literal| expression::constant(literal.syntax()))?,
            placed: add.value_position().is_some(),
        },
        ast::AlterTypeAction::RenameValue(rename) => {
            let from = rename.syntax().children().find_map(|literal| expression::constant(&literal))?;
            What::RenameEnumValue { name, from }
        }
        ast::AlterTypeAction::AlterTypeAttributeActionList(_) | ast::AlterTypeAction::RenameAttribute(_) => {
            What::AlterAttribute { name }
        }
        ast::AlterTypeAction::TypeRenameTo(rename) => {
            let to = name_of(rename.syntax()).map(|to| to.name().as_str().to_owned()).unwrap_or_default();
            What::Rename { object: "type".to_owned(), name, to }
        }
        ast::AlterTypeAction::SetSchema(_) => What::SetSchema { object: "type".to_owned(), name },
        _ => return None,
    })
}

/// `SET name = value`, also `SET SESSION` and `SET LOCAL`.
fn set(node: &SyntaxNode) -> Option<What> {
    let config = node.descendants().find(|below| below.kind() == SyntaxKind::SET_CONFIG)?;
    let name = text(&child(&config, SyntaxKind::CONFIG_PARAMETER_REF)?).to_lowercase();
    let value = config.children().find(|c| c.kind() != SyntaxKind::CONFIG_PARAMETER_REF).map(|c| text(&c)).unwrap_or_default();
    let value = value.trim_start_matches('=').trim();
    let value = value.strip_prefix("TO ").or(value.strip_prefix("to ")).unwrap_or(value).trim().trim_matches('\'').to_owned();
    Some(What::Set { name, value, local: holds(node, SyntaxKind::LOCAL_SCOPE) })
}
