//! The text of `pg_restore` as the entries it consists of. Pure.

/// One object's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name as the header has it: a table's constraint is `table constraint`.
    pub name: String,
    /// `TABLE`, `INDEX`, `FK CONSTRAINT`, ...
    pub sort: String,
    /// Its schema, or `-`.
    pub schema: String,
    /// The statements.
    pub text: String,
}

const BEFORE: &str = "\n--\n-- Name: ";

/// The settings at the top of the text and its entries, each with the settings that came before it.
pub fn entries(text: &str) -> (Vec<String>, Vec<Entry>) {
    let mut pieces = text.split(BEFORE);
    let settings: Vec<String> =
        pieces.next().unwrap_or_default().lines().filter(|line| is_setting(line)).map(str::to_owned).collect();
    let mut entries: Vec<Entry> = Vec::new();
    // Settings stand in front of the header of the entry they are for, and hold for all that follow.
    let mut standing: Vec<String> = settings.iter().filter(|line| line.starts_with("SET default_")).cloned().collect();
    for piece in pieces {
        let Some((name, sort, schema, body)) = header(piece) else {
            // A name or a comment that looks like a header: it belongs to what came before.
            if let Some(last) = entries.last_mut() {
                last.text += BEFORE;
                last.text += piece;
            }
            continue;
        };
        let lines: Vec<&str> = body.lines().collect();
        let end = lines.iter().rposition(|line| !is_setting(line) && !line.is_empty() && !is_end(line)).map_or(0, |at| at + 1);
        let own: Vec<&str> = standing.iter().map(String::as_str).chain(lines[..end].iter().copied()).collect();
        let text = own.join("\n");
        for line in lines[end..].iter().filter(|line| line.starts_with("SET default_")) {
            let setting = line.split('=').next().unwrap_or_default();
            standing.retain(|known| known.split('=').next() != Some(setting));
            standing.push((*line).to_owned());
        }
        entries.push(Entry { name: name.to_owned(), sort: sort.to_owned(), schema: schema.to_owned(), text });
    }
    (settings, entries)
}

fn is_setting(line: &str) -> bool {
    (line.starts_with("SET ") || line.starts_with("SELECT pg_catalog.set_config")) && line.ends_with(';')
}

/// Lines of the end of the text, which are for psql or for nobody.
fn is_end(line: &str) -> bool {
    line == "--" || line == "-- PostgreSQL database dump complete" || line.starts_with("\\unrestrict ")
}

/// `name; Type: t; Schema: s; Owner: o`, and what comes after it.
fn header(piece: &str) -> Option<(&str, &str, &str, &str)> {
    let (line, rest) = piece.split_once('\n')?;
    let body = rest.strip_prefix("--\n")?;
    let (line, _) = line.rsplit_once("; Owner: ")?;
    let (line, schema) = line.rsplit_once("; Schema: ")?;
    let (name, sort) = line.rsplit_once("; Type: ")?;
    Some((name, sort, schema, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n\nSET statement_timeout = 0;\n\
        SELECT pg_catalog.set_config('search_path', '', false);\n\nSET default_tablespace = '';\n\n\
        --\n-- Name: t u; Type: CONSTRAINT; Schema: public; Owner: me\n--\n\nALTER TABLE ONLY public.t\n    ADD CONSTRAINT u UNIQUE (x);\n\n\n\
        SET default_tablespace = fast;\n\n--\n-- Name: i; Type: INDEX; Schema: a b; Owner: -\n--\n\nCREATE INDEX i ON t;\n\n\n\
        --\n-- Name: x y\n--\nno header\n\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict x\n\n";

    #[test]
    fn entries_carry_the_settings_before_them() {
        let (settings, entries) = entries(TEXT);
        assert_eq!(settings.len(), 3);
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].name.as_str(), entries[0].sort.as_str()), ("t u", "CONSTRAINT"));
        assert_eq!(
            entries[0].text,
            "SET default_tablespace = '';\n\nALTER TABLE ONLY public.t\n    ADD CONSTRAINT u UNIQUE (x);"
        );
        assert_eq!(entries[1].schema, "a b");
        assert!(entries[1].text.starts_with("SET default_tablespace = fast;\n\nCREATE INDEX i ON t;"));
        assert!(entries[1].text.contains("-- Name: x y\n--\nno header"), "{}", entries[1].text);
    }
}
