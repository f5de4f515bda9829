//! Which steps of a plan are not rehearsed, because they ask or change something that is not one of the databases. Pure.

use crate::report::LeftOut;
use crate::terms::StepId;

/// Kinds that reach out, and what would be asked or changed.
const OUTSIDE: [(&str, &str); 4] = [
    ("switch", "its participants (routers, poolers, commands) serve the real applications"),
    ("set_lever", "its value belongs to a real system"),
    ("run_hook", "its program may reach real systems"),
    ("watch", "what it measures is real traffic, and there is none"),
];

/// The steps that are left out, in the plan's order: those that reach out, and everything after a switch, which would find green
/// not serving.
pub fn left_out<'a>(steps: impl IntoIterator<Item = (&'a StepId, &'a str)>) -> Vec<LeftOut> {
    let mut switch: Option<&StepId> = None;
    let mut all = Vec::new();
    for (step, kind) in steps {
        let outside = OUTSIDE.iter().find(|(name, _)| *name == kind).map(|(_, why)| format!("{kind}: {why}"));
        let after = switch.map(|switch| format!("comes after {switch}, which is left out"));
        if let Some(why) = outside.or(after) {
            all.push(LeftOut { step: step.clone(), why });
        }
        if kind == "switch" {
            switch = switch.or(Some(step));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reaches_out_and_what_comes_after_the_switch_is_left_out() {
        let names = ["copy", "baseline", "follow", "cutover", "watch", "end"].map(|name| StepId::new(name).unwrap());
        let kinds = ["copy", "watch", "follow", "switch", "watch", "end_way_back"];
        let found = left_out(names.iter().zip(kinds));
        let said: Vec<(&str, &str)> = found.iter().map(|one| (one.step.as_str(), one.why.as_str())).collect();
        assert_eq!(said.iter().map(|(step, _)| *step).collect::<Vec<_>>(), ["baseline", "cutover", "watch", "end"]);
        assert!(said[0].1.contains("real traffic") && said[3].1 == "comes after cutover, which is left out", "{said:?}");
    }
}
