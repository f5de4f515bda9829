//! The rules, one per file. A rule carries everything that is said about it: the report, `--explain` and the page in
//! docs/lint are made from it, and its two examples are its test.

mod add_column_check;
mod add_column_default_before_11;
mod add_column_not_null;
mod add_column_references;
mod add_column_serial;
mod add_column_stored;
mod add_column_unique;
mod add_column_volatile_default;
mod alter_identity;
mod alter_table_split;
mod application_name_missing;
mod attach_partition_scans;
mod body_not_read;
mod cannot_be_undone;
mod change_column_type;
mod char_type;
mod check_scans;
mod cluster;
mod concurrently_with_lock_timeout;
mod create_partition_blocks;
mod create_policy;
mod create_trigger;
mod definer_search_path;
mod delete_every_row;
mod detach_partition_blocks;
mod domain_constraint;
mod domain_with_constraint;
mod drop_cascade;
mod drop_column;
mod drop_constraint;
mod drop_database;
mod drop_default;
mod drop_expression;
mod drop_extension;
mod drop_function;
mod drop_not_null;
mod drop_policy;
mod drop_schema;
mod drop_sequence;
mod drop_table;
mod drop_trigger;
mod drop_type;
mod drop_view;
mod duplicate_assignment;
mod dynamic_sql;
mod enum_created;
mod enum_value_in_transaction;
mod enum_value_order;
mod enum_value_renamed;
mod enum_value_used_early;
mod exclusion_constraint_blocks;
mod extension_upgrade;
mod fails_when_repeated;
mod foreign_key_scans;
mod foreign_key_without_index;
pub(super) mod form;
mod idle_timeout_missing;
mod if_not_exists_hides_invalid_index;
mod ignore_without_effect;
mod index_build_blocks_writes;
mod index_build_on_partitioned;
mod index_drop_blocks;
mod index_dropped;
mod index_too_wide;
mod index_without_name;
mod inherit;
mod insert_without_columns;
mod json_column;
mod lock_not_known;
mod lock_order;
mod lock_table;
mod lock_timeout_missing;
mod name_too_long;
mod narrow_key;
mod needs_newer_server;
mod nested_transaction;
mod not_in_a_transaction;
mod prefer_identity;
mod primary_key_blocks;
mod primary_key_index_nullable;
mod privileges_revoked;
mod psql_command;
mod refresh_blocks_reads;
mod reindex_blocks;
mod rename_column;
mod rename_object;
mod rename_table;
mod replica_identity_full;
mod row_security;
mod rows_may_break;
mod schema_not_named;
mod select_star;
mod set_default;
mod set_expression;
mod set_not_null_scans;
mod set_schema;
mod several_exclusive_locks;
mod statement_timeout_missing;
mod syntax_error;
mod table_rewrite;
mod table_without_key;
mod template_directive;
mod timestamp_without_zone;
mod transaction_left_open;
mod trigger_switched;
mod truncate;
mod type_attributes_changed;
mod unique_constraint_blocks;
mod update_every_row;
mod vacuum_full;
mod validate_with_the_lock;
mod varchar_limit;
mod view_replaced;
mod work_under_lock;

use super::Level;
use super::scene::{Hits, Scene};

/// SQL that shows a rule.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// What is there already: applied migrations.
    pub before: &'static str,
    /// The migration. A line `-- next file` begins another file.
    pub sql: &'static str,
    /// Whether the tool runs the file as one transaction.
    pub wrapped: bool,
    /// The server's version, where another than the default one matters.
    pub pg: u32,
}

/// How the ends of a rule's two examples stand to each other. The tests hold each to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both leave the same catalog.
    Same,
    /// They cannot, for this reason.
    Other(&'static str),
}

/// A rule.
pub struct Rule {
    /// Its name in reports, comments and configuration.
    pub id: &'static str,
    /// Its level, unless configured otherwise.
    pub level: Level,
    /// What it finds, in a few words.
    pub title: &'static str,
    /// What the statement does to a live database.
    pub effect: &'static str,
    /// What to write instead.
    pub safe: &'static str,
    /// The versions of PostgreSQL it holds for.
    pub versions: &'static str,
    /// Whether the harm grows with the table, so that its size decides about the level.
    pub scales: bool,
    /// Whether what the statement removes comes back by no other statement.
    pub irreversible: bool,
    /// Whether the good example leaves the catalog that the bad one leaves.
    pub end: End,
    /// The names under which other tools know it.
    pub covers: &'static [&'static str],
    /// What it finds.
    pub bad: Example,
    /// The same end without the harm.
    pub good: Example,
    pub(super) check: fn(&Scene<'_>, &mut Hits),
}

/// All rules in the order of their names.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().copied()
}

/// The rule of this name.
pub fn find(id: &str) -> Option<&'static Rule> {
    RULES.binary_search_by(|rule| rule.id.cmp(id)).ok().map(|at| RULES[at])
}

/// Every rule, by name.
static RULES: &[&Rule] = &[
    &add_column_check::RULE,
    &add_column_default_before_11::RULE,
    &add_column_not_null::RULE,
    &add_column_references::RULE,
    &add_column_serial::RULE,
    &add_column_stored::RULE,
    &add_column_unique::RULE,
    &add_column_volatile_default::RULE,
    &alter_identity::RULE,
    &alter_table_split::RULE,
    &application_name_missing::RULE,
    &attach_partition_scans::RULE,
    &body_not_read::RULE,
    &cannot_be_undone::RULE,
    &change_column_type::RULE,
    &char_type::RULE,
    &check_scans::RULE,
    &cluster::RULE,
    &concurrently_with_lock_timeout::RULE,
    &create_partition_blocks::RULE,
    &create_policy::RULE,
    &create_trigger::RULE,
    &definer_search_path::RULE,
    &delete_every_row::RULE,
    &detach_partition_blocks::RULE,
    &domain_constraint::RULE,
    &domain_with_constraint::RULE,
    &drop_cascade::RULE,
    &drop_column::RULE,
    &drop_constraint::RULE,
    &drop_database::RULE,
    &drop_default::RULE,
    &drop_expression::RULE,
    &drop_extension::RULE,
    &drop_function::RULE,
    &drop_not_null::RULE,
    &drop_policy::RULE,
    &drop_schema::RULE,
    &drop_sequence::RULE,
    &drop_table::RULE,
    &drop_trigger::RULE,
    &drop_type::RULE,
    &drop_view::RULE,
    &duplicate_assignment::RULE,
    &dynamic_sql::RULE,
    &enum_created::RULE,
    &enum_value_in_transaction::RULE,
    &enum_value_order::RULE,
    &enum_value_renamed::RULE,
    &enum_value_used_early::RULE,
    &exclusion_constraint_blocks::RULE,
    &extension_upgrade::RULE,
    &fails_when_repeated::RULE,
    &foreign_key_scans::RULE,
    &foreign_key_without_index::RULE,
    &idle_timeout_missing::RULE,
    &if_not_exists_hides_invalid_index::RULE,
    &ignore_without_effect::RULE,
    &index_build_blocks_writes::RULE,
    &index_build_on_partitioned::RULE,
    &index_drop_blocks::RULE,
    &index_dropped::RULE,
    &index_too_wide::RULE,
    &index_without_name::RULE,
    &inherit::RULE,
    &insert_without_columns::RULE,
    &json_column::RULE,
    &lock_not_known::RULE,
    &lock_order::RULE,
    &lock_table::RULE,
    &lock_timeout_missing::RULE,
    &name_too_long::RULE,
    &narrow_key::RULE,
    &needs_newer_server::RULE,
    &nested_transaction::RULE,
    &not_in_a_transaction::RULE,
    &prefer_identity::RULE,
    &primary_key_blocks::RULE,
    &primary_key_index_nullable::RULE,
    &privileges_revoked::RULE,
    &psql_command::RULE,
    &refresh_blocks_reads::RULE,
    &reindex_blocks::RULE,
    &rename_column::RULE,
    &rename_object::RULE,
    &rename_table::RULE,
    &replica_identity_full::RULE,
    &row_security::RULE,
    &rows_may_break::RULE,
    &schema_not_named::RULE,
    &select_star::RULE,
    &set_default::RULE,
    &set_expression::RULE,
    &set_not_null_scans::RULE,
    &set_schema::RULE,
    &several_exclusive_locks::RULE,
    &statement_timeout_missing::RULE,
    &syntax_error::RULE,
    &table_rewrite::RULE,
    &table_without_key::RULE,
    &template_directive::RULE,
    &timestamp_without_zone::RULE,
    &transaction_left_open::RULE,
    &trigger_switched::RULE,
    &truncate::RULE,
    &type_attributes_changed::RULE,
    &unique_constraint_blocks::RULE,
    &update_every_row::RULE,
    &vacuum_full::RULE,
    &validate_with_the_lock::RULE,
    &varchar_limit::RULE,
    &view_replaced::RULE,
    &work_under_lock::RULE,
];
