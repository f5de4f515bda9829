//! The privileges that a plan's run needs on a side, as SQL for an administrator: the least that `preflight` finds enough
//! (PostgreSQL manual 5.7). Pure: from the plan alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::plan::Plan;
use crate::sql::{Ident, Literal, QualifiedName};
use crate::step::Use;
use crate::terms::Side;

/// For `psql`, which knows the database's name as `:"DBNAME"`. Names without a schema are those of schema `public`.
pub fn grants(plan: &Plan, side: Side, role: &Ident) -> String {
    let touched: BTreeSet<_> = plan.steps().iter().flat_map(|step| step.step.touches()).filter(|t| t.side == side).collect();
    let mut tables: BTreeMap<QualifiedName, BTreeSet<Use>> = BTreeMap::new();
    for one in touched {
        tables.entry(in_schema(&one.relation)).or_default().insert(one.how);
    }
    let mut sql = format!("-- {side}: what a run of plan {} needs; run it with psql as a superuser\n", plan.name());
    let mut say = |line: &str| {
        sql.push_str(line);
        sql.push('\n');
    };
    say(&format!("GRANT CONNECT, TEMPORARY ON DATABASE :\"DBNAME\" TO {role};"));
    if plan.notes().contains(&side) || side == Side::Green {
        say("-- schema crossfade: markers, notes, rows that are set aside");
        say(&format!("GRANT CREATE ON DATABASE :\"DBNAME\" TO {role};"));
    }
    say("-- who holds a lock, old transactions, replication lag");
    say(&format!("GRANT pg_monitor TO {role};"));
    if tables.values().flatten().any(|how| *how == Use::Streams) {
        say("-- changes come from a replication slot");
        say(&format!("ALTER ROLE {role} REPLICATION;"));
    }
    let schemas: BTreeSet<&Ident> = tables.keys().filter_map(QualifiedName::schema).collect();
    for schema in schemas {
        let makes = tables.iter().any(|(name, how)| name.schema() == Some(schema) && how.iter().any(|how| defines(*how)));
        say(&format!("GRANT USAGE{} ON SCHEMA {schema} TO {role};", if makes { ", CREATE" } else { "" }));
    }
    let (mut owned, mut granted) = (Vec::new(), BTreeMap::<&str, Vec<&QualifiedName>>::new());
    for (name, how) in &tables {
        if how.iter().any(|how| defines(*how)) {
            owned.push(name);
        } else if let Some(what) = privileges(how) {
            granted.entry(what).or_default().push(name);
        }
    }
    for (what, names) in granted {
        let grant = format!("GRANT {what} ON %s TO %I");
        each(&mut sql, &names, &format!("format({}, name, {})", Literal::new(&grant), Literal::new(role.as_str())));
    }
    if !owned.is_empty() {
        sql.push_str("-- definitions and triggers are their owner's to change\n");
        let owner = "(SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = name)";
        each(&mut sql, &owned, &format!("format('GRANT %I TO %I', {owner}, {})", Literal::new(role.as_str())));
    }
    sql
}

/// Does something for each of the tables that are there; the plan makes the others, and its role owns them then.
fn each(sql: &mut String, names: &[&QualifiedName], what: &str) {
    let list: Vec<String> = names.iter().map(|name| format!("    {}", Literal::new(name.to_string()))).collect();
    let _ = write!(
        sql,
        "DO $grants$ DECLARE name regclass; BEGIN FOR name IN SELECT to_regclass(t) FROM unnest(ARRAY[\n{}\n]) AS t WHERE to_regclass(t) IS NOT NULL\n\
         LOOP EXECUTE {what}; END LOOP; END $grants$;\n",
        list.join(",\n")
    );
}

/// Whether only an owner may do it.
fn defines(how: Use) -> bool {
    matches!(how, Use::Alters | Use::Captures | Use::Streams | Use::Fills)
}

/// What a role that is no owner needs for all of these.
fn privileges(how: &BTreeSet<Use>) -> Option<&'static str> {
    let is = |one: Use| how.contains(&one);
    match (is(Use::Writes), is(Use::Walks), is(Use::Reads) || is(Use::Carries)) {
        (true, _, _) => Some("SELECT, INSERT, UPDATE, DELETE"),
        (false, true, _) => Some("SELECT, UPDATE, DELETE"),
        (false, false, true) => Some("SELECT"),
        (false, false, false) => None,
    }
}

fn in_schema(name: &QualifiedName) -> QualifiedName {
    match name.schema() {
        Some(_) => name.clone(),
        None => QualifiedName::new("public", name.name().as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_that_is_enough() {
        let of = |uses: &[Use]| privileges(&uses.iter().copied().collect());
        assert_eq!(of(&[Use::Reads, Use::Carries]), Some("SELECT"));
        assert_eq!(of(&[Use::Reads, Use::Walks]), Some("SELECT, UPDATE, DELETE"));
        assert_eq!(of(&[Use::Walks, Use::Writes]), Some("SELECT, INSERT, UPDATE, DELETE"));
        assert!(defines(Use::Captures) && !defines(Use::Walks));
        assert_eq!(in_schema(&QualifiedName::bare("t")).plain(), "public.t");
    }
}
