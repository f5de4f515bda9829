//! The page of a rule, for `--explain` and docs/lint.

use crate::lint::Level;
use crate::lint::rules::{self, Example, Rule};

/// The page in Markdown.
pub fn page(rule: &Rule) -> String {
    let level = match rule.level {
        Level::Off => "off (switch it on in the configuration)".to_owned(),
        level => level.as_str().to_owned(),
    };
    let mut out = format!("# {}\n\n{}.\n\n", rule.id, capital(rule.title));
    out += &format!("- **Level:** {level}{}\n", if rule.scales { "; with `--connect`, by the size of the table" } else { "" });
    out += &format!("- **PostgreSQL:** {}\n", rule.versions);
    if rule.irreversible {
        out += "- **Way back:** none: what is gone comes back only from a copy\n";
    }
    out += &format!("\n## Effect\n\n{}\n\n## Instead\n\n{}.\n", rule.effect, capital(rule.safe.trim_end_matches('.')));
    if !rule.bad.before.is_empty() {
        out += &format!("\n## Example\n\nThere is:\n\n```sql\n{}\n```\n", rule.bad.before);
    }
    out += &format!("\n## Found\n\n{}", example(&rule.bad));
    if rule.good.before != rule.bad.before && !rule.good.before.is_empty() {
        out += &format!("\n## Not found, where there is\n\n```sql\n{}\n```\n", rule.good.before);
    }
    out += &format!("\n## Not found\n\n{}", example(&rule.good));
    if !rule.covers.is_empty() {
        let names: Vec<String> = rule.covers.iter().map(|name| format!("`{name}`")).collect();
        out += &format!("\n## Known elsewhere as\n\n{}\n", names.join(", "));
    }
    out + &format!(
        "\n## Silence it\n\nFor one statement, in a comment before it: `-- crossfade-lint: ignore {id}: why`. For a project, in \
         crossfade-lint.toml: `{id} = \"off\"` under `[rules]`.\n",
        id = rule.id
    )
}

fn example(example: &Example) -> String {
    let wrapped = if example.wrapped { "The tool runs each file as one transaction.\n\n" } else { "" };
    format!("{wrapped}```sql\n{}\n```\n", example.sql)
}

/// The list of all rules in Markdown.
pub fn index() -> String {
    let mut out = String::from(
        "# The rules of `crossfade lint`\n\nGenerated from the rules themselves (tests/it/lint.rs holds these pages to them).\n\n\
         | rule | level | finds |\n| --- | --- | --- |\n",
    );
    for rule in rules::all() {
        out += &format!("| [{0}]({0}.md) | {1} | {2} |\n", rule.id, rule.level.as_str(), rule.title);
    }
    out + CONFIGURATION
}

const CONFIGURATION: &str = "\n## Configuration\n\n`crossfade-lint.toml` in the current folder, or `--config FILE`:\n\n```toml\n\
    pg_version = \"15\"      # the server's major version; the oldest supported one otherwise\n\
    fail_on = \"warning\"    # exit code 10 from this level on: off, note, warning, error (default)\n\n\
    [rules]                # off, note, warning or error\n\
    prefer-identity = \"off\"\n\
    statement-timeout-missing = \"warning\"\n```\n\n\
    `--rule ID=LEVEL` and `--pg-version` on the command line stand above the file.\n";

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
