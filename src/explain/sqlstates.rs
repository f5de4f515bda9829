//! The SQLSTATEs that crossfade meets (PostgreSQL manual, appendix A), and what they mean here.

use super::Entry;

/// In the order of the codes.
#[rustfmt::skip]
pub(super) const SQLSTATES: &[Entry] = &[
    Entry { code: "08006", means: "The connection broke. Whether the last statement happened is asked of the database, not assumed.", next: "The same command again; it ends what its dead sessions left running and goes on." },
    Entry { code: "22001", means: "A value is longer than the column allows. Values are never shown.", next: "`crossfade preflight PLAN` counts such rows and names them by key digest." },
    Entry { code: "22P02", means: "A text is no value of the type it is cast to. Values are never shown.", next: "`crossfade preflight PLAN` counts such rows and names them by key digest." },
    Entry { code: "23502", means: "A NULL where a column is NOT NULL.", next: "`crossfade preflight PLAN --suggest` writes a clean_rows step or a change of the projection." },
    Entry { code: "23503", means: "A row points to one that is not there, or one that others point to was to go.", next: "`crossfade preflight PLAN --suggest`; for writers during a copy: list parent tables with their children." },
    Entry { code: "23505", means: "A key is there twice.", next: "`crossfade preflight PLAN --suggest` says which rows; on green also look for somebody else who writes there." },
    Entry { code: "23514", means: "A row breaks a CHECK.", next: "`crossfade preflight PLAN --suggest` counts such rows and suggests a clean_rows step." },
    Entry { code: "23P01", means: "Two rows collide in an exclusion constraint.", next: "`crossfade preflight PLAN` names them by key digest." },
    Entry { code: "25001", means: "The statement cannot run inside a transaction (CREATE INDEX CONCURRENTLY and its like).", next: "`-- crossfade: no-transaction` above it in a migrate file, or the step kind made for it (create_index, drop_index)." },
    Entry { code: "25006", means: "Writing is refused: the fence of a switch is around this side, the session is read-only, or the server is a standby.", next: "During a switch: wait, the fence lifts itself if the switch dies. Otherwise point the connection at the primary (`target_session_attrs=read-write`)." },
    Entry { code: "28000", means: "The server refuses this role or this way of connecting (pg_hba.conf).", next: "Correct user, database, host or TLS as the message says, or pg_hba.conf." },
    Entry { code: "28P01", means: "The password is wrong.", next: "The message says where the password came from; correct it there." },
    Entry { code: "40001", means: "A serialization failure: another transaction was first.", next: "Nothing: crossfade tries again by itself. If a run stops with it, the same command again." },
    Entry { code: "40P01", means: "A deadlock, ended by the server. crossfade's own transactions are tried again.", next: "Nothing, unless it comes again and again: then see which application takes the same tables in another order." },
    Entry { code: "42501", means: "The role may not do this.", next: "`crossfade preflight PLAN` lists every missing privilege with the GRANT that helps." },
    Entry { code: "42703", means: "A column is not there: the plan or a projection is for another schema, or an earlier step has not run yet.", next: "`crossfade run PLAN` (changes nothing) says which step; compare with the table." },
    Entry { code: "42704", means: "An object is not there: for capture, the replication slot or publication is gone.", next: "`crossfade status PLAN` says so; a lost slot means: `crossfade rollback PLAN`, and begin anew." },
    Entry { code: "42P01", means: "A table is not there: the wrong database, another search_path, or an earlier step has not run yet.", next: "`crossfade run PLAN` (changes nothing) says which step; check the connection string's database." },
    Entry { code: "53100", means: "The server's disk is full.", next: "Make room, then the same command. Look at `crossfade status PLAN` for what keeps log or outbox growing." },
    Entry { code: "53200", means: "The server is out of memory; as `out of shared memory`: its lock table is full.", next: "Raise max_locks_per_transaction (needs a restart), or divide the tables among several steps; `crossfade preflight PLAN` says how many locks a plan takes." },
    Entry { code: "53300", means: "The server has no free connection.", next: "Lower `[limits] jobs`, raise max_connections, or end idle sessions." },
    Entry { code: "53400", means: "A statement spilled more to temporary files than temp_file_limit allows.", next: "Raise temp_file_limit for the role (`ALTER ROLE ... SET`, by an administrator), or work_mem and maintenance_work_mem so that less spills." },
    Entry { code: "54000", means: "A limit of the server, here mostly: a value too large for an index row.", next: "`crossfade preflight PLAN` counts such rows (index_row)." },
    Entry { code: "55000", means: "An object is not in the state that is needed; for a slot: it can no longer be read.", next: "`crossfade status PLAN`; a lost slot means: `crossfade rollback PLAN`, and begin anew." },
    Entry { code: "55006", means: "The object is in use: somebody else reads the replication slot.", next: "Nothing for a moment: a dead reader's session ends soon. Then see whether another `crossfade follow` is at work." },
    Entry { code: "55P03", means: "A lock was not given within lock_timeout. The statement queued nobody for longer than that.", next: "Nothing: it is tried again until `lock_retry_for`, and who is in the way is named. Then end that session or wait, and the same command." },
    Entry { code: "57014", means: "The statement was cancelled: by statement_timeout, by a person, or by the second Ctrl-C.", next: "The same command; `crossfade preflight PLAN` names time limits that are set for the role." },
    Entry { code: "57P01", means: "The session was ended by an administrator or a server that shuts down.", next: "The same command, when the server is back." },
    Entry { code: "57P03", means: "The server starts up or shuts down.", next: "The same command in a moment." },
];
