//! What the linter says of a statement of a script, with the names as the session that runs it means them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::compare::Claim;
use super::relation::{Oid, Relation, resolve};
use crate::lint::act::What;
use crate::lint::{Described, Piece, Report};
use crate::pg::Session;
use crate::sql::{Effect, QualifiedName};

/// Statements about rows: whether they read all of them is the planner's choice.
const PLANNED: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "TABLE", "EXPLAIN"];

/// Statements that run a query beside what they do.
const QUERIES: &[&str] = &["CREATE TABLE AS", "CREATE MATERIALIZED VIEW", "REFRESH"];

/// The descriptions of a statement and of what its body does.
fn described<'a>(report: &'a Report, file: usize, at: &Range<usize>) -> impl Iterator<Item = &'a Described> {
    let at = at.clone();
    report.described.iter().filter(move |one| one.file == file && at.start <= one.at.start && one.at.end <= at.end)
}

/// The relations that these statements name.
pub(super) fn names(report: &Report, file: usize, pieces: &[&Piece]) -> Vec<QualifiedName> {
    let all = pieces.iter().flat_map(|piece| described(report, file, &piece.at));
    let mut names: Vec<QualifiedName> = Vec::new();
    for name in all.flat_map(|one| one.locks.iter().flatten()).map(|lock| &lock.relation) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// What the linter says of a statement, for relations that are `there`.
///
/// # Errors
/// When the session is gone.
pub(super) async fn claim(
    session: &Session,
    report: &Report,
    file: usize,
    piece: &Piece,
    there: &BTreeMap<Oid, Relation>,
) -> anyhow::Result<Claim> {
    let all: Vec<&Described> = described(report, file, &piece.at).collect();
    let locks: Vec<_> = all.iter().flat_map(|one| one.locks.iter().flatten()).collect();
    let inside = |inner: &&Piece| piece.at.start <= inner.at.start && inner.at.end <= piece.at.end;
    let acts = report.scripts[file].pieces.iter().filter(inside).flat_map(|piece| &piece.acts);
    let emptied: Vec<QualifiedName> = acts
        .filter_map(|act| match &act.what {
            What::Truncate { table } => Some(table.clone()),
            _ => None,
        })
        .collect();
    let scans: Vec<&QualifiedName> = all.iter().flat_map(|one| &one.scans).collect();
    let rewrites: Vec<&QualifiedName> = all.iter().flat_map(|one| &one.rewrites).collect();
    let mut names: Vec<QualifiedName> = locks.iter().map(|lock| lock.relation.clone()).collect();
    names.extend(emptied.iter().cloned().chain(scans.iter().chain(&rewrites).map(|name| (*name).clone())));
    let ids = match names.is_empty() {
        true => Vec::new(),
        false => resolve(session, &names).await?,
    };
    let known: BTreeMap<&QualifiedName, Oid> =
        names.iter().zip(ids).filter_map(|(name, id)| Some((name, id.filter(|id| there.contains_key(id))?))).collect();
    let some = |names: &mut dyn Iterator<Item = &QualifiedName>| names.filter_map(|name| known.get(name).copied()).collect();
    let mut claim = Claim {
        locks: all.iter().all(|one| one.locks.is_some()).then(BTreeMap::new),
        scans: some(&mut scans.into_iter()),
        rewrites: some(&mut rewrites.into_iter()),
        emptied: some(&mut emptied.iter()),
        planned: PLANNED.contains(&piece.kind.as_str()) || QUERIES.iter().any(|kind| piece.kind.starts_with(kind)),
        joins: piece.kind.contains("FOREIGN KEY") || piece.kind.contains("VALIDATE CONSTRAINT"),
        branches: piece.kind == "DO" || piece.acts.iter().any(|act| matches!(act.what, What::Calls(_))),
        uncounted: piece.effect == Effect::Upkeep || piece.kind.starts_with("VACUUM"),
    };
    if let Some(found) = &mut claim.locks {
        for lock in locks {
            if let Some(id) = known.get(&lock.relation) {
                found.entry(*id).and_modify(|mode| *mode = (*mode).max(lock.mode)).or_insert(lock.mode);
            }
        }
    }
    Ok(claim)
}
