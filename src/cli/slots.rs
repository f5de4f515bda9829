//! Replication slots of runs on blue, for `crossfade status`.

use crate::sql::{Ident, Literal};
use crate::step::{SlotState, slot_name};
use crate::terms::RunId;

/// A slot, and whose it is.
pub(super) struct Slot {
    state: SlotState,
    /// The run of this plan that it belongs to, when one has a journal here.
    run: Option<RunId>,
    /// Whether that is the run that `status` speaks of.
    latest: bool,
}

/// Finds the run of each slot; `runs` are those of the plan, oldest first.
pub(super) fn owners(states: Vec<SlotState>, runs: &[RunId]) -> Vec<Slot> {
    let owner = |state: SlotState| {
        let run = runs.iter().find(|run| slot_name(run) == state.name).cloned();
        Slot { latest: run.is_some() && run.as_ref() == runs.last(), run, state }
    };
    states.into_iter().map(owner).collect()
}

/// What JSON says.
pub(super) fn document(slots: &[Slot]) -> serde_json::Value {
    let one = |slot: &Slot| {
        let mut value = serde_json::to_value(&slot.state).unwrap_or_default();
        value["run"] = serde_json::json!(slot.run);
        value
    };
    slots.iter().map(one).collect()
}

/// One line for each, with what to do about those that nobody here needs.
pub(super) fn lines(slots: &[Slot], limit: u64) -> String {
    let mut out = String::new();
    for Slot { state, run, latest } in slots {
        let room = match (state.room, state.limit) {
            (Some(room), Some(limit)) => format!("; lost after {room} more (max_slot_wal_keep_size is {limit})"),
            _ => "; max_slot_wal_keep_size sets no end to that".to_owned(),
        };
        let whose = match (run, latest) {
            (Some(_), true) => String::new(),
            (Some(run), false) => format!(", of the earlier run {run}"),
            (None, _) => ", of no run of this plan that has a journal here".to_owned(),
        };
        let read = if state.active { "is being read" } else { "is not being read" };
        out += &match state.lost {
            true => format!("slot {}{whose}: is lost, blue threw its log away\n", state.name),
            false => format!(
                "slot {}{whose}: {read}; {} bytes of blue's log are not confirmed, blue keeps {} bytes for it{room}\n",
                state.name, state.behind, state.kept
            ),
        };
        if *latest && state.alarming(limit) && !state.lost {
            out += "warning: the slot keeps more of blue's log than outbox_alarm, or comes near max_slot_wal_keep_size, after which it is lost\n";
        }
        if !latest {
            out += &format!(
                "  next: when no other crossfade (another plan, another machine) needs it, on blue: \
                 SELECT pg_drop_replication_slot({}); DROP PUBLICATION IF EXISTS {}\n",
                Literal::new(&state.name),
                Ident::new(&state.name)
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_without_a_run_is_named_with_the_command_that_removes_it() {
        let runs = [RunId::existing("a"), RunId::existing("b")];
        let state = |name: &str| SlotState {
            name: name.to_owned(),
            active: false,
            lost: false,
            behind: 5,
            kept: 7,
            room: Some(2),
            limit: Some(100),
        };
        let slots = owners(vec![state("crossfade_a"), state("crossfade_b"), state("crossfade_c")], &runs);
        let text = lines(&slots, 1_000);
        let of: Vec<&str> = text.lines().collect();
        assert!(of[0].starts_with("slot crossfade_a, of the earlier run a: is not being read; 5 bytes"), "{text}");
        assert!(of[1].contains("pg_drop_replication_slot('crossfade_a')"), "{text}");
        assert!(of[2].contains("blue keeps 7 bytes for it; lost after 2 more (max_slot_wal_keep_size is 100)"), "{text}");
        assert!(of[3].starts_with("warning:") && of[4].contains("of no run of this plan"), "{text}");
        assert_eq!(of.len(), 6, "{text}");
        assert_eq!(document(&slots)[2]["run"], serde_json::Value::Null);
    }
}
