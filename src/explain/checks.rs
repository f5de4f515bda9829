//! The checks of `crossfade preflight`: rules about rows, and what surrounds them.

use super::Entry;

/// Rules that existing rows break, as the plan's constraints and projections make them.
#[rustfmt::skip]
pub(super) const ROWS: &[Entry] = &[
    Entry { code: "cast", means: "Rows whose value cannot become the new type.", next: "Mend them before (clean_rows with `set`), or let the projection's expression deal with them." },
    Entry { code: "check", means: "Rows that break a CHECK to come.", next: "`--suggest` writes a clean_rows step; or correct the CHECK." },
    Entry { code: "dangling", means: "Rows of blue that point to a row that is not there, where green has a foreign key.", next: "Leave them out in the projection (`where`), or set them aside by clean_rows." },
    Entry { code: "empty", means: "Rows are there and a new column is NOT NULL without a default.", next: "Add the column nullable, backfill it, then set_not_null." },
    Entry { code: "encoding", means: "Values that green's encoding has no character for.", next: "Make green in UTF-8, or mend the values." },
    Entry { code: "enum", means: "Values that are no label of green's enumeration.", next: "Add the label, or map the value in the projection." },
    Entry { code: "exclude", means: "Rows that collide in an exclusion constraint.", next: "Set one of each pair aside by clean_rows." },
    Entry { code: "foreign_key", means: "Rows whose foreign key to come points nowhere.", next: "`--suggest` writes a clean_rows step, or the parent is made first." },
    Entry { code: "generated", means: "Rows for which a generated column of green cannot be computed.", next: "Mend the values it is computed from." },
    Entry { code: "index_row", means: "Values too large for an index row (2704 bytes).", next: "Index a hash or a prefix, or mend the values." },
    Entry { code: "json_broken", means: "Texts that are no JSON where JSON is due.", next: "Mend them, or let the projection's expression deal with them." },
    Entry { code: "json_empty", means: "Empty texts where JSON is due.", next: "`--suggest` gives them `{}`." },
    Entry { code: "json_null_character", means: "JSON with \\u0000, which jsonb refuses.", next: "`--suggest` takes it out." },
    Entry { code: "json_string", means: "Texts that do not fit into a JSON string as the projection builds it.", next: "Build it with to_jsonb instead of by putting texts together." },
    Entry { code: "json_string_changed", means: "Texts that come out of the projection's JSON other than they went in.", next: "Build it with to_jsonb instead of by putting texts together." },
    Entry { code: "left_out", means: "Rows of blue that the projection brings to no row of green.", next: "See that this is meant; blue still holds them." },
    Entry { code: "left_out_by", means: "The join or condition of the projection that leaves them out.", next: "See that this is meant; otherwise an outer join keeps them." },
    Entry { code: "length", means: "Values longer than the new type allows.", next: "`--suggest` cuts them; a wider type keeps them." },
    Entry { code: "not_null", means: "Rows that are NULL where the column will be NOT NULL.", next: "Backfill the column, or give the projection a `coalesce`." },
    Entry { code: "shared_key", means: "Several rows of blue that would be one row of green.", next: "Make the projection's key tell them apart, or let it choose one." },
    Entry { code: "unique", means: "Keys that are there twice where a unique constraint will be.", next: "`--suggest` writes a clean_rows step that keeps one of each." },
];

/// What surrounds the rows. The code is the check's name with `-` for spaces.
#[rustfmt::skip]
pub(super) const SURROUNDINGS: &[Entry] = &[
    Entry { code: "the-server", means: "The server's version, and whether it takes writes where the plan writes.", next: "Use PostgreSQL 13 or later, and the primary where the plan writes." },
    Entry { code: "privileges", means: "What the role may not do and the plan needs.", next: "The finding has the GRANT or ALTER that helps." },
    Entry { code: "sight-of-other-sessions", means: "Whether the role sees what other sessions run; without it a blocker cannot be named.", next: "GRANT pg_read_all_stats." },
    Entry { code: "connections", means: "Whether the server has room for the sessions of the plan's parallel steps.", next: "Lower `[limits] jobs`, or raise max_connections." },
    Entry { code: "lock-table-size", means: "Whether the shared lock table holds the locks of the largest transaction.", next: "Raise max_locks_per_transaction." },
    Entry { code: "time-limits", means: "statement_timeout and its like, set for role, database or server, that would end long steps.", next: "Nothing where crossfade sets its own; otherwise ALTER ROLE ... RESET." },
    Entry { code: "the-clock", means: "How far the server's clock is from this machine's.", next: "Mend the time service of the one that is wrong." },
    Entry { code: "disk", means: "How much disk the plan's steps will need on this side.", next: "Compare with what is free there: no client can ask." },
    Entry { code: "write-ahead-log", means: "Settings of the log that the plan needs, or that make it slow.", next: "The finding names the setting." },
    Entry { code: "standbys", means: "Standbys that are behind: batches of rows wait for them.", next: "See why they are behind, or raise max_replication_lag." },
    Entry { code: "replication-slots", means: "Slots that nobody reads: the server keeps its log for them until the disk is full.", next: "Drop the slot when nobody needs it." },
    Entry { code: "prepared-transactions", means: "Prepared transactions, which keep their locks through restarts.", next: "COMMIT PREPARED or ROLLBACK PREPARED." },
    Entry { code: "long-transactions", means: "Old transactions: concurrent index builds wait for them, and old rows cannot be removed.", next: "See pg_stat_activity for who it is; end them or wait." },
    Entry { code: "wraparound", means: "How near the database is to running out of transaction numbers.", next: "VACUUM (FREEZE) first." },
    Entry { code: "collation-versions", means: "Collations whose library has changed since their indexes were built.", next: "REINDEX, then ALTER ... REFRESH COLLATION VERSION." },
    Entry { code: "invalid-indexes", means: "INVALID indexes: unfinished concurrent builds.", next: "Drop or rebuild them." },
    Entry { code: "keys", means: "Tables without a primary key or a unique NOT NULL key, where the plan must name rows.", next: "Add a key, or give the step another `key`." },
    Entry { code: "forms-of-tables", means: "Tables that are not ordinary ones: unlogged, foreign, partitioned, inherited, views.", next: "The finding says what the plan cannot do with them." },
    Entry { code: "row-level-security", means: "Policies that hide rows from the role: they would be missing on green.", next: "Use a role with BYPASSRLS, or the owner." },
    Entry { code: "triggers-and-rules", means: "Triggers and rules that act when the plan writes.", next: "See that this is meant, or disable them meanwhile." },
    Entry { code: "event-triggers", means: "Event triggers that act on the plan's DDL.", next: "See that this is meant, or disable them meanwhile." },
    Entry { code: "autovacuum", means: "Autovacuum is off where the plan leaves many old row versions behind.", next: "Switch it on for the table, or VACUUM afterwards." },
    Entry { code: "sequences", means: "Sequences near their end.", next: "ALTER SEQUENCE ... AS bigint, or a wider column." },
    Entry { code: "large-objects", means: "Large objects, which no projection carries.", next: "Use `clone`, or carry them yourself." },
    Entry { code: "server-versions", means: "Green's server is older than blue's.", next: "Use a green of the same version or later." },
    Entry { code: "extensions", means: "Extensions that blue has and green cannot have, or has not yet.", next: "Install them on green." },
    Entry { code: "encodings-and-collations", means: "The sides hold or sort texts differently: keys may not be unique any more, ranges differ.", next: "Make green with blue's encoding and collation." },
    Entry { code: "clocks", means: "The clocks of both servers differ: what has expired on one has not on the other.", next: "Mend the time service of the one that is wrong." },
    Entry { code: "disk-for-the-copy", means: "How much disk green will need for the copy.", next: "Compare with what is free there: no client can ask." },
    Entry { code: "write-ahead-log-for-the-copy", means: "Settings of green that make the load slow.", next: "The finding names the setting." },
];
