//! The parts of a source's text: its relations, joins and conditions, and which columns an expression reads. Pure.

use std::collections::BTreeSet;
use std::ops::Range;

use squawk_syntax::ast::{self, AstNode, BinOp};
use squawk_syntax::{SourceFile, SyntaxKind, SyntaxNode};

use crate::sql::QualifiedName;

/// A column as a source names it: alias and name.
pub type Reference = (String, String);

/// What a `from` is made of. Byte ranges are those of its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Anatomy {
    /// The tables it joins, outside any sub-select.
    pub relations: Vec<Relation>,
    /// Its joins.
    pub joins: Vec<Joined>,
    /// Alias, column and expression of each LATERAL sub-select's columns.
    pub laterals: Vec<(String, String, String)>,
}

/// A table in a `from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// What the source calls it.
    pub alias: String,
    /// The table.
    pub table: QualifiedName,
    /// Where the item ends.
    pub end: usize,
}

/// One join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The words `JOIN` or `INNER JOIN`, for a join that leaves rows without a partner out.
    pub inner: Option<Range<usize>>,
    /// Aliases of the tables on its right side.
    pub right: Vec<String>,
    /// The conditions that its ON joins by AND.
    pub conditions: Vec<Condition>,
}

/// One of the conditions joined by AND.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Where it stands.
    pub place: Range<usize>,
    /// Its text.
    pub text: String,
    /// Column and the other side's text, when it says that a column equals something.
    pub equal: Vec<(Reference, String)>,
}

const FROM: &str = "SELECT 1 FROM ";
const WHERE: &str = "SELECT 1 WHERE ";
const SELECT: &str = "SELECT ";

/// Takes a `from` apart.
pub fn anatomy(from: &str) -> Anatomy {
    let root = SourceFile::parse(&format!("{FROM}{from}\n")).syntax_node();
    let mut anatomy = Anatomy::default();
    let top = |node: &SyntaxNode| node.ancestors().filter(|outer| ast::Select::can_cast(outer.kind())).count() == 1;
    for item in root.descendants().filter(top) {
        if let Some(relation) = ast::RelationFromItem::cast(item.clone()) {
            anatomy.relations.extend(read_relation(&relation));
        } else if let Some(join) = ast::Join::cast(item.clone()) {
            anatomy.joins.push(read_join(&join));
        } else if let Some(paren) = ast::ParenFromItem::cast(item) {
            let (Some(select), Some(alias)) = (paren.paren_select(), paren.alias().and_then(|alias| alias.name())) else {
                continue;
            };
            let alias = ast::normalize_name_node(alias.syntax());
            for target in select.syntax().descendants().filter_map(ast::Target::cast) {
                let outer = target.syntax().ancestors().filter(|outer| ast::Select::can_cast(outer.kind())).count();
                let named = target.as_name().and_then(|name| name.name()).map(|name| ast::normalize_name_node(name.syntax()));
                if let (2, Some(name), Some(expr)) = (outer, named, target.expr()) {
                    anatomy.laterals.push((alias.clone(), name, expr.syntax().text().to_string()));
                }
            }
        }
    }
    anatomy
}

/// The conditions that a `where` joins by AND.
pub fn conditions(filter: &str) -> Vec<Condition> {
    let root = SourceFile::parse(&format!("{WHERE}{filter}\n")).syntax_node();
    let clause = root.descendants().find_map(ast::WhereClause::cast).and_then(|clause| clause.expr());
    clause.map(|expr| split(&expr, WHERE.len())).unwrap_or_default()
}

fn read_relation(relation: &ast::RelationFromItem) -> Option<Relation> {
    let path = relation.relation_name_ref()?;
    let mut parts: Vec<String> = path
        .syntax()
        .descendants()
        .filter(|node| node.kind() == SyntaxKind::PATH_SEGMENT_REF)
        .map(|node| ast::normalize_name_node(&node))
        .collect();
    let name = parts.pop()?;
    let alias = relation.alias().and_then(|alias| alias.name()).map(|alias| ast::normalize_name_node(alias.syntax()));
    let table = parts.pop().map_or_else(|| QualifiedName::bare(&name), |schema| QualifiedName::new(schema, &name));
    let end = usize::from(relation.syntax().text_range().end()) - FROM.len();
    Some(Relation { alias: alias.unwrap_or(name), table, end })
}

fn read_join(join: &ast::Join) -> Joined {
    let words = match join.join_type() {
        Some(ast::JoinType::JoinInner(words)) => Some(place(words.syntax(), FROM.len())),
        _ => None,
    };
    let on = match join.join_condition() {
        Some(ast::JoinCondition::OnClause(on)) => on.expr(),
        _ => None,
    };
    let right = join.from_list_item().map(|item| {
        let relations = item.syntax().descendants().filter_map(ast::RelationFromItem::cast);
        relations.filter_map(|relation| read_relation(&relation)).map(|relation| relation.alias).collect()
    });
    Joined {
        inner: words.filter(|_| on.is_some()),
        right: right.unwrap_or_default(),
        conditions: on.map(|on| split(&on, FROM.len())).unwrap_or_default(),
    }
}

/// The relations that a statement reads anywhere, each as often as it stands there, but for names of its own (WITH).
pub(super) fn relations_read(statement: &str) -> Vec<QualifiedName> {
    let root = SourceFile::parse(&format!("{statement}\n")).syntax_node();
    let own: BTreeSet<String> = root
        .descendants()
        .filter_map(ast::WithTable::cast)
        .filter_map(|table| table.name().map(|name| ast::normalize_name_node(name.syntax())))
        .collect();
    let relations = root.descendants().filter_map(ast::RelationFromItem::cast);
    let named = relations.filter_map(|relation| read_relation(&relation)).map(|relation| relation.table);
    named.filter(|table| table.schema().is_some() || !own.contains(table.name().as_str())).collect()
}

fn place(node: &SyntaxNode, before: usize) -> Range<usize> {
    let tokens = || node.descendants_with_tokens().filter_map(|e| e.into_token()).filter(|t| !t.kind().is_trivia());
    let whole = node.text_range();
    let start = tokens().next().map_or(whole.start(), |token| token.text_range().start());
    let end = tokens().last().map_or(whole.end(), |token| token.text_range().end());
    usize::from(start) - before..usize::from(end) - before
}

fn split(expr: &ast::Expr, before: usize) -> Vec<Condition> {
    if let ast::Expr::BinExpr(both) = expr
        && let (Some(BinOp::And(_)), Some(left), Some(right)) = (both.op(), both.lhs(), both.rhs())
    {
        return [split(&left, before), split(&right, before)].concat();
    }
    let mut equal = Vec::new();
    if let ast::Expr::BinExpr(both) = expr
        && let (Some(BinOp::Eq(_)), Some(left), Some(right)) = (both.op(), both.lhs(), both.rhs())
    {
        let text = |side: &ast::Expr| side.syntax().text().to_string().trim().to_owned();
        equal.extend(column(&left).map(|column| (column, text(&right))));
        equal.extend(column(&right).map(|column| (column, text(&left))));
    }
    vec![Condition { place: place(expr.syntax(), before), text: expr.syntax().text().to_string().trim().to_owned(), equal }]
}

fn column(expr: &ast::Expr) -> Option<Reference> {
    let ast::Expr::FieldExpr(field) = expr else { return None };
    let ast::Expr::NameRef(alias) = field.base()? else { return None };
    Some((ast::normalize_name_node(alias.syntax()), ast::normalize_name_node(field.field()?.syntax())))
}

fn expression(text: &str) -> SyntaxNode {
    SourceFile::parse(&format!("{SELECT}{text}\n")).syntax_node()
}

/// The column that an expression is and nothing more.
pub fn plain_column(text: &str) -> Option<Reference> {
    let target = expression(text).descendants().find_map(ast::Target::cast)?.expr()?;
    column(&target)
}

/// Whether an expression casts something other than a constant to json or jsonb.
pub fn reads_json(text: &str) -> bool {
    expression(text).descendants().filter_map(ast::CastExpr::cast).any(|cast| {
        let to = cast.ty().map(|ty| ty.syntax().text().to_string().trim().to_lowercase());
        let constant = cast.literal().is_some() || matches!(cast.expr(), None | Some(ast::Expr::Literal(_)));
        !constant && matches!(to.as_deref(), Some("json" | "jsonb"))
    })
}

impl Anatomy {
    /// The table columns an expression reads, through LATERAL sub-selects too. Unqualified names are not looked for.
    pub fn reads(&self, text: &str) -> BTreeSet<Reference> {
        let mut found = BTreeSet::new();
        self.read_into(text, 0, &mut found);
        found
    }

    fn read_into(&self, text: &str, depth: usize, found: &mut BTreeSet<Reference>) {
        for field in expression(text).descendants().filter_map(ast::FieldExpr::cast) {
            let Some((alias, name)) = column(&ast::Expr::FieldExpr(field)) else { continue };
            if self.relations.iter().any(|relation| relation.alias == alias) {
                found.insert((alias, name));
            } else if depth < 8 {
                let behind = self.laterals.iter().filter(|(of, column, _)| *of == alias && *column == name);
                behind.for_each(|(_, _, text)| self.read_into(text, depth + 1, found));
            }
        }
    }

    /// The table behind an alias.
    pub fn table(&self, alias: &str) -> Option<&QualifiedName> {
        self.relations.iter().find(|relation| relation.alias == alias).map(|relation| &relation.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "a AS t\nLEFT JOIN (b JOIN c ON c.x = b.x) ON b.y = t.y AND NOT EXISTS (SELECT FROM b AS o WHERE o.z < b.z) \
                          JOIN d ON d.id = coalesce(t.d, 1) CROSS JOIN LATERAL (SELECT t.n || c.n AS n, 'k' AS k) AS j";

    #[test]
    fn a_from_is_taken_apart() {
        let anatomy = anatomy(SOURCE);
        let aliases: Vec<&str> = anatomy.relations.iter().map(|relation| relation.alias.as_str()).collect();
        assert_eq!(aliases, ["t", "b", "c", "d"]);
        assert_eq!(&SOURCE[..anatomy.relations[0].end], "a AS t");
        let inner: Vec<&str> = anatomy.joins.iter().filter_map(|join| join.inner.clone()).map(|place| &SOURCE[place]).collect();
        assert_eq!(inner, ["JOIN", "JOIN"]);
        let wide = anatomy.joins.iter().find(|join| join.right == ["b", "c"]).unwrap();
        assert_eq!(wide.conditions.len(), 2);
        assert!(SOURCE[wide.conditions[1].place.clone()].starts_with("NOT EXISTS"));
        assert_eq!(wide.conditions[0].equal[0], (("b".to_owned(), "y".to_owned()), "t.y".to_owned()));
        let reads = anatomy.reads("lower(j.n) || j.k || d.id");
        assert_eq!(reads.iter().map(|(a, c)| format!("{a}.{c}")).collect::<Vec<_>>(), ["c.n", "d.id", "t.n"]);
    }

    #[test]
    fn every_reading_of_a_relation_counts() {
        let read = relations_read(&format!("WITH w AS (SELECT 1 FROM e) SELECT (SELECT 1 FROM w) FROM {SOURCE}"));
        let read: Vec<String> = read.iter().map(QualifiedName::plain).collect();
        assert_eq!(read, ["e", "a", "b", "c", "b", "d"]);
    }

    #[test]
    fn conditions_and_casts() {
        assert_eq!(conditions("t.a > 1 AND (t.b OR t.c) AND t.d = 5").len(), 3);
        assert!(reads_json("CASE WHEN t.a LIKE '{%' THEN t.a::jsonb ELSE '{}'::jsonb END"));
        assert!(!reads_json("coalesce(to_jsonb(string_to_array(t.a, '|')), '[]'::jsonb)"));
        assert_eq!(plain_column("t.\"B b\""), Some(("t".to_owned(), "B b".to_owned())));
        assert_eq!(plain_column("lower(t.a)"), None);
    }
}
