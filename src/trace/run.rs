//! Runs scripts as their tool does, one session a file, and looks around after every statement.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::claim::names;
use super::held::Held;
use super::probe::{self, Probe, Target, Try};
use super::relation::{Counters, Oid, Relation, relations, resolve};
use super::{Blocked, Failure, Trace, Transaction};
use crate::lint::act::What;
use crate::lint::state::key;
use crate::lint::{Piece, Report, Script, Within};
use crate::pg::{Database, Session, explain, is_connection_loss, sqlstate};
use crate::sql::{Block, Effect};

/// Tables of one transaction that are probed at most.
const PROBED: usize = 16;

/// `active_sql_transaction`, `invalid_transaction_termination`: what runs outside a transaction alone (PostgreSQL manual, appendix A).
const OUTSIDE: &[&str] = &["25001", "2D000"];

/// What of these scripts cannot be run as it is, each as `file:line: why`.
pub fn unrunnable(report: &Report) -> Vec<String> {
    let mut wrong = Vec::new();
    for script in &report.scripts {
        let place = |at: usize| format!("{}:{}", script.name, script.lines.place(&script.text, at).0);
        wrong.extend(script.faults.iter().map(|fault| format!("{}: {}", place(fault.point), fault.message)));
        let copies = script.pieces.iter().filter(|piece| piece.within == Within::File && piece.effect == Effect::ClientCopy);
        wrong.extend(copies.map(|piece| format!("{}: COPY with a client's rows; --start takes them", place(piece.at.start))));
    }
    wrong
}

/// Runs the scripts of a report of the linter in a database that nobody else uses: those that count as applied first, unseen.
///
/// # Errors
/// When a script holds what cannot be run ([`unrunnable`]), an applied one fails, or the server is gone. A statement that the server
/// refuses is no error: it is in the result.
pub async fn trace(database: &Database, report: &Report) -> anyhow::Result<Trace> {
    let wrong = unrunnable(report);
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    for script in report.scripts.iter().filter(|script| script.applied) {
        apply(database, script).await?;
    }
    let observer = Arc::new(database.connect("crossfade/trace").await?);
    let hot = relations(&observer, Counters::Total).await?.into_keys().collect();
    let mut run = Run { database, report, hot, observer, idle: Vec::new(), out: Trace::default() };
    for (file, script) in report.scripts.iter().enumerate().filter(|(_, script)| !script.applied) {
        run.script(file, script).await?;
        if run.out.failure.is_some() {
            break;
        }
    }
    Ok(run.out)
}

/// The statements of a file, without those in bodies.
fn statements(script: &Script) -> Vec<&Piece> {
    script.pieces.iter().filter(|piece| piece.within == Within::File).collect()
}

/// Whether we put the file into a transaction: not where it does so itself.
fn wrapped(script: &Script) -> bool {
    script.wrapped && !script.pieces.iter().any(|piece| piece.block == Block::Control)
}

/// Runs a script that counts as applied.
async fn apply(database: &Database, script: &Script) -> anyhow::Result<()> {
    let session = database.connect("crossfade/trace").await?;
    let all = statements(script).into_iter().map(|piece| &script.text[piece.at.clone()]);
    let ends = if wrapped(script) { ["BEGIN", "COMMIT"] } else { ["", ""] };
    for statement in [ends[0]].into_iter().chain(all).chain([ends[1]]) {
        session.batch_execute(statement).await.with_context(|| format!("{} counts as applied and fails", script.name))?;
    }
    Ok(())
}

/// When a statement ran.
pub(super) type Window = (Instant, Instant);

pub(super) struct Run<'a> {
    pub database: &'a Database,
    pub report: &'a Report,
    /// What was there before the first script: others use it.
    pub hot: BTreeSet<Oid>,
    pub observer: Arc<Session>,
    /// Sessions for probes.
    idle: Vec<Arc<Session>>,
    pub out: Trace,
}

/// A transaction that is running.
pub(super) struct Open {
    /// The first statement of it in the result.
    first: usize,
    pub probes: Vec<Probe>,
    /// What was there, and held, after the last statement; `None` where that is not known.
    pub seen: Option<(BTreeMap<Oid, Relation>, Held)>,
    /// When its statements ran.
    pub windows: Vec<Window>,
}

impl Run<'_> {
    async fn script(&mut self, file: usize, script: &Script) -> anyhow::Result<()> {
        let session = self.database.connect("crossfade/trace").await?;
        let pieces = statements(script);
        let mut open = None;
        if wrapped(script) && !pieces.is_empty() {
            open = Some(self.begin(&session, file, &pieces).await?);
            session.batch_execute("BEGIN").await?;
        }
        for (at, piece) in pieces.iter().enumerate() {
            if piece.block == Block::Control {
                self.control(&session, file, &pieces[at..], &mut open).await?;
            } else if let Some(open) = &mut open {
                self.observe(&session, file, piece, open).await?;
            } else if piece.block == Block::Outside {
                self.alone(&session, file, piece).await?;
            } else {
                self.single(&session, file, piece).await?;
            }
            if self.out.failure.is_some() {
                break;
            }
        }
        match open {
            None => Ok(()),
            Some(open) if wrapped(script) && self.out.failure.is_none() => self.commit(&session, file, &pieces, open).await,
            // A transaction that the script leaves open ends with its session, and nothing of it stays.
            Some(open) => {
                session.batch_execute("ROLLBACK").await?;
                self.close(file, open).await
            }
        }
    }

    /// `BEGIN`, `COMMIT`, `SAVEPOINT` of the script itself, which is the first of these.
    async fn control(
        &mut self,
        session: &Session,
        file: usize,
        pieces: &[&Piece],
        open: &mut Option<Open>,
    ) -> anyhow::Result<()> {
        let acts = |piece: &Piece, wanted: &What| piece.acts.iter().any(|act| act.what == *wanted);
        let piece = pieces[0];
        if acts(piece, &What::Begin) && open.is_none() {
            let length = pieces.iter().position(|piece| acts(piece, &What::End)).unwrap_or(pieces.len());
            *open = Some(self.begin(session, file, &pieces[..length]).await?);
        }
        let window = self.execute(session, file, piece).await?;
        if let (Some(window), Some(open)) = (window, open.as_mut()) {
            open.seen = None;
            open.windows.push(window);
        }
        if acts(piece, &What::End)
            && self.out.failure.is_none()
            && let Some(open) = open.take()
        {
            self.close(file, open).await?;
        }
        Ok(())
    }

    /// A statement in a transaction of its own, so that its locks can be asked for before they go.
    async fn single(&mut self, session: &Session, file: usize, piece: &Piece) -> anyhow::Result<()> {
        let mut open = self.begin(session, file, &[piece]).await?;
        session.batch_execute("BEGIN").await?;
        self.observe(session, file, piece, &mut open).await?;
        let Some(failure) = &self.out.failure else { return self.commit(session, file, &[piece], open).await };
        let outside = OUTSIDE.contains(&failure.code.as_str());
        session.batch_execute("ROLLBACK").await?;
        self.close(file, open).await?;
        if outside {
            self.out.failure = None;
            self.alone(session, file, piece).await?;
        }
        Ok(())
    }

    async fn commit(&mut self, session: &Session, file: usize, pieces: &[&Piece], mut open: Open) -> anyhow::Result<()> {
        let began = Instant::now();
        match session.batch_execute("COMMIT").await {
            Ok(()) => open.windows.push((began, Instant::now())),
            Err(error) => self.fail(file, pieces.last().map_or(0, |piece| piece.at.start), error)?,
        }
        self.close(file, open).await
    }

    /// Runs a statement; `None` when the server refuses it.
    pub async fn execute(&mut self, session: &Session, file: usize, piece: &Piece) -> anyhow::Result<Option<Window>> {
        let text = &self.report.scripts[file].text[piece.at.clone()];
        let began = Instant::now();
        match session.batch_execute(text).await {
            Ok(()) => Ok(Some((began, Instant::now()))),
            Err(error) => self.fail(file, piece.at.start, error).map(|()| None),
        }
    }

    fn fail(&mut self, file: usize, at: usize, error: tokio_postgres::Error) -> anyhow::Result<()> {
        if is_connection_loss(&error) {
            return Err(error.into());
        }
        let script = &self.report.scripts[file];
        let code = sqlstate(&error).to_owned();
        let (line, why) = (script.lines.place(&script.text, at).0, explain(&error.into()));
        self.out.failure = Some(Failure { file, line, code, why });
        Ok(())
    }

    /// What is needed before a transaction of these statements: probes at the tables in use that they name, each served once.
    async fn begin(&mut self, session: &Session, file: usize, pieces: &[&Piece]) -> anyhow::Result<Open> {
        let probes = self.probes(session, file, pieces).await?;
        Ok(Open { first: self.out.statements.len(), probes, seen: None, windows: Vec::new() })
    }

    /// Probes at the tables in use that these statements name, each served once.
    pub async fn probes(&mut self, session: &Session, file: usize, pieces: &[&Piece]) -> anyhow::Result<Vec<Probe>> {
        let names = names(self.report, file, pieces);
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let named: BTreeSet<Oid> = resolve(session, &names).await?.into_iter().flatten().collect();
        let there = relations(&self.observer, Counters::Total).await?;
        let tables = there
            .iter()
            .filter(|(oid, relation)| named.contains(oid) && self.hot.contains(oid) && matches!(relation.kind, 'r' | 'p' | 'm'));
        let mut probes = Vec::new();
        for (oid, relation) in tables.take(PROBED) {
            for what in [Try::Read, Try::Write] {
                // Nobody writes to a materialized view.
                if what == Try::Read || relation.kind != 'm' {
                    let session = match self.idle.pop() {
                        Some(session) => session,
                        None => {
                            let session = self.database.connect("crossfade/trace probe").await?;
                            probe::prepare(&session).await?;
                            Arc::new(session)
                        }
                    };
                    let target = Target { table: *oid, name: relation.name.clone() };
                    probes.push(Probe::start(session, target, what));
                }
            }
        }
        let now = Instant::now();
        for probe in &mut probes {
            probe.tried_since(now).await;
        }
        Ok(probes)
    }

    /// A transaction has ended: its probes are served again, and end.
    async fn close(&mut self, file: usize, open: Open) -> anyhow::Result<()> {
        let Open { first, probes, windows, .. } = open;
        let blocked = self.rest(probes, &windows).await;
        let statements = &mut self.out.statements[first..];
        if statements.len() > 1 {
            let took = windows.iter().map(|(from, to)| to.duration_since(*from)).sum();
            let number = self.out.transactions.len();
            statements.iter_mut().for_each(|statement| statement.transaction = Some(number));
            self.out.transactions.push(Transaction { file, took, blocked });
        }
        Ok(())
    }

    /// Waits until every probe is served again and ends them; how long each was refused in these windows.
    pub async fn rest(&mut self, mut probes: Vec<Probe>, windows: &[Window]) -> Vec<Blocked> {
        let now = Instant::now();
        for probe in &mut probes {
            probe.tried_since(now).await;
        }
        let found = blocked(&probes, windows);
        for probe in probes {
            self.idle.push(probe.finish().await);
        }
        found
    }
}

/// How long the probes were refused in these windows, by table.
pub(super) fn blocked(probes: &[Probe], windows: &[Window]) -> Vec<Blocked> {
    let mut found: Vec<Blocked> = Vec::new();
    for probe in probes {
        let time: Duration = windows.iter().map(|(from, to)| probe.blocked(*from, *to)).sum();
        if time.is_zero() {
            continue;
        }
        let relation = key(&probe.target.name);
        let at = found.iter().position(|known| known.relation == relation).unwrap_or_else(|| {
            found.push(Blocked { relation, reads: None, writes: None });
            found.len() - 1
        });
        match probe.what {
            Try::Read => found[at].reads = Some(time),
            Try::Write => found[at].writes = Some(time),
        }
    }
    found
}
