//! What the text of an expression, a `from` or a `where` may hold. Pure.

use squawk_syntax::ast::{self, AstNode};
use squawk_syntax::{SourceFile, SyntaxKind, SyntaxNode};

/// Where a text stands in its statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// One column's expression.
    Column,
    /// After FROM.
    From,
    /// After WHERE.
    Where,
}

impl Place {
    fn statement(self, text: &str) -> String {
        match self {
            Place::Column => format!("SELECT {text}\n"),
            Place::From => format!("SELECT 1 FROM {text}\n"),
            Place::Where => format!("SELECT 1 WHERE {text}\n"),
        }
    }
}

/// Functions whose answer depends on when or where they are asked, beside those the catalog calls volatile. The first
/// ones are stable within a transaction only (PostgreSQL manual 9.9.5 and 9.26.1).
const CHANGING: &[&str] = &[
    "now",
    "transaction_timestamp",
    "statement_timestamp",
    "clock_timestamp",
    "timeofday",
    "random",
    "random_normal",
    "setseed",
    "gen_random_uuid",
    "uuidv4",
    "uuidv7",
    "uuid_generate_v1",
    "uuid_generate_v1mc",
    "uuid_generate_v4",
    "gen_random_bytes",
    "nextval",
    "currval",
    "lastval",
    "setval",
    "txid_current",
    "pg_current_xact_id",
    "pg_backend_pid",
    "current_setting",
    "set_config",
    "inet_client_addr",
    "inet_client_port",
    "pg_sleep",
];

/// Keywords of the same nature.
const CHANGING_KEYWORDS: &[SyntaxKind] = &[
    SyntaxKind::CURRENT_DATE_KW,
    SyntaxKind::CURRENT_TIME_KW,
    SyntaxKind::CURRENT_TIMESTAMP_KW,
    SyntaxKind::LOCALTIME_KW,
    SyntaxKind::LOCALTIMESTAMP_KW,
    SyntaxKind::CURRENT_USER_KW,
    SyntaxKind::SESSION_USER_KW,
    SyntaxKind::CURRENT_ROLE_KW,
];

/// Aggregates of the server itself (PostgreSQL manual 9.21); others are asked of the catalog.
const AGGREGATES: &[&str] = &[
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "count",
    "every",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_object_agg",
    "max",
    "min",
    "range_agg",
    "string_agg",
    "sum",
    "xmlagg",
];

/// Everything wrong with the text, each once.
pub(super) fn flaws(place: Place, text: &str) -> Vec<String> {
    let statement = place.statement(text);
    let parse = SourceFile::parse(&statement);
    if let Some(error) = parse.errors().first() {
        return vec![format!("is no SQL that can be read: {}", error.message())];
    }
    let root = parse.syntax_node();
    let mut flaws = Vec::new();
    match shape(&parse.tree(), place) {
        Some(wrong) => flaws.push(wrong),
        None => {
            for call in called(&root) {
                let top_aggregate = call.top_level && place == Place::Column && AGGREGATES.contains(&call.name.as_str());
                if CHANGING.contains(&call.name.as_str()) {
                    flaws
                        .push(format!("calls {}(), whose answer changes: a projection gives the same rows each time", call.name));
                } else if top_aggregate || (call.windowed && call.top_level) {
                    flaws.push(format!("{}() works on many rows: outside a sub-select each row stands alone", call.name));
                }
            }
            for token in root.descendants_with_tokens().filter_map(|element| element.into_token()) {
                if CHANGING_KEYWORDS.contains(&token.kind()) && !is_name_after_dot(&token) {
                    let word = token.text().to_lowercase();
                    flaws.push(format!("uses {word}, whose answer changes: a projection gives the same rows each time"));
                }
            }
        }
    }
    flaws.dedup();
    flaws
}

/// Lower-case names of the functions called, with whether the call is outside any sub-select of a column's expression.
pub(super) fn calls(place: Place, text: &str) -> Vec<(String, bool)> {
    let root = SourceFile::parse(&place.statement(text)).syntax_node();
    called(&root).into_iter().map(|call| (call.name, call.top_level && place == Place::Column)).collect()
}

/// Why the rows of `from` cannot be divided by the blocks of the table that `alias` names, if so: that table must stand first and
/// no join may add rows without it. Such rows have no block, so they would be in no part.
pub(super) fn undivided(from: &str, alias: &str) -> Option<String> {
    let root = SourceFile::parse(&Place::From.statement(from)).syntax_node();
    let mut item = root.descendants().find_map(ast::FromClause::cast)?.syntax().children().next()?;
    while item.kind() == SyntaxKind::JOIN_EXPR {
        let join = item.children().find_map(ast::Join::cast)?;
        if join.syntax().children().any(|child| matches!(child.kind(), SyntaxKind::JOIN_RIGHT | SyntaxKind::JOIN_FULL)) {
            return Some(
                "has a RIGHT or FULL JOIN, whose rows may lack the table that `drives`; put it in parentheses".to_owned(),
            );
        }
        item = item.children().next()?;
    }
    let named = |kind: SyntaxKind| {
        let node = item.descendants().filter(|node| node.kind() == kind).last()?;
        let token = node.descendants_with_tokens().filter_map(|element| element.into_token()).find(|t| !t.kind().is_trivia())?;
        Some(folded(token.text()))
    };
    let first = match item.kind() {
        SyntaxKind::RELATION_FROM_ITEM => named(SyntaxKind::TABLE_ALIAS).or_else(|| named(SyntaxKind::PATH_SEGMENT_REF)),
        _ => None,
    };
    let found = first.is_some_and(|first| first == alias);
    (!found).then(|| format!("must begin with the table that `drives`, under its alias {alias}"))
}

/// A name as the server reads it (PostgreSQL manual 4.1.1).
fn folded(name: &str) -> String {
    match name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.to_lowercase(),
    }
}

struct Call {
    name: String,
    top_level: bool,
    windowed: bool,
}

fn called(root: &SyntaxNode) -> Vec<Call> {
    let calls = root.descendants().filter_map(ast::CallExpr::cast);
    calls
        .filter_map(|call| {
            let name = match call.expr()? {
                ast::Expr::NameRef(name) => name.text(),
                ast::Expr::FieldExpr(field) => field.field()?.text(),
                _ => return None,
            };
            let selects = call.syntax().ancestors().filter(|node| ast::Select::can_cast(node.kind())).count();
            let windowed = call.syntax().children().any(|child| ast::OverClause::can_cast(child.kind()));
            Some(Call { name: name.to_lowercase(), top_level: selects == 1, windowed })
        })
        .collect()
}

fn is_name_after_dot(token: &squawk_syntax::SyntaxToken) -> bool {
    token.prev_token().is_some_and(|before| before.kind() == SyntaxKind::DOT)
}

/// What is wrong with the statement's shape: the text must fill its place and nothing more.
fn shape(file: &SourceFile, place: Place) -> Option<String> {
    let mut statements = file.stmts();
    let (Some(ast::Stmt::Select(select)), None) = (statements.next(), statements.next()) else {
        return Some("is more than one statement".to_owned());
    };
    let targets = select.select_clause().and_then(|clause| clause.target_list()).map_or(0, |list| list.targets().count());
    let named = select.syntax().descendants().find_map(ast::Target::cast).is_some_and(|target| target.as_name().is_some());
    let more = select.group_by_clause().is_some()
        || select.having_clause().is_some()
        || select.window_clause().is_some()
        || select.tail_clauses().next().is_some()
        || select.semicolon_token().is_some()
        || (select.from_clause().is_some() && place != Place::From)
        || (select.where_clause().is_some() && place != Place::Where);
    let wrong = match place {
        Place::Column => more || targets != 1 || named,
        Place::From | Place::Where => more,
    };
    let expected = match place {
        Place::Column => "one expression",
        Place::From => "what stands after FROM, with its joins",
        Place::Where => "one condition",
    };
    wrong.then(|| format!("must be {expected} and nothing more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_expressions_pass() {
        for good in [
            "t.a",
            "coalesce(t.a, '')",
            "(SELECT nid FROM green)",
            "(SELECT max(x) FROM other WHERE other.id = t.id)",
            "CASE WHEN t.a IN ('', '{}') THEN 1 ELSE 2 END",
            "t.\"now\"",
            "to_jsonb(string_to_array(t.list, '|'))",
            "t.a -- a comment",
        ] {
            assert_eq!(flaws(Place::Column, good), Vec::<String>::new(), "{good}");
        }
        assert!(flaws(Place::From, "a AS t LEFT JOIN b ON b.id = t.id CROSS JOIN LATERAL (SELECT 1 AS x) AS j").is_empty());
        assert!(flaws(Place::Where, "t.a IS NULL OR EXISTS (SELECT FROM b WHERE b.id = t.id)").is_empty());
    }

    #[test]
    fn what_changes_or_works_on_many_rows_is_refused() {
        for bad in ["now()", "CURRENT_TIMESTAMP", "pg_catalog.random()", "count(*)", "row_number() OVER (ORDER BY t.a)"] {
            assert_eq!(flaws(Place::Column, bad).len(), 1, "{bad}: {:?}", flaws(Place::Column, bad));
        }
        assert_eq!(flaws(Place::Where, "t.a < now()").len(), 1);
    }

    #[test]
    fn a_text_fills_its_place_only() {
        for bad in ["", "t.a, t.b", "t.a FROM x", "t.a; DROP TABLE x", "t.a AS b", "(t.a", "t.a)"] {
            assert!(!flaws(Place::Column, bad).is_empty(), "{bad}");
        }
        for bad in ["a WHERE true", "a ORDER BY 1", "a LIMIT 1"] {
            assert!(!flaws(Place::From, bad).is_empty(), "{bad}");
        }
        assert!(!flaws(Place::Where, "true GROUP BY a").is_empty());
    }

    #[test]
    fn the_driving_table_stands_first_and_is_in_every_row() {
        for good in [
            "a AS t",
            "T",
            "s.\"t\" LEFT JOIN b ON right(b.x, 1) = 'x'",
            "ONLY a t JOIN (b FULL JOIN c ON true) ON true, d",
            "a AS t CROSS JOIN LATERAL (SELECT 1 FROM x RIGHT JOIN y ON true) AS j",
        ] {
            assert_eq!(undivided(good, "t"), None, "{good}");
        }
        for bad in
            ["a", "b JOIN a AS t ON true", "(a AS t RIGHT JOIN b ON true)", "(SELECT 1) AS t", "a AS t FULL JOIN b ON true"]
        {
            assert!(undivided(bad, "t").is_some(), "{bad}");
        }
    }

    #[test]
    fn calls_are_found_with_their_level() {
        let found = calls(Place::Column, "lower(x.\"F\"((SELECT sum(a) FROM b)))");
        assert_eq!(found, vec![("lower".to_owned(), true), ("f".to_owned(), true), ("sum".to_owned(), false)]);
    }
}
