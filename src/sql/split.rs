//! From text to statements, with exact byte ranges.

use squawk_syntax::SyntaxKind;
use squawk_syntax::ast::{self, AstNode};

use super::parser::{line_of, parsed};
use super::{Statement, statement};

/// Text that is not SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxFault {
    /// The line, from 1.
    pub line: usize,
    /// What was found and what was expected. Never holds more of the text than a token.
    pub what: String,
}

/// A comment outside any string, quoted name or function body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// The first byte.
    pub start: usize,
    /// The line it begins on, from 1.
    pub line: usize,
    /// Its text, with `--` or `/*`.
    pub text: String,
}

/// The statements of `text` in order. `text[statement.range()]` is the statement's own text, without the `;`.
///
/// # Errors
/// Every syntax fault: then no statement is given, because recovery after a fault cuts statements in the wrong places.
pub fn split(text: &str) -> Result<Vec<Statement>, Vec<SyntaxFault>> {
    let fault = |line, what: &str| vec![SyntaxFault { line, what: what.to_owned() }];
    if let Some(at) = text.find('\0') {
        return Err(fault(line_of(text, at), "a NUL character"));
    }
    let read = parsed(text, |parse| {
        let errors = parse.errors();
        if !errors.is_empty() {
            return Err(errors
                .iter()
                .map(|error| SyntaxFault {
                    line: line_of(text, usize::from(error.range().start())),
                    what: error.message().to_owned(),
                })
                .collect());
        }
        let statements = parse.tree().stmts().filter(|stmt| !matches!(stmt, ast::Stmt::EmptyStmt(_)));
        Ok(statements.filter_map(|stmt| statement::read(text, &stmt)).collect())
    });
    read.unwrap_or_else(|why| Err(fault(1, why)))
}

/// The comments of `text` in order; also of text with syntax faults.
pub fn comments(text: &str) -> Vec<Comment> {
    parsed(text, |parse| {
        let tokens = parse.tree().syntax().descendants_with_tokens().filter_map(|element| element.into_token());
        tokens
            .filter(|token| token.kind() == SyntaxKind::COMMENT)
            .map(|token| {
                let start = usize::from(token.text_range().start());
                Comment { start, line: line_of(text, start), text: token.text().to_owned() }
            })
            .collect()
    })
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(text: &str) -> Vec<String> {
        split(text).unwrap().iter().map(|statement| statement.text().to_owned()).collect()
    }

    #[test]
    fn semicolons_in_strings_comments_and_bodies_do_not_split() {
        assert_eq!(texts("SELECT ';'; SELECT 2"), ["SELECT ';'", "SELECT 2"]);
        assert_eq!(texts("-- a; b\nSELECT 1 /* ; /* ; */ */ + 1; ;;"), ["SELECT 1 /* ; /* ; */ */ + 1"]);
        assert_eq!(texts("DO $x$ BEGIN PERFORM 1; END; $x$; SELECT $$;$$"), ["DO $x$ BEGIN PERFORM 1; END; $x$", "SELECT $$;$$"]);
        assert_eq!(texts("SELECT 1 AS \"a;\"\"b\"; SELECT E'\\';'"), ["SELECT 1 AS \"a;\"\"b\"", "SELECT E'\\';'"]);
        assert_eq!(texts(""), Vec::<String>::new());
        assert_eq!(texts("-- nothing; here"), Vec::<String>::new());
    }

    #[test]
    fn ranges_and_lines_are_exact() {
        let text = "-- head\n\nSELECT 1\n ;\n  /* b */ SELECT 'ä'; SELECT 3";
        let statements = split(text).unwrap();
        assert_eq!(statements.iter().map(Statement::line).collect::<Vec<_>>(), [3, 5, 5]);
        for statement in &statements {
            assert_eq!(&text[statement.range()], statement.text());
        }
    }

    #[test]
    fn faults_carry_their_line() {
        let faults = split("SELECT 1;\nSELEKT 2;\n").unwrap_err();
        assert_eq!(faults[0].line, 2);
        assert!(split("SELECT 'x\0'").is_err());
        assert!(split("SELECT 'open").is_err());
    }

    #[test]
    fn deep_nesting_is_a_fault_or_read() {
        assert!(split(&format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000))).is_ok());
        assert!(split(&"(".repeat(200_000)).is_err());
    }

    #[test]
    fn comments_are_found_outside_strings_only() {
        let found = comments("-- one\nSELECT '-- not', $$ -- nor $$; /* two */");
        assert_eq!(found.iter().map(|c| (c.line, c.text.as_str())).collect::<Vec<_>>(), [(1, "-- one"), (2, "/* two */")]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = (split(&text), comments(&text), super::super::stars(&text));
        }

        #[test]
        fn pieces_of_sql_are_read_or_refused(pieces in proptest::collection::vec(
            prop_oneof![
                Just("SELECT"), Just("*"), Just("FROM"), Just("t"), Just(";"), Just("("), Just(")"), Just("INSERT INTO"),
                Just("'"), Just("$$"), Just("\""), Just("--"), Just("\n"), Just("ALTER TABLE"), Just("ADD COLUMN"), Just("."),
                Just("CREATE INDEX CONCURRENTLY"), Just("WITH"), Just("AS"), Just(","), Just("RETURNING"), Just("/*"), Just("DO"),
                Just("CREATE TABLE"), Just("REFERENCES"), Just("U&"), Just("E'\\"), Just("VALIDATE CONSTRAINT"), Just("ä"),
            ],
            0..20,
        )) {
            let text = pieces.join(" ");
            if let Ok(statements) = split(&text) {
                for statement in statements {
                    prop_assert_eq!(&text[statement.range()], statement.text());
                }
            }
            let _ = super::super::stars(&text);
        }
    }
}
