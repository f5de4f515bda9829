//! From a rule about single rows to the probes that count what breaks it. Pure.

use super::rows::Rows;
use super::suggest::Fix;
use super::tally::Probe;
use crate::sql::{Ident, Literal, Rule};

/// One question about every row, with the words for the answer.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// The kind of rule, as [`crate::preflight::Violation::rule`].
    pub rule: &'static str,
    /// The column.
    pub column: Option<Ident>,
    /// What is counted.
    pub probe: Probe,
    /// What one row does, what several do.
    pub says: [String; 2],
    /// False where the answer is an upper bound: values may become smaller on their way.
    pub certain: bool,
    /// What ends it; none where no condition finds exactly these rows.
    pub fix: Option<Fix>,
}

impl Ask {
    /// A question about one column, or none.
    pub fn new(
        rule: &'static str,
        column: Option<&Ident>,
        probe: Probe,
        one: impl Into<String>,
        many: impl Into<String>,
    ) -> Self {
        let fix = match &probe {
            Probe::Broken(condition) => Some(Fix::going(condition)),
            Probe::Fails(_) => None,
        };
        Self { rule, column: column.cloned(), probe, says: [one.into(), many.into()], certain: true, fix }
    }

    fn mended_by(mut self, column: &Ident, value: impl Into<String>) -> Self {
        if let Some(fix) = &mut self.fix {
            fix.mend = Some((column.clone(), value.into()));
        }
        self
    }
}

/// The questions of a rule about single rows; none for a rule about several.
pub(super) fn asks(name: &str, rule: &Rule, rows: &Rows) -> Vec<Ask> {
    match rule {
        Rule::NotNull(column) => vec![Ask::new(
            "not_null",
            Some(column),
            Probe::Broken(format!("{column} IS NULL")),
            format!("is NULL in {}", column.as_str()),
            format!("are NULL in {}", column.as_str()),
        )],
        Rule::Empty => vec![Ask::new(
            "empty",
            Some(&Ident::new(name)),
            Probe::Broken("true".to_owned()),
            format!("is there and would have no value in the new column {name}, which is NOT NULL without a default"),
            format!("are there and would have no value in the new column {name}, which is NOT NULL without a default"),
        )],
        Rule::Check(expression) => vec![Ask::new(
            "check",
            None,
            Probe::Broken(format!("NOT ({expression}\n)")),
            format!("breaks the check {name}"),
            format!("break the check {name}"),
        )],
        Rule::Fits { column, expression, to } => fits(column, expression, to),
        Rule::IndexRow { keys, predicate } => {
            let sizes: Vec<String> = keys.iter().map(|key| format!("coalesce(pg_column_size(({key})), 0)")).collect();
            let only = predicate.as_ref().map_or(String::new(), |predicate| format!("({predicate}\n) AND "));
            let stored = |key: &String| {
                let column = Ident::new(key.trim_matches('"'));
                (*key == column.to_string() || *key == column.as_str())
                    && rows.sources.iter().all(|source| source.plain(&column).is_some())
            };
            let certain = keys.iter().all(stored);
            let may = if certain { "" } else { ", uncompressed" };
            let probe = Probe::Broken(format!("{only}8 + {} > 2704", sizes.join(" + ")));
            let says = format!("too large for a row of index {name} (2704 bytes, SQLSTATE 54000){may}");
            let column = (keys.len() == 1 && certain).then(|| Ident::new(keys[0].trim_matches('"')));
            let mut ask = Ask::new("index_row", column.as_ref(), probe, format!("is {says}"), format!("are {says}"));
            if let Some(column) = &column {
                ask = ask.mended_by(column, format!("left({column}, 600)"));
            }
            ask.certain = certain;
            vec![ask]
        }
        Rule::Unique { .. } | Rule::ForeignKey { .. } | Rule::Exclude { .. } | Rule::Validated(_) => Vec::new(),
    }
}

/// Whether a value goes into a type: the cast, and the length where a cast would cut (PostgreSQL manual 8.3).
fn fits(column: &Ident, expression: &str, to: &str) -> Vec<Ask> {
    let (bare, length) = of_string_type(to);
    let words = |what: &str| [format!("{what} {to} in {}", column.as_str()), format!("{what} {to} in {}", column.as_str())];
    let cast = format!("({expression}\n)::{}", bare.as_deref().unwrap_or(to));
    let [one, many] = words("cannot become");
    let mut cast = Ask::new("cast", Some(column), Probe::Fails(cast), one, many);
    cast.fix = no_value_of(column, expression, to).map(Fix::going);
    let mut asks = vec![cast];
    if let Some(length) = length {
        asks.push(too_long(column, &format!("({expression}\n)::text"), length, to));
    }
    asks.extend(not_json(column, expression, to));
    asks
}

/// The condition of the values that have no form in a type, where SQL has one that says exactly that: numbers beyond a range, text that
/// is no whole number or UUID as PostgreSQL reads it (manual 8.1.1, 8.12).
pub(super) fn no_value_of(column: &Ident, expression: &str, to: &str) -> Option<String> {
    let to = to.trim().to_lowercase();
    let names = [column.to_string(), column.as_str().to_owned()];
    let itself = names.iter().any(|name| expression == name || expression.to_lowercase() == format!("{name}::{to}"));
    let range = match to.as_str() {
        "smallint" | "int2" => Some("-32768 AND 32767"),
        "integer" | "int" | "int4" => Some("-2147483648 AND 2147483647"),
        "bigint" | "int8" => Some("-9223372036854775808 AND 9223372036854775807"),
        _ => None,
    };
    match (itself, range, to.as_str()) {
        (true, Some(range), _) => Some(format!(
            "CASE WHEN {column}::text ~ '^[[:space:]]*[-+]?[0-9]+[[:space:]]*$' THEN {column}::text::numeric NOT BETWEEN {range} \
             ELSE {column} IS NOT NULL END"
        )),
        (true, None, "uuid") => {
            let digits = "([0-9a-f]{4}-?){7}[0-9a-f]{4}";
            Some(format!("{column}::text !~* '^({digits}|\\{{{digits}\\}})$'"))
        }
        _ => None,
    }
}

/// Values with more characters than a string type takes; blanks at the end are cut without an error.
pub(super) fn too_long(column: &Ident, expression: &str, length: u32, to: &str) -> Ask {
    let probe = Probe::Broken(format!("rtrim(substr({expression}, {}), ' ') <> ''", length + 1));
    let one = format!("is too long for {to} in {}", column.as_str());
    let many = format!("are too long for {to} in {}", column.as_str());
    Ask::new("length", Some(column), probe, one, many).mended_by(column, format!("left({column}, {length})"))
}

/// `varchar(5)` is `varchar` and 5; other types have no length that a cast cuts to.
pub(super) fn of_string_type(to: &str) -> (Option<String>, Option<u32>) {
    let (name, rest) = to.split_once('(').map_or((to, ""), |(name, rest)| (name, rest));
    let name = name.trim().to_lowercase();
    let length = rest.trim_end().strip_suffix(')').and_then(|length| length.trim().parse().ok());
    match name.as_str() {
        "varchar" | "character varying" => (Some("varchar".to_owned()), length),
        "char" | "character" => (Some("bpchar".to_owned()), Some(length.unwrap_or(1))),
        "bpchar" => (Some("bpchar".to_owned()), length),
        _ => (None, None),
    }
}

/// Text that is empty where JSON is due, and `\u0000`, which jsonb takes in no form: both can be found, and mended, by a
/// condition. They are among those that cannot be cast.
fn not_json(column: &Ident, expression: &str, to: &str) -> Vec<Ask> {
    let to = &to.trim().to_lowercase();
    let names = [column.to_string(), column.as_str().to_owned()];
    let itself = names.iter().any(|name| expression == name || *expression.to_lowercase() == format!("{name}::{to}"));
    if !itself || !matches!(to.as_str(), "json" | "jsonb") {
        return Vec::new();
    }
    let says = |what: &str| {
        (format!("{what} in {}, where {to} is due", column.as_str()), format!("{what} in {}, where {to} is due", column.as_str()))
    };
    let (one, many) = says("has no text");
    let mut asks = vec![
        Ask::new("json_empty", Some(column), Probe::Broken(empty(&column.to_string())), one, many).mended_by(column, "'{}'"),
    ];
    if to == "jsonb" {
        let (one, many) = says("has \\u0000");
        let without = format!("regexp_replace({column}::text, '(\\\\[^u])|\\\\u0000', '\\1', 'g')");
        asks.push(
            Ask::new("json_null_character", Some(column), Probe::Broken(null_character(&column.to_string())), one, many)
                .mended_by(column, without),
        );
    }
    asks
}

/// Nothing but blanks.
pub(super) fn empty(expression: &str) -> String {
    format!("btrim(({expression})::text, E' \\t\\n\\r') = ''")
}

/// `\u0000`, but no escaped backslash before u0000.
pub(super) fn null_character(expression: &str) -> String {
    format!("strpos(({expression})::text, '\\u0000') > 0 AND ({expression})::text ~ '(^|[^\\\\])(\\\\\\\\)*\\\\u0000'")
}

/// Text between quotes that is no JSON string as it stands.
pub(super) fn no_json_string(expression: &str) -> String {
    format!(
        "({expression})::text ~ '[\"\\\\\\u0001-\\u001f]' AND ({expression})::text !~ '^([^\"\\\\\\u0001-\\u001f]|\\\\([\"\\\\/bfnrt]|u[0-9a-fA-F]{{4}}))*$'"
    )
}

/// Text between quotes that is a JSON string, but of another text: `\n` becomes a line break.
pub(super) fn other_json_string(expression: &str) -> String {
    format!(
        "strpos(({expression})::text, '\\') > 0 AND ({expression})::text ~ '^([^\"\\\\\\u0001-\\u001f]|\\\\([\"\\\\/bfnrt]|u[0-9a-fA-F]{{4}}))*$'"
    )
}

/// Values outside an enum's labels.
pub(super) fn no_label(column: &Ident, labels: &[String]) -> Ask {
    let list: Vec<String> = labels.iter().map(|label| Literal::new(label).to_string()).collect();
    let probe = Probe::Broken(format!("{column}::text <> ALL (ARRAY[{}]::text[])", list.join(", ")));
    let name = column.as_str();
    Ask::new(
        "enum",
        Some(column),
        probe,
        format!("has no label of green's type in {name}"),
        format!("have no label of green's type in {name}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_types_have_a_length() {
        assert_eq!(of_string_type("VARCHAR (40)"), (Some("varchar".to_owned()), Some(40)));
        assert_eq!(of_string_type("character varying"), (Some("varchar".to_owned()), None));
        assert_eq!(of_string_type("char"), (Some("bpchar".to_owned()), Some(1)));
        assert_eq!(of_string_type("numeric(5,2)"), (None, None));
    }
}
