//! One statement: run, and looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::claim::claim;
use super::compare::{Claim, Effect, differences};
use super::held::{Held, Observer, held};
use super::probe::Try;
use super::relation::{Counters, Oid, Relation, flush, relations};
use super::run::{Open, Run, Window, blocked};
use super::{Blocked, Observed, Scan, Taken};
use crate::lint::Piece;
use crate::lint::state::key;
use crate::pg::Session;

/// What is there and held at a moment.
type Standing = (BTreeMap<Oid, Relation>, Held);

/// A statement that ran, with everything that was seen of it.
struct Ran<'a> {
    file: usize,
    piece: &'a Piece,
    window: Window,
    /// Whether it ran outside a transaction.
    alone: bool,
    before: Standing,
    after: Standing,
    claim: Claim,
    tries: Vec<(Oid, Try, bool)>,
    blocked: Vec<Blocked>,
    /// Whether the counters of scans hold its own.
    counted: bool,
}

impl Run<'_> {
    /// A statement of a transaction that is open.
    pub async fn observe(&mut self, session: &Session, file: usize, piece: &Piece, open: &mut Open) -> anyhow::Result<()> {
        if settings(piece) {
            // It may have to be the first of its transaction, before any query of ours.
            let Some(window) = self.execute(session, file, piece).await? else { return Ok(()) };
            open.windows.push(window);
            let ran = Ran {
                file,
                piece,
                window,
                alone: false,
                before: Standing::default(),
                after: Standing::default(),
                claim: Claim { locks: Some(Held::new()), ..Claim::default() },
                tries: Vec::new(),
                blocked: Vec::new(),
                counted: true,
            };
            self.note(ran);
            return Ok(());
        }
        let before = match open.seen.take() {
            Some(seen) => seen,
            None => (relations(session, Counters::Transaction).await?, held(session, session.pid()).await?),
        };
        let claim = claim(session, self.report, file, piece, &self.known(&before.0)).await?;
        let Some(window) = self.execute(session, file, piece).await? else { return Ok(()) };
        open.windows.push(window);
        let after = (relations(session, Counters::Transaction).await?, held(session, session.pid()).await?);
        let mut tries = Vec::new();
        for probe in &mut open.probes {
            if let Some(refused) = probe.tried_since(window.1).await {
                tries.push((probe.target.table, probe.what, refused));
            }
        }
        let blocked = blocked(&open.probes, &[window]);
        open.seen = Some(after.clone());
        self.note(Ran { file, piece, window, alone: false, before, after, claim, tries, blocked, counted: true });
        Ok(())
    }

    /// A statement that runs outside a transaction. An observer looks at its locks while it runs.
    pub async fn alone(&mut self, session: &Session, file: usize, piece: &Piece) -> anyhow::Result<()> {
        let counted = flush(session).await?;
        let before = relations(session, Counters::Total).await?;
        let claim = claim(session, self.report, file, piece, &self.known(&before)).await?;
        let probes = self.probes(session, file, &[piece]).await?;
        let observer = Observer::start(Arc::clone(&self.observer), session.pid());
        let window = self.execute(session, file, piece).await;
        let seen = observer.finish().await;
        let windows: Vec<Window> = window.as_ref().ok().copied().flatten().into_iter().collect();
        let blocked = self.rest(probes, &windows).await;
        let Some(window) = window? else { return Ok(()) };
        flush(session).await?;
        let after = relations(session, Counters::Total).await?;
        let (before, after, tries) = ((before, Held::new()), (after, seen), Vec::new());
        self.note(Ran { file, piece, window, alone: true, before, after, claim, tries, blocked, counted });
        Ok(())
    }

    /// Of these relations, those that others use.
    fn known(&self, relations: &BTreeMap<Oid, Relation>) -> BTreeMap<Oid, Relation> {
        relations.iter().filter(|(oid, _)| self.hot.contains(oid)).map(|(oid, relation)| (*oid, relation.clone())).collect()
    }

    /// Writes down what was seen of a statement.
    fn note(&mut self, ran: Ran<'_>) {
        let Ran { file, piece, window, alone, before, after, claim, tries, blocked, counted } = ran;
        let hot = self.known(&before.0);
        let scans = counted.then(|| scans(&hot, &after.0));
        let sequential = scans.as_ref().map(|scans| scans.iter().filter(|(_, scan)| !scan.index).map(|(oid, _)| *oid).collect());
        let files: BTreeSet<Oid> = hot
            .iter()
            .filter(|(oid, old)| old.holds_rows() && after.0.get(oid).is_some_and(|new| new.file != old.file))
            .map(|(oid, _)| *oid)
            .collect();
        let effect = Effect { before: before.1, after: after.1, exact: !alone, files, scans: sequential, tries };
        let named = |oid: &Oid| hot.get(oid).map(|relation| key(&relation.name));
        let shown = |oid: &Oid| hot[oid].is_named() || claim.locks.as_ref().is_some_and(|locks| locks.contains_key(oid));
        let locks = effect.after.iter().filter(|(oid, _)| hot.contains_key(oid) && shown(oid)).filter_map(|(oid, mode)| {
            Some(Taken { relation: named(oid)?, mode: *mode, before: effect.before.get(oid) == Some(mode) })
        });
        let script = &self.report.scripts[file];
        self.out.statements.push(Observed {
            file,
            at: piece.at.clone(),
            line: script.lines.place(&script.text, piece.at.start).0,
            kind: piece.kind.clone(),
            transaction: None,
            alone,
            took: window.1.duration_since(window.0),
            locks: locks.collect(),
            rewritten: effect.files.iter().filter_map(named).collect(),
            scans: scans.map(|scans| scans.into_iter().map(|(_, scan)| scan).collect()),
            blocked,
            claimed: claim.locks.is_some(),
            differences: differences(&claim, &effect, &hot),
        });
    }
}

/// Whether a statement only sets or shows settings.
fn settings(piece: &Piece) -> bool {
    matches!(piece.kind.split(' ').next(), Some("SET" | "RESET" | "SHOW"))
}

/// The scans that were begun between two moments.
fn scans(hot: &BTreeMap<Oid, Relation>, after: &BTreeMap<Oid, Relation>) -> Vec<(Oid, Scan)> {
    let grown = |oid: &Oid, old: &Relation| {
        let new = after.get(oid)?;
        let (scans, rows) = (new.scans - old.scans, new.read - old.read);
        let index = matches!(old.kind, 'i' | 'I');
        let unsigned = |count: i64| u64::try_from(count).unwrap_or_default();
        (scans > 0).then(|| Scan { relation: key(&old.name), index, scans: unsigned(scans), rows: unsigned(rows) })
    };
    hot.iter().filter_map(|(oid, old)| Some((*oid, grown(oid, old)?))).collect()
}
