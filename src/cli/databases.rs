//! From a plan's environment variables or `--blue`/`--green` to databases.

use std::collections::BTreeMap;

use clap::Args;

use crate::pg::Database;
use crate::plan::Plan;
use crate::step::Stop;
use crate::terms::Side;

/// Connection strings given on the command line; the plan's environment variables otherwise.
#[derive(Debug, Clone, Args)]
pub(super) struct DatabaseArgs {
    /// Connection string of blue, a URI or key=value pairs as psql takes them (default: the environment variable the plan names)
    #[arg(long, value_name = "URL", hide_env_values = true)]
    blue: Option<String>,
    /// Connection string of green, likewise (default: the environment variable the plan names)
    #[arg(long, value_name = "URL", hide_env_values = true)]
    green: Option<String>,
}

impl DatabaseArgs {
    /// The databases of a plan's sides.
    ///
    /// # Errors
    /// Names every variable that is not set or cannot be read, without showing connection strings.
    pub(super) fn resolve(&self, plan: &Plan) -> anyhow::Result<BTreeMap<Side, Database>> {
        self.resolve_sides(plan, plan.sides())
    }

    /// The same for one side.
    ///
    /// # Errors
    /// As [`DatabaseArgs::resolve`].
    pub(super) fn resolve_only(&self, plan: &Plan, side: Side) -> anyhow::Result<BTreeMap<Side, Database>> {
        self.resolve_sides(plan, plan.sides().filter(|known| *known == side))
    }

    /// What `--blue` and `--green` name, without a plan.
    ///
    /// # Errors
    /// When one of them cannot be read, without showing it.
    pub(super) fn given(&self) -> anyhow::Result<BTreeMap<Side, Database>> {
        let mut databases = BTreeMap::new();
        for (side, flag) in [(Side::Blue, &self.blue), (Side::Green, &self.green)] {
            if let Some(text) = flag {
                let database = Database::parse(&side.to_string(), text).map_err(|error| Stop::Usage(error.to_string()))?;
                databases.insert(side, database);
            }
        }
        Ok(databases)
    }

    /// Blue and green without a plan: what the flags name, else the environment variables `BLUE_DATABASE_URL` and `GREEN_DATABASE_URL`.
    ///
    /// # Errors
    /// As [`DatabaseArgs::resolve`].
    pub(super) fn both(&self) -> anyhow::Result<[Database; 2]> {
        let one = |side: Side, flag: &Option<String>, variable: &str| {
            let missing = || format!("{side} has no connection string: set {variable}, or pass --{side}");
            let text = flag.clone().or_else(|| std::env::var(variable).ok()).ok_or_else(missing).map_err(Stop::Usage)?;
            Database::parse(&side.to_string(), &text).map_err(|error| Stop::Usage(error.to_string()))
        };
        Ok([one(Side::Blue, &self.blue, "BLUE_DATABASE_URL")?, one(Side::Green, &self.green, "GREEN_DATABASE_URL")?])
    }

    fn resolve_sides(&self, plan: &Plan, sides: impl Iterator<Item = Side>) -> anyhow::Result<BTreeMap<Side, Database>> {
        let mut databases = BTreeMap::new();
        let mut wrong = Vec::new();
        for side in sides {
            let flag = match side {
                Side::Blue => &self.blue,
                Side::Green => &self.green,
            };
            let variable = plan.database(side).map(|database| database.url_env.as_str()).unwrap_or_default();
            let conninfo = flag.clone().or_else(|| std::env::var(variable).ok());
            match conninfo.map(|text| Database::parse(&side.to_string(), &text)) {
                Some(Ok(database)) => {
                    databases.insert(side, database);
                }
                Some(Err(error)) => wrong.push(error.to_string()),
                None => {
                    wrong.push(format!("{side} has no connection string: set {variable} (the plan names it), or pass --{side}"))
                }
            }
        }
        if wrong.is_empty() { Ok(databases) } else { Err(Stop::Usage(wrong.join("; ")).into()) }
    }
}
