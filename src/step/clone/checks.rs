//! What must be true before a clone begins.

use std::collections::BTreeSet;

use super::{Clone, blocks};
use crate::copy::clone::Relation;
use crate::pg::Session;
use crate::sql::{Ident, QualifiedName};
use crate::terms::Finding;

impl Clone {
    /// The tables of blue that are meant and hold rows of their own, as far as their names tell. The dump decides in the end.
    pub(super) async fn chosen(&self, blue: &Session) -> anyhow::Result<Vec<Relation>> {
        let (tables, exclude) = (named(blue, &self.choice.tables).await?, named(blue, &self.choice.exclude).await?);
        let all = Relation::all(blue).await?.into_iter();
        Ok(all
            .filter(|one| self.choice.tables.is_empty() || tables.contains(&one.table))
            .filter(|one| !exclude.contains(&one.table))
            .filter(|one| {
                self.choice.schemas.is_empty() || one.table.schema().is_some_and(|schema| self.choice.schemas.contains(schema))
            })
            .collect())
    }

    /// Relations of green that have the name of one that is meant.
    pub(super) async fn in_the_way(&self, blue: &Session, green: &Session) -> anyhow::Result<Vec<Finding>> {
        let chosen = self.chosen(blue).await?;
        let names: Vec<String> =
            chosen.iter().filter(|table| table.extension.is_none()).map(|table| table.table.to_string()).collect();
        let there = green
            .query("SELECT name FROM unnest($1::text[]) AS t (name) WHERE to_regclass(name) IS NOT NULL LIMIT 4", &[&names])
            .await?;
        let there: Vec<String> = there.iter().map(|row| row.get(0)).collect();
        let next = "clone into an empty database, or choose other tables";
        let mut findings = match there.as_slice() {
            [] => Vec::new(),
            some => vec![blocks("green", format!("has tables that the clone would make: {}", some.join(", ")), next)],
        };
        for (table, own) in chosen.iter().filter_map(|one| Some((&one.table, one.own_rows()?))) {
            let there = "SELECT to_regclass($1::text) IS NOT NULL";
            if !green.query_one(there, &[&table.to_string()]).await?.get::<_, bool>(0) {
                continue; // its extension is not there yet
            }
            let filled = format!("SELECT EXISTS (SELECT FROM ONLY {table} WHERE {own})");
            if green.query_one(&filled, &[]).await?.get(0) {
                let what = "belongs to an extension and holds rows that are not the extension's own: the clone would add blue's";
                let next = format!("if they may go, DELETE FROM {table} WHERE {own} on green");
                findings.push(blocks(&format!("table {} on green", table.plain()), what, next));
            }
        }
        Ok(findings)
    }

    /// Roles and extensions that definitions of blue name and green's server does not have.
    pub(super) async fn missing(&self, blue: &Session, green: &Session) -> anyhow::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let mut roles = BTreeSet::new();
        let mut ask = async |sql: &str| -> anyhow::Result<()> {
            roles.extend(blue.query(sql, &[]).await?.iter().map(|row| row.get::<_, String>(0)));
            Ok(())
        };
        if !self.choice.no_owner {
            ask(OWNERS).await?;
        }
        if !self.choice.no_privileges {
            ask(GRANTEES).await?;
        }
        let known = green.query("SELECT rolname::text FROM pg_roles", &[]).await?;
        let known: BTreeSet<String> = known.iter().map(|row| row.get(0)).collect();
        for role in roles.difference(&known) {
            let next = format!("CREATE ROLE {} on green's server, or --no-owner and --no-privileges", Ident::new(role));
            findings.push(blocks(
                &format!("role {role} on green"),
                "owns or may use something on blue, and does not exist",
                next,
            ));
        }
        if self.choice.is_everything() {
            let sql = "SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql'";
            let wanted: Vec<String> = blue.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect();
            let sql = "SELECT name FROM unnest($1::text[]) AS t (name) \
                       WHERE NOT EXISTS (SELECT FROM pg_available_extensions a WHERE a.name = t.name)";
            for row in green.query(sql, &[&wanted]).await? {
                let name: String = row.get(0);
                let next = "install its package on green's server";
                findings.push(blocks(&format!("extension {name} on green"), "is not installed on the server", next));
            }
        }
        Ok(findings)
    }
}

/// The tables of these names with their schemas; of a name without one, that in the search path, as `pg_dump` takes it.
async fn named(blue: &Session, names: &[QualifiedName]) -> anyhow::Result<BTreeSet<QualifiedName>> {
    let names: Vec<String> = names.iter().map(QualifiedName::to_string).collect();
    let sql = "SELECT n.nspname::text, c.relname::text FROM unnest($1::text[]) AS t (name) \
               JOIN pg_class c ON c.oid = to_regclass(t.name) JOIN pg_namespace n ON n.oid = c.relnamespace";
    let rows = blue.query(sql, &[&names]).await?;
    Ok(rows.iter().map(|row| QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1))).collect())
}

const OWNERS: &str = "\
    SELECT DISTINCT r.rolname::text FROM pg_roles r JOIN ( \
        SELECT relowner AS owner, relnamespace AS namespace FROM pg_class UNION SELECT proowner, pronamespace FROM pg_proc \
        UNION SELECT typowner, typnamespace FROM pg_type UNION SELECT nspowner, oid FROM pg_namespace \
        UNION SELECT lomowner, 0 FROM pg_largeobject_metadata) AS owned ON owned.owner = r.oid \
    LEFT JOIN pg_namespace n ON n.oid = owned.namespace \
    WHERE n.oid IS NULL OR (n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'crossfade') AND n.nspname !~ '^pg_(temp|toast)_')";

const GRANTEES: &str = "\
    SELECT DISTINCT r.rolname::text FROM pg_roles r JOIN ( \
        SELECT a.grantee FROM pg_class, aclexplode(relacl) AS a UNION SELECT a.grantee FROM pg_proc, aclexplode(proacl) AS a \
        UNION SELECT a.grantee FROM pg_namespace, aclexplode(nspacl) AS a \
        UNION SELECT a.grantee FROM pg_attribute, aclexplode(attacl) AS a \
        UNION SELECT a.grantee FROM pg_type, aclexplode(typacl) AS a \
        UNION SELECT a.grantee FROM pg_default_acl, aclexplode(defaclacl) AS a) AS granted ON granted.grantee = r.oid \
    WHERE r.rolname !~ '^pg_'";
