//! The load: missing parts from blue's snapshot to green, several at a time, and what hangs on a table as soon as its rows are in.
//!
//! One queue for all of it, no barrier between rows and indexes: while one worker still loads a table, another builds the
//! indexes of the one before. The biggest tables come first, so that what is left in the end is small. Workers on other machines
//! take parts too: a part that one of them has in hand is asked for again until it is in or free.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

use super::gate::{Gate, Interrupted, Pace};
use super::hold::Held;
use super::missing::{Form, Missing, done_together, take, take_together};
use super::monitor::{Control, Monitor};
use super::piece::{Piece, Rest};
use super::queue::Queue;
use super::transfer::{Amount, Transfer};
use crate::pg::{Opener, Session, on_threads};
use crate::sql::QualifiedName;
use crate::terms::{RunId, StepId};

/// From this size on an index build may use workers of the server that have nothing else to do.
const LARGE: u64 = 32 << 20;

/// So many small tables are one transaction at most.
const TOGETHER: usize = 16;

/// What the load is doing; for progress and for the tests' crash points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// A part's rows are sent, not committed.
    Sent,
    /// A part is committed; this many rows are, in all.
    Committed(u64),
    /// All rows are there, and the statements that say so are committed.
    Loaded,
    /// An index is there.
    Built,
    /// A constraint is there.
    Constrained,
    /// It pauses, for this reason; or goes on.
    Pauses(Option<String>),
}

/// What a load moved.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loaded {
    /// Rows that this process brought.
    pub rows: u64,
    /// Their bytes, as they travelled.
    pub bytes: u64,
    /// Parts that were missing.
    pub parts: usize,
    /// Of these, how many workers elsewhere brought.
    pub elsewhere: usize,
    /// Seconds until all rows were there; other work went on beside.
    pub seconds: f64,
}

/// A load of all tables of a step.
pub struct Load {
    /// The run, for the part rows.
    pub run: RunId,
    /// The step, for the part rows.
    pub step: StepId,
    /// Opens sessions on green.
    pub green: Opener,
    /// Sessions per side.
    pub jobs: usize,
    /// What comes after the rows of each table.
    pub tables: Vec<Rest>,
    /// The parts that are not in.
    pub missing: Vec<Missing>,
    /// Committed when the rows of all tables are there.
    pub loaded: Vec<String>,
    /// Whether something of the rest may be there already, and is asked for.
    pub ask: bool,
    /// Statements that set up each session on green.
    pub settings: String,
    /// What it goes by.
    pub control: Control,
}

enum Task {
    /// Its place in [`Load::missing`].
    Part(usize),
    /// Small tables, by the places of their parts: all of each comes in one transaction.
    Together(Vec<usize>),
    Chain(usize, usize),
    Last(usize),
}

/// What the workers share.
struct Work<N> {
    load: Load,
    /// Per part: its table.
    places: Vec<usize>,
    /// Per table: parts that are not in.
    parts: Vec<AtomicUsize>,
    /// Per table: chains that are not there.
    chains: Vec<AtomicUsize>,
    /// Parts that are not in, of all tables.
    left: AtomicUsize,
    /// Parts that nobody has taken.
    untaken: AtomicUsize,
    /// Rows that are in, those of earlier attempts and of other machines too.
    all_rows: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
    elsewhere: AtomicUsize,
    /// Parts that others have in hand.
    aside: std::sync::Mutex<Vec<usize>>,
    all_in: CancellationToken,
    queue: Queue<Task>,
    gate: Gate,
    notice: N,
}

/// What a worker has in its hands.
struct Hands {
    blue: Option<Session>,
    green: Session,
    helpers: usize,
}

impl Load {
    /// Loads every missing part, each in one green transaction together with its row in `crossfade.copy_part`, and brings the rest
    /// of each table. `blue` opens sessions that watch blue; `before` rows are in already.
    ///
    /// # Errors
    /// The first part or piece that fails: names table, source and part, or the piece. [`Interrupted`] when a signal asked to stop and
    /// parts are left.
    pub async fn run(
        self,
        held: &Held,
        blue: Opener,
        before: u64,
        notice: impl Fn(Moment) + Send + Sync + 'static,
    ) -> anyhow::Result<Loaded> {
        self.work(Some((held.clone(), blue)), before, notice).await
    }

    /// Brings the rest of each table, whose rows are there.
    ///
    /// # Errors
    /// The first piece that fails.
    pub async fn rest(self, notice: impl Fn(Moment) + Send + Sync + 'static) -> anyhow::Result<()> {
        self.work(None, 0, notice).await.map(drop)
    }

    async fn work(
        self,
        source: Option<(Held, Opener)>,
        before: u64,
        notice: impl Fn(Moment) + Send + Sync + 'static,
    ) -> anyhow::Result<Loaded> {
        let tables: BTreeMap<&QualifiedName, usize> =
            self.tables.iter().enumerate().map(|(at, rest)| (&rest.table, at)).collect();
        let place = |part: &Missing| {
            tables.get(&part.table).copied().with_context(|| format!("table {} is not a part of this copy", part.table.plain()))
        };
        let places = self.missing.iter().map(place).collect::<anyhow::Result<Vec<usize>>>()?;
        let (count, jobs) = (places.len(), self.jobs);
        let mut counts = vec![0; self.tables.len()];
        places.iter().for_each(|table| counts[*table] += 1);
        let work = Arc::new(Work {
            chains: self.tables.iter().map(|rest| AtomicUsize::new(rest.chains.len())).collect(),
            parts: counts.iter().map(|count| AtomicUsize::new(*count)).collect(),
            left: AtomicUsize::new(count),
            untaken: AtomicUsize::new(count),
            all_rows: AtomicU64::new(before),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            elsewhere: AtomicUsize::new(0),
            aside: std::sync::Mutex::default(),
            all_in: CancellationToken::new(),
            queue: Queue::new(),
            gate: Gate::new(self.control.stop.clone()),
            load: self,
            places,
            notice,
        });
        let began = std::time::Instant::now();
        let small = |part: &usize| work.load.missing[*part].form == Form::Small && !work.load.ask;
        let (small, others): (Vec<usize>, Vec<usize>) = (0..count).partition(small);
        for part in others {
            work.queue.add(work.cost(work.places[part], 3), Task::Part(part));
        }
        for some in small.chunks((small.len() / (jobs * 4)).clamp(1, TOGETHER)) {
            work.queue.add(work.cost(work.places[some[0]], 3), Task::Together(some.to_vec()));
        }
        for (table, _) in counts.iter().enumerate().filter(|(_, count)| **count == 0) {
            work.table_in(table);
        }
        if source.is_some() && count == 0 {
            work.all_in(&work.load.green.open().await?).await?;
        }
        let (shared, held) = (Arc::clone(&work), source.as_ref().map(|(held, _)| held.clone()));
        let workers = on_threads(jobs, vec![(); jobs], move |_| {
            let (work, held) = (Arc::clone(&shared), held.clone());
            async move { work.worker(held.as_ref()).await }
        });
        tokio::pin!(workers);
        let mut seconds = None;
        if let Some((_, blue)) = source {
            let looked_after = async {
                tokio::select! {
                    watched = work.look_after(blue) => watched?,
                    () = work.all_in.cancelled() => {}
                }
                work.all_in.cancelled().await;
                anyhow::Ok(began.elapsed().as_secs_f64())
            };
            tokio::select! {
                ended = &mut workers => {
                    ended?;
                    if work.left.load(Ordering::Acquire) > 0 {
                        return Err(Interrupted.into());
                    }
                    return Ok(work.sum(count, began.elapsed().as_secs_f64()));
                }
                all_in = looked_after => seconds = Some(all_in?),
            }
        }
        workers.await?;
        Ok(work.sum(count, seconds.unwrap_or_else(|| began.elapsed().as_secs_f64())))
    }
}

impl<N: Fn(Moment)> Work<N> {
    fn rest(&self, table: usize) -> &Rest {
        &self.load.tables[table]
    }

    fn sum(&self, parts: usize, seconds: f64) -> Loaded {
        let sum = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let elsewhere = self.elsewhere.load(Ordering::Relaxed);
        Loaded { rows: sum(&self.rows), bytes: sum(&self.bytes), parts, elsewhere, seconds }
    }

    /// Until all rows are in.
    async fn look_after(&self, blue: Opener) -> anyhow::Result<()> {
        let Load { run, step, control, jobs, .. } = &self.load;
        let monitor = Monitor { run, step, control, gate: &self.gate, jobs: *jobs };
        let again = || {
            let aside = std::mem::take(&mut *self.aside.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
            for part in aside {
                self.queue.add(self.cost(self.places[part], 3), Task::Part(part));
                self.queue.done();
            }
        };
        let say = |why| (self.notice)(Moment::Pauses(why));
        monitor.watch([blue, self.load.green.clone()], again, say).await
    }

    /// The biggest tables first; of one table rows before indexes before the rest.
    fn cost(&self, table: usize, sort: u64) -> u64 {
        self.rest(table).bytes.saturating_mul(4).saturating_add(sort)
    }

    async fn worker(&self, held: Option<&Held>) -> anyhow::Result<()> {
        let mut hands: Option<Hands> = None;
        while let Some(task) = self.queue.take().await {
            let rows = held.is_some() && !self.all_in.is_cancelled();
            if rows && (self.gate.pass(0).await.is_err() || self.gate.is_stopped()) && !self.all_in.is_cancelled() {
                self.queue.done();
                return Ok(()); // what others have in hand they bring to its end
            }
            if hands.is_none() {
                hands = Some(Hands { blue: None, green: open(&self.load.green, &self.load.settings).await?, helpers: 0 });
            }
            let done = match &mut hands {
                Some(hands) => self.task(task, hands, held).await?,
                None => true,
            };
            if done {
                self.queue.done();
            }
        }
        Ok(())
    }

    /// Says whether the task is done; one that is not comes back.
    async fn task(&self, task: Task, hands: &mut Hands, held: Option<&Held>) -> anyhow::Result<bool> {
        match task {
            Task::Part(at) => {
                let (part, table) = (&self.load.missing[at], self.places[at]);
                let Load { run, step, .. } = &self.load;
                if take(&hands.green, &part.is(run, step)).await?.is_none() {
                    let Some(rows) = part.is_in(&hands.green, run, step).await? else {
                        self.aside.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(at);
                        return Ok(false);
                    };
                    self.untaken.fetch_sub(1, Ordering::Relaxed);
                    self.elsewhere.fetch_add(1, Ordering::Relaxed);
                    self.committed(rows);
                    self.part_in(table);
                } else {
                    self.untaken.fetch_sub(1, Ordering::Relaxed);
                    self.part(hands, part, held).await.with_context(|| what(part))?;
                    self.part_in(table);
                }
                self.fewer(1, &hands.green).await?;
            }
            Task::Together(parts) => self.together(hands, &parts, held).await?,
            Task::Chain(table, chain) => {
                self.no_more_reading(hands);
                self.helpers(hands, table).await?;
                for piece in &self.rest(table).chains[chain] {
                    self.bring(&hands.green, piece, Moment::Built).await?;
                }
                if self.chains[table].fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.queue.add(self.cost(table, 1), Task::Last(table));
                }
            }
            Task::Last(table) => {
                self.no_more_reading(hands);
                for piece in &self.rest(table).last {
                    self.bring(&hands.green, piece, Moment::Constrained).await?;
                }
                if let Some(analyze) = self.rest(table).statistics() {
                    hands.green.run(&analyze).await?;
                }
            }
        }
        Ok(true)
    }

    /// One part, which is taken.
    async fn part(&self, hands: &mut Hands, part: &Missing, held: Option<&Held>) -> anyhow::Result<()> {
        let blue = reader(hands, held).await?;
        let brought = self.transfer(&blue, &hands.green).bring(part, || (self.notice)(Moment::Sent)).await?;
        hands.blue = Some(blue);
        self.brought(brought);
        Ok(())
    }

    /// Small tables with all that hangs on them, one transaction.
    async fn together(&self, hands: &mut Hands, places: &[usize], held: Option<&Held>) -> anyhow::Result<()> {
        let Load { run, step, missing, .. } = &self.load;
        let parts: Vec<&Missing> = places.iter().map(|at| &missing[*at]).collect();
        let taken = take_together(&hands.green, run, step, &parts).await?;
        for at in (0..places.len()).filter(|at| !taken.contains(at)) {
            self.queue.add(self.cost(self.places[places[at]], 3), Task::Part(places[at]));
        }
        if taken.is_empty() {
            return Ok(());
        }
        self.untaken.fetch_sub(taken.len(), Ordering::Relaxed);
        let blue = reader(hands, held).await?;
        let transfer = self.transfer(&blue, &hands.green);
        let mut done = Vec::with_capacity(taken.len());
        for part in taken.iter().map(|at| parts[*at]) {
            done.push((part, transfer.rows(part).await.with_context(|| what(part))?));
        }
        (self.notice)(Moment::Sent);
        let rest: Vec<String> = taken.iter().flat_map(|at| self.rest(self.places[places[*at]]).statements()).collect();
        if let Err(error) = transfer.commit(&done_together(run, step, &done), &rest).await {
            if hands.green.is_closed() {
                return Err(error);
            }
            // One by one: that says which table it is, and they stand in nobody's way together.
            hands.green.batch_execute("ROLLBACK").await?;
            self.untaken.fetch_add(taken.len(), Ordering::Relaxed);
            taken.iter().for_each(|at| self.queue.add(self.cost(self.places[places[*at]], 3), Task::Part(places[*at])));
            hands.blue = Some(blue);
            return Ok(());
        }
        done.iter().for_each(|(_, brought)| self.brought(*brought));
        hands.blue = Some(blue);
        self.fewer(taken.len(), &hands.green).await
    }

    fn transfer<'a>(&'a self, blue: &'a Session, green: &'a Session) -> Transfer<'a> {
        Transfer { run: &self.load.run, step: &self.load.step, blue, green, gate: &self.gate }
    }

    fn brought(&self, brought: Amount) {
        self.rows.fetch_add(brought.rows, Ordering::Relaxed);
        self.bytes.fetch_add(brought.bytes, Ordering::Relaxed);
        self.committed(brought.rows);
    }

    /// So many parts more are in.
    async fn fewer(&self, parts: usize, green: &Session) -> anyhow::Result<()> {
        match self.left.fetch_sub(parts, Ordering::AcqRel) == parts {
            true => self.all_in(green).await,
            false => Ok(()),
        }
    }

    fn committed(&self, rows: u64) {
        let all = self.all_rows.fetch_add(rows, Ordering::Relaxed) + rows;
        (self.notice)(Moment::Committed(all));
    }

    fn part_in(&self, table: usize) {
        if self.parts[table].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.table_in(table);
        }
    }

    /// The rows of a table are in.
    fn table_in(&self, table: usize) {
        let count = self.rest(table).chains.len();
        for chain in 0..count {
            self.queue.add(self.cost(table, 2), Task::Chain(table, chain));
        }
        if count == 0 {
            self.queue.add(self.cost(table, 1), Task::Last(table));
        }
    }

    /// All rows are in. This commit outlasts a crash of the server, and with it every earlier one.
    async fn all_in(&self, green: &Session) -> anyhow::Result<()> {
        let text = format!("BEGIN; SET LOCAL synchronous_commit = local; {}; COMMIT", self.load.loaded.join("; "));
        green.batch_execute(&text).await?;
        self.all_in.cancel();
        self.gate.set(Pace::default()); // who waits at it has nothing to wait for
        (self.notice)(Moment::Loaded);
        Ok(())
    }

    async fn bring(&self, green: &Session, piece: &Piece, moment: Moment) -> anyhow::Result<()> {
        let brought = match self.load.ask {
            true => piece.bring(green).await?,
            false => piece.build(green).await.map(|()| true)?,
        };
        if brought {
            (self.notice)(moment);
        }
        Ok(())
    }

    /// Lets blue forget the snapshot as soon as this worker will read no more.
    fn no_more_reading(&self, hands: &mut Hands) {
        if self.untaken.load(Ordering::Relaxed) == 0 {
            hands.blue = None;
        }
    }

    /// A build of a large index may use the cores of workers that have nothing to do; otherwise none, whose sorted runs would
    /// pass through temporary files for nothing.
    async fn helpers(&self, hands: &mut Hands, table: usize) -> anyhow::Result<()> {
        let helpers = if self.rest(table).bytes < LARGE { 0 } else { self.queue.waiting() };
        if helpers != hands.helpers {
            hands.green.batch_execute(&format!("SET max_parallel_maintenance_workers = {helpers}")).await?;
            hands.helpers = helpers;
        }
        Ok(())
    }
}

/// The session that reads the snapshot.
async fn reader(hands: &mut Hands, held: Option<&Held>) -> anyhow::Result<Session> {
    match (hands.blue.take(), held) {
        (Some(blue), _) => Ok(blue),
        (None, Some(held)) => held.join().await,
        (None, None) => bail!("a part without a snapshot"),
    }
}

/// What messages call a part.
fn what(part: &Missing) -> String {
    format!("table {}, source {}, part {}", part.table.plain(), part.source, part.number)
}

/// What a crash loses is loaded again: the statements that end the load are committed in the ordinary way, after all of it.
const SETTINGS: &str = "SET synchronous_commit = off; SET max_parallel_maintenance_workers = 0; \
    SELECT set_config('maintenance_work_mem', \
    greatest(pg_size_bytes(current_setting('maintenance_work_mem')), 268435456) / 1024 || 'kB', false)";

pub(super) async fn open(green: &Opener, settings: &str) -> anyhow::Result<Session> {
    let green = green.open().await?;
    green.batch_execute(&format!("{SETTINGS};\n{settings}")).await?;
    Ok(green)
}
