//! What a database error means, without the values that PostgreSQL puts into its messages.

use tokio_postgres::Error;
use tokio_postgres::error::DbError;

use crate::pg::ConnectFailure;

/// The five-character SQLSTATE (PostgreSQL manual, appendix A), or `""` for an error that is not the server's.
pub fn sqlstate(error: &Error) -> &str {
    error.code().map_or("", |code| code.code())
}

/// Whether the session is gone: classes 08 and 57P, or a broken socket. What was sent last may or may not have happened.
pub fn is_connection_loss(error: &Error) -> bool {
    let code = sqlstate(error);
    error.is_closed() || code.starts_with("08") || code.starts_with("57P") || (code.is_empty() && error.as_db_error().is_none())
}

/// The same for an error with its story around it; also that a session could not be opened at all.
pub fn is_loss(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<ConnectFailure>() || cause.downcast_ref::<Error>().is_some_and(is_connection_loss))
}

/// The error for people: message, SQLSTATE, and the objects it names. Values are left out: PostgreSQL repeats row values
/// in DETAIL and, for class 22 (data exception), in the message.
pub fn explain(error: &anyhow::Error) -> String {
    let mut parts = Vec::new();
    for cause in error.chain() {
        match cause.downcast_ref::<Error>() {
            Some(pg) => match pg.as_db_error() {
                Some(db) => {
                    let message = message_of(db);
                    let mut text = format!("{message} (SQLSTATE {})", db.code().code());
                    for (what, name) in [("table", db.table()), ("column", db.column()), ("constraint", db.constraint())] {
                        if let Some(name) = name.filter(|name| !message.contains(*name)) {
                            text += &format!(", {what} {name}");
                        }
                    }
                    parts.push(text);
                    break;
                }
                None => parts.push(pg.to_string()),
            },
            None if cause.is::<DbError>() => {}
            None => parts.push(cause.to_string()),
        }
    }
    parts.dedup();
    parts.join(": ")
}

/// The server's message; for class 22 (data exception) only its beginning, before any quote of any language.
pub fn message_of(error: &DbError) -> String {
    if error.code().code().starts_with("22") { without_values(error.message()) } else { error.message().to_owned() }
}

fn without_values(message: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c.is_whitespace() || "()[],.-_/".contains(c);
    let end = message.find(|c| !plain(c)).into_iter().chain(message.find("0x")).min();
    match end.map(|end| message[..end].trim_end()) {
        None => message.to_owned(),
        Some(words) if words.contains(' ') => format!("{words} (value not shown)"),
        Some(_) => "a value does not fit (value not shown)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_values;

    #[test]
    fn values_in_a_message_are_not_shown() {
        for (message, shown) in [
            ("invalid input syntax for type integer: \"secret\"", "invalid input syntax for type integer (value not shown)"),
            ("value \"secret\" is out of range for type integer", "a value does not fit (value not shown)"),
            ("invalid value \"secret\" for \"YYYY\"", "invalid value (value not shown)"),
            ("\"secret\" is out of range", "a value does not fit (value not shown)"),
            ("ungültige Eingabesyntax für Typ integer: »secret«", "ungültige Eingabesyntax für Typ integer (value not shown)"),
            ("invalid byte sequence for encoding \"UTF8\": 0xff", "invalid byte sequence for encoding (value not shown)"),
            ("character with byte sequence 0xe2 0x82 has no equivalent", "character with byte sequence (value not shown)"),
            ("value too long for type character varying(3)", "value too long for type character varying(3)"),
        ] {
            assert_eq!(without_values(message), shown);
        }
    }
}
