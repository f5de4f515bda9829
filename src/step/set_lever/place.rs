//! Where a lever is: how its value is read and set there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use tokio_postgres::SimpleQueryMessage;

use super::file;
use crate::cutover::replace;
use crate::cutover::request::Request;
use crate::cutover::signal::SignalTo;
use crate::hook::Program;
use crate::sql::Literal;
use crate::step::registry::Surroundings;
use crate::step::{Cx, Fault};
use crate::terms::Side;

/// Where the value goes.
const VALUE: &str = "{value}";

/// What reading gives.
pub(super) struct Reading {
    /// The value, in full: it may be of another form than the lever's, and then it must not be shown.
    pub value: String,
    /// Whether who reads a file was told of what is in it.
    pub told: bool,
}

/// Where a lever is.
pub(super) enum Place {
    File { path: PathBuf, key: String, signal: Option<SignalTo>, then: Option<Program> },
    Http { read: Request, json: Option<String>, write: Request },
    Command { read: Program, write: Program },
    Sql { side: Side, read: String, write: Vec<String> },
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FileKeys {
    /// The file.
    path: PathBuf,
    /// Its setting: the word before `=` or `:`.
    key: String,
    /// Who is told by a signal.
    signal: Option<SignalTo>,
    /// A program that tells who reads the file.
    then: Option<Vec<String>>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpKeys {
    /// Asks for the value.
    read: Request,
    /// Where in a JSON answer it is (RFC 6901); the whole body, trimmed, when there is none.
    json: Option<String>,
    /// Sets it: `{value}` in the URL or the body.
    write: Request,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandKeys {
    /// Prints the value.
    read: Vec<String>,
    /// Sets it: `{value}` among its arguments.
    write: Vec<String>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SqlKeys {
    /// Where it is asked and set.
    side: Side,
    /// A query that gives the value.
    read: String,
    /// Statements that set it, each alone: `{value}` is a string constant.
    write: Vec<String>,
}

/// A place and the content of the files it reads, or what is wrong with it.
type Read = Result<(Place, Vec<Vec<u8>>), Vec<Fault>>;

fn program(key: &str, words: Vec<String>, around: &Surroundings, files: &mut Vec<Vec<u8>>) -> Result<Program, Vec<Fault>> {
    let (program, content) = Program::find(key, words, &around.base).map_err(|what| vec![Fault::key(key, what)])?;
    files.extend(content);
    Ok(program)
}

impl FileKeys {
    pub fn read(self, around: &Surroundings) -> Read {
        let mut files = Vec::new();
        let then = self.then.map(|words| program("file", words, around, &mut files)).transpose()?;
        let path = std::path::absolute(around.base.join(&self.path)).map_err(|e| vec![Fault::key("file", e.to_string())])?;
        if self.key.trim().is_empty() || self.key.contains(['\n', '=', ':']) {
            return Err(vec![Fault::key("file", "`key` is the word before `=` or `:` in the file")]);
        }
        let signal = self.signal.map(|to| to.from_folder(&around.base));
        Ok((Place::File { path, key: self.key, signal, then }, files))
    }
}

impl HttpKeys {
    pub fn read(self) -> Read {
        let mut wrong: Vec<Fault> = Vec::new();
        wrong.extend(self.read.check().err().map(|what| Fault::key("http", format!("`read`: {what}"))));
        wrong.extend(self.write.with_value("1").check().err().map(|what| Fault::key("http", format!("`write`: {what}"))));
        if !self.write.takes_value() {
            wrong.push(Fault::key("http", format!("`write` has no `{VALUE}` in its URL or body: it would set nothing")));
        }
        if wrong.is_empty() {
            Ok((Place::Http { read: self.read, json: self.json, write: self.write }, Vec::new()))
        } else {
            Err(wrong)
        }
    }
}

impl CommandKeys {
    pub fn read(self, around: &Surroundings) -> Read {
        if !self.write.iter().skip(1).any(|word| word.contains(VALUE)) {
            return Err(vec![Fault::key(
                "command",
                format!("`write` has no `{VALUE}` among its arguments: it would set nothing"),
            )]);
        }
        let mut files = Vec::new();
        let read = program("command", self.read, around, &mut files)?;
        let write = program("command", self.write, around, &mut files)?;
        Ok((Place::Command { read, write }, files))
    }
}

impl SqlKeys {
    pub fn read(self, around: &Surroundings) -> Read {
        let Self { side, read, write } = self;
        if side == Side::Green && !around.has_green {
            return Err(vec![Fault::key("sql", "is on green, but the plan has no [green]")]);
        }
        if !write.iter().any(|sql| sql.contains(VALUE)) {
            return Err(vec![Fault::key("sql", format!("`write` has no `{VALUE}`: it would set nothing"))]);
        }
        Ok((Place::Sql { side, read, write }, Vec::new()))
    }
}

impl Place {
    /// What messages call it.
    pub fn shown(&self) -> String {
        match self {
            Place::File { path, key, .. } => format!("{key} in {}", path.display()),
            Place::Http { write, .. } => write.shown(),
            Place::Command { write, .. } => write.shown(),
            Place::Sql { side, .. } => format!("SQL on {side}"),
        }
    }

    /// The database it is in.
    pub fn side(&self) -> Option<Side> {
        match self {
            Place::Sql { side, .. } => Some(*side),
            _ => None,
        }
    }

    /// A program of the plan that it runs.
    pub fn runs(&self) -> Option<String> {
        match self {
            Place::Command { write, .. } => Some(write.shown()),
            Place::File { then: Some(program), .. } => Some(program.shown()),
            _ => None,
        }
    }

    /// Makes sure that it could be set.
    ///
    /// # Errors
    /// When its folder takes no file, or its reader cannot be signalled.
    pub fn prepare(&self) -> anyhow::Result<()> {
        let Place::File { path, signal, .. } = self else { return Ok(()) };
        replace::trial(path)?;
        signal.as_ref().map_or(Ok(()), SignalTo::reachable)
    }

    /// The value now.
    ///
    /// # Errors
    /// When it cannot be read; never with the value in the message.
    pub async fn read(&self, cx: &Cx, timeout: Duration) -> anyhow::Result<Reading> {
        let value = match self {
            Place::File { path, key, .. } => {
                let text = content(path)?;
                let range = file::find(&text, key).map_err(|what| anyhow::anyhow!("{} {what}", path.display()))?;
                return Ok(Reading { value: text[range].to_owned(), told: !untold(path)?.exists() });
            }
            Place::Http { read, json, .. } => {
                let body = read.must(timeout).await?.body;
                match json {
                    None => body.trim().to_owned(),
                    Some(pointer) => pointed(&body, pointer).with_context(|| read.shown())?,
                }
            }
            Place::Command { read, .. } => read.output(&cx.hook(), timeout).await?.trim().to_owned(),
            Place::Sql { side, read, .. } => {
                let session = cx.connect(*side).await?;
                let answer = tokio::time::timeout(timeout, session.simple_query(read)).await.context("no answer to `read`")?;
                let mut rows = answer.context("`read`")?.into_iter().filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
                    _ => None,
                });
                match (rows.next(), rows.next()) {
                    (Some(Some(value)), None) => value,
                    _ => bail!("`read` gives no single value that is not NULL"),
                }
            }
        };
        Ok(Reading { value, told: true })
    }

    /// Sets the value. After a crash anywhere it may be done again.
    ///
    /// # Errors
    /// When it cannot be set.
    pub async fn write(&self, cx: &Cx, value: &str, timeout: Duration) -> anyhow::Result<()> {
        match self {
            Place::File { path, key, signal, then } => {
                let text = content(path)?;
                let range = file::find(&text, key).map_err(|what| anyhow::anyhow!("{} {what}", path.display()))?;
                let untold = untold(path)?;
                if signal.is_some() || then.is_some() {
                    note(&untold)?;
                }
                cx.crash_point("noted");
                replace::replace(path, [&text[..range.start], value, &text[range.end..]].concat().as_bytes())?;
                cx.crash_point("replaced");
                if let Some(signal) = signal {
                    signal.send()?;
                }
                if let Some(program) = then {
                    program.must(&cx.hook(), timeout).await?;
                }
                cx.crash_point("told");
                match std::fs::remove_file(&untold) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        Err(error).with_context(|| format!("cannot remove {}", untold.display()))
                    }
                    _ => Ok(()),
                }
            }
            Place::Http { write, .. } => write.with_value(value).must(timeout).await.map(drop),
            Place::Command { write, .. } => write.with_value(value).must(&cx.hook(), timeout).await,
            Place::Sql { side, write, .. } => {
                let session = cx.connect(*side).await?;
                for (number, sql) in write.iter().enumerate() {
                    let sql = sql.replace(VALUE, &Literal::new(value).to_string());
                    let done = tokio::time::timeout(timeout, session.batch_execute(&sql)).await;
                    done.with_context(|| format!("no answer to statement {} of `write`", number + 1))?
                        .with_context(|| format!("statement {} of `write`", number + 1))?;
                    cx.crash_point("statement");
                }
                Ok(())
            }
        }
    }
}

/// The value at a place of a JSON document.
fn pointed(body: &str, pointer: &str) -> anyhow::Result<String> {
    // serde's message may quote what it read.
    let document: serde_json::Value = serde_json::from_str(body).map_err(|_| anyhow::anyhow!("the answer is no JSON"))?;
    match document.pointer(pointer) {
        Some(serde_json::Value::String(text)) => Ok(text.clone()),
        Some(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => Ok(value.to_string()),
        Some(_) => bail!("at {pointer} is no single value"),
        None => bail!("nothing is at {pointer}"),
    }
}

fn content(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A file that is there from before the setting changes until its reader was told.
fn untold(path: &Path) -> anyhow::Result<PathBuf> {
    let name = path.file_name().context("the path names no file")?.to_string_lossy();
    Ok(path.with_file_name(format!(".{name}.crossfade-untold")))
}

fn note(path: &Path) -> anyhow::Result<()> {
    let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_in_json() {
        let body = r#"{"ttl": {"access": "1h"}, "n": 5, "on": true}"#;
        assert_eq!(pointed(body, "/ttl/access").unwrap(), "1h");
        assert_eq!(pointed(body, "/n").unwrap(), "5");
        assert_eq!(pointed(body, "/on").unwrap(), "true");
        assert!(pointed(body, "/ttl").is_err() && pointed(body, "/x").is_err());
        assert!(!pointed("s3cret", "/x").unwrap_err().to_string().contains("s3cret"));
    }
}
