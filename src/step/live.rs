//! What a step tells of itself while it runs, for the record of its run and for those who watch.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::journal::{Entry, Progress, Ran, Record, Recorder, Sample};
use crate::pg::{Blocker, Heard, Hindrance, Listener, Reading};
use crate::sql::{shape, split};
use crate::terms::{Side, StepId};

/// Statements of one attempt that are told apart; what comes after them is counted together.
const MOST: usize = 300;
/// What is counted together then.
const OTHERS: &str = "(other statements)";

/// Longer than the longest pause between two tries for a lock.
const LATELY: Duration = Duration::from_secs(4);

/// Where records go; nowhere for work that is no run.
pub type Records = Arc<Mutex<Recorder>>;

/// What a step tells of itself. Clones tell together.
#[derive(Clone, Default)]
pub(super) struct Live {
    records: Option<Records>,
    now: Arc<Mutex<Sample>>,
    waiting: Arc<Mutex<Vec<(String, Hindrance, Instant)>>>,
    statements: Arc<Mutex<Statements>>,
}

#[derive(Default)]
struct Statements {
    /// Each with whether it has changed since it was last written down.
    ran: BTreeMap<(Side, String), (Ran, bool)>,
    /// The shape and lock of texts: the same ones come again and again.
    known: HashMap<String, (String, Option<String>)>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    pub fn to(records: Records) -> Self {
        Self { records: Some(records), ..Self::default() }
    }

    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        locked(&self.now).progress = Some(Progress { done, total, unit: unit.to_owned() });
    }

    pub fn lag(&self, lag: Duration) {
        locked(&self.now).lag_ms = Some(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
    }

    /// Between two tries nobody is in the way: who was, is told a little longer.
    pub fn waiting(&self, blockers: &[Blocker]) {
        let told = |blocker: &Blocker| (blocker.database.clone(), Hindrance::from(blocker), Instant::now());
        *locked(&self.waiting) = blockers.iter().map(told).collect();
    }

    pub fn doing(&self, part: &str) {
        locked(&self.now).doing = Some(part.to_owned());
    }

    /// How things stand, with what the databases said.
    pub fn sample(&self, mut sides: BTreeMap<Side, Reading>) -> Sample {
        for (side, reading) in &mut sides {
            let lately = locked(&self.waiting);
            let here = lately.iter().filter(|(database, _, at)| *database == side.to_string() && at.elapsed() < LATELY);
            reading.also(here.map(|(_, one, _)| one.clone()));
        }
        Sample { sides, ..locked(&self.now).clone() }
    }

    /// Who is told of the statements on a side; nobody where nothing is recorded.
    pub fn listener(&self, side: Side) -> Option<Listener> {
        self.records.as_ref()?;
        let statements = Arc::clone(&self.statements);
        Some(Listener::new(move |heard| locked(&statements).take(side, heard)))
    }

    pub fn write(&self, entry: &Entry) {
        if let Some(records) = &self.records {
            locked(records).write(entry);
        }
    }

    /// Writes down the statements that ran since the last time.
    pub fn flush(&self, step: &StepId, attempt: u32) {
        let changed: Vec<Ran> = locked(&self.statements)
            .ran
            .values_mut()
            .filter_map(|(ran, changed)| std::mem::take(changed).then(|| ran.clone()))
            .collect();
        for mut ran in changed {
            ran.attempt = attempt;
            self.write(&Entry::now(step.clone(), Record::Statement(ran)));
        }
    }
}

impl Statements {
    fn take(&mut self, side: Side, heard: Heard<'_>) {
        if is_ours(heard.statement) {
            return;
        }
        let (mut statement, mut lock) = match self.known.get(heard.statement) {
            Some(known) => known.clone(),
            None if self.ran.len() < MOST => {
                let known = read(heard.statement);
                if self.known.len() < MOST {
                    self.known.insert(heard.statement.to_owned(), known.clone());
                }
                known
            }
            // Only those that are told apart already are of interest, each with the lock that it had then.
            None => {
                let shape = shape(heard.statement);
                let lock = self.ran.get(&(side, shape.clone())).and_then(|(ran, _)| ran.lock.clone());
                (shape, lock)
            }
        };
        if self.ran.len() >= MOST && !self.ran.contains_key(&(side, statement.clone())) {
            (statement, lock) = (OTHERS.to_owned(), None);
        }
        let new =
            Ran { side, statement: statement.clone(), lock, attempt: 0, times: 0, seconds: 0.0, longest_seconds: 0.0, rows: 0 };
        let (ran, changed) = self.ran.entry((side, statement)).or_insert((new, true));
        ran.times += heard.times;
        ran.seconds += heard.took.as_secs_f64();
        ran.longest_seconds = ran.longest_seconds.max(heard.longest.as_secs_f64());
        ran.rows += heard.rows;
        *changed = true;
    }
}

/// A note in our own tables, of which there is one beside every statement, or a function of ours.
fn is_ours(text: &str) -> bool {
    let function = text.contains("FUNCTION \"crossfade\".") && !text.starts_with("CREATE TRIGGER");
    function
        || ["INSERT INTO crossfade.", "UPDATE crossfade.", "DELETE FROM crossfade."].iter().any(|head| text.starts_with(head))
}

/// The shape of a statement, and the strongest lock that PostgreSQL takes for such a one.
fn read(text: &str) -> (String, Option<String>) {
    let lock = split(text).ok().and_then(|statements| {
        let strongest = statements.iter().filter_map(|statement| statement.strongest()).max_by_key(|touch| touch.lock)?;
        Some(format!("{} on {}", strongest.lock, strongest.relation.plain()))
    });
    (shape(text), lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(statement: &str) -> Heard<'_> {
        let took = Duration::from_millis(20);
        Heard { statement, took, times: 1, longest: took, rows: 3 }
    }

    #[test]
    fn the_same_statement_with_other_values_is_one_and_keeps_no_value() {
        let mut statements = Statements::default();
        statements.take(Side::Blue, heard("UPDATE t SET a = 'secret'"));
        statements.take(Side::Blue, heard("UPDATE t SET a = 'other secret'"));
        statements.take(Side::Blue, heard("ALTER TABLE t ADD b text DEFAULT 'secret'"));
        statements.take(Side::Blue, heard("INSERT INTO crossfade.step_marker VALUES ('x')"));
        let shown: Vec<(&str, u64, Option<&str>)> =
            statements.ran.values().map(|(ran, _)| (ran.statement.as_str(), ran.times, ran.lock.as_deref())).collect();
        assert_eq!(
            shown,
            [
                ("ALTER TABLE t ADD b text DEFAULT ?", 1, Some("ACCESS EXCLUSIVE on t")),
                ("UPDATE t SET a = ?", 2, Some("ROW EXCLUSIVE on t")),
            ]
        );
        assert_eq!(statements.ran.values().map(|(ran, _)| ran.rows).sum::<u64>(), 9);
    }

    #[test]
    fn there_is_an_end_to_what_is_told_apart() {
        let mut statements = Statements::default();
        for number in 0..MOST + 9 {
            statements.take(Side::Green, heard(&format!("DROP TABLE t{number}")));
        }
        assert_eq!(statements.ran.len(), MOST + 1);
        assert_eq!(statements.ran[&(Side::Green, OTHERS.to_owned())].0.times, 9);
    }
}
