//! What migration files hold beside SQL: psql commands, `COPY` data, template directives, the sections of tools that keep
//! both directions in one file. They are blanked, byte for byte, so that the rest can be parsed with its places, and each
//! leaves a fault or is known as data.

use std::ops::Range;

/// A part of a file that is not read as SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The rule that reports it.
    pub rule: &'static str,
    /// Its bytes.
    pub at: Range<usize>,
    /// Where in it the trouble is.
    pub point: usize,
    /// What it is.
    pub message: String,
}

/// The SQL of a file.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// As long as the file; what is not SQL is spaces.
    pub sql: String,
    /// What is not SQL and could matter.
    pub faults: Vec<Fault>,
    /// What is not SQL and known: `COPY` data, and the section of the other direction.
    pub data: Vec<Range<usize>>,
    /// Its comments.
    pub comments: Vec<Range<usize>>,
    /// Whether a directive takes the file out of its transaction.
    pub no_transaction: bool,
}

/// Reads a file's text; `down` asks for the section that takes the migration back, where there is one.
pub(super) fn read(text: &str, down: bool) -> Source {
    let mut reader = Reader {
        text,
        bytes: text.as_bytes(),
        out: text.as_bytes().to_vec(),
        at: 0,
        statement: String::new(),
        source: Source::default(),
        down,
        sections: sections(text),
        brackets: 0,
    };
    reader.run();
    let mut source = reader.source;
    // Only whole characters were replaced, by ASCII.
    source.sql = String::from_utf8(reader.out).unwrap_or_else(|_| " ".repeat(text.len()));
    source
}

/// Marks of tools that keep both directions in one file.
fn mark(comment: &str) -> Option<bool> {
    let words = comment.trim_start_matches('-').trim().to_lowercase();
    let first = |prefix: &str| words.starts_with(prefix);
    if first("migrate:up") || first("+goose up") || first("+migrate up") {
        return Some(true);
    }
    (first("migrate:down") || first("+goose down") || first("+migrate down")).then_some(false)
}

fn sections(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("--") && mark(line) == Some(true))
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    out: Vec<u8>,
    at: usize,
    /// The words of the statement so far, in lower case, without strings and comments; at most the first few.
    statement: String,
    source: Source,
    down: bool,
    sections: bool,
    brackets: usize,
}

impl Reader<'_> {
    fn run(&mut self) {
        if self.sections && self.down {
            // Everything before the first mark down belongs to the other direction.
            self.skip_section();
        }
        while self.at < self.bytes.len() {
            let rest = &self.bytes[self.at..];
            match rest[0] {
                b'-' if rest.starts_with(b"--") => self.comment(),
                b'/' if rest.starts_with(b"/*") => self.block_comment(),
                b'\'' => {
                    let escapes = self.at > 0 && matches!(self.bytes[self.at - 1], b'e' | b'E') && !self.word_before(self.at - 1);
                    self.quoted(b'\'', escapes);
                }
                b'"' => {
                    let start = self.at;
                    self.quoted(b'"', false);
                    if self.text[start..self.at].contains("{{") {
                        self.fault(
                            "template-directive",
                            start..self.at,
                            "a template inside a name; render the file first".to_owned(),
                        );
                    }
                }
                b'$' if rest.starts_with(b"${") => self.placeholder("}"),
                b'$' if !self.word_before(self.at) => self.dollar(),
                b'{' if rest.starts_with(b"{{") => self.placeholder("}}"),
                b'{' if rest.starts_with(b"{%") => self.placeholder("%}"),
                b'<' if rest.starts_with(b"<%=") => self.placeholder("%>"),
                b'\\' => self.command(),
                b':' => self.variable(),
                b';' => {
                    self.at += 1;
                    let statement = std::mem::take(&mut self.statement);
                    if is_copy_from_stdin(&statement) {
                        self.copy_data();
                    }
                }
                byte => {
                    match byte {
                        b'[' => self.brackets += 1,
                        b']' => self.brackets = self.brackets.saturating_sub(1),
                        _ => {}
                    }
                    self.word(byte);
                    self.at += 1;
                }
            }
        }
    }

    /// Takes a byte into the statement, when that may be a `COPY`.
    fn word(&mut self, byte: u8) {
        let (begun, byte) = (self.statement.len(), char::from(byte.to_ascii_lowercase()));
        if begun == 0 && byte.is_ascii_whitespace() || begun >= 4 && (begun >= 4096 || !self.statement.starts_with("copy")) {
            return;
        }
        self.statement.push(byte);
    }

    /// Whether the byte before `at` is part of a word.
    fn word_before(&self, at: usize) -> bool {
        at > 0 && (self.bytes[at - 1].is_ascii_alphanumeric() || self.bytes[at - 1] == b'_' || self.bytes[at - 1] >= 128)
    }

    fn line_end(&self) -> usize {
        self.text[self.at..].find('\n').map_or(self.text.len(), |at| self.at + at)
    }

    fn blank(&mut self, range: Range<usize>) {
        for byte in &mut self.out[range] {
            if *byte != b'\n' && *byte != b'\r' {
                *byte = b' ';
            }
        }
    }

    fn fault(&mut self, rule: &'static str, at: Range<usize>, message: String) {
        self.source.faults.push(Fault { rule, point: at.start, at, message });
    }

    fn comment(&mut self) {
        let end = self.line_end();
        let comment = &self.text[self.at..end];
        self.source.comments.push(self.at..end);
        let low = comment.to_lowercase();
        let said = low.trim_start_matches('-').trim();
        let marks = [
            "no-transaction",
            "+goose no transaction",
            "atlas:txmode none",
            "flyway:executeintransaction=false",
            "disable-transaction",
        ];
        let out = marks.iter().any(|mark| said.starts_with(mark));
        if out
            || said.starts_with("migrate:") && said.contains("transaction:false")
            || said.starts_with("+migrate") && said.contains("notransaction")
        {
            self.source.no_transaction = true;
        }
        self.at = end;
        if self.sections && mark(comment) == Some(self.down) {
            self.skip_section();
        }
    }

    /// Leaves out everything to the next mark of the wanted direction.
    fn skip_section(&mut self) {
        let start = self.at;
        let mut at = start;
        let mut end = self.text.len();
        for line in self.text[start..].split_inclusive('\n') {
            if line.starts_with("--") && mark(line) == Some(!self.down) {
                end = at;
                break;
            }
            at += line.len();
        }
        self.blank(start..end);
        self.source.data.push(start..end);
        self.at = end;
        self.statement.clear();
        // The mark itself is a comment like any other.
        if end < self.text.len() {
            self.at = self.line_end();
            self.source.comments.push(end..self.at);
        }
    }

    fn block_comment(&mut self) {
        let (start, mut depth) = (self.at, 0usize);
        while self.at < self.bytes.len() {
            let rest = &self.bytes[self.at..];
            if rest.starts_with(b"/*") {
                depth += 1;
                self.at += 2;
            } else if rest.starts_with(b"*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    break;
                }
            } else {
                self.at += 1;
            }
        }
        self.source.comments.push(start..self.at);
    }

    fn quoted(&mut self, quote: u8, escapes: bool) {
        self.at += 1;
        while self.at < self.bytes.len() {
            match self.bytes[self.at] {
                b'\\' if escapes => self.at += 2,
                byte if byte == quote && self.bytes.get(self.at + 1) == Some(&quote) => self.at += 2,
                byte => {
                    self.at += 1;
                    if byte == quote {
                        break;
                    }
                }
            }
        }
        self.at = self.at.min(self.bytes.len());
        // An escape may have ended within a character.
        while !self.text.is_char_boundary(self.at) {
            self.at += 1;
        }
    }

    fn dollar(&mut self) {
        let rest = &self.text[self.at + 1..];
        let tag = rest.find(|c: char| !c.is_alphanumeric() && c != '_').filter(|end| rest[*end..].starts_with('$'));
        let Some(tag) = tag.filter(|_| !rest.starts_with(|c: char| c.is_ascii_digit())) else {
            self.at += 1;
            return;
        };
        let mark = &self.text[self.at..self.at + tag + 2];
        let body = self.at + mark.len();
        self.at = self.text[body..].find(mark).map_or(self.text.len(), |end| body + end + mark.len());
        self.statement.push(' ');
    }

    /// A template directive. What stands for a value becomes a name of its length; what controls the template, spaces.
    fn placeholder(&mut self, close: &str) {
        let start = self.at;
        let Some(end) = self.text[start..].find(close).map(|end| start + end + close.len()) else {
            self.at += 1;
            return;
        };
        let inner = self.text[start..end].trim_matches(|c: char| "{}%<>=$- \t\n".contains(c));
        let first = inner.split_whitespace().next().unwrap_or_default();
        let control = matches!(
            first,
            "if" | "else"
                | "end"
                | "range"
                | "with"
                | "define"
                | "template"
                | "block"
                | "for"
                | "endif"
                | "endfor"
                | "elif"
                | "set"
                | "include"
        ) || inner.starts_with("/*")
            || close == "%}";
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[end..].find('\n').map_or(self.text.len(), |at| end + at);
        let alone = self.text[line_start..start].trim().is_empty() && self.text[end..line_end].trim().is_empty();
        self.blank(start..end);
        if !control && !alone {
            for byte in self.out[start..end].iter_mut().filter(|byte| **byte == b' ') {
                *byte = b'x';
            }
        }
        let message = match control {
            true => {
                "a template directive, not SQL: the statements of every branch are looked at; render the file for an exact answer"
            }
            false => "a template value, not SQL: what it stands for is not known; render the file for an exact answer",
        };
        self.fault("template-directive", start..end, message.to_owned());
        self.at = end;
    }

    /// A psql command, from the backslash to the end of the line.
    fn command(&mut self) {
        let (start, end) = (self.at, self.line_end());
        let line = self.text[start..end].trim_end();
        let end = start + line.len();
        if line.starts_with("\\;") {
            self.out[start] = b' ';
            self.fault("psql-command", start..start + 2, "psql's \\; sends two statements as one; not SQL".to_owned());
            self.at = start + 1;
            return;
        }
        let name: String = line[1..].chars().take_while(|c| c.is_ascii_alphabetic() || *c == '!').collect();
        self.blank(start..end);
        let sends = matches!(name.as_str(), "g" | "gx" | "gset" | "gexec" | "gdesc" | "watch" | "crosstabview" | "bind");
        if sends && end > start {
            self.out[start] = b';';
        }
        let message = match name.as_str() {
            "i" | "ir" | "include" | "include_relative" => {
                format!("psql's \\{name} reads another file, which is not looked at here")
            }
            "gexec" => "psql's \\gexec runs the result of the query as SQL, which is not known here".to_owned(),
            "copy" => "psql's \\copy writes or reads rows from the client; not SQL".to_owned(),
            "if" | "elif" | "else" | "endif" => format!("psql's \\{name}: the statements of every branch are looked at"),
            _ => format!("psql's \\{name} is not SQL: other tools refuse it"),
        };
        self.fault("psql-command", start..end, message);
        self.at = end;
        let low = line.to_lowercase();
        if name == "copy" && (low.contains("from stdin") || low.contains("from pstdin")) {
            self.copy_data();
        }
        if sends {
            self.statement.clear();
        }
    }

    /// psql's `:name`, `:'name'`, `:"name"`.
    fn variable(&mut self) {
        let rest = &self.bytes[self.at + 1..];
        let next = rest.first().copied().unwrap_or(b' ');
        let part = self.at > 0 && self.bytes[self.at - 1] == b':' || matches!(next, b':' | b'=') || self.brackets > 0;
        let names = next.is_ascii_alphabetic() || next == b'_' || next == b'\'' || next == b'"';
        if !part && names {
            let end = self.at
                + 1
                + rest.iter().skip(1).position(|b| !b.is_ascii_alphanumeric() && *b != b'_').map_or(rest.len(), |at| at + 1);
            self.out[self.at] = b' ';
            self.fault("psql-command", self.at..end, "a psql variable, not SQL: its value is not known".to_owned());
        }
        self.at += 1;
    }

    /// The lines after `COPY ... FROM stdin`, to the line `\.`. Without that line there is no data.
    fn copy_data(&mut self) {
        let start = self.line_end();
        let mut at = start;
        for line in self.text[start..].split_inclusive('\n') {
            if line.trim_end() == "\\." {
                let end = at + line.len();
                self.blank(start..end);
                self.source.data.push(start..end);
                self.at = end;
                return;
            }
            at += line.len();
        }
    }
}

fn is_copy_from_stdin(statement: &str) -> bool {
    let words: Vec<&str> = statement.split_whitespace().collect();
    words.first() == Some(&"copy") && words.windows(2).any(|pair| pair == ["from", "stdin"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> (String, Vec<&'static str>) {
        let source = read(text, false);
        assert_eq!(source.sql.len(), text.len());
        let squeezed = source.sql.split_whitespace().collect::<Vec<_>>().join(" ");
        (squeezed, source.faults.iter().map(|fault| fault.rule).collect())
    }

    #[test]
    fn what_is_not_sql_is_blanked_and_told() {
        for (text, sql, faults) in [
            ("\\set ON_ERROR_STOP on\nSELECT 1;", "SELECT 1;", vec!["psql-command"]),
            ("SELECT 1 AS a \\gset\nSELECT 2;", "SELECT 1 AS a ; SELECT 2;", vec!["psql-command"]),
            ("COPY t (a) FROM stdin;\n1\n2;x\n\\.\nSELECT 1;", "COPY t (a) FROM stdin; SELECT 1;", vec![]),
            ("COPY t FROM stdin;\nSELECT 1;", "COPY t FROM stdin; SELECT 1;", vec![]),
            ("{{- if eq .D \"pg\" }}\nSELECT 1;\n{{ end }}", "SELECT 1;", vec!["template-directive"; 2]),
            ("DROP TABLE {{ .T }};", "DROP TABLE xxxxxxxx;", vec!["template-directive"]),
            ("DROP TABLE ${s}.t;", "DROP TABLE xxxx.t;", vec!["template-directive"]),
            ("SELECT '{{1,2}}'::int[], $$ \\x {{ $$, 'a\\'", "SELECT '{{1,2}}'::int[], $$ \\x {{ $$, 'a\\'", vec![]),
            ("SELECT :'v', a[1:n], b::int, :w;", "SELECT 'v', a[1:n], b::int, w;", vec!["psql-command"; 2]),
            ("-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT 2;\n", "-- migrate:up SELECT 1; -- migrate:down", vec![]),
            ("SELECT E'\\'' , '\\'; \\d", "SELECT E'\\'' , '\\';", vec!["psql-command"]),
            ("SELECT '$x$'; -- \\d {{ }}\n/* \\d /* */ {{ */", "SELECT '$x$'; -- \\d {{ }} /* \\d /* */ {{ */", vec![]),
        ] {
            assert_eq!(shown(text), (sql.to_owned(), faults), "{text}");
        }
        let down = read("-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 2;\n", true);
        assert!(down.sql.contains("SELECT 2") && !down.sql.contains("SELECT 1"));
        assert!(read("-- no-transaction\n", false).no_transaction);
    }
}
