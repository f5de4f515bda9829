//! Text order: collations whose library has changed since their indexes were built, and sides that sort differently.

use async_trait::async_trait;

use super::ground::{ANY, Ground};
use super::{Comparison, Topic};
use crate::terms::{Finding, Severity};

/// Recorded and actual versions of the collations that the plan's tables use (PostgreSQL manual, ALTER COLLATION, notes).
pub(super) struct Versions;

#[async_trait]
impl Topic for Versions {
    fn name(&self) -> &'static str {
        "collation versions"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let changed = |object: &str, recorded: &str, actual: &str, refresh: &str| {
            let what = format!(
                "was made with version {recorded} of its library, which is {actual} now: indexes on text may be in the wrong order, and lookups and uniqueness then fail silently"
            );
            ground.finding(Severity::Warning, object, what, format!("REINDEX the indexes that use it, then {refresh}"))
        };
        let mut findings = Vec::new();
        if ground.version().await? >= 150_000 {
            let sql = "SELECT datcollversion, pg_database_collation_actual_version(oid) FROM pg_database \
                       WHERE datname = current_database() \
                         AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid)";
            if let Some(row) = ground.session.query_opt(sql, &[]).await? {
                let recorded = row.get::<_, Option<String>>(0).unwrap_or_else(|| "unknown".to_owned());
                let actual = row.get::<_, Option<String>>(1).unwrap_or_else(|| "unknown".to_owned());
                let (_, database) = ground.role_and_database().await?;
                let refresh = format!("ALTER DATABASE {database} REFRESH COLLATION VERSION");
                findings.push(changed("the database's default collation", &recorded, &actual, &refresh));
            }
        }
        let sql = "SELECT DISTINCT format('%I.%I', n.nspname, c.collname), c.collversion, pg_collation_actual_version(c.oid) \
                   FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation JOIN pg_namespace n ON n.oid = c.collnamespace \
                   WHERE a.attrelid = ANY($1) AND a.attnum > 0 AND NOT a.attisdropped AND c.collversion IS NOT NULL \
                     AND c.collversion IS DISTINCT FROM pg_collation_actual_version(c.oid) ORDER BY 1";
        for row in ground.session.query(sql, &[&ground.oids(ANY).await?]).await? {
            let name: String = row.get(0);
            let actual = row.get::<_, Option<String>>(2).unwrap_or_else(|| "unknown".to_owned());
            let refresh = format!("ALTER COLLATION {name} REFRESH VERSION");
            findings.push(changed(&format!("collation {name}"), row.get(1), &actual, &refresh));
        }
        Ok(findings)
    }
}

/// Encoding and default collation of both sides.
pub(super) struct Locales;

#[derive(Debug, PartialEq, Eq)]
struct Locale {
    encoding: String,
    collation: String,
    character_type: String,
    version: Option<String>,
}

#[async_trait]
impl Comparison for Locales {
    fn name(&self) -> &'static str {
        "encodings and collations"
    }

    async fn ask(&self, blue: &Ground<'_>, green: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let (old, new) = (read(blue).await?, read(green).await?);
        let mut findings = Vec::new();
        if old.encoding != new.encoding {
            let what = format!("is {}, blue's is {}: text may have no form in it, or another one", new.encoding, old.encoding);
            let next = format!("make green's database with ENCODING '{}' TEMPLATE template0", old.encoding);
            // Every text has a form in UTF8, and the same one; to anything else some have none.
            let severity = if new.encoding == "UTF8" && old.encoding != "SQL_ASCII" { Severity::Note } else { Severity::Warning };
            findings.push(green.finding(severity, "the database's encoding", what, next));
        }
        if (&old.collation, &old.character_type) != (&new.collation, &new.character_type) {
            let what = format!(
                "is {} with character type {}, blue's is {} with {}: text sorts and folds differently, and so do ranges and ORDER BY",
                new.collation, new.character_type, old.collation, old.character_type
            );
            let next =
                "make green's database with blue's locale, or make sure the application does not rely on the order of text";
            findings.push(green.finding(Severity::Warning, "the database's default collation", what, next));
        } else if old.version != new.version {
            let of = |version: Option<String>| version.unwrap_or_else(|| "unknown".to_owned());
            let what = format!(
                "comes from version {} of its library, blue's from {}: some text sorts differently",
                of(new.version),
                of(old.version)
            );
            let next = "nothing for rows that are copied, whose indexes are built anew; do not bring index files over from blue's server";
            findings.push(green.finding(Severity::Note, "the database's default collation", what, next));
        }
        Ok(findings)
    }
}

/// `datlocprovider` came with PostgreSQL 15, `daticulocale` was renamed to `datlocale` in 17.
async fn read(ground: &Ground<'_>) -> anyhow::Result<Locale> {
    let actual = if ground.version().await? >= 150_000 { "pg_database_collation_actual_version(d.oid)" } else { "NULL::text" };
    let sql = format!(
        "SELECT pg_encoding_to_char(d.encoding)::text, \
                concat_ws(' ', CASE j.j->>'datlocprovider' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' END, \
                          coalesce(j.j->>'datlocale', j.j->>'daticulocale', d.datcollate)), d.datctype::text, {actual} \
         FROM pg_database d, to_jsonb(d) AS j(j) WHERE d.datname = current_database()"
    );
    let row = ground.session.query_one(&sql, &[]).await?;
    Ok(Locale { encoding: row.get(0), collation: row.get(1), character_type: row.get(2), version: row.get(3) })
}
