//! `clean_rows` steps for what was found, to be reviewed. Pure.

use super::rows::Rows;

/// A step as TOML. Without a condition that finds the rows it is a comment.
pub(super) fn clean_rows(rows: &Rows, reason: &str, count: u64, fix: Option<(&str, Option<&str>)>) -> String {
    let table = rows.table.plain();
    let Some((condition, mend)) = fix else {
        return format!(
            "# {}: {reason}\n# No condition in SQL finds exactly these rows: look at them and write the step by hand.\n",
            rows.label
        );
    };
    let text = |value: &str| toml::Value::String(value.to_owned()).to_string();
    let condition = condition.replace('\n', "");
    let action = match mend {
        Some(mend) => format!("set = {{ {mend} }}"),
        None => "delete = true".to_owned(),
    };
    let id = format!("clean-{}", crate::terms::key_digest(&format!("{table} {condition}")));
    format!(
        "[[step]]\nid = {}\nphase = \"expand\"\nkind = \"clean_rows\"\nside = \"{}\"\ntable = {}\nwhere = {}\nreason = {}\n\
         max_rows = {count}\n{action}\n",
        text(&id),
        rows.side,
        text(&table),
        text(&condition),
        text(reason)
    )
}
