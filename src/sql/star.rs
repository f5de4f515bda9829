//! Statements that take every column of a table, whatever columns there are: what breaks when a column is added.

use std::fmt;

use squawk_syntax::ast::{self, AstNode};
use squawk_syntax::{SyntaxKind, SyntaxNode};

use super::QualifiedName;
use super::parser::{is_cte, name_in, parsed};

/// How a statement takes all columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reads {
    /// `SELECT *`, `SELECT t.*`, `TABLE t`.
    SelectStar,
    /// `RETURNING *`, `RETURNING t.*`.
    ReturningStar,
    /// `INSERT` without a column list.
    InsertWithoutColumns,
    /// `COPY` without a column list.
    CopyWithoutColumns,
}

impl fmt::Display for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reads::SelectStar => "SELECT *",
            Reads::ReturningStar => "RETURNING *",
            Reads::InsertWithoutColumns => "INSERT without a column list",
            Reads::CopyWithoutColumns => "COPY without a column list",
        })
    }
}

/// A table of which a statement takes all columns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Star {
    /// The table as the statement names it.
    pub table: QualifiedName,
    /// How.
    pub how: Reads,
}

/// Each table of `text` that a star or a missing column list covers, once per way. `count(*)` is no star, nor is `EXISTS
/// (SELECT * ...)`; a star over a subquery or a common table expression counts where that itself has one. Reads as much
/// as it can of text with faults (query texts of `pg_stat_activity` may be cut off).
pub fn stars(text: &str) -> Vec<Star> {
    parsed(text, |parse| stars_below(parse.tree().syntax())).unwrap_or_default()
}

/// The same of a part of a syntax tree.
pub(crate) fn stars_below(node: &SyntaxNode) -> Vec<Star> {
    let mut found: Vec<Star> = node.descendants().flat_map(|node| at(&node)).collect();
    found.sort();
    found.dedup();
    found
}

fn at(node: &SyntaxNode) -> Vec<Star> {
    match node.kind() {
        SyntaxKind::TARGET => ast::Target::cast(node.clone()).map_or(Vec::new(), |target| target_stars(&target)),
        SyntaxKind::INSERT => insert_star(node).into_iter().collect(),
        SyntaxKind::TABLE => table(node).map(|table| Star { table, how: Reads::SelectStar }).into_iter().collect(),
        SyntaxKind::COPY_TABLE if !has_child(node, SyntaxKind::COLUMN_REF_LIST) => {
            name_in(node).map(|table| Star { table, how: Reads::CopyWithoutColumns }).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn insert_star(node: &SyntaxNode) -> Option<Star> {
    let named = has_child(node, SyntaxKind::COLUMN_TARGET_LIST) || has_child(node, SyntaxKind::DEFAULT_VALUES);
    let insert = ast::Insert::cast(node.clone())?;
    insert.insert_source().filter(|_| !named)?;
    Some(Star { table: table(insert.relation_name_ref()?.syntax())?, how: Reads::InsertWithoutColumns })
}

/// The stars of one item of a select or returning list.
fn target_stars(target: &ast::Target) -> Vec<Star> {
    let Some(list) = target.syntax().parent().and_then(|list| list.parent()) else { return Vec::new() };
    let Some(level) = list.parent() else { return Vec::new() };
    let how = match list.kind() {
        SyntaxKind::RETURNING_CLAUSE => Reads::ReturningStar,
        _ => Reads::SelectStar,
    };
    if how == Reads::SelectStar && level.ancestors().skip(1).take(2).any(|outer| outer.kind() == SyntaxKind::EXISTS_FN) {
        return Vec::new();
    }
    let of = match target.expr() {
        None if target.star_token().is_some() => None,
        Some(ast::Expr::FieldExpr(field)) if field.star_token().is_some() => match qualifier(field.syntax()) {
            Some(name) => Some(name),
            None => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    let here = sources(&level);
    let covered = here.into_iter().filter(|(alias, _)| of.as_ref().is_none_or(|of| of == alias));
    covered.map(|(_, table)| Star { table, how }).collect()
}

/// The last name before `.*`.
fn qualifier(field: &SyntaxNode) -> Option<String> {
    let base = field.children().next()?;
    base.descendants().filter(|node| node.kind() == SyntaxKind::NAME_REF).last().map(|name| ast::normalize_name_node(&name))
}

/// The tables of one query level with the names they go by there.
fn sources(level: &SyntaxNode) -> Vec<(String, QualifiedName)> {
    let mut found = Vec::new();
    if matches!(level.kind(), SyntaxKind::INSERT | SyntaxKind::UPDATE | SyntaxKind::DELETE | SyntaxKind::MERGE) {
        let target = level.children().find(|child| {
            matches!(child.kind(), SyntaxKind::RELATION_NAME | SyntaxKind::RELATION_NAME_REF | SyntaxKind::TABLE_RELATION_NAME)
        });
        if let Some(table) = target.and_then(|target| table(&target)) {
            found.push((alias(level).unwrap_or_else(|| table.name().as_str().to_owned()), table));
        }
    }
    let clauses = level
        .children()
        .filter(|child| matches!(child.kind(), SyntaxKind::FROM_CLAUSE | SyntaxKind::USING_CLAUSE | SyntaxKind::USING_ON_CLAUSE));
    for clause in clauses {
        let mut walk = vec![clause];
        while let Some(node) = walk.pop() {
            match node.kind() {
                SyntaxKind::RELATION_FROM_ITEM => {
                    if let Some(table) = table(&node) {
                        found.push((alias(&node).unwrap_or_else(|| table.name().as_str().to_owned()), table));
                    }
                }
                SyntaxKind::SELECT | SyntaxKind::PAREN_SELECT | SyntaxKind::COMPOUND_SELECT | SyntaxKind::ON_CLAUSE => {}
                _ => walk.extend(node.children()),
            }
        }
    }
    found
}

/// The table named in `node`, unless that is a common table expression.
fn table(node: &SyntaxNode) -> Option<QualifiedName> {
    name_in(node).filter(|name| !is_cte(name, node))
}

/// The alias given directly in `node`.
fn alias(node: &SyntaxNode) -> Option<String> {
    let holder = node.children().find(|child| {
        matches!(child.kind(), SyntaxKind::FROM_ALIAS | SyntaxKind::OPTIONAL_AS_ALIAS | SyntaxKind::REQUIRED_AS_ALIAS)
    })?;
    let name = holder.children().find(|child| child.kind() == SyntaxKind::TABLE_ALIAS)?;
    Some(ast::normalize_name_node(&name))
}

fn has_child(node: &SyntaxNode, kind: SyntaxKind) -> bool {
    node.children().any(|child| child.kind() == kind)
}

#[cfg(test)]
mod tests {
    use super::stars;

    fn found(text: &str) -> String {
        stars(text).iter().map(|star| format!("{}: {}", star.table.plain(), star.how)).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn stars_are_found_with_their_tables() {
        for (text, expected) in [
            ("SELECT * FROM hydra_client WHERE id = $1 LIMIT 1", "hydra_client: SELECT *"),
            ("SELECT count(*) FROM t", ""),
            ("SELECT a.id, b.* FROM a JOIN s.\"B\" b ON b.x = a.x, c", "s.B: SELECT *"),
            ("SELECT * FROM a JOIN b USING (x)", "a: SELECT *; b: SELECT *"),
            ("SELECT s.t.* FROM s.t", "s.t: SELECT *"),
            ("SELECT (t).* FROM t", "t: SELECT *"),
            ("SELECT * FROM (SELECT a, b FROM t) x", ""),
            ("SELECT x.a FROM (SELECT * FROM t) x", "t: SELECT *"),
            ("WITH c AS (SELECT a FROM t) SELECT * FROM c", ""),
            ("WITH t AS (SELECT * FROM t) SELECT a FROM t", "t: SELECT *"),
            ("SELECT a FROM t WHERE EXISTS (SELECT * FROM u)", ""),
            ("INSERT INTO t VALUES (1, 2)", "t: INSERT without a column list"),
            ("INSERT INTO t DEFAULT VALUES", ""),
            ("INSERT INTO t (a) VALUES (1) RETURNING *", "t: RETURNING *"),
            ("INSERT INTO t SELECT * FROM u", "t: INSERT without a column list; u: SELECT *"),
            ("UPDATE t AS x SET a = 1 FROM u RETURNING x.*", "t: RETURNING *"),
            ("DELETE FROM t RETURNING *", "t: RETURNING *"),
            ("TABLE t", "t: SELECT *"),
            ("COPY t FROM stdin", "t: COPY without a column list"),
            ("COPY t (a) FROM stdin", ""),
            ("SELECT 2 * 3 FROM t", ""),
            ("SELECT '*' FROM t -- SELECT * FROM u", ""),
            ("SELECT * FROM t WHERE (a = 'cut of", "t: SELECT *"),
            ("SELECT * FROM a UNION SELECT * FROM b", "a: SELECT *; b: SELECT *"),
            ("", ""),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }
}
