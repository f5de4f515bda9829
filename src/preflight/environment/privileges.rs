//! What the role may do, against what the plan needs.

use async_trait::async_trait;

use super::Topic;
use super::ground::{ANY, Ground, Table};
use crate::step::Use;
use crate::terms::{Finding, Severity};

/// Privileges on the database, the schemas and the plan's tables (PostgreSQL manual 5.7).
pub(super) struct Privileges;

#[async_trait]
impl Topic for Privileges {
    fn name(&self) -> &'static str {
        "privileges"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let (role, database) = ground.role_and_database().await?;
        let mut findings = on_database(ground, &role, &database).await?;
        let tables = ground.tables().await?;
        findings.extend(on_schemas(ground, &role, &tables).await?);
        for table in &tables {
            findings.extend(on_table(ground, &role, table).await?);
        }
        Ok(findings)
    }
}

async fn on_database(ground: &Ground<'_>, role: &str, database: &str) -> anyhow::Result<Vec<Finding>> {
    let sql = "SELECT CASE WHEN s.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE') \
                           ELSE has_schema_privilege(s.oid, 'CREATE') AND has_schema_privilege(s.oid, 'USAGE') END, \
                      has_database_privilege(current_database(), 'TEMPORARY'), s.oid IS NOT NULL \
               FROM (SELECT) AS one LEFT JOIN pg_namespace s ON s.nspname = 'crossfade'";
    let row = ground.session.query_one(sql, &[]).await?;
    let mut findings = Vec::new();
    if ground.needs.notes.contains(&ground.side) && !row.get::<_, bool>(0) {
        let (what, next) = match row.get(2) {
            true => ("may not use and create in it", format!("GRANT USAGE, CREATE ON SCHEMA crossfade TO {role}")),
            false => ("may not create it", format!("GRANT CREATE ON DATABASE {database} TO {role}")),
        };
        let what = format!("role {role} {what}: crossfade keeps its markers and the rows it sets aside there");
        findings.push(ground.finding(Severity::Blocks, "schema crossfade", what, next));
    }
    if !row.get::<_, bool>(1) && ground.needs.uses(ground.side, &[Use::Alters, Use::Walks]) {
        let what = format!("role {role} may not create temporary objects: definitions cannot be tried, rows cannot be put back");
        let next = format!("GRANT TEMPORARY ON DATABASE {database} TO {role}");
        findings.push(ground.finding(Severity::Blocks, &format!("database {database}"), what, next));
    }
    Ok(findings)
}

/// USAGE to reach a table; CREATE for new tables and indexes.
async fn on_schemas(ground: &Ground<'_>, role: &str, tables: &[Table]) -> anyhow::Result<Vec<Finding>> {
    let oids = |how: &[Use]| tables.iter().filter(|table| table.is_used(how)).map(|table| table.oid).collect::<Vec<u32>>();
    // What has no schema in the plan is made in the first of the search path.
    let creates = ground.needs.touched.iter().any(|touched| {
        touched.side == ground.side && matches!(touched.how, Use::Alters | Use::Fills) && touched.relation.schema().is_none()
    });
    let sql = "SELECT quote_ident(n.nspname), has_schema_privilege(n.oid, 'USAGE'), has_schema_privilege(n.oid, 'CREATE'), \
                      $3 AND n.nspname = current_schema() OR n.oid IN (SELECT relnamespace FROM pg_class WHERE oid = ANY($2)) \
               FROM pg_namespace n WHERE n.oid IN (SELECT relnamespace FROM pg_class WHERE oid = ANY($1)) \
                  OR $3 AND n.nspname = current_schema() ORDER BY 1";
    let mut findings = Vec::new();
    for row in ground.session.query(sql, &[&oids(ANY), &oids(&[Use::Alters, Use::Fills]), &creates]).await? {
        let (schema, usage, create, needed): (String, bool, bool, bool) = (row.get(0), row.get(1), row.get(2), row.get(3));
        let object = format!("schema {schema}");
        if !usage {
            let next = format!("GRANT USAGE ON SCHEMA {schema} TO {role}");
            findings.push(ground.finding(Severity::Blocks, &object, format!("role {role} may not look into it"), next));
        }
        if needed && !create {
            let what = format!("role {role} may not create in it, which new tables and indexes need");
            findings.push(ground.finding(Severity::Warning, &object, what, format!("GRANT CREATE ON SCHEMA {schema} TO {role}")));
        }
    }
    Ok(findings)
}

async fn on_table(ground: &Ground<'_>, role: &str, table: &Table) -> anyhow::Result<Vec<Finding>> {
    let sql = "SELECT has_table_privilege(c.oid, 'SELECT'), has_any_column_privilege(c.oid, 'SELECT'), \
                      has_any_column_privilege(c.oid, 'UPDATE'), \
                      has_any_column_privilege(c.oid, 'INSERT, UPDATE') OR has_table_privilege(c.oid, 'DELETE'), \
                      pg_has_role(c.relowner, 'USAGE'), quote_ident(pg_get_userbyid(c.relowner)), \
                      has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'TRUNCATE') \
               FROM pg_class c WHERE c.oid = $1";
    let Some(row) = ground.session.query_opt(sql, &[&table.oid]).await? else {
        return Ok(Vec::new()); // dropped meanwhile
    };
    let [reads, reads_some, updates, writes, owns, fills] = [0, 1, 2, 3, 4, 6].map(|column| row.get::<_, bool>(column));
    let owner: String = row.get(5);
    let mut findings = Vec::new();
    let mut lacks = |severity: Severity, what: &str, next: String| {
        findings.push(ground.finding(severity, &table.label(), format!("role {role} {what}"), next));
    };
    let grant = |what: &str| format!("GRANT {what} ON {} TO {role}", table.name);
    if table.is_used(&[Use::Reads, Use::Carries, Use::Walks]) && !reads {
        match reads_some {
            false => lacks(Severity::Blocks, "may not read it", grant("SELECT")),
            true => lacks(Severity::Warning, "may read some of its columns only", grant("SELECT")),
        }
    }
    if table.is_used(&[Use::Walks]) && !updates {
        lacks(Severity::Blocks, "may not lock and change its rows", grant("SELECT, UPDATE, DELETE"));
    }
    if table.is_used(&[Use::Writes]) && !writes {
        lacks(Severity::Blocks, "may not write its rows", grant("INSERT, UPDATE, DELETE"));
    }
    if table.is_used(&[Use::Alters, Use::Captures, Use::Fills]) && !owns {
        let what = format!("neither owns it nor is a member of its owner {owner}: its definition cannot be changed");
        lacks(Severity::Blocks, &what, format!("run as {owner}, or GRANT {owner} TO {role}"));
    } else if table.is_used(&[Use::Fills]) && !fills {
        lacks(Severity::Blocks, "may not load and empty it", grant("INSERT, TRUNCATE"));
    }
    Ok(findings)
}

/// Whether the role sees what other roles' sessions do.
pub(super) struct Sight;

#[async_trait]
impl Topic for Sight {
    fn name(&self) -> &'static str {
        "sight of other sessions"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let sees: bool = ground.session.query_one("SELECT pg_has_role('pg_read_all_stats', 'USAGE')", &[]).await?.get(0);
        if sees {
            return Ok(Vec::new());
        }
        let (role, _) = ground.role_and_database().await?;
        let what = "does not see what other roles do: long transactions, replication lag and who holds a lock stay unknown";
        let next = format!("GRANT pg_monitor TO {role}");
        Ok(vec![ground.finding(Severity::Note, &format!("role {role}"), what, next)])
    }
}
