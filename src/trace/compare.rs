//! What the linter says of a statement, held to what a server did. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::held::Held;
use super::probe::Try;
use super::relation::{Oid, Relation};
use crate::lint::state::key;
use crate::sql::LockMode;

/// What a difference is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum About {
    /// The strongest lock on a relation.
    Lock,
    /// Whether a table is written anew.
    Rewrite,
    /// Whether every row of it is read.
    Scan,
    /// Whether others can read it meanwhile.
    Reads,
    /// Whether others can write to it meanwhile.
    Writes,
}

/// One thing that the linter says otherwise than it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// What it is about.
    pub about: About,
    /// The relation.
    pub relation: String,
    /// What the linter says.
    pub claimed: String,
    /// What the server did.
    pub real: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { about, relation, claimed, real } = self;
        let about = match about {
            About::Lock => "lock on",
            About::Rewrite => "rewrite of",
            About::Scan => "scan of",
            About::Reads => "reads of",
            About::Writes => "writes to",
        };
        write!(f, "{about} {relation}: lint says {claimed}, the server {real}")
    }
}

/// What the linter says of a statement, by the ids of the relations that are there before it.
#[derive(Debug, Default)]
pub(super) struct Claim {
    /// The strongest locks; `None` where it says that it does not know.
    pub locks: Option<Held>,
    /// What may be read in full.
    pub scans: BTreeSet<Oid>,
    /// What is written anew.
    pub rewrites: BTreeSet<Oid>,
    /// What is emptied, which gives a table a new file too.
    pub emptied: BTreeSet<Oid>,
    /// Whether it is about rows: then the server's planner decides what is read in full, and a view may name more.
    pub planned: bool,
    /// Whether it looks at a foreign key: the planner decides which of the two tables is read in full.
    pub joins: bool,
    /// Whether statements in it may not have run: branches of a body.
    pub branches: bool,
    /// Whether its scans go past the server's counters (`VACUUM`, `ANALYZE`).
    pub uncounted: bool,
}

/// What a statement did.
#[derive(Debug, Default)]
pub(super) struct Effect {
    /// The locks that its transaction held before it.
    pub before: Held,
    /// Those that it held after it.
    pub after: Held,
    /// Whether `after` is everything: not where an observer had to look while the statement ran.
    pub exact: bool,
    /// Tables with a new file.
    pub files: BTreeSet<Oid>,
    /// Tables with a sequential scan; `None` where the server cannot tell.
    pub scans: Option<BTreeSet<Oid>>,
    /// Which tries were made while the locks were held, and whether they were refused.
    pub tries: Vec<(Oid, Try, bool)>,
}

/// Everything that the linter says otherwise. `hot` are the relations that others use; the rest is nobody's concern.
pub(super) fn differences(claim: &Claim, effect: &Effect, hot: &BTreeMap<Oid, Relation>) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut differ = |about, relation: Oid, claimed: &dyn fmt::Display, real: &dyn fmt::Display| {
        if let Some(known) = hot.get(&relation) {
            let relation = key(&known.name).plain();
            found.push(Difference { about, relation, claimed: claimed.to_string(), real: real.to_string() });
        }
    };
    if let Some(locks) = &claim.locks {
        for (relation, claimed) in locks {
            let before = effect.before.get(relation);
            let expected = before.map_or(*claimed, |before| (*before).max(*claimed));
            // DROP INDEX CONCURRENTLY locks the index for good when nobody can use it any more (`index_drop` of the server).
            let unused = !effect.exact && hot.get(relation).is_some_and(|known| !known.is_named());
            match effect.after.get(relation) {
                Some(real) if *real == expected || unused => {}
                Some(real) if !(*real < expected && (claim.branches || !effect.exact)) => {
                    differ(About::Lock, *relation, claimed, &format_args!("took {real}"));
                }
                None if effect.exact && !claim.branches => differ(About::Lock, *relation, claimed, &"took none"),
                _ => {}
            }
        }
        for (relation, real) in &effect.after {
            let named = hot.get(relation).is_some_and(Relation::is_named);
            let new = effect.before.get(relation) != Some(real) && *real >= LockMode::ShareUpdateExclusive;
            if named && new && !locks.contains_key(relation) {
                differ(About::Lock, *relation, &"nothing", &format_args!("took {real}"));
            }
        }
    }
    for (relation, what, refused) in &effect.tries {
        if blocks(&effect.after, hot, *relation, *what) != *refused && !(claim.planned && *what == Try::Write) {
            let about = if *what == Try::Read { About::Reads } else { About::Writes };
            let mode = effect.after.get(relation).map_or("no lock".to_owned(), LockMode::to_string);
            let says = format!("{} {}", mode, if *refused { "does not block them" } else { "blocks them" });
            differ(about, *relation, &says, &if *refused { "refused one" } else { "served one" });
        }
    }
    let holding = |relation: &&Oid| hot.get(relation).is_some_and(Relation::holds_rows);
    for relation in effect.files.difference(&claim.rewrites).filter(|relation| !claim.emptied.contains(relation)).filter(holding)
    {
        differ(About::Rewrite, *relation, &"none", &"wrote it anew");
    }
    for relation in claim.rewrites.difference(&effect.files).filter(holding) {
        differ(About::Rewrite, *relation, &"it is written anew", &"left its file");
    }
    if let Some(scans) = &effect.scans {
        let expected = |relation: &&Oid| {
            // What is emptied has its empty indexes built anew.
            let known = [&claim.scans, &claim.rewrites, &claim.emptied].iter().any(|known| known.contains(*relation));
            let read = effect.after.get(*relation).is_none_or(|mode| *mode < LockMode::ShareUpdateExclusive);
            known || claim.planned && read
        };
        for relation in scans.iter().filter(|relation| !expected(relation)).filter(holding) {
            differ(About::Scan, *relation, &"none", &"read every row");
        }
        let optional = claim.planned || claim.joins || claim.branches || claim.uncounted;
        for relation in claim.scans.difference(scans).filter(|_| !optional).filter(holding) {
            differ(About::Scan, *relation, &"every row may be read", &"read it by no sequential scan");
        }
    }
    found
}

/// Whether a try must be refused under these locks. Reading and writing rows also lock every index of the table.
fn blocks(held: &Held, hot: &BTreeMap<Oid, Relation>, table: Oid, what: Try) -> bool {
    let stops = |relation: &Oid| {
        held.get(relation).is_some_and(|mode| match what {
            Try::Read => *mode == LockMode::AccessExclusive,
            Try::Write => mode.stops_traffic(),
        })
    };
    let mut indexes = hot.iter().filter(|(_, relation)| relation.table == Some(table)).map(|(oid, _)| oid);
    stops(&table) || indexes.any(stops)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::QualifiedName;

    fn hot() -> BTreeMap<Oid, Relation> {
        let relation = |name: &str, kind, table| Relation {
            name: QualifiedName::new("public", name),
            kind,
            table,
            file: 1,
            scans: 0,
            read: 0,
        };
        [(1, relation("t", 'r', None)), (2, relation("u", 'r', None)), (3, relation("t_idx", 'i', Some(1)))].into()
    }

    fn shown(claim: &Claim, effect: &Effect) -> Vec<String> {
        differences(claim, effect, &hot()).iter().map(ToString::to_string).collect()
    }

    fn claim(mode: LockMode) -> Claim {
        Claim { locks: Some([(1, mode)].into()), ..Claim::default() }
    }

    fn effect(mode: LockMode) -> Effect {
        Effect { after: [(1, mode)].into(), exact: true, scans: Some([].into()), ..Effect::default() }
    }

    #[test]
    fn locks_are_compared_with_what_was_held_before() {
        assert_eq!(shown(&claim(LockMode::Share), &effect(LockMode::Share)), Vec::<String>::new());
        assert_eq!(
            shown(&claim(LockMode::Share), &effect(LockMode::AccessExclusive)),
            ["lock on t: lint says SHARE, the server took ACCESS EXCLUSIVE"]
        );
        let stronger = Effect { before: [(1, LockMode::AccessExclusive)].into(), ..effect(LockMode::AccessExclusive) };
        assert_eq!(shown(&claim(LockMode::Share), &stronger), Vec::<String>::new());
        assert_eq!(
            shown(&claim(LockMode::Share), &Effect { exact: true, ..Effect::default() })[0],
            "lock on t: lint says SHARE, the server took none"
        );
        let elsewhere = Effect {
            after: [(1, LockMode::Share), (2, LockMode::ShareRowExclusive), (3, LockMode::AccessExclusive)].into(),
            ..effect(LockMode::Share)
        };
        assert_eq!(
            shown(&claim(LockMode::Share), &elsewhere),
            ["lock on u: lint says nothing, the server took SHARE ROW EXCLUSIVE"]
        );
    }

    #[test]
    fn an_observer_may_miss_a_lock_and_does_not_make_one_up() {
        let seen = |after: Held| Effect { after, ..Effect::default() };
        assert!(shown(&claim(LockMode::ShareUpdateExclusive), &seen(Held::new())).is_empty());
        assert!(shown(&claim(LockMode::ShareUpdateExclusive), &seen([(1, LockMode::AccessShare)].into())).is_empty());
        assert_eq!(shown(&claim(LockMode::ShareUpdateExclusive), &seen([(1, LockMode::Share)].into())).len(), 1);
        let index = Claim { locks: Some([(3, LockMode::ShareUpdateExclusive)].into()), ..Claim::default() };
        assert!(shown(&index, &seen([(3, LockMode::AccessExclusive)].into())).is_empty(), "the end of DROP INDEX CONCURRENTLY");
    }

    #[test]
    fn probes_are_held_to_the_locks() {
        let tried = |mode, tries| Effect { tries, ..effect(mode) };
        let share = LockMode::Share;
        assert!(shown(&claim(share), &tried(share, vec![(1, Try::Read, false), (1, Try::Write, true)])).is_empty());
        assert_eq!(
            shown(&claim(share), &tried(share, vec![(1, Try::Write, false)])),
            ["writes to t: lint says SHARE blocks them, the server served one"]
        );
        let index =
            Effect { after: [(1, share), (3, LockMode::AccessExclusive)].into(), ..tried(share, vec![(1, Try::Read, true)]) };
        assert!(shown(&claim(share), &index).is_empty(), "an index that is locked keeps readers of its table out");
    }

    #[test]
    fn files_and_scans_go_both_ways() {
        let mode = LockMode::AccessExclusive;
        let wrote = Effect { files: [1].into(), scans: Some([1].into()), ..effect(mode) };
        assert_eq!(shown(&claim(mode), &wrote).len(), 2);
        let said = Claim { rewrites: [1].into(), ..claim(mode) };
        assert!(shown(&said, &wrote).is_empty(), "who writes a table anew reads it");
        assert_eq!(shown(&said, &effect(mode)), ["rewrite of t: lint says it is written anew, the server left its file"]);
        let reads = Claim { scans: [1].into(), ..claim(mode) };
        assert_eq!(shown(&reads, &effect(mode)).len(), 1);
        assert!(shown(&Claim { planned: true, ..reads }, &effect(mode)).is_empty(), "rows: the planner decides");
        let emptied = Claim { emptied: [1].into(), ..claim(mode) };
        assert!(shown(&emptied, &Effect { files: [1].into(), ..effect(mode) }).is_empty());
    }
}
