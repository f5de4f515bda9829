//! What routines and `DO` hold between their quotes.

use std::iter::Peekable;
use std::ops::Range;

use squawk_lexer::TokenKind;
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast;
use squawk_syntax::body::BodyLanguage;
use squawk_syntax::decoded_text::DecodedText;
use squawk_syntax::syntax_error::SyntaxError;
use text_size::TextRange;

use super::sound;
use super::words::words;

/// The text between the quotes of a function or procedure in this language.
pub(super) fn text_of<L: BodyLanguage>(stmt: &ast::Stmt) -> Option<DecodedText> {
    let options = match stmt {
        ast::Stmt::CreateFunction(create) => create.option_list(),
        ast::Stmt::CreateProcedure(create) => create.option_list(),
        _ => None,
    }?;
    let (mut speaks, mut body) = (false, None);
    for option in options.options() {
        match option {
            ast::FuncOption::LanguageFuncOption(option) => speaks = L::is_language(option.language_name()),
            ast::FuncOption::AsFuncOption(option) => {
                if let Some(ast::AsFuncTarget::AsDefinition(definition)) = option.as_func_target() {
                    body = definition.literal();
                }
            }
            _ => {}
        }
    }
    body.filter(|_| speaks)?.decoded_value()
}

/// PL/pgSQL in a statement.
pub(crate) struct Plpgsql {
    /// The tree of [`Self::text`].
    pub tree: SyntaxNode,
    /// What is wrong, with ranges of that text.
    pub errors: Vec<SyntaxError>,
    quoted: DecodedText,
    without_into: Option<String>,
}

impl Plpgsql {
    /// The body of a `DO`, function or procedure in PL/pgSQL.
    pub fn of(stmt: &ast::Stmt) -> Option<Self> {
        let quoted = match stmt {
            ast::Stmt::Do(block) => {
                let speaks = block.do_language().is_none_or(|word| ast::Plpgsql::is_language(word.language_name()));
                block.body().filter(|_| speaks)?.decoded_value()?
            }
            routine => text_of::<ast::Plpgsql>(routine)?,
        };
        let without_into = without_into(quoted.text());
        let (tree, errors) = sound::plpgsql(without_into.as_deref().unwrap_or(quoted.text()));
        Some(Self { tree, errors, quoted, without_into })
    }

    /// What stands between the quotes, byte for byte but for the `INTO` clauses of SQL, which are spaces.
    pub fn text(&self) -> &str {
        self.without_into.as_deref().unwrap_or(self.quoted.text())
    }

    /// Where a range of this text is in the text of the statement.
    pub fn place(&self, range: TextRange) -> TextRange {
        self.quoted.source_range(range)
    }
}

/// Words after which a statement begins.
const OPENING: [&str; 4] = ["begin", "then", "else", "loop"];

/// Words whose `INTO` names a table.
const NAMING: [&str; 2] = ["insert", "merge"];

/// Words that follow an expression.
const AFTER_A_NAME: [&str; 5] = ["else", "end", "loop", "then", "when"];

/// Whether a statement whose `INTO` clause PL/pgSQL takes out before it runs the rest begins with `word`: where the next one tells that
/// it is no name of a column or variable.
fn begins_sql(word: &str, next: Option<&str>) -> bool {
    let next = next.unwrap_or_default().to_ascii_lowercase();
    match word.to_ascii_lowercase().as_str() {
        "select" | "with" => true,
        "insert" | "merge" => next == "into",
        "delete" => next == "from",
        "update" => next.starts_with(|c: char| c.is_alphabetic() || "_\"".contains(c)) && !AFTER_A_NAME.contains(&next.as_str()),
        "values" => next == "(",
        "explain" | "show" => !AFTER_A_NAME.contains(&next.as_str()),
        _ => false,
    }
}

/// `text` with spaces for each `INTO` clause of PL/pgSQL, where there is one (PostgreSQL manual 43.5.3: it can stand almost anywhere
/// in the statement; `pl_gram.y`, `make_execsql_stmt`: the first `INTO` that follows neither `INSERT` nor `MERGE`). The parser
/// does not know it.
fn without_into(text: &str) -> Option<String> {
    let there = text.as_bytes().windows(4).any(|word| word.eq_ignore_ascii_case(b"into"));
    let mut tokens = there.then(|| words(text))?.peekable();
    let (mut found, mut kept) = (String::with_capacity(text.len()), 0);
    let (mut begins, mut sql, mut taken, mut depth, mut before) = (true, false, false, 0, "");
    while let Some((kind, at)) = tokens.next() {
        let word = &text[at.clone()];
        let among = |words: &[&str]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
        if begins {
            let next = tokens.peek().map(|(_, at)| &text[at.clone()]);
            (sql, taken, depth) = (begins_sql(word, next), false, 0);
        }
        match kind {
            TokenKind::OpenParen => depth += 1,
            TokenKind::CloseParen => depth -= 1,
            _ if sql && !taken && depth == 0 && among(&["into"]) && !NAMING.iter().any(|w| before.eq_ignore_ascii_case(w)) => {
                if let Some(end) = targets(text, &mut tokens) {
                    found.push_str(&text[kept..at.start]);
                    found.extend(std::iter::repeat_n(' ', end - at.start));
                    kept = end;
                }
                taken = true;
            }
            _ => {}
        }
        begins = kind == TokenKind::Semi || !sql && depth == 0 && (kind == TokenKind::Gt || among(&OPENING));
        before = if before == "." { "" } else { word };
    }
    (kept > 0).then(|| found + &text[kept..])
}

type Word = (TokenKind, Range<usize>);

/// The end of the targets that follow an `INTO`.
fn targets(text: &str, tokens: &mut Peekable<impl Iterator<Item = Word>>) -> Option<usize> {
    tokens.next_if(|(kind, at)| *kind == TokenKind::Ident && text[at.clone()].eq_ignore_ascii_case("strict"));
    let name =
        |(kind, _): &Word| matches!(kind, TokenKind::Ident | TokenKind::QuotedIdent { .. } | TokenKind::PositionalParam { .. });
    loop {
        let mut end = tokens.next_if(name)?.1.end;
        while tokens.next_if(|(kind, _)| *kind == TokenKind::Dot).is_some() {
            end = tokens.next_if(name)?.1.end;
        }
        if tokens.next_if(|(kind, _)| *kind == TokenKind::Comma).is_none() {
            return Some(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use squawk_syntax::ast::SourceFile;

    use super::*;

    #[test]
    fn the_into_clause_is_taken_out_of_sql() {
        for (body, left) in [
            ("BEGIN SELECT a INTO n FROM t; END", "BEGIN SELECT a        FROM t; END"),
            ("BEGIN SELECT INTO n a FROM t; END", "BEGIN SELECT        a FROM t; END"),
            ("BEGIN SELECT a, b INTO STRICT x.y, \"ö\" FROM t; END", "BEGIN SELECT a, b                       FROM t; END"),
            ("BEGIN SELECT a FROM t INTO NEW.a, $1; END", "BEGIN SELECT a FROM t               ; END"),
            (
                "DECLARE r t; BEGIN IF a THEN SELECT * /* c */ INTO r; END IF; END",
                "DECLARE r t; BEGIN IF a THEN SELECT * /* c */       ; END IF; END",
            ),
            (
                "<<l>> BEGIN INSERT INTO t VALUES (1) RETURNING a INTO n; INSERT INTO t VALUES (1); END",
                "<<l>> BEGIN INSERT INTO t VALUES (1) RETURNING a       ; INSERT INTO t VALUES (1); END",
            ),
            (
                "BEGIN WITH a AS (INSERT INTO t SELECT 1 RETURNING b) SELECT CASE WHEN b THEN c END INTO n FROM a; END",
                "BEGIN WITH a AS (INSERT INTO t SELECT 1 RETURNING b) SELECT CASE WHEN b THEN c END        FROM a; END",
            ),
            (
                "BEGIN SELECT t.insert INTO n FROM t; SHOW x INTO n; END",
                "BEGIN SELECT t.insert        FROM t; SHOW x       ; END",
            ),
            ("BEGIN EXPLAIN (FORMAT json) SELECT 1 INTO n; END", "BEGIN EXPLAIN (FORMAT json) SELECT 1       ; END"),
            (
                "BEGIN LOOP MERGE INTO t USING s ON a WHEN MATCHED THEN DELETE RETURNING a INTO n; END LOOP; END",
                "BEGIN LOOP MERGE INTO t USING s ON a WHEN MATCHED THEN DELETE RETURNING a       ; END LOOP; END",
            ),
        ] {
            assert_eq!(without_into(body).as_deref(), Some(left));
            assert!(sound::plpgsql(left).1.is_empty(), "{left}");
        }
    }

    #[test]
    fn every_other_into_stays() {
        for body in [
            "BEGIN INSERT INTO t SELECT a FROM u; END",
            "BEGIN EXECUTE 'SELECT 1' INTO n; FETCH c INTO n; END",
            "BEGIN FOR r IN SELECT a LOOP NULL; END LOOP; RAISE 'into %', n; END",
            "BEGIN FOR r IN SELECT CASE WHEN a THEN insert ELSE update END FROM t LOOP FETCH c INTO n; END LOOP; END",
            "BEGIN IF 1 > delete THEN FETCH c INTO n; ELSIF 1 > update THEN FETCH c INTO n; END IF; END",
            "BEGIN PERFORM 1; -- SELECT 1 INTO n\n END",
            "BEGIN SELECT (SELECT a INTO n FROM t); END",
            "BEGIN SELECT a INTO; SELECT a INTO x.; END",
            "BEGIN IMPORT FOREIGN SCHEMA s FROM SERVER x INTO y; END",
        ] {
            assert_eq!(without_into(body), None, "{body}");
        }
        let twice = without_into("BEGIN SELECT a INTO n INTO m FROM t; END");
        assert_eq!(twice.as_deref(), Some("BEGIN SELECT a        INTO m FROM t; END"));
    }

    #[test]
    fn places_are_those_of_the_file() {
        let text = "DO 'BEGIN SELECT ''x'' INTO n; FROM; END'";
        let stmt = SourceFile::parse(text).tree().stmts().next().unwrap();
        let body = Plpgsql::of(&stmt).unwrap();
        let at = body.place(body.errors[0].range());
        assert_eq!(&text[usize::from(at.start())..][..4], "FROM");
    }

    proptest! {
        #[test]
        fn a_text_keeps_its_length(text in "(?i)(begin|select|into|insert|a|b|ö|;|,|\\.|\\(|\\)|then|\"|'|\\$1| ){0,20}") {
            if let Some(left) = without_into(&text) {
                prop_assert_eq!(left.len(), text.len());
            }
        }
    }
}
