//! The differences of two sets of facts, pair by pair: counted, a few digests kept, the causes named. Pure; its memory does
//! not grow with the rows.

use std::collections::BTreeMap;

use super::cause;
use super::{Fact, Facts, Field, FieldKind, Value};
use crate::terms::{Side, key_digest};

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Valid on blue, not on green.
    Lost,
    /// Valid on green, not on blue: revoked, refused or expired there.
    Revived,
    /// Another value in the field of this number.
    Changed(usize),
    /// Belongs to nothing on green, by the link of this number.
    Unlinked(usize),
    /// Valid on blue, not there on green.
    Missing,
    /// Valid on green, not there on blue.
    Extra,
    /// More than one row of this key on a side.
    Duplicate,
    /// Not valid on blue and not there on green: nobody misses it.
    Gone,
    /// Not valid on green and not there on blue: nobody uses it.
    Stray,
}

impl Class {
    /// Its name, without the field.
    pub fn name(self) -> &'static str {
        match self {
            Class::Lost => "lost",
            Class::Revived => "revived",
            Class::Changed(_) => "changed",
            Class::Unlinked(_) => "unlinked",
            Class::Missing => "missing",
            Class::Extra => "extra",
            Class::Duplicate => "duplicate",
            Class::Gone => "gone",
            Class::Stray => "stray",
        }
    }

    /// What it means.
    pub fn meaning(self) -> &'static str {
        match self {
            Class::Lost => "valid on blue, not valid on green",
            Class::Revived => "not valid on blue (revoked, refused, expired), valid on green",
            Class::Changed(_) => "another value on green",
            Class::Unlinked(_) => "on green it belongs to nothing: what is revoked does not take it along",
            Class::Missing => "valid on blue, not there on green",
            Class::Extra => "valid on green, not there on blue",
            Class::Duplicate => "more than one row of one key",
            Class::Gone => "was not valid on blue, not there on green: no damage",
            Class::Stray => "not valid on green, not there on blue: no damage",
        }
    }

    /// Whether it hurts somebody.
    pub fn harms(self) -> bool {
        !matches!(self, Class::Gone | Class::Stray)
    }

    /// The field it is about.
    pub fn field(self) -> Option<usize> {
        match self {
            Class::Changed(field) | Class::Unlinked(field) => Some(field),
            _ => None,
        }
    }

    pub(super) fn named(name: &str, field: Option<&str>, fields: &[Field]) -> Result<Self, String> {
        let at = match field {
            Some(wanted) => match fields.iter().position(|field| field.name == wanted) {
                Some(at) => Some(at),
                None => return Err(format!("`field` names {wanted}, which is no field")),
            },
            None => None,
        };
        Ok(match (name, at) {
            ("changed", Some(at)) => Class::Changed(at),
            ("unlinked", Some(at)) if fields[at].kind == FieldKind::Link => Class::Unlinked(at),
            ("unlinked", Some(_)) => return Err("`unlinked` is about a field of kind link".to_owned()),
            ("changed" | "unlinked", None) => return Err(format!("`{name}` needs `field`")),
            ("lost", None) => Class::Lost,
            ("revived", None) => Class::Revived,
            ("missing", None) => Class::Missing,
            ("extra", None) => Class::Extra,
            ("duplicate", None) => Class::Duplicate,
            ("lost" | "revived" | "missing" | "extra" | "duplicate", Some(_)) => {
                return Err(format!("`field` belongs to changed and unlinked, not to {name}"));
            }
            _ => return Err(format!("class {name} is not one of lost, revived, changed, unlinked, missing, extra, duplicate")),
        })
    }
}

/// How often a class was found, and some of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Rows in all.
    pub rows: u64,
    /// Those of them that a rule calls what users do on green (see [`super::Cause::later`]).
    pub later: u64,
    /// Digests of the first keys.
    pub digests: Vec<String>,
    /// Rows by rule; `None` where no rule fits.
    pub causes: BTreeMap<Option<usize>, u64>,
}

/// The differences so far.
#[derive(Debug, Clone)]
pub struct Tally {
    facts: Facts,
    now: i64,
    serving: Side,
    blue: u64,
    green: u64,
    differing: u64,
    classes: BTreeMap<Class, Counted>,
    matrix: BTreeMap<(Option<String>, Option<String>), u64>,
}

/// Digests kept per class.
const DIGESTS: usize = 5;
/// Pairs of states kept apart; more are counted together.
const STATES: usize = 400;

impl Tally {
    /// Nothing seen yet. `now` is the moment validity is judged at, in microseconds since 1970.
    pub fn new(facts: Facts, now: i64, serving: Side) -> Self {
        let (blue, green, differing) = (0, 0, 0);
        Self { facts, now, serving, blue, green, differing, classes: BTreeMap::new(), matrix: BTreeMap::new() }
    }

    /// One key: its row on each side, as far as there is one.
    pub fn pair(&mut self, blue: Option<&Fact>, green: Option<&Fact>) {
        self.blue += u64::from(blue.is_some());
        self.green += u64::from(green.is_some());
        let state = |fact: Option<&Fact>| fact.map(|fact| fact.state.clone());
        let mut states = (state(blue), state(green));
        if self.matrix.len() >= STATES && !self.matrix.contains_key(&states) {
            states = (Some("(others)".to_owned()), Some("(others)".to_owned()));
        }
        *self.matrix.entry(states).or_default() += 1;
        let classes = self.classes_of(blue, green);
        self.differing += u64::from(classes.iter().any(|class| class.harms()));
        for class in classes {
            self.count(class, blue, green);
        }
    }

    /// Another row with the key of the pair before, on this side.
    pub fn again(&mut self, side: Side, fact: &Fact) {
        let (blue, green) = match side {
            Side::Blue => (Some(fact), None),
            Side::Green => (None, Some(fact)),
        };
        self.blue += u64::from(blue.is_some());
        self.green += u64::from(green.is_some());
        self.differing += 1;
        self.count(Class::Duplicate, blue, green);
    }

    fn classes_of(&self, blue: Option<&Fact>, green: Option<&Fact>) -> Vec<Class> {
        let (blue, green) = match (blue, green) {
            (Some(blue), Some(green)) => (blue, green),
            (Some(blue), None) => return vec![if blue.valid { Class::Missing } else { Class::Gone }],
            (None, Some(green)) => return vec![if green.valid { Class::Extra } else { Class::Stray }],
            (None, None) => return Vec::new(),
        };
        let mut classes = Vec::new();
        let good = |fact: &Fact| match (blue.valid, green.valid) {
            (true, true) => self.lasts(fact),
            _ => fact.valid,
        };
        match (good(blue), good(green)) {
            (true, false) => classes.push(Class::Lost),
            (false, true) => classes.push(Class::Revived),
            _ => {}
        }
        for (at, field) in self.facts.fields.iter().enumerate() {
            let (was, is) = (&blue.values[at], &green.values[at]);
            // What nobody can use may look as it likes, but for what it hangs on.
            let counts = field.kind == FieldKind::Link || blue.valid || green.valid;
            if field.kind == FieldKind::Evidence || was == is || !counts {
                continue;
            }
            let cut = field.kind == FieldKind::Link && matches!(is, Value::Text(None));
            classes.push(if cut { Class::Unlinked(at) } else { Class::Changed(at) });
        }
        classes
    }

    /// Whether its end is not over.
    fn lasts(&self, fact: &Fact) -> bool {
        let end = self.facts.fields.iter().position(|field| field.kind == FieldKind::End);
        !end.is_some_and(|at| matches!(fact.values[at], Value::Time(Some(end)) if end <= self.now))
    }

    fn count(&mut self, class: Class, blue: Option<&Fact>, green: Option<&Fact>) {
        let cause = cause::of(&self.facts.causes, class, blue, green, &self.facts.fields);
        let later = self.serving == Side::Green && cause.is_some_and(|at| self.facts.causes[at].later);
        let counted = self.classes.entry(class).or_default();
        counted.rows += 1;
        counted.later += u64::from(later);
        *counted.causes.entry(cause).or_default() += 1;
        if counted.digests.len() < DIGESTS
            && !later
            && let Some(fact) = blue.or(green)
        {
            counted.digests.push(key_digest(&fact.key));
        }
    }

    /// The facts it counts.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Rows on blue and on green.
    pub fn rows(&self) -> (u64, u64) {
        (self.blue, self.green)
    }

    /// Keys with at least one difference that harms.
    pub fn differing(&self) -> u64 {
        self.differing
    }

    /// What was found, by class.
    pub fn classes(&self) -> &BTreeMap<Class, Counted> {
        &self.classes
    }

    /// Blue's state and green's → rows; `None` where the side has no row.
    pub fn matrix(&self) -> &BTreeMap<(Option<String>, Option<String>), u64> {
        &self.matrix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Vec<Field> {
        let field = |name: &str, kind| Field { name: name.to_owned(), kind };
        vec![
            field("subject", FieldKind::Text),
            field("until", FieldKind::End),
            field("owner", FieldKind::Link),
            field("why", FieldKind::Evidence),
        ]
    }

    fn fact(valid: bool, subject: &str, until: Option<i64>, owner: Option<&str>) -> Fact {
        let text = |text: Option<&str>| Value::Text(text.map(str::to_owned));
        let values = vec![text(Some(subject)), Value::Time(until), text(owner), text(Some("x"))];
        Fact { key: "k".to_owned(), state: if valid { "good" } else { "bad" }.to_owned(), valid, values }
    }

    fn found(blue: Option<Fact>, green: Option<Fact>) -> Vec<Class> {
        let facts =
            Facts { name: "f".to_owned(), blue: String::new(), green: String::new(), fields: fields(), causes: Vec::new() };
        let mut tally = Tally::new(facts, 1000, Side::Blue);
        tally.pair(blue.as_ref(), green.as_ref());
        tally.classes().keys().copied().collect()
    }

    #[test]
    fn each_difference_has_its_class() {
        let good = || Some(fact(true, "a", Some(2000), Some("o")));
        assert_eq!(found(good(), good()), []);
        assert_eq!(found(good(), Some(fact(false, "a", Some(2000), Some("o")))), [Class::Lost]);
        assert_eq!(found(Some(fact(false, "a", Some(2000), Some("o"))), good()), [Class::Revived]);
        assert_eq!(found(good(), Some(fact(true, "", Some(2000), None))), [Class::Changed(0), Class::Unlinked(2)]);
        assert_eq!(found(good(), Some(fact(true, "a", Some(2000), Some("other")))), [Class::Changed(2)]);
        assert_eq!(found(good(), None), [Class::Missing]);
        assert_eq!(found(None, good()), [Class::Extra]);
        let bad = || Some(fact(false, "a", None, None));
        assert_eq!((found(bad(), None), found(None, bad())), (vec![Class::Gone], vec![Class::Stray]));
        assert_eq!(found(bad(), Some(fact(false, "b", Some(1), None))), [], "nobody can use either");
    }

    #[test]
    fn an_end_that_is_over_decides_validity() {
        let until = |end| Some(fact(true, "a", end, Some("o")));
        assert_eq!(found(until(None), until(Some(999))), [Class::Lost, Class::Changed(1)]);
        assert_eq!(found(until(Some(999)), until(None)), [Class::Revived, Class::Changed(1)]);
        assert_eq!(found(until(Some(1001)), until(Some(1002))), [Class::Changed(1)]);
    }

    #[test]
    fn memory_does_not_grow_with_the_rows() {
        let facts =
            Facts { name: "f".to_owned(), blue: String::new(), green: String::new(), fields: fields(), causes: Vec::new() };
        let mut tally = Tally::new(facts, 0, Side::Blue);
        for number in 0..10_000 {
            let mut blue = fact(true, "a", None, None);
            blue.state = format!("state {number}");
            tally.pair(Some(&blue), None);
        }
        assert_eq!((tally.classes()[&Class::Missing].rows, tally.classes()[&Class::Missing].digests.len()), (10_000, DIGESTS));
        assert!(tally.matrix().len() <= STATES + 1);
    }
}
