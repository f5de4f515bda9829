//! Checks of what surrounds the rows: servers, roles, settings, other sessions, and the tables' own state.
//!
//! One file per noun. A topic asks one side; a comparison asks both. Each finding says what it means for the plan and what
//! comes next, and what cannot be asked is said as well.

mod capacity;
mod clock;
mod collations;
mod disk;
mod extensions;
mod ground;
mod indexes;
mod keys;
mod large_objects;
mod prepared;
mod privileges;
mod row_security;
mod sequences;
mod server;
mod slots;
mod standbys;
mod table_form;
mod timeouts;
mod transactions;
mod triggers;
mod vacuum;
mod wal;
mod wraparound;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::ground::Ground;
use super::Check;
use crate::limits::Limits;
use crate::plan::Plan;
use crate::step::{Cx, Touched, Use};
use crate::terms::{Finding, Side};

/// What the checks must know of the plan.
struct Needs {
    /// Every table its steps name, and what for.
    touched: Vec<Touched>,
    /// Whether it has a green side.
    two_sides: bool,
    /// Where steps keep notes in our own tables.
    notes: BTreeSet<Side>,
    limits: Limits,
    thresholds: Thresholds,
}

/// From when on something is worth a finding.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    /// Transactions older than this stand in the way of concurrent index builds. Default 1 min.
    pub old_transaction: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { old_transaction: Duration::from_secs(60) }
    }
}

impl Needs {
    fn of(plan: &Plan, thresholds: Thresholds) -> Self {
        let mut touched: Vec<Touched> = plan.steps().iter().flat_map(|step| step.step.touches()).collect();
        touched.sort();
        touched.dedup();
        Self {
            touched,
            two_sides: plan.database(Side::Green).is_some(),
            notes: plan.notes(),
            limits: plan.limits().clone(),
            thresholds,
        }
    }

    /// Whether a step uses any table of this side so.
    fn uses(&self, side: Side, how: &[Use]) -> bool {
        self.touched.iter().any(|touched| touched.side == side && how.contains(&touched.how))
    }
}

/// A question to one side.
#[async_trait]
trait Topic: Send + Sync {
    fn name(&self) -> &'static str;
    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>>;
}

/// A question to both sides.
#[async_trait]
trait Comparison: Send + Sync {
    fn name(&self) -> &'static str;
    async fn ask(&self, blue: &Ground<'_>, green: &Ground<'_>) -> anyhow::Result<Vec<Finding>>;
}

const TOPICS: &[&dyn Topic] = &[
    &server::Fitness,
    &privileges::Privileges,
    &privileges::Sight,
    &capacity::Connections,
    &capacity::Locks,
    &timeouts::Timeouts,
    &clock::MachineClock,
    &disk::InPlace,
    &wal::Wal,
    &standbys::Standbys,
    &slots::Slots,
    &prepared::Prepared,
    &transactions::LongTransactions,
    &wraparound::Wraparound,
    &collations::Versions,
    &indexes::Invalid,
    &keys::Keys,
    &table_form::Form,
    &row_security::RowSecurity,
    &triggers::Triggers,
    &triggers::EventTriggers,
    &vacuum::Autovacuum,
    &sequences::Sequences,
    &large_objects::LargeObjects,
];

const COMPARISONS: &[&dyn Comparison] =
    &[&server::Versions, &extensions::Extensions, &collations::Locales, &clock::BothClocks, &disk::OnGreen, &wal::LoadWal];

/// A check's name as a code: `long-transactions`.
fn code(name: &str) -> String {
    name.replace(' ', "-")
}

/// The codes of all checks.
pub fn codes() -> impl Iterator<Item = String> {
    TOPICS.iter().map(|topic| topic.name()).chain(COMPARISONS.iter().map(|comparison| comparison.name())).map(code)
}

/// The checks of a plan: one per side and topic, and for two sides one per comparison.
///
/// # Errors
/// None so far: everything the checks need is in the plan.
pub async fn checks(plan: &Plan, _: &Cx) -> anyhow::Result<Vec<Box<dyn Check>>> {
    Ok(checks_from(plan, Thresholds::default()))
}

/// The same with other thresholds.
pub fn checks_from(plan: &Plan, thresholds: Thresholds) -> Vec<Box<dyn Check>> {
    let needs = Arc::new(Needs::of(plan, thresholds));
    let mut checks: Vec<Box<dyn Check>> = Vec::new();
    for side in plan.sides() {
        checks.extend(TOPICS.iter().map(|topic| Box::new(Asked { needs: needs.clone(), side, topic: *topic }) as Box<dyn Check>));
    }
    if needs.two_sides {
        checks.extend(
            COMPARISONS
                .iter()
                .map(|comparison| Box::new(Compared { needs: needs.clone(), comparison: *comparison }) as Box<dyn Check>),
        );
    }
    checks
}

/// A topic and a side.
struct Asked {
    needs: Arc<Needs>,
    side: Side,
    topic: &'static dyn Topic,
}

#[async_trait]
impl Check for Asked {
    fn name(&self) -> String {
        format!("{} of {}", self.topic.name(), self.side)
    }

    fn code(&self) -> Option<String> {
        Some(code(self.topic.name()))
    }

    async fn run(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        self.topic.ask(&Ground::open(cx, self.side, &self.needs).await?).await
    }
}

/// A comparison of blue and green.
struct Compared {
    needs: Arc<Needs>,
    comparison: &'static dyn Comparison,
}

#[async_trait]
impl Check for Compared {
    fn name(&self) -> String {
        format!("{} of blue and green", self.comparison.name())
    }

    fn code(&self) -> Option<String> {
        Some(code(self.comparison.name()))
    }

    async fn run(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let blue = Ground::open(cx, Side::Blue, &self.needs).await?;
        let green = Ground::open(cx, Side::Green, &self.needs).await?;
        self.comparison.ask(&blue, &green).await
    }
}
