//! From rewritten versions to the files of a plan. Pure.
//!
//! A version that needs nothing but SQL is one file under its own version. A backfill, an approval or a cut divides a version: the
//! pieces before the last are recorded in `crossfade.rewritten`, the last one carries the version.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::{Form, Part, Rewritten};
use crate::sql::{Ident, QualifiedName};

/// The application's table of applied versions.
#[derive(Debug, Clone)]
pub struct History {
    /// The table.
    pub table: QualifiedName,
    /// Its column of versions.
    pub column: Ident,
    /// What a row has in other columns, as written in a plan: `version_self = 0`.
    pub constants: String,
}

/// What the plan needs beside the versions.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The plan's name.
    pub name: String,
    /// The folder of its SQL files, from the plan.
    pub folder: String,
    /// Where the versions are recorded; without it each file is recorded in `crossfade.rewritten` alone.
    pub history: Option<History>,
    /// The files that take a version back, by version.
    pub downs: BTreeMap<String, String>,
    /// Rows that a cleanup may take before it asks.
    pub max_rows: u64,
}

/// The plan and its SQL files, and what a person has to know.
#[derive(Debug, Default)]
pub struct Emitted {
    /// The text of the plan.
    pub plan: String,
    /// SQL files, with their paths from the plan.
    pub files: Vec<(PathBuf, String)>,
    /// Statements that nothing makes safe, as `file:line: why`.
    pub approvals: Vec<String>,
}

/// Where pieces are recorded.
const PIECES: &str =
    "CREATE SCHEMA IF NOT EXISTS crossfade;\nCREATE TABLE IF NOT EXISTS crossfade.rewritten (version text PRIMARY KEY);\n";

/// A client that wants a row of a batch waits for its end: shorter than in a plan that somebody tuned.
const LIMITS: &str = "\n[limits]\nbatch_target = \"100ms\"  # as long may a client wait for a row of a batch\n";

/// Stands in a step for the row that is written behind it, until that is known.
const BEHIND: &str = "\u{1}";

/// Which history a run of files is recorded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recorded {
    Application,
    Pieces,
}

struct Open {
    recorded: Recorded,
    folder: String,
    phase: &'static str,
}

struct Writer<'a> {
    settings: &'a Settings,
    out: Emitted,
    steps: String,
    /// The `migrate` step whose files are being collected.
    open: Option<Open>,
    folders: usize,
    pieces: usize,
    others: usize,
    /// Whether rows are changed in batches.
    batches: bool,
    phase: &'static str,
}

/// Writes the plan of these versions.
pub fn emit(versions: &[Rewritten], settings: &Settings) -> Emitted {
    let mut writer = Writer {
        settings,
        out: Emitted::default(),
        steps: String::new(),
        open: None,
        folders: 0,
        pieces: 0,
        others: 0,
        batches: false,
        phase: "expand",
    };
    for version in versions {
        writer.version(version);
    }
    writer.close();
    writer.contract(versions);
    writer.close();
    let quoted = |text: &str| toml::Value::from(text).to_string();
    writer.out.plan = format!(
        "# Made by `crossfade rewrite`. Read it before you run it; `crossfade prove` shows that it ends where the original does.\n\
         format = 1\nname = {}\n\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n{}{}",
        quoted(&settings.name),
        if writer.batches { LIMITS } else { "" },
        writer.steps
    );
    writer.out
}

impl Writer<'_> {
    fn version(&mut self, version: &Rewritten) {
        let (mut text, from) = (String::new(), self.steps.len());
        let mut whole = true;
        for part in &version.parts {
            text += &part.lead;
            match &part.form {
                Form::Sql(sql) => text += &format!("{sql};\n"),
                Form::Alone(sql) => text += &alone(sql),
                Form::Left(what) => text += &format!("-- left out: {what}\n"),
                Form::Later { name, .. } => {
                    whole = false;
                    text += &format!("-- {name} goes at the end of the plan\n");
                }
                Form::Cut => {
                    whole &= text.trim().is_empty();
                    self.piece(version, &mut text);
                }
                Form::Backfill(fill) => {
                    whole = false;
                    self.piece(version, &mut text);
                    self.phase = "convert";
                    let set: Vec<String> = fill.set.iter().map(|(column, value)| pair(column, value)).collect();
                    let aside = if fill.only_null { "\nset_aside = false" } else { "" };
                    let body = format!(
                        "table = {}\nset = {{ {} }}\nwhere = {}{aside}",
                        named(&fill.table),
                        set.join(", "),
                        quoted(&fill.filter)
                    );
                    self.step("fill", fill.table.name().as_str(), "backfill", &body, version, part);
                }
                Form::Clean { table, filter } => {
                    whole = false;
                    self.piece(version, &mut text);
                    self.phase = "convert";
                    let reason = quoted(format!("{} removes them", version.file));
                    let body = format!(
                        "table = {}\nwhere = {}\nreason = {reason}\nmax_rows = {}  # more than that many rows stop the run\ndelete = true",
                        named(table),
                        quoted(filter),
                        self.settings.max_rows
                    );
                    self.step("clean", table.name().as_str(), "clean_rows", &body, version, part);
                }
                Form::Unsafe { sql, why } => {
                    whole = false;
                    self.piece(version, &mut text);
                    let place = format!("{}:{}: {why}", version.file, part.line);
                    let question = format!("{place}. Nothing makes this safe. May it run now?");
                    self.step("approve", &version.version, "confirm", &format!("question = {}", quoted(question)), version, part);
                    self.out.approvals.push(place);
                    text += &format!("{sql};\n");
                }
                // Until has become one of the others.
                Form::Until { .. } | Form::Refused(_) => {}
            }
        }
        if !version.tail.is_empty() {
            text += &format!("{}\n", version.tail);
        }
        let settings = self.settings;
        if let Some(History { table, column, .. }) = settings.history.as_ref().filter(|_| !version.version.is_empty()) {
            let row = row(table, column.as_str(), &version.version);
            let name = format!("{}_{}", version.version, plain(&version.name));
            let down = self.settings.downs.get(&version.version).filter(|_| whole).cloned();
            self.file(Recorded::Application, &name, &version.file, &text, down);
            self.behind(from, &row);
        } else {
            if text.trim().is_empty() && self.steps[from..].contains(BEHIND) {
                text = "-- That was all of it.\n".to_owned();
            }
            self.piece(version, &mut text);
            self.behind_piece(from, version);
        }
    }

    /// Says in the steps from this byte on which row is written behind them.
    fn behind(&mut self, from: usize, row: &str) {
        let steps = self.steps.split_off(from);
        self.steps += &steps.replace(BEHIND, row);
    }

    /// The same of the piece that was written last, which is of this version.
    fn behind_piece(&mut self, from: usize, version: &Rewritten) {
        let row = row(&QualifiedName::new("crossfade", "rewritten"), "version", &self.piece_id(version));
        self.behind(from, &row);
    }

    /// What the piece that was written last is recorded as. Pieces go by their number; what follows it keeps those of other plans for
    /// the same database apart.
    fn piece_id(&self, version: &Rewritten) -> String {
        let digest = Sha256::digest(format!("{}/{}", version.version, version.name));
        let number = digest.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        format!("{:04}{:012}", self.pieces, number % 1_000_000_000_000)
    }

    /// What goes last.
    fn contract(&mut self, versions: &[Rewritten]) {
        let later = |part: &&Part| matches!(part.form, Form::Later { .. });
        let names: Vec<String> = versions
            .iter()
            .flat_map(|version| version.parts.iter())
            .filter_map(|part| match &part.form {
                Form::Later { name, .. } => Some(name.clone()),
                _ => None,
            })
            .collect();
        if names.is_empty() {
            return;
        }
        self.phase = "contract";
        let from = self.steps.len();
        let question = format!("{} will go. Is no older version of the application left that uses them?", names.join(", "));
        self.steps += &format!(
            "\n[[step]]\nid = \"ask-contract\"\nphase = \"contract\"\nkind = \"confirm\"\nquestion = {}\ndone_with = {BEHIND}\n",
            quoted(question)
        );
        let mut last = None;
        for version in versions {
            let mut text = String::new();
            for part in version.parts.iter().filter(later) {
                if let Form::Later { sql, alone: outside, .. } = &part.form {
                    text += &if *outside { alone(sql) } else { format!("{sql};\n") };
                    last = Some(version);
                }
            }
            self.piece(version, &mut text);
        }
        last.into_iter().for_each(|version| self.behind_piece(from, version));
    }

    /// Writes what is collected of a version as a piece of its own.
    fn piece(&mut self, version: &Rewritten, text: &mut String) {
        let text = std::mem::take(text);
        if text.trim().is_empty() {
            return;
        }
        self.pieces += 1;
        let name = format!("{}_{}", self.piece_id(version), plain(&format!("{}_{}", version.version, version.name)));
        let text = if self.pieces == 1 { format!("{PIECES}\n{text}") } else { text };
        self.file(Recorded::Pieces, &name, &version.file, &text, None);
    }

    fn file(&mut self, recorded: Recorded, name: &str, origin: &str, text: &str, down: Option<String>) {
        if self.open.as_ref().is_some_and(|open| open.recorded != recorded || open.phase != self.phase) {
            self.close();
        }
        let (settings, phase, folders) = (self.settings, self.phase, &mut self.folders);
        let open = self.open.get_or_insert_with(|| {
            *folders += 1;
            Open { recorded, folder: format!("{}/{folders:02}-{phase}", settings.folder), phase }
        });
        let folder = &open.folder;
        let text = format!("-- Of {origin}\n\n{}", text.trim_start_matches('\n'));
        self.out.files.push((PathBuf::from(folder).join(format!("{name}.sql")), text));
        if let Some(down) = down {
            self.out.files.push((PathBuf::from(folder).join(format!("{name}.down.sql")), down));
        }
    }

    /// Ends the `migrate` step that is being collected.
    fn close(&mut self) {
        let Some(Open { recorded, folder, phase }) = self.open.take() else { return };
        let history = match (&self.settings.history, recorded) {
            (Some(history), Recorded::Application) => {
                let constants = if history.constants.is_empty() {
                    String::new()
                } else {
                    format!(", constants = {{ {} }}", history.constants)
                };
                format!("{{ table = {}, column = {}{constants} }}", named(&history.table), quoted(history.column.as_str()))
            }
            _ => "{ table = \"crossfade.rewritten\", column = \"version\" }".to_owned(),
        };
        let id = folder.rsplit('/').next().unwrap_or_default().to_owned();
        self.steps += &format!(
            "\n[[step]]\nid = \"sql-{id}\"\nphase = \"{phase}\"\nkind = \"migrate\"\nside = \"blue\"\ndirectory = {}\nhistory = {history}\n",
            quoted(folder)
        );
    }

    fn step(&mut self, word: &str, about: &str, kind: &str, body: &str, version: &Rewritten, part: &Part) {
        self.close();
        let phase = self.phase;
        self.others += 1;
        let id: String = format!("{word}-{}-{about}", self.others)
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(30)
            .collect();
        self.batches |= kind != "confirm";
        let side = if kind == "confirm" { "" } else { "side = \"blue\"\n" };
        self.steps += &format!(
            "\n# {}:{}\n[[step]]\nid = \"{}\"\nphase = \"{phase}\"\nkind = \"{kind}\"\n{side}{body}\ndone_with = {BEHIND}\n",
            version.file,
            part.line,
            id.trim_end_matches('-')
        );
    }
}

/// A row of a history, as a step names it.
fn row(table: &QualifiedName, column: &str, version: &str) -> String {
    let (table, column, version) = (named(table), quoted(column), quoted(version));
    format!("{{ side = \"blue\", table = {table}, column = {column}, version = {version} }}")
}

fn alone(sql: &str) -> String {
    format!("-- crossfade: no-transaction\n{sql};\n")
}

fn quoted(text: impl ToString) -> String {
    toml::Value::from(text.to_string()).to_string()
}

/// A table as plans write it: without quotes where it needs none there.
fn named(table: &QualifiedName) -> String {
    let bare = table.plain();
    let same = QualifiedName::try_from(bare.clone()).is_ok_and(|read| read == *table);
    quoted(if same { bare } else { table.to_string() })
}

fn pair(column: &Ident, value: &str) -> String {
    let bare = column.as_str().bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
    let column = if bare { column.as_str().to_owned() } else { quoted(column.as_str()) };
    format!("{column} = {}", quoted(value))
}

/// A name that a migration file may have.
fn plain(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    let name = name.trim_matches('_').to_owned();
    if name.is_empty() { "migration".to_owned() } else { name }
}
