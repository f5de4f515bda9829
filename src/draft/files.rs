//! A draft as files: the plan, one projection for each table that is not the same, and the constants.

use toml::Value;

use super::{Decision, Draft, Drafted, OPEN};

impl Draft {
    /// The files, by their path from the plan's folder on, with the plan last; and what is to be decided in them. `stem` is the plan
    /// file's name without `.toml`, and gives the projections' folder its name.
    pub fn files(&self, stem: &str, name: &str) -> (Vec<(String, String)>, Vec<Decision>) {
        let folder = format!("{stem}.projections");
        let (mut files, mut decisions) = (Vec::new(), Vec::new());
        if !self.projections.is_empty() && !self.constants.is_empty() {
            let lines: String = self.constants.iter().map(|(name, query)| format!("{name} = {}\n", text(query))).collect();
            files.push((
                format!("{folder}/constants.toml"),
                format!("# Read once from green: each of these tables holds one row there.\n{lines}"),
            ));
        }
        for projection in &self.projections {
            let file = format!("{folder}/{}.toml", projection.table.replace(['/', '"'], "_"));
            let (content, found) = projection.file();
            decisions.extend(found.into_iter().map(|(line, what)| Decision {
                file: file.clone(),
                line,
                table: projection.table.clone(),
                what,
            }));
            files.push((file, content));
        }
        files.push((format!("{stem}.toml"), self.plan(name, &folder, &decisions)));
        (files, decisions)
    }

    fn plan(&self, name: &str, folder: &str, decisions: &[Decision]) -> String {
        let mut out = String::from("# A first plan, written by crossfade init from what both catalogs say.\n#\n");
        match decisions.is_empty() {
            true => out += "# Nothing is left to decide.\n",
            false => {
                out += &format!("# TODO: put an SQL expression for each \"{OPEN}\" (crossfade check says which are left):\n");
                decisions
                    .iter()
                    .for_each(|decision| out += &format!("#   {}:{}: {}\n", decision.file, decision.line, decision.what));
            }
        }
        self.notes.iter().for_each(|note| out += &format!("# Note: {note}.\n"));
        let mut keys = String::new();
        if !self.projections.is_empty() {
            keys += &format!("projections = {}\n", text(folder));
        }
        if !self.same.is_empty() {
            let tables: Vec<String> = self.same.iter().map(|table| format!("    {},\n", text(table))).collect();
            keys += &format!("tables = [\n{}]\n", tables.concat());
        }
        out += &format!(
            "\nformat = 1\nname = {}\nblue = {{ url_env = \"BLUE_DATABASE_URL\" }}\ngreen = {{ url_env = \"GREEN_DATABASE_URL\" }}\n",
            text(name)
        );
        for (id, phase, kind, description) in [
            ("capture", "capture", "start_capture", "From here on blue's transactions record which rows they change"),
            ("copy", "copy", "copy", "Every row in green's form, from one snapshot"),
            ("follow", "follow", "follow", "What was written on blue since, until green is close behind"),
            ("verify", "follow", "verify", "Every row of green against its projection, at one snapshot of blue"),
        ] {
            out += &format!(
                "\n[[step]]\nid = \"{id}\"\nphase = \"{phase}\"\nkind = \"{kind}\"\ndescription = {}\n{keys}",
                text(description)
            );
        }
        out
    }
}

impl Drafted {
    /// The file, and its open places with their lines.
    fn file(&self) -> (String, Vec<(usize, String)>) {
        let (mut out, mut open) = (String::new(), Vec::new());
        self.remarks.iter().for_each(|remark| out += &format!("# {remark}\n"));
        out += &format!("table = {}\n", text(&self.table));
        let mut decide = |out: &str, what: String| open.push((out.matches('\n').count() + 1, what));
        if self.key.is_empty() {
            decide(&out, format!("{}: the columns that name a row", self.table));
        }
        let key: Vec<String> = self.key.iter().map(|column| text(column)).collect();
        out += &format!("key = [{}]\n", if key.is_empty() { text(OPEN) } else { key.join(", ") });
        if !self.defaulted.is_empty() {
            let columns: Vec<String> = self.defaulted.iter().map(|column| text(column)).collect();
            out += &format!("defaulted = [{}]\n", columns.join(", "));
        }
        out += "\n[[source]]\nname = \"rows\"\n";
        match &self.from {
            Some(from) => {
                let (table, quoted) = (text(&from.plain()), text(&format!("{from} AS t")));
                out += &format!("drives = {{ table = {table}, alias = \"t\" }}\nfrom = {quoted}\n");
            }
            None => {
                decide(&out, self.alike.clone());
                out += &format!("drives = {{ table = {0}, alias = \"t\" }}\n", text(OPEN));
                decide(&out, "the same table under the alias t, with what it is joined to: `that_table AS t`".to_owned());
                out += &format!("from = {}\n", text(OPEN));
            }
        }
        out += "\n[source.columns]\n";
        for column in &self.columns {
            let expression = match &column.expression {
                Some(expression) => expression.as_str(),
                None => {
                    decide(&out, format!("{}.{}: {}", self.table, column.name, column.what));
                    OPEN
                }
            };
            out += &format!("{} = {}\n", bare(&column.name), text(expression));
        }
        (out, open)
    }
}

/// A TOML string.
fn text(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// A TOML key.
fn bare(name: &str) -> String {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain { name.to_owned() } else { text(name) }
}

#[cfg(test)]
mod tests {
    use super::super::Column;
    use super::*;

    #[test]
    fn open_places_are_listed_with_their_lines() {
        let draft = Draft {
            same: vec!["a".to_owned()],
            projections: vec![Drafted {
                table: "b".to_owned(),
                from: None,
                alike: "from where".to_owned(),
                key: vec!["id".to_owned()],
                defaulted: Vec::new(),
                columns: vec![
                    Column { name: "id".to_owned(), expression: Some("t.id".to_owned()), what: String::new() },
                    Column { name: "Odd name".to_owned(), expression: None, what: "text".to_owned() },
                ],
                remarks: vec!["a remark".to_owned()],
            }],
            constants: Vec::new(),
            notes: Vec::new(),
        };
        let (files, decisions) = draft.files("plan", "first");
        assert_eq!(files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["plan.projections/b.toml", "plan.toml"]);
        for decision in &decisions {
            assert!(files[0].1.lines().nth(decision.line - 1).unwrap().contains("\"?\""), "{decision:?}");
        }
        assert_eq!(decisions.len(), files[0].1.matches("\"?\"").count());
        assert!(toml::from_str::<toml::Table>(&files[0].1).is_ok(), "{}", files[0].1);
        assert!(files[1].1.contains("plan.projections/b.toml:12: b.Odd name: text"), "{}", files[1].1);
    }
}
