//! One setting in a text file: `KEY=value`, `key = value`, `key: value`.

use std::ops::Range;

/// Where the value of a setting is, without its quotes.
///
/// # Errors
/// When there is no line of this key, or more than one: then it is not known which one counts.
pub(super) fn find(text: &str, key: &str) -> Result<Range<usize>, String> {
    let mut found = Vec::new();
    let mut begin = 0;
    for line in text.split_inclusive('\n') {
        found.extend(value_in(line, key).map(|range| begin + range.start..begin + range.end));
        begin += line.len();
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(format!("has no line `{key}=...` or `{key}: ...`")),
        count => Err(format!("has {count} lines of {key}: it is not known which one counts")),
    }
}

fn value_in(line: &str, key: &str) -> Option<Range<usize>> {
    let trimmed = line.trim_start();
    let rest = trimmed.strip_prefix("export ").unwrap_or(trimmed).strip_prefix(key)?.trim_start();
    let rest = rest.strip_prefix(['=', ':'])?.trim_start_matches([' ', '\t']);
    let start = line.len() - rest.len();
    let rest = rest.trim_end_matches(['\n', '\r']);
    let length = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let inner = rest[1..].find(quote)?;
            return Some(start + 1..start + 1 + inner);
        }
        // A comment begins after a space.
        _ => rest.find(" #").or_else(|| rest.find("\t#")).map_or(rest.trim_end().len(), |at| rest[..at].trim_end().len()),
    };
    Some(start..start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(text: &'a str, key: &str) -> Result<&'a str, String> {
        find(text, key).map(|range| &text[range])
    }

    #[test]
    fn a_setting_is_found_in_every_common_form() {
        for (text, expected) in [
            ("A=1\nTTL=1h\n", "1h"),
            ("export TTL=1h", "1h"),
            ("TTL = \"1h\" # \"x\"\n", "1h"),
            ("ttls:\n  TTL: 1h   # one hour\r\n", "1h"),
            ("TTL: '1h'\n", "1h"),
            ("# TTL=2h\nTTL_ACCESS=3h\nTTL=1h#x\n", "1h#x"),
            ("TTL=\n", ""),
        ] {
            assert_eq!(value(text, "TTL"), Ok(expected), "{text}");
        }
    }

    #[test]
    fn one_line_alone_counts() {
        assert!(value("TTLS=1h\n#TTL=1h\n", "TTL").unwrap_err().contains("no line"));
        assert!(value("TTL=1h\nTTL=2h\n", "TTL").unwrap_err().contains("2 lines"));
        assert!(value("TTL=\"1h\n", "TTL").is_err());
    }
}
