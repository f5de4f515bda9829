//! The table of step kinds and the way from a plan's TOML table to a step.

use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use super::Step;
use crate::suggest::{nearest, with_suggestion};

/// What a kind's parser may look at beside its own table.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The plan file's directory: relative paths in the plan start here.
    pub base: PathBuf,
    /// Whether the plan names a green database.
    pub has_green: bool,
}

/// A step as parsed, with the content of every file it reads (for the fingerprint).
pub struct Parsed {
    /// The kind's name.
    pub kind: &'static str,
    /// The step.
    pub step: Box<dyn Step>,
    /// Content of the files it reads, in a fixed order.
    pub files: Vec<Vec<u8>>,
}

/// One thing wrong with a step's table or with a file it names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fault {
    /// The key of the step's table it is about.
    pub key: Option<String>,
    /// The file it is in, when it is not the plan file.
    pub file: Option<PathBuf>,
    /// The line in that file, from 1.
    pub line: Option<usize>,
    /// What is wrong and what was expected.
    pub what: String,
}

impl Fault {
    /// A fault of one key of the step's table.
    pub fn key(key: &str, what: impl Into<String>) -> Self {
        Self { key: Some(key.to_owned()), what: what.into(), ..Self::default() }
    }

    /// A fault of a file the step names, at a line when known.
    pub fn file(file: impl Into<PathBuf>, line: Option<usize>, what: impl Into<String>) -> Self {
        Self { file: Some(file.into()), line, what: what.into(), ..Self::default() }
    }
}

/// What a kind's parser gives: the step and the content of the files it reads.
pub type KindResult = Result<(Box<dyn Step>, Vec<Vec<u8>>), Vec<Fault>>;

/// One step kind.
pub struct Kind {
    /// Its name in plans.
    pub name: &'static str,
    /// One line for `crossfade explain` and the plan reference.
    pub about: &'static str,
    /// Makes the step from the keys of the plan's table that belong to the kind.
    pub parse: fn(toml::Table, &Surroundings) -> KindResult,
    /// The JSON schema of those keys, from the declaration that is parsed.
    pub keys: fn(&mut SchemaGenerator) -> Schema,
}

/// The schema of a kind's own struct.
pub(super) fn keys_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

/// Every step kind, in the order the README lists them. A new kind is one new file and one line here.
#[rustfmt::skip]
pub const KINDS: &[Kind] = &[
    super::require::KIND,
    super::explicit_columns::KIND,
    super::migrate::KIND,
    super::run_sql::KIND,
    super::create_index::KIND,
    super::drop_index::KIND,
    super::add_constraint::KIND,
    super::set_not_null::KIND,
    super::backfill::KIND,
    super::clean_rows::KIND,
    super::start_capture::KIND,
    super::clone::KIND,
    super::copy::KIND,
    super::take_over::KIND,
    super::follow::KIND,
    super::verify::KIND,
    super::prove_revocations::KIND,
    super::switch::KIND,
    super::watch::KIND,
    super::end_way_back::KIND,
    super::audit::KIND,
    super::repair::KIND,
    super::set_lever::KIND,
    super::run_hook::KIND,
    super::confirm::KIND,
];

/// Makes the step of this kind.
///
/// # Errors
/// Every fault of the table at once; for an unknown kind the nearest known one.
pub fn parse(kind: &str, table: toml::Table, around: &Surroundings) -> Result<Parsed, Vec<Fault>> {
    let Some(known) = KINDS.iter().find(|known| known.name == kind) else {
        let hint = match nearest(kind, KINDS.iter().map(|kind| kind.name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the kinds are {}", KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ")),
        };
        return Err(vec![Fault::key("kind", format!("there is no step kind `{kind}`; {hint}"))]);
    };
    let (step, files) = (known.parse)(table, around)?;
    Ok(Parsed { kind: known.name, step, files })
}

/// Reads a kind's own struct from the table; unknown keys are refused by the struct (`deny_unknown_fields`).
///
/// # Errors
/// One fault that names the key.
pub fn from_table<T: DeserializeOwned>(table: toml::Table) -> Result<T, Vec<Fault>> {
    serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
        let path = error.path().to_string();
        let what = error.into_inner().message().to_owned();
        let key = unknown_key(&what).or_else(|| path.split('.').next().map(str::to_owned)).filter(|key| key != ".");
        let what = match &key {
            Some(key) if !what.contains(key.as_str()) => format!("`{key}`: {what}"),
            _ => what,
        };
        let what = with_suggestion(&what);
        vec![Fault { key, what, ..Fault::default() }]
    })
}

fn unknown_key(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field `")?;
    rest.split('`').next().map(str::to_owned)
}
