//! Does an existing run fit the plan and the databases of today? Pure.

use std::collections::BTreeMap;

use crate::journal::State;
use crate::pg::Identity;
use crate::plan::Plan;
use crate::terms::Side;

/// What differs between the plan a run began with and the plan of today; empty when nothing does.
pub fn plan_changes(state: &State, plan: &Plan) -> Vec<String> {
    let mut changes = Vec::new();
    for step in plan.steps() {
        match state.steps_as_begun.iter().find(|(id, _)| *id == step.id) {
            None => changes.push(format!("step {} is new", step.id)),
            Some((_, print)) if *print != step.fingerprint => {
                changes.push(format!("step {} or a file it reads has changed", step.id))
            }
            Some(_) => {}
        }
    }
    for (id, _) in &state.steps_as_begun {
        if !plan.steps().iter().any(|step| step.id == *id) {
            changes.push(format!("step {id} is gone"));
        }
    }
    let order_then: Vec<_> = state.steps_as_begun.iter().map(|(id, _)| id).collect();
    let order_now: Vec<_> = plan.steps().iter().map(|step| &step.id).collect();
    if changes.is_empty() && order_then != order_now {
        changes.push("the steps are in another order".to_owned());
    }
    changes
}

/// Refuses one database as both blue and green.
///
/// # Errors
/// Names it.
pub fn distinct(databases: &BTreeMap<Side, Identity>) -> Result<(), String> {
    match (databases.get(&Side::Blue), databases.get(&Side::Green)) {
        (Some(blue), Some(green)) if blue.same_database(green) => Err(format!(
            "blue and green are the same database ({} of cluster {}): green must be another one; set its connection string",
            blue.name, blue.cluster
        )),
        _ => Ok(()),
    }
}

/// The sides whose database is not the one the run began with, as text.
pub(super) fn other_databases<'a>(state: &State, now: impl IntoIterator<Item = (&'a Side, &'a Identity)>) -> Vec<String> {
    now.into_iter()
        .filter_map(|(side, identity)| match state.databases.get(side) {
            Some(then) if !then.same_database(identity) => Some(format!(
                "{side} was database {} of cluster {}, and is {} of {}",
                then.name, then.cluster, identity.name, identity.cluster
            )),
            _ => None,
        })
        .collect()
}

/// Whether a side's database is not the one the run began with.
pub(super) fn is_another(state: &State, now: &BTreeMap<Side, Identity>, side: Side) -> bool {
    !other_databases(state, now.iter().filter(|(one, _)| **one == side)).is_empty()
}
