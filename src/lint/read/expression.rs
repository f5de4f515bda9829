//! Types and expressions.

use squawk_syntax::ast::{self, AstNode};
use squawk_syntax::{SyntaxElement, SyntaxKind, SyntaxNode};

use super::text;
use crate::lint::act::{Expr, Ty, Volatility};

/// Functions of PostgreSQL and its contributed extensions that give each row its own value (`provolatile = 'v'`) and that
/// people use in defaults.
const VOLATILE: &[&str] = &[
    "clock_timestamp",
    "currval",
    "gen_random_bytes",
    "gen_random_uuid",
    "gen_salt",
    "lastval",
    "nextval",
    "random",
    "random_normal",
    "setval",
    "timeofday",
    "uuid_generate_v1",
    "uuid_generate_v1mc",
    "uuid_generate_v4",
    "uuidv4",
    "uuidv7",
    "txid_current_if_assigned",
    "pg_sleep",
    "set_config",
    "lo_create",
    "ulid",
    "gen_random_ulid",
    "generate_ulid",
    "uuid_v7",
];

/// Functions that are not volatile and that people use in defaults.
const STABLE: &[&str] = &[
    "abs",
    "age",
    "array_append",
    "array_length",
    "array_to_json",
    "btrim",
    "ceil",
    "ceiling",
    "char_length",
    "chr",
    "coalesce",
    "concat",
    "concat_ws",
    "convert_from",
    "convert_to",
    "current_database",
    "current_schema",
    "current_setting",
    "current_user",
    "date",
    "date_part",
    "date_trunc",
    "decode",
    "digest",
    "encode",
    "extract",
    "floor",
    "format",
    "greatest",
    "hashtext",
    "initcap",
    "int4range",
    "int8range",
    "interval",
    "json_build_array",
    "json_build_object",
    "json_object",
    "jsonb",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object",
    "least",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "make_date",
    "make_interval",
    "make_time",
    "make_timestamp",
    "make_timestamptz",
    "md5",
    "mod",
    "now",
    "nullif",
    "numrange",
    "overlay",
    "pg_backend_pid",
    "point",
    "position",
    "power",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "rpad",
    "rtrim",
    "session_user",
    "sha256",
    "sha512",
    "split_part",
    "statement_timestamp",
    "string_to_array",
    "substr",
    "substring",
    "timestamp",
    "timezone",
    "to_char",
    "to_date",
    "to_json",
    "to_jsonb",
    "to_number",
    "to_timestamp",
    "to_tsvector",
    "transaction_timestamp",
    "translate",
    "trim",
    "trunc",
    "tsrange",
    "tstzrange",
    "daterange",
    "txid_current",
    "pg_current_xact_id",
    "upper",
    "uuid_nil",
    "uuid_ns_dns",
    "uuid_ns_url",
    "array_fill",
    "nummultirange",
    "cardinality",
];

/// A type as written.
pub(super) fn ty(node: &SyntaxNode) -> Ty {
    written(&text(node))
}

/// The same from text.
pub(super) fn written(text: &str) -> Ty {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let array = words.ends_with(']') || words.contains(" array");
    let inner = words.split_once('(').map(|(_, rest)| rest.split(')').next().unwrap_or_default());
    let modifiers = inner.map_or_else(Vec::new, |inner| inner.split(',').filter_map(|m| m.trim().parse().ok()).collect());
    let mut bare = String::new();
    let mut depth = 0;
    for c in words.chars() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            c if depth == 0 => bare.push(c),
            _ => {}
        }
    }
    let bare = bare.trim().trim_end_matches(" array").split_whitespace().collect::<Vec<_>>().join(" ");
    let bare = bare.strip_prefix("pg_catalog.").unwrap_or(&bare).trim_matches('"').to_owned();
    Ty { base: canonical(&bare).to_owned(), text: words, modifiers, array }
}

fn canonical(name: &str) -> &str {
    match name {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "character varying" | "char varying" | "nchar varying" | "national character varying" => "varchar",
        "character" | "char" | "nchar" | "national character" | "national char" => "bpchar",
        "timestamp with time zone" => "timestamptz",
        "timestamp without time zone" => "timestamp",
        "time with time zone" => "timetz",
        "time without time zone" => "time",
        "boolean" => "bool",
        "decimal" => "numeric",
        "double precision" | "float" => "float8",
        "real" => "float4",
        "bit varying" => "varbit",
        "serial4" => "serial",
        "serial8" => "bigserial",
        "serial2" => "smallserial",
        other => other,
    }
}

/// An expression; `None` for NULL, also with a cast.
pub(super) fn expression(node: &SyntaxNode) -> Option<Expr> {
    let written = text(node);
    let bare = written.split("::").next().unwrap_or_default().trim_matches(|c: char| c == '(' || c == ')' || c.is_whitespace());
    if bare.eq_ignore_ascii_case("null") {
        return None;
    }
    let (mut volatility, mut function) = (Volatility::Stable, None);
    for (name, qualified) in calls(node) {
        let found = match name.as_str() {
            name if VOLATILE.contains(&name) => Volatility::Volatile,
            name if STABLE.contains(&name) && !qualified => Volatility::Stable,
            _ => Volatility::Unknown,
        };
        if found > volatility {
            (volatility, function) = (found, Some(name));
        }
    }
    Some(Expr { text: written, volatility, function })
}

/// How often the value of an expression changes, as far as its functions tell.
pub(in crate::lint) fn volatility(node: &SyntaxNode) -> Volatility {
    expression(node).map_or(Volatility::Stable, |expression| expression.volatility)
}

/// The functions that are called below this node, and whether a schema other than `pg_catalog` is given.
pub(super) fn calls(node: &SyntaxNode) -> Vec<(String, bool)> {
    let calls: Vec<SyntaxNode> = node.descendants().filter(|node| node.kind() == SyntaxKind::CALL_EXPR).collect();
    calls_of(calls.iter())
}

/// The same of calls that are known.
pub(super) fn calls_of<'c>(calls: impl Iterator<Item = &'c SyntaxNode>) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for call in calls {
        let Some(callee) = call.children().find(|child| child.kind() != SyntaxKind::ARG_LIST) else { continue };
        let mut names: Vec<String> = callee
            .descendants_with_tokens()
            .filter_map(SyntaxElement::into_token)
            .filter(|token| !token.kind().is_trivia() && token.text() != ".")
            .map(|token| token.text().trim_matches('"').to_lowercase())
            .collect();
        let Some(name) = names.pop() else { continue };
        found.push((name, names.last().is_some_and(|schema| schema != "pg_catalog")));
    }
    found
}

/// The value of a string constant.
pub(super) fn constant(node: &SyntaxNode) -> Option<String> {
    ast::Literal::cast(node.clone())?.decoded_value().map(|decoded| decoded.into_text())
}
