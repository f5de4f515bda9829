//! The exit codes of every command.

use super::Entry;
use crate::terms::Exit;

const fn exit(exit: Exit, next: &'static str) -> Entry {
    Entry { code: exit.code(), means: exit.meaning(), next }
}

/// Every exit code.
pub(super) const EXITS: &[Entry] = &[
    exit(Exit::Done, "What the command's `next:` line says; `crossfade status PLAN` says where a run stands."),
    exit(
        Exit::Unforeseen,
        "Read the error; `crossfade explain SQLSTATE` where it names one; the same command with `CROSSFADE_LOG=debug` says more. Nothing is lost: `crossfade status PLAN`.",
    ),
    exit(Exit::Usage, "Mend what the message names: `crossfade COMMAND --help`, `crossfade check PLAN`."),
    exit(Exit::Findings, "Do what each finding's `next:` says, then the same command again. What was done before stays done."),
    exit(Exit::Stopped, "The same command again, when the cause that it names is gone; or `crossfade rollback PLAN`."),
    exit(Exit::Waiting, "When a person agrees: the same command with `--approve STEP`; or `crossfade rollback PLAN`."),
    exit(
        Exit::UndoFailed,
        "`crossfade status PLAN` names the step and why; when the cause is gone `crossfade rollback PLAN --execute` goes on.",
    ),
    exit(
        Exit::Divergence,
        "Look at what differs (keys are in `crossfade.divergence` on green), mend its cause, then the same command again.",
    ),
    exit(Exit::Interrupted, "The same command takes the run up; `crossfade rollback PLAN` takes it back."),
];
