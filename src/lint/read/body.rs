//! Statements inside strings: bodies of `DO`, functions and procedures, and constant SQL that PL/pgSQL executes.

use std::ops::Range;

use squawk_syntax::ast::{AstNode, Stmt};
use squawk_syntax::{SyntaxKind, SyntaxNode};
use text_size::{TextRange, TextSize};

use super::{child, expression, extent};
use crate::lint::act::What;
use crate::sql::contents::Contents;
use crate::sql::routine::Plpgsql;
use crate::sql::sound::checked;
use crate::sql::{Statement, statement};

/// A statement inside a body.
pub(in crate::lint) struct Inner {
    /// Itself, with ranges of the body's text.
    pub statement: Option<Statement>,
    /// Its acts, with ranges of the file.
    pub acts: Vec<super::Act>,
    /// Its bytes in the file.
    pub at: Range<usize>,
}

/// What stands in the bodies of a statement.
#[derive(Default)]
pub(in crate::lint) struct Bodies {
    /// The statements, in order.
    pub inner: Vec<Inner>,
    /// Parts that could not be read, and why.
    pub unread: Vec<(Range<usize>, String)>,
    /// SQL that is put together when it runs.
    pub dynamic: Vec<Range<usize>>,
}

/// The bodies of `stmt`.
pub(in crate::lint) fn bodies(stmt: &Stmt) -> Bodies {
    let mut found = Bodies::default();
    if let Some(body) = Plpgsql::of(stmt) {
        for error in body.errors.iter().take(1) {
            let at = body.place(error.range());
            let at = usize::from(at.start())..usize::from(at.end());
            found.unread.push((at, format!("the PL/pgSQL body is not understood here: {}", error.message())));
        }
        walk(&body.tree, body.text(), &|range| body.place(range), &mut found);
    } else if let Stmt::Do(_) = stmt {
        found.unread.push((extent(stmt.syntax()), "DO in a language other than PL/pgSQL".to_owned()));
    }
    let sql = match stmt {
        Stmt::CreateFunction(create) => create.sql_body(),
        Stmt::CreateProcedure(create) => create.sql_body(),
        _ => None,
    };
    if let Some(body) = sql {
        walk(&body.syntax(), body.text(), &|range| body.source_range(range), &mut found);
    }
    found
}

/// Collects the statements below `root`, the tree of `text`; `map` takes its ranges to those of the file.
fn walk(root: &SyntaxNode, text: &str, map: &dyn Fn(TextRange) -> TextRange, found: &mut Bodies) {
    let place = |range: Range<usize>| {
        let small = |at: usize| TextSize::try_from(at).unwrap_or_default();
        let range = map(TextRange::new(small(range.start), small(range.end)));
        usize::from(range.start())..usize::from(range.end())
    };
    let mut skip = TextRange::default();
    for node in root.descendants() {
        if !skip.is_empty() && skip.contains_range(node.text_range()) {
            continue;
        }
        if node.kind() == SyntaxKind::PLPGSQL_DYN_EXECUTE_STMT || node.kind() == SyntaxKind::PLPGSQL_FOR_DYN_STMT {
            let at = place(extent(&node));
            match constant_sql(&node) {
                Some(sql) => found.inner.extend(executed(&sql, &at)),
                None => found.dynamic.push(at),
            }
            continue;
        }
        let Some(stmt) = Stmt::cast(node.clone()) else { continue };
        if matches!(stmt, Stmt::EmptyStmt(_)) {
            continue;
        }
        skip = node.text_range();
        let contents = Contents::of(&node);
        let acts = super::acts(&stmt, &contents).into_iter().map(|act| super::Act { at: place(act.at), ..act }).collect();
        found.inner.push(Inner { statement: statement::read_unplaced(text, &stmt, &contents), acts, at: place(extent(&node)) });
    }
}

/// The SQL that an `EXECUTE` of a constant, or of `format` with a constant, runs. Names that `format` puts in stay as
/// `"%I"`.
fn constant_sql(execute: &SyntaxNode) -> Option<String> {
    let query = execute.children().find(|child| child.kind() == SyntaxKind::PLPGSQL_EXPR)?;
    let target = query.descendants().find(|below| below.kind() == SyntaxKind::TARGET)?;
    let expr = target.children().next()?;
    if expr.kind() == SyntaxKind::LITERAL {
        return expression::constant(&expr);
    }
    if expr.kind() != SyntaxKind::CALL_EXPR || expression::calls(&expr).first()?.0 != "format" {
        return None;
    }
    let first = child(&expr, SyntaxKind::ARG_LIST)?.descendants().find(|below| below.kind() == SyntaxKind::LITERAL)?;
    let pattern = expression::constant(&first)?;
    Some(pattern.replace("%I", "\"%I\"").replace("%L", "'%L'").replace("%s", "\"%s\"").replace("%%", "%"))
}

/// The statements of SQL that is executed at `at`; when it cannot be read, it counts as put together.
fn executed(sql: &str, at: &Range<usize>) -> Vec<Inner> {
    let (tree, errors) = checked(sql);
    if !errors.is_empty() {
        let acts = vec![super::Act { what: What::Dynamic, at: at.clone() }];
        return vec![Inner { statement: None, acts, at: at.clone() }];
    }
    let stmts = tree.stmts().filter(|stmt| !matches!(stmt, Stmt::EmptyStmt(_)));
    stmts
        .map(|stmt| {
            let contents = Contents::of(stmt.syntax());
            let acts = super::acts(&stmt, &contents).into_iter().map(|act| super::Act { at: at.clone(), ..act }).collect();
            Inner { statement: statement::read_unplaced(sql, &stmt, &contents), acts, at: at.clone() }
        })
        .collect()
}
