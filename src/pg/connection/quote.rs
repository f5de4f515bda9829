//! Connection settings inside a command that is shown to a person.

/// A value of a `keyword=value` connection string, quoted where it must be (PostgreSQL manual 34.1.1.1).
pub fn conninfo_value(value: &str) -> String {
    if !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c == '\'' || c == '\\') {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A word of a POSIX shell command.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_needed() {
        assert_eq!(conninfo_value("a"), "a");
        assert_eq!(conninfo_value(""), "''");
        assert_eq!(conninfo_value(r"it's \"), r"'it\'s \\'");
        assert_eq!(shell_word("host=a"), "host=a");
        assert_eq!(shell_word("it's; rm"), r"'it'\''s; rm'");
    }
}
