//! SQL in the source code of programs: the string constants that look like SQL, with their lines. Pure.

/// A piece of SQL and the line it begins on, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// The line.
    pub line: usize,
    /// The text; values that the program puts in are `$1`.
    pub sql: String,
}

/// How a language writes comments and strings.
struct Language {
    /// A `#` begins a comment; otherwise `//` and `/*` do.
    hash_comments: bool,
    /// `'` encloses strings; otherwise single characters.
    single_quotes: bool,
    /// A backquote encloses strings.
    backquotes: bool,
    /// `\` escapes nothing in backquotes.
    raw_backquotes: bool,
}

/// Endings of the names of files that are read, beside `.sql`.
fn language(extension: &str) -> Option<Language> {
    let (hash_comments, single_quotes, backquotes) = match extension {
        "go" => (false, false, true),
        "rs" | "java" | "kt" | "scala" | "cs" | "c" | "cc" | "cpp" | "h" | "swift" => (false, false, false),
        "js" | "jsx" | "mjs" | "cjs" | "ts" | "tsx" => (false, true, true),
        "php" => (false, true, false),
        "py" | "rb" | "pl" | "sh" | "ex" | "exs" => (true, true, false),
        _ => return None,
    };
    Some(Language { hash_comments, single_quotes, backquotes, raw_backquotes: extension == "go" })
}

/// Whether files with this ending are read.
pub(crate) fn is_read(extension: &str) -> bool {
    extension == "sql" || language(extension).is_some()
}

/// The pieces of a file that look like SQL. Neighbouring constants that a program joins are one piece.
pub(crate) fn fragments(extension: &str, text: &str) -> Vec<Fragment> {
    if extension == "sql" {
        return match crate::sql::split(text) {
            Ok(statements) => statements.iter().map(|s| Fragment { line: s.line(), sql: s.text().to_owned() }).collect(),
            Err(_) => vec![Fragment { line: 1, sql: text.to_owned() }],
        };
    }
    let Some(language) = language(extension) else { return Vec::new() };
    let mut found: Vec<Fragment> = Vec::new();
    let mut joined = false;
    for piece in (Scanner { text, at: 0, line: 1, language }) {
        match piece {
            Piece::Text { line, sql } => match found.last_mut().filter(|_| joined) {
                Some(last) => last.sql += &sql,
                None => found.push(Fragment { line, sql }),
            },
            Piece::Join => continue,
            Piece::Other => {
                joined = false;
                continue;
            }
        }
        joined = true;
    }
    found.retain(|fragment| looks_like_sql(&fragment.sql));
    for fragment in &mut found {
        fragment.sql = with_parameters(&fragment.sql);
    }
    found
}

enum Piece {
    /// A string constant.
    Text { line: usize, sql: String },
    /// Space or a mark between constants that are joined.
    Join,
    /// Anything else.
    Other,
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    language: Language,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Goes on by `bytes`, which end at a character boundary.
    fn skip(&mut self, bytes: usize) {
        let end = (self.at + bytes).min(self.text.len());
        self.line += self.text.as_bytes()[self.at..end].iter().filter(|byte| **byte == b'\n').count();
        self.at = end;
    }

    /// Up to and with `end`, or to the end of the text.
    fn skip_past(&mut self, end: &str) {
        let bytes = self.rest().find(end).map_or(self.rest().len(), |at| at + end.len());
        self.skip(bytes);
    }

    /// A string that begins here with `open` and ends with `close`.
    fn string(&mut self, open: usize, close: &str, escapes: bool) -> Piece {
        let line = self.line;
        self.skip(open);
        let mut sql = String::new();
        while !self.rest().is_empty() && !self.rest().starts_with(close) {
            let mut chars = self.rest().chars();
            let first = chars.next().unwrap_or_default();
            let escaped = chars.next().filter(|_| escapes && first == '\\');
            sql.push(match escaped {
                None => first,
                Some('n' | 't' | 'r' | '\n') => ' ',
                Some(other) => other,
            });
            self.skip(first.len_utf8() + escaped.map_or(0, char::len_utf8));
        }
        self.skip(close.len());
        Piece::Text { line, sql }
    }

    /// A character constant such as `'"'` or `'\''`; otherwise (a lifetime) just the mark.
    fn character(&mut self) -> Piece {
        let rest = self.rest();
        let mut inner = rest[1..].chars();
        let bytes = match (inner.next(), inner.next(), inner.next()) {
            (Some('\\'), Some(_), _) => {
                rest.get(3..).and_then(|after| after.find('\'')).filter(|at| *at < 10).map_or(1, |at| at + 4).min(rest.len())
            }
            (Some(c), Some('\''), _) => c.len_utf8() + 2,
            _ => 1,
        };
        self.skip(bytes);
        Piece::Other
    }
}

impl Iterator for Scanner<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let rest = self.rest();
        let c = rest.chars().next()?;
        let (slashes, hashes) = (!self.language.hash_comments, self.language.hash_comments);
        if (slashes && rest.starts_with("//")) || (hashes && c == '#') {
            self.skip_past("\n");
            return Some(Piece::Join);
        }
        if slashes && rest.starts_with("/*") {
            self.skip_past("*/");
            return Some(Piece::Join);
        }
        // r#"..."# of Rust
        let raw = rest.strip_prefix('r').map(|after| after.len() - after.trim_start_matches('#').len());
        if let Some(marks) = raw.filter(|marks| *marks > 0 && rest[1 + marks..].starts_with('"')) {
            return Some(self.string(marks + 2, &format!("\"{}", "#".repeat(marks)), false));
        }
        for triple in ["\"\"\"", "'''"] {
            if rest.starts_with(triple) && (c == '"' || self.language.single_quotes) {
                return Some(self.string(3, triple, true));
            }
        }
        match c {
            '"' => Some(self.string(1, "\"", true)),
            '`' if self.language.backquotes => {
                let escapes = !self.language.raw_backquotes;
                Some(self.string(1, "`", escapes))
            }
            '\'' if self.language.single_quotes => Some(self.string(1, "'", true)),
            '\'' => Some(self.character()),
            // the prefix of a Python string
            'f' | 'r' | 'b' | 'u' if hashes && rest[1..].starts_with(['"', '\'']) => {
                self.skip(1);
                Some(Piece::Join)
            }
            c if c.is_whitespace() || matches!(c, '+' | '\\' | '.') => {
                self.skip(c.len_utf8());
                Some(Piece::Join)
            }
            c => {
                self.skip(c.len_utf8());
                Some(Piece::Other)
            }
        }
    }
}

/// Whether a constant begins like a statement.
fn looks_like_sql(text: &str) -> bool {
    let first = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(').split(|c: char| !c.is_ascii_alphabetic()).next();
    let first = first.unwrap_or_default().to_ascii_lowercase();
    matches!(first.as_str(), "select" | "insert" | "update" | "delete" | "with" | "copy" | "table" | "merge" | "explain")
        && text.trim().contains(char::is_whitespace)
}

/// Puts `$1` where a program puts values: `?`, `%s`, `{name}`, `${name}`, `:name`, `#{name}`.
fn with_parameters(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let name = |from: usize| rest[from..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len() - from);
        let braces = ["${", "#{", "{"].into_iter().find(|open| rest.starts_with(open));
        let bytes = match c {
            '?' => 1,
            '%' if rest[1..].starts_with(['s', 'd', 'v', 'q']) => 2,
            '%' if rest[1..].starts_with('(') => rest.find(')').map_or(0, |at| (at + 2).min(rest.len())),
            ':' if rest.starts_with("::") => 0,
            ':' if !out.ends_with(':') && name(1) > 0 => 1 + name(1),
            _ if braces.is_some() => rest.find('}').map_or(0, |at| at + 1),
            _ => 0,
        };
        match bytes {
            0 => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
            bytes => {
                out += "$1";
                rest = rest.get(bytes..).unwrap_or_default();
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(extension: &str, text: &str) -> Vec<String> {
        fragments(extension, text).into_iter().map(|f| format!("{}: {}", f.line, f.sql)).collect()
    }

    #[test]
    fn strings_of_every_language() {
        assert_eq!(
            found(
                "go",
                "// don't \"SELECT 1 x\"\nq := `\nSELECT *\nFROM t WHERE id=?`; r := '\"'\nx(\"SELECT \" +\n \"a FROM u\")"
            ),
            ["2: \nSELECT *\nFROM t WHERE id=$1", "5: SELECT a FROM u"]
        );
        assert_eq!(
            found(
                "py",
                "# it's \"SELECT 1 x\"\nq = '''select *\n from t where a = %(id)s'''\nw = \"delete \" f\"from t where b = {b}\""
            ),
            ["2: select *\n from t where a = $1", "4: delete from t where b = $1"]
        );
        assert_eq!(
            found("rs", "fn f<'a>(x: &'a str) { q(\"SELECT a \\\n  FROM t WHERE c = '{}'\", '\\'', r#\"TABLE \"t\"\"#) }"),
            ["1: SELECT a    FROM t WHERE c = '$1'", "2: TABLE \"t\""]
        );
        assert_eq!(
            found("ts", "x('select 1, 2', `insert into t values (${a}, :b::int)`)"),
            ["1: select 1, 2", "1: insert into t values ($1, $1::int)"]
        );
        assert_eq!(
            found("java", "\"select\"; \"selected rows\"; \"update t set a = 1\"; // \"delete from t x\""),
            ["1: update t set a = 1"]
        );
        assert_eq!(found("sql", "-- x\nSELECT 1;\n\nTABLE t;"), ["2: SELECT 1", "4: TABLE t"]);
        assert!(found("md", "`SELECT * FROM t`").is_empty());
    }

    #[test]
    fn broken_text_is_no_trouble() {
        for text in
            ["\"SELECT a", "'", "'\\", "'\\é'", "r#\"", "`", "\"\\", "/*", "'é", "\"%", "\"SELECT %(a", "\"SELECT {ä :é %"]
        {
            for extension in ["go", "py", "rs", "ts", "sql"] {
                fragments(extension, text);
            }
        }
    }
}
