//! The `next:` line after a command, on stderr. Commands that know more than their name and exit code say it themselves.

use crate::terms::Exit;

/// What comes after a command that ended with this exit code; `None` where it has said so itself, or nothing comes.
/// `plan` is the plan file it was given, or the word PLAN.
pub(super) fn after(command: &str, exit: Exit, plan: &str) -> Option<String> {
    let done = exit == Exit::Done;
    let next = match command {
        "demo" if done => "your own databases: crossfade init --blue URL --green URL -o plan.toml".to_owned(),
        "lint" if done => {
            "crossfade trace PATH says what the statements really lock; crossfade rewrite DIR -o PLAN makes a plan".to_owned()
        }
        "lint" => {
            "crossfade explain RULE, for what it is about; crossfade rewrite DIR -o PLAN makes a plan that makes nobody wait"
                .to_owned()
        }
        "grants" if done => format!("run these statements as an administrator, then crossfade preflight {plan}"),
        "pause" if done => format!("crossfade resume {plan}; crossfade status {plan} says where it stands"),
        "resume" | "copy-worker" if done => format!("crossfade status {plan} says where the copy stands"),
        "prove" if done => format!("crossfade check {plan}; crossfade run {plan}"),
        "prove" => "mend the plan where the ends differ, then the same command again".to_owned(),
        "trace" if done => "crossfade rewrite DIR -o PLAN makes a plan that makes nobody wait".to_owned(),
        "trace" => "where lint says otherwise, go by what the server did: crossfade explain RULE".to_owned(),
        "rehearse" if done => {
            format!("crossfade run {plan}; crossfade report {plan} --prediction FILE compares (rehearse --save FILE)")
        }
        "rehearse" => {
            "mend what stopped it or left another end, then the same command again; --keep leaves the servers".to_owned()
        }
        "preflight" if done => format!("crossfade run {plan}"),
        "preflight" => {
            format!("do what the findings say (crossfade preflight {plan} --suggest writes steps), then the same command again")
        }
        "audit" if done => format!("crossfade run {plan}; crossfade status {plan}"),
        "audit" => "a plan with a repair step gives such rows what they should have: crossfade explain repair".to_owned(),
        "follow" if done => format!("crossfade status {plan}; when no writer is left on blue: crossfade finish {plan}"),
        "finish" if done => format!("crossfade report {plan}"),
        "report" => format!("crossfade status {plan}; to take the run back: crossfade rollback {plan}"),
        "revocations" if done => {
            format!("crossfade revocations publish {plan} tells services of them; crossfade explain prove_revocations")
        }
        "quarantine" if done => {
            format!("crossfade quarantine show {plan}; to put rows back: crossfade quarantine restore {plan}")
        }
        "route" if done => "crossfade route get CONFIG says where requests go; set and hold change it".to_owned(),
        "window" if done => "set the token lifetime with a set_lever step: crossfade explain set_lever".to_owned(),
        "schema" => "save it, and name it in the first line of a plan: #:schema ./crossfade.schema.json".to_owned(),
        "completions" => "where your shell looks for them: crossfade completions --help".to_owned(),
        "man" if done => "man -l DIR/crossfade.1".to_owned(),
        _ => return None,
    };
    Some(next)
}

/// The commands that say themselves what comes next, in every case that has something next.
#[cfg(test)]
const THEMSELVES: &[&str] = &["check", "rewrite", "run", "copy", "cutover", "status", "rollback", "init", "explain"];

/// What comes after an error whose message does not say it. `said` is the message.
pub(super) fn after_error(exit: Exit, said: &str) -> Option<String> {
    if said.contains("next:") || said.contains("`crossfade ") || said.contains("(crossfade ") || said.contains("; crossfade ") {
        return None;
    }
    Some(match (exit, sqlstate(said)) {
        (_, Some(code)) => format!("crossfade explain {code}"),
        (Exit::Usage, None) => "mend that, then the same command again; crossfade COMMAND --help says what it takes".to_owned(),
        (exit, None) => format!("crossfade explain {} says what this exit code means and what to do", exit.code()),
    })
}

/// The SQLSTATE that a message names, where it is one that is explained.
fn sqlstate(said: &str) -> Option<&str> {
    let (_, rest) = said.rsplit_once("SQLSTATE ")?;
    let code = rest.get(..5)?;
    crate::explain::codes().find(|known| *known == code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_says_what_comes_next() {
        for command in super::super::Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let here = [Exit::Done, Exit::Findings].iter().any(|exit| after(name, *exit, "PLAN").is_some());
            assert!(here != THEMSELVES.contains(&name), "{name}: a line in `after`, or in THEMSELVES, not both");
        }
    }

    #[test]
    fn every_command_has_an_example() {
        for command in super::super::Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let example = format!("crossfade {}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:") && help.contains(&example), "{example} has no example in its help");
        }
    }

    #[test]
    fn an_error_leads_on() {
        assert_eq!(after_error(Exit::Usage, "no such step; next: look"), None);
        let explained = after_error(Exit::Unforeseen, "permission denied (SQLSTATE 42501), table t");
        assert_eq!(explained.as_deref(), Some("crossfade explain 42501"));
        assert!(after_error(Exit::Unforeseen, "odd (SQLSTATE 0Z003)").is_some_and(|next| next.contains("explain 1 ")));
        assert!(after_error(Exit::Usage, "x").is_some_and(|next| next.contains("--help")));
    }
}
