//! Whether the parser's second look can be spared. After parsing, squawk-syntax goes over the whole tree again for what the grammar lets
//! through and the server refuses; that costs more than parsing. Here one pass over the shared tree tells whether anything is there
//! that it could refuse. When in doubt, there is: then the library decides.
//!
//! Made from `validation.rs` of the version in Cargo.toml; a test holds both to each other over every statement of the corpus and over
//! changed ones.

use rowan::{GreenNodeData, GreenTokenData, NodeOrToken};
use squawk_parser::{is_col_name_keyword, is_reserved_keyword, is_type_func_name_keyword};
use squawk_syntax::SyntaxKind::{self, *};
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode, SourceFile};
use squawk_syntax::body::BodyLanguage;
use squawk_syntax::syntax_error::SyntaxError;
use text_size::{TextRange, TextSize};

use super::routine;

/// The tree of a text and everything that is wrong with it, as [`SourceFile::parse`] and its `errors` tell. Must run where there is
/// room for deep trees.
pub(crate) fn checked(text: &str) -> (SourceFile, Vec<SyntaxError>) {
    let (green, errors) = SourceFile::parse_text(text);
    let root = SyntaxNode::new_root(green);
    match SourceFile::cast(root).filter(|file| errors.is_empty() && separated(&file.syntax().green())) {
        Some(file) => {
            let doubtful = file.stmts().filter(|stmt| !stmt_sound(stmt));
            let errors = doubtful.flat_map(|stmt| said(text, stmt.syntax().text_range())).collect();
            (file, errors)
        }
        None => {
            let parse = SourceFile::parse(text);
            (parse.tree(), parse.errors())
        }
    }
}

/// What the library has to say about the statement at `at`, read on its own.
fn said(text: &str, at: TextRange) -> impl Iterator<Item = SyntaxError> {
    let errors = SourceFile::parse(&text[at]).errors().into_iter();
    errors.map(move |error| SyntaxError::new(error.message(), error.range() + at.start()))
}

/// The tree of PL/pgSQL and everything that is wrong with it, with ranges of `text`.
pub(super) fn plpgsql(text: &str) -> (SyntaxNode, Vec<SyntaxError>) {
    let (green, mut errors) = ast::Plpgsql::parse_text(text);
    let root = SyntaxNode::new_root(green);
    if !errors.is_empty() || !sound(&root) {
        errors = said_of_plpgsql(text);
    }
    (root, errors)
}

/// What the library has to say about this PL/pgSQL, which it looks at only in a statement.
fn said_of_plpgsql(text: &str) -> Vec<SyntaxError> {
    let whole = TextRange::up_to(TextSize::of(text));
    let mut tag = "$body$".to_owned();
    while text.contains(&tag) {
        tag.insert(1, '_');
    }
    let before = format!("DO {tag}");
    let block = SourceFile::parse(&format!("{before}{text}\n{tag}")).tree().stmts().next();
    let Some(body) = block.and_then(|block| if let ast::Stmt::Do(block) = block { block.plpgsql() } else { None }) else {
        return vec![SyntaxError::new("no body", whole)];
    };
    let place = |at: TextSize| (at - TextSize::of(&*before)).min(whole.end());
    let range = |error: &SyntaxError| TextRange::new(place(error.range().start()), place(error.range().end()));
    body.errors().iter().map(|error| SyntaxError::new(error.message(), range(error))).collect()
}

/// Whether a statement is [`sound`], and with it the SQL of a routine: that is looked at one deep, as the library does.
fn stmt_sound(stmt: &ast::Stmt) -> bool {
    sound(stmt.syntax())
        && routine::text_of::<SourceFile>(stmt).is_none_or(|text| {
            let (green, errors) = SourceFile::parse_text(text.text());
            let separated = errors.is_empty() && separated(&green);
            separated && SyntaxNode::new_root(green).children().all(|inner| sound(&inner))
        })
}

/// Nodes and tokens that the second look has questions about which are not asked here.
const SELDOM: [SyntaxKind; 24] = [
    AGGREGATE,
    ATOMIC_BODY,
    CREATE_AGGREGATE,
    DISTINCT_ON,
    DO_LANGUAGE,
    ERROR,
    EXCEPT_TABLE_CLAUSE,
    FUNCTION_SIG,
    JSON_ARRAY_FN,
    JSON_OBJECT_FN,
    NON_STANDARD_PARAM,
    OVERLAPS_KW,
    PARAM_IN_OUT,
    PARAM_OUT,
    PARAM_VARIADIC,
    PLPGSQL_COMP_OPTION_PRINT_STRICT_PARAMS,
    PLPGSQL_FETCH_STMT,
    PROCEDURE_SIG,
    ROUTINE_SIG,
    RULE_STMT_LIST,
    SELECT_INTO,
    STORAGE_MODE,
    UESCAPE_KW,
    UNICODE_ESC_STRING,
];

/// The same by number.
static IS_SELDOM: [bool; SyntaxKind::__LAST as usize + 1] = {
    let mut found = [false; SyntaxKind::__LAST as usize + 1];
    let mut at = 0;
    while at < SELDOM.len() {
        found[SELDOM[at] as usize] = true;
        at += 1;
    }
    found
};

/// What has a condition in PL/pgSQL.
const CONDITIONED: [SyntaxKind; 4] = [PLPGSQL_CASE_STMT, PLPGSQL_CASE_WHEN, PLPGSQL_ELSIF_CLAUSE, PLPGSQL_IF_STMT];

/// The longest operator (`NAMEDATALEN` - 1, PostgreSQL manual 4.1.3).
const LONGEST_OPERATOR: u32 = 63;

type Element<'t> = NodeOrToken<&'t GreenNodeData, &'t GreenTokenData>;

fn kind(element: Element<'_>) -> SyntaxKind {
    SyntaxKind::from(element.kind().0)
}

/// Whether nothing in this statement or body, which was parsed without an error, could be refused.
fn sound(tree: &SyntaxNode) -> bool {
    let (green, kind_of_it) = (tree.green(), tree.kind());
    if IS_SELDOM[kind_of_it as usize] || !stands(kind_of_it, [SOURCE_FILE; 2], &green) {
        return false;
    }
    // A node with the kind of the one above it.
    let mut open = vec![(kind_of_it, SOURCE_FILE, green.children())];
    while let Some((parent, above, children)) = open.last_mut() {
        let Some(child) = children.next() else {
            open.pop();
            continue;
        };
        let (kind, parent, above) = (kind(child), *parent, *above);
        let fine = match child {
            _ if IS_SELDOM[kind as usize] => false,
            NodeOrToken::Node(_) if kind == CASE_EXPR && kind_of_it == PLPGSQL => {
                // Conditions of PL/pgSQL have to put it in brackets.
                !open.windows(2).any(|pair| pair[1].0 == PLPGSQL_EXPR && CONDITIONED.contains(&pair[0].0))
            }
            NodeOrToken::Node(node) => stands(kind, [parent, above], node),
            NodeOrToken::Token(token) => kind != IDENT || !matches!(token.text().as_bytes(), [b'u' | b'U', b'&', ..]),
        };
        if !fine {
            return false;
        }
        if let NodeOrToken::Node(node) = child {
            open.push((kind, parent, node.children()));
        }
    }
    true
}

/// Whether every statement but the last ends with a semicolon.
fn separated(file: &GreenNodeData) -> bool {
    let mut ended = true;
    file.children().filter_map(NodeOrToken::into_node).all(|node| {
        let kind = SyntaxKind::from(node.kind().0);
        let before =
            std::mem::replace(&mut ended, kind == EMPTY_STMT || node.children().last().map(self::kind) == Some(SEMICOLON));
        ast::Stmt::can_cast(kind) && (before || kind == EMPTY_STMT)
    })
}

/// The direct parts of this kind.
fn parts(node: &GreenNodeData, wanted: SyntaxKind) -> impl Iterator<Item = Element<'_>> {
    node.children().filter(move |part| kind(*part) == wanted)
}

/// Those of them that are nodes.
fn within(node: &GreenNodeData, wanted: SyntaxKind) -> impl Iterator<Item = &GreenNodeData> {
    parts(node, wanted).filter_map(NodeOrToken::into_node)
}

fn has(node: &GreenNodeData, wanted: SyntaxKind) -> bool {
    parts(node, wanted).next().is_some()
}

/// The kind of the first token of a node.
fn begins_with(mut node: &GreenNodeData) -> Option<SyntaxKind> {
    loop {
        match node.children().next()? {
            NodeOrToken::Node(inner) => node = inner,
            token => return Some(kind(token)),
        }
    }
}

/// Whether a node stands as it may, below a node of the kind `parent`, which is below one of the kind `above`.
fn stands(kind_of_it: SyntaxKind, [parent, above]: [SyntaxKind; 2], node: &GreenNodeData) -> bool {
    match kind_of_it {
        NAME_REF if parent == CALL_EXPR => true,
        NAME_REF | TABLE_NAME => begins_with(node).is_some_and(|first| !is_type_func_name_keyword(first)),
        // One token, which is all that most are.
        LITERAL => node.children().len() == 1 && !has(node, DEFAULT_KW),
        ALL_FN | ANY_FN | SOME_FN => parent == CALL_EXPR && above == BIN_EXPR,
        ARRAY_EXPR => (has(node, ARRAY_KW) || parent == ARRAY_EXPR) && !has(node, L_PAREN),
        BIN_EXPR => listed(node) && !quantified(node),
        CALL_EXPR => called(node),
        ARG_LIST => parent == CALL_EXPR || parts(node, ARG).all(modifies),
        CUSTOM_OP => parent != PREFIX_EXPR && u32::from(node.text_len()) <= LONGEST_OPERATOR,
        CREATE_FUNCTION | CREATE_PROCEDURE => parent == SOURCE_FILE && !has(node, RETURN_STMT),
        FUNC_OPTION_LIST => optioned(node),
        DO => parts(node, LITERAL).count() == 1,
        FUNCTION_FROM_ITEM => !has(node, ONLY_KW),
        PARTITION_FOR_VALUES_WITH => hashed(node),
        PLPGSQL_BLOCK => parent != PLPGSQL_BODY || has(node, SEMICOLON),
        PLPGSQL_FOR_CURSOR_STMT | PLPGSQL_FOR_I_STMT => parts(node, PLPGSQL_FOR_VARIABLE).count() <= 1,
        PLPGSQL_FOR_QUERY_STMT => !has(node, REVERSE_KW),
        RELATION_FROM_ITEM => !has(node, LATERAL_KW),
        PAREN_FROM_ITEM => {
            parent != PAREN_SELECT && !has(node, ONLY_KW) && within(node, PAREN_SELECT).any(|query| has(query, SELECT))
        }
        JOIN if has(node, NATURAL_KW) || has(node, JOIN_CROSS) => !has(node, JOIN_USING_CLAUSE),
        JOIN => has(node, ON_CLAUSE) || has(node, JOIN_USING_CLAUSE),
        SELECT => {
            let mut clauses = node.children().map(kind).filter(|kind| matches!(kind, SELECT_CLAUSE | FROM_CLAUSE));
            let targets = parent != PAREN_EXPR || within(node, SELECT_CLAUSE).any(|clause| has(clause, TARGET_LIST));
            parent != TUPLE_EXPR && targets && clauses.next() == Some(SELECT_CLAUSE)
        }
        SELECT_CLAUSE => !has(node, DISTINCT_CLAUSE) || has(node, TARGET_LIST),
        SET_COLUMN_LIST => node.children().any(|child| ast::SetColumn::can_cast(kind(child))),
        SET_SINGLE_COLUMN => !node.children().filter_map(NodeOrToken::into_node).any(|part| has(part, DEFAULT_KW)),
        TABLE_ARG_LIST => parts(node, COLUMN).all(typed),
        TO_CONFIG_VALUE => has(node, DEFAULT_KW) || node.children().any(|child| ast::ConfigValue::can_cast(kind(child))),
        _ => true,
    }
}

/// Whether what stands after IN is a list or a query, where there is an IN.
fn listed(node: &GreenNodeData) -> bool {
    if !has(node, IN_KW) && !has(node, NOT_IN) {
        return true;
    }
    let is_expr = |part: &Element<'_>| ast::Expr::can_cast(kind(*part));
    let Some(NodeOrToken::Node(list)) = node.children().filter(is_expr).nth(1) else { return false };
    match SyntaxKind::from(list.kind().0) {
        PAREN_EXPR => true,
        TUPLE_EXPR => !has(list, ROW_KW) && list.children().any(|part| is_expr(&part)),
        _ => false,
    }
}

/// Whether ANY and its kind stand before an operator.
fn quantified(node: &GreenNodeData) -> bool {
    let mut exprs = node.children().filter(|part| ast::Expr::can_cast(kind(*part)));
    let first = exprs.next().and_then(NodeOrToken::into_node);
    first.is_some_and(|expr| [ALL_FN, ANY_FN, SOME_FN].iter().any(|word| has(expr, *word)))
}

/// Whether no option of a function is said twice.
fn optioned(list: &GreenNodeData) -> bool {
    let mut said = Vec::new();
    list.children().filter_map(NodeOrToken::into_node).all(|option| {
        let group = match SyntaxKind::from(option.kind().0) {
            SET_FUNC_OPTION | RESET_FUNC_OPTION => return true,
            IMMUTABLE | STABLE => VOLATILE,
            NOT_LEAKPROOF_FUNC_OPTION => LEAKPROOF_FUNC_OPTION,
            SECURITY_INVOKER_FUNC_OPTION => SECURITY_DEFINER_FUNC_OPTION,
            CALLED_ON_NULL_INPUT_FUNC_OPTION | RETURNS_NULL_ON_NULL_INPUT_FUNC_OPTION => STRICT_FUNC_OPTION,
            other => other,
        };
        let first = !said.contains(&group);
        said.push(group);
        first
    })
}

/// Whether the bounds of a hash partition are its two.
fn hashed(bounds: &GreenNodeData) -> bool {
    let names = within(bounds, HASH_PARTITION_BOUND).filter_map(|bound| bound.children().next()?.into_token());
    let mut names: Vec<String> = names.map(|name| name.text().to_ascii_lowercase()).collect();
    names.sort_unstable();
    names == ["modulus", "remainder"]
}

/// Whether what is called may be: by the name of a function, or by the word of one with an argument.
fn called(call: &GreenNodeData) -> bool {
    let mut parts = call.children().filter_map(NodeOrToken::into_node);
    let Some(name) = parts.next() else { return false };
    let Some(first) = begins_with(name) else { return false };
    match SyntaxKind::from(name.kind().0) {
        FIELD_EXPR => true,
        NAME_REF if matches!(first, COALESCE_KW | GREATEST_KW | LEAST_KW) => parts.next().is_some_and(|args| has(args, ARG)),
        NAME_REF if first == NULLIF_KW => parts.next().is_some_and(|args| self::parts(args, ARG).count() == 2),
        NAME_REF => !is_col_name_keyword(first) && !is_reserved_keyword(first),
        // A function with a grammar of its own.
        _ => !call.children().any(|part| ast::Expr::can_cast(kind(part))),
    }
}

/// Whether the argument of a type is a number or a string.
fn modifies(arg: Element<'_>) -> bool {
    let Some(arg) = arg.into_node() else { return false };
    arg.children().len() == 1
        && arg
            .children()
            .filter_map(NodeOrToken::into_node)
            .filter(|value| kind(NodeOrToken::Node(value)) == LITERAL)
            .any(|value| value.children().all(|token| matches!(kind(token), INT_NUMBER | STRING)))
}

/// Whether a column has a type.
fn typed(column: Element<'_>) -> bool {
    column.into_node().is_some_and(|column| column.children().any(|part| ast::Type::can_cast(kind(part))))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Whether the library was not asked; then it must have nothing to say.
    fn spared(text: &str) -> bool {
        let (green, errors) = SourceFile::parse_text(text);
        let (root, said) = (SyntaxNode::new_root(green), SourceFile::parse(text).errors());
        let spared = errors.is_empty()
            && separated(&root.green())
            && root.children().filter_map(ast::Stmt::cast).all(|stmt| stmt_sound(&stmt));
        for stmt in root.children().filter_map(ast::Stmt::cast) {
            let body = match &stmt {
                ast::Stmt::Do(block) => block.plpgsql(),
                ast::Stmt::CreateFunction(create) => create.plpgsql(),
                ast::Stmt::CreateProcedure(create) => create.plpgsql(),
                _ => None,
            };
            let found = routine::Plpgsql::of(&stmt);
            assert_eq!(found.is_some(), body.is_some(), "{text}");
            let Some((found, body)) = found.zip(body).filter(|(found, body)| found.text() == body.text()) else { continue };
            assert!(body.syntax().green() == found.tree.green(), "{text}");
            let (said, of_it) = (found.errors.iter().map(|e| (e.message(), found.place(e.range()))), body.errors());
            assert!(said.eq(of_it.iter().map(|e| (e.message(), e.range()))), "{text}");
        }
        assert!(!spared || said.is_empty(), "{text}: {said:?}");
        assert_eq!(checked(text).1, said, "{text}");
        spared
    }

    fn sql_below(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sql_below(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "sql") {
                found.extend(std::fs::read_to_string(path).ok());
            }
        }
    }

    #[test]
    fn what_the_second_look_refuses_is_never_spared_it() {
        for refused in [
            "SELECT 1 SELECT 2",
            "SELECT coalesce()",
            "SELECT interval(1)",
            "SELECT select(1)",
            "SELECT left",
            "CREATE TABLE left (a int)",
            "CREATE TABLE t (a)",
            "CREATE TABLE t (a numeric(1 + 1))",
            "CREATE TABLE t (a numeric(a => 1))",
            "CREATE TABLE t (a varchar(VARIADIC 1))",
            "SELECT 'a' 'b'",
            "SELECT 'a' /* x */ 'b'",
            "SELECT U&'\\zz'",
            "SELECT U&\"\\zz\"",
            "SELECT DEFAULT",
            "SELECT 1 IN ()",
            "SELECT 1 IN a",
            "SELECT 1 NOT IN ROW(1, 2)",
            "SELECT any(a)",
            "SELECT any(a) = 1",
            "SELECT f(any(a)) = 1",
            "SELECT ARRAY(1)",
            "SELECT DISTINCT FROM t",
            "SELECT (SELECT)",
            "FROM t",
            "FROM t SELECT a",
            "SELECT [1]",
            "SELECT * FROM a JOIN b",
            "SELECT * FROM a CROSS JOIN b USING (c)",
            "SELECT * FROM ONLY f()",
            "SELECT * FROM LATERAL a",
            "SELECT * FROM (a)",
            "UPDATE t SET a[1] = DEFAULT",
            "SET a TO",
            "DO LANGUAGE sql 'a'",
            "ALTER TABLE t ALTER a SET STORAGE large",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql LANGUAGE sql AS 'SELECT 1'",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT FROM WHERE'",
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql STRICT CALLED ON NULL INPUT AS 'BEGIN END'",
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql IMMUTABLE STABLE AS 'BEGIN END'",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql VOLATILE IMMUTABLE AS 'SELECT 1'",
            "CREATE PROCEDURE p() LANGUAGE plpgsql STABLE VOLATILE AS 'BEGIN END'",
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql LEAKPROOF NOT LEAKPROOF AS 'BEGIN END'",
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN END' RETURN 1",
            "CREATE FUNCTION f(VARIADIC a int[], b int) RETURNS int LANGUAGE plpgsql AS 'BEGIN END'",
            "CREATE FUNCTION f(OUT a int) RETURNS TABLE (b int) LANGUAGE plpgsql AS 'BEGIN END'",
            "CREATE PROCEDURE f() LANGUAGE plpgsql SECURITY DEFINER SECURITY INVOKER AS 'BEGIN END'",
            "CREATE TABLE p PARTITION OF t FOR VALUES WITH (modulus 1)",
            "CREATE TABLE p PARTITION OF t FOR VALUES WITH (modulus 1, modulus 2)",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT coalesce() $$",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 SELECT 2 $$",
            "SELECT nullif(a)",
        ] {
            assert!(!SourceFile::parse(refused).errors().is_empty(), "{refused}: the library has nothing to say");
            assert!(!spared(refused), "{refused}");
        }
    }

    #[test]
    fn what_migrations_are_made_of_is_spared_it() {
        for plain in [
            "ALTER TABLE t ADD CONSTRAINT c CHECK (a IN ('x', 'y') AND b NOT IN (1)); CREATE TABLE language (language text, name varchar(20));",
            "INSERT INTO t (a) SELECT DISTINCT u.a FROM u JOIN v ON u.id = v.id LEFT JOIN w USING (id) WHERE u.b IN (SELECT b FROM x)",
            "SELECT coalesce(left(a, 1), '') || b FROM generate_series(1, 3) AS a, (SELECT 1 AS b) AS c WHERE EXISTS (SELECT 1) AND -a < 0",
            "SELECT a = ANY (ARRAY['x', 'y']), b <> ALL (ARRAY[[1], [2]]) FROM t",
            "CREATE FUNCTION f(a int DEFAULT 1) RETURNS trigger LANGUAGE plpgsql STABLE STRICT AS 'BEGIN END'",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT nullif(a, 1) FROM t WHERE b = $1; $$",
            "CREATE TABLE p PARTITION OF t FOR VALUES WITH (MODULUS 4, remainder 1)",
            "UPDATE t SET a = (SELECT max(b) FROM u), c = extract(year FROM now()); DO $$ BEGIN END $$; SET LOCAL lock_timeout = '2s'",
        ] {
            assert!(spared(plain), "{plain}");
        }
    }

    #[test]
    fn bodies_are_spared_it_where_nothing_is_refused() {
        for (body, spared_it) in [
            ("BEGIN IF NOT EXISTS (SELECT 1 FROM t WHERE a = 'x') THEN CREATE TYPE m AS ENUM ('a'); END IF; END", true),
            ("DECLARE r record; BEGIN FOR r IN SELECT 1 AS a LOOP EXECUTE format('x %I', r.a); END LOOP; END", true),
            ("DECLARE n int; BEGIN FOR k IN 1..10 LOOP n := n + k; END LOOP; RETURN n; END", true),
            ("BEGIN FOR a, b IN 1..2 LOOP NULL; END LOOP; END", false),
            ("BEGIN RETURN CASE WHEN a THEN 1 END; IF a THEN b := CASE a WHEN 1 THEN 2 END; END IF; END", true),
            ("BEGIN CASE a WHEN 1, 2 THEN NULL; ELSE NULL; END CASE; CASE WHEN a THEN NULL; END CASE; END", true),
            ("BEGIN CASE CASE WHEN a THEN 1 END WHEN 1 THEN NULL; END CASE; END", false),
            ("BEGIN IF (CASE WHEN a THEN 1 END) THEN NULL; END IF; END", false),
            ("BEGIN IF CASE WHEN a THEN 1 END THEN NULL; END IF; END", false),
            ("BEGIN BEGIN NULL; END END", false),
            ("BEGIN FOR r IN REVERSE SELECT 1 LOOP NULL; END LOOP; END", false),
            ("BEGIN FETCH ALL FROM c INTO x; END", false),
            ("BEGIN PERFORM coalesce(); END", false),
            ("BEGIN SELECT; FROM; END", false),
        ] {
            let text = format!("DO $$ {body} $$");
            spared(&text);
            let (green, errors) = ast::Plpgsql::parse_text(body);
            assert_eq!(errors.is_empty() && sound(&SyntaxNode::new_root(green)), spared_it, "{body}");
            spared(&format!("CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ {body} $$"));
        }
    }

    #[test]
    fn what_is_spared_the_second_look_passes_it() {
        let mut texts = Vec::new();
        for folder in ["migrations", "tests/fixtures/lint"] {
            sql_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut texts);
        }
        let (mut statements, mut spared_it) = (0, 0);
        for text in texts {
            spared(&text);
            for statement in text.split_inclusive(';').filter(|statement| statement.len() < 90) {
                statements += 1;
                spared_it += usize::from(spared(statement));
                // Without each of its words, and with each of them in the place of the next.
                let words: Vec<&str> = statement.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_').collect();
                for at in 0..words.len() {
                    spared(&[&words[..at], &words[at + 1..]].concat().concat());
                    if at + 1 < words.len() {
                        spared(&[&words[..=at], &words[at..=at], &words[at + 2..]].concat().concat());
                    }
                }
            }
        }
        assert!(spared_it * 2 > statements, "{spared_it} of {statements}");
    }
}
