//! What a project wants to hear: levels per rule, the server's version.

use std::collections::BTreeMap;

use super::Level;
use super::rules;

/// The version of PostgreSQL that is assumed when nothing says otherwise: the oldest that is still supported.
pub const DEFAULT_VERSION: u32 = 14;

/// Levels and version.
#[derive(Debug, Clone)]
pub struct Config {
    /// The major version of the server.
    pub pg_version: u32,
    /// The level from which on findings fail the command.
    pub fail_on: Level,
    levels: BTreeMap<&'static str, Level>,
}

impl Default for Config {
    fn default() -> Self {
        Self { pg_version: DEFAULT_VERSION, fail_on: Level::Error, levels: BTreeMap::new() }
    }
}

impl Config {
    /// Reads a configuration file (`crossfade-lint.toml`).
    ///
    /// # Errors
    /// Every problem at once: keys, rules and levels that do not exist.
    pub fn read(text: &str) -> Result<Self, Vec<String>> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| vec![e.to_string()])?;
        let (mut config, mut wrong) = (Self::default(), Vec::new());
        for (name, value) in &table {
            let result = match (name.as_str(), value) {
                ("pg_version", value) => config.set_version(&value.to_string().replace('"', "")),
                ("fail_on", toml::Value::String(level)) => config.set_fail_on(level),
                ("rules", toml::Value::Table(rules)) => {
                    for (rule, level) in rules {
                        let level = level.as_str().unwrap_or_default();
                        wrong.extend(config.set(rule, level).err());
                    }
                    Ok(())
                }
                ("rules" | "fail_on", _) => Err(format!("`{name}` has another form: see docs/lint/README.md")),
                _ => Err(format!("`{name}` is no key: expected pg_version, fail_on or [rules]")),
            };
            wrong.extend(result.err());
        }
        if wrong.is_empty() { Ok(config) } else { Err(wrong) }
    }

    /// Sets the version: `15` or `15.3`.
    ///
    /// # Errors
    /// When it is no version from 9 to 99.
    pub fn set_version(&mut self, text: &str) -> Result<(), String> {
        let major = text.trim().split('.').next().and_then(|major| major.parse().ok()).filter(|major| (9..100).contains(major));
        self.pg_version = major.ok_or_else(|| format!("`{text}` is no version of PostgreSQL: expected for instance 15"))?;
        Ok(())
    }

    /// Sets the level that fails the command; `off` for none.
    ///
    /// # Errors
    /// When there is no such level.
    pub fn set_fail_on(&mut self, level: &str) -> Result<(), String> {
        self.fail_on = Level::parse(level).ok_or_else(|| no_level(level))?;
        Ok(())
    }

    /// Sets the level of a rule.
    ///
    /// # Errors
    /// When there is no such rule or level.
    pub fn set(&mut self, rule: &str, level: &str) -> Result<(), String> {
        let level = Level::parse(level).ok_or_else(|| format!("rule {rule}: {}", no_level(level)))?;
        let rule = rules::find(rule).ok_or_else(|| no_rule(rule))?;
        self.levels.insert(rule.id, level);
        Ok(())
    }

    /// The level set for a rule.
    pub(super) fn level(&self, rule: &str) -> Option<Level> {
        self.levels.get(rule).copied()
    }
}

fn no_level(level: &str) -> String {
    format!("`{level}` is no level: expected off, note, warning or error")
}

/// Says that there is no such rule, and which one may be meant.
pub fn no_rule(id: &str) -> String {
    let near = rules::all().map(|rule| (strsim::damerau_levenshtein(rule.id, id), rule.id)).min();
    match near.filter(|(distance, _)| *distance <= 6) {
        Some((_, near)) => format!("`{id}` is no rule: did you mean {near}? (crossfade lint --list)"),
        None => format!("`{id}` is no rule: crossfade lint --list names them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told() {
        let wrong =
            Config::read("pg_version = 99999\nfail_on = \"x\"\nother = 1\n[rules]\ndrop-tabel = \"off\"\ndrop-table = \"loud\"")
                .unwrap_err();
        assert_eq!(wrong.len(), 5, "{wrong:?}");
        assert!(wrong.iter().any(|w| w.contains("did you mean drop-table")), "{wrong:?}");
        let config = Config::read("pg_version = \"15.2\"\nfail_on = \"warning\"\n[rules]\ndrop-table = \"off\"").unwrap();
        assert_eq!((config.pg_version, config.fail_on, config.level("drop-table")), (15, Level::Warning, Some(Level::Off)));
        assert!(Config::read("= 1").is_err());
    }
}
