//! The scratch servers: one for each side, with a sample of its rows at each size, and as many databases to run the plan on as are
//! wanted. Or given copies, with databases made beside them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use super::load::{bring, rows_of};
use super::sample::{Choice, choose};
use super::server::Server;
use super::source::Source;
use crate::copy::clone::{Archive, Choice as What, Programs};
use crate::pg::{Database, Opener, Session, Snapshot};
use crate::shadow::{Binaries, Cluster, Folder, Settings, fill};
use crate::sql::Literal;
use crate::terms::Side;

/// How our sessions are called.
pub(super) const NAME: &str = "crossfade/rehearse";

/// What the plan is rehearsed on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wanted {
    /// This part of the rows, above 0 and at most 1.
    Share(f64),
    /// About this many rows of the largest table.
    Rows(u64),
    /// All rows, and this many generated ones in every table of blue that has none.
    Generated(u32),
    /// The databases themselves: they are copies, restored for it.
    Copies,
}

/// A size of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Portion {
    /// A tenth of it: what a step takes whatever the rows.
    Tenth,
    /// All of it.
    Whole,
}

impl Portion {
    fn template(self) -> &'static str {
        match self {
            Portion::Tenth => "tenth",
            Portion::Whole => "whole",
        }
    }
}

/// What was sampled, of all sides together.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// Rows that there really are, of the tables that were sampled.
    pub real: u64,
    /// Real rows of all tables.
    pub all: u64,
    /// For each size: rows of the tables that were sampled, and of all.
    pub sizes: BTreeMap<Portion, (u64, u64)>,
}

impl Sampled {
    /// The part of the real rows that a size has.
    #[expect(clippy::cast_precision_loss, reason = "a part of rows")]
    pub fn share(&self, extent: Portion) -> f64 {
        match self.sizes.get(&extent) {
            Some((rows, _)) if self.real > 0 && *rows < self.real => *rows as f64 / self.real as f64,
            _ => 1.0,
        }
    }
}

/// One side.
struct Wing {
    server: Server,
    /// Bytes that the real database takes.
    bytes: i64,
}

/// Both scratch servers.
pub struct Stage {
    wings: BTreeMap<Side, Wing>,
    /// What was sampled.
    pub sampled: Sampled,
    /// What people should know of it.
    pub notes: Vec<String>,
    round: AtomicU32,
}

impl Stage {
    /// Reads each database in one snapshot, and brings its definitions and a sample of its rows to a scratch server of its own.
    ///
    /// # Errors
    /// When a database cannot be read, definitions cannot be made on a scratch server, or there are no server programs.
    pub async fn build(
        databases: &BTreeMap<Side, Database>,
        wanted: Wanted,
        folder: &Folder,
        say: super::Say<'_>,
    ) -> Result<Self> {
        let mut stage = Self {
            wings: BTreeMap::new(),
            sampled: Sampled { real: 0, all: 0, sizes: BTreeMap::new() },
            notes: Vec::new(),
            round: AtomicU32::new(0),
        };
        if wanted == Wanted::Copies {
            for (side, database) in databases {
                stage.copy(*side, database).await?;
            }
            return Ok(stage);
        }
        let mut read = BTreeMap::new();
        for (side, database) in databases {
            let snapshot = Snapshot::export(Opener::new(database.clone(), NAME.to_owned()).reading(true)).await?;
            let source = Source::read(snapshot.session()).await.with_context(|| format!("{side} cannot be read"))?;
            read.insert(*side, (snapshot, source));
        }
        let largest = read.values().flat_map(|(_, source)| &source.tables).map(|table| table.rows).max().unwrap_or(0);
        let share = share(wanted, largest);
        let generated = if let Wanted::Generated(rows) = wanted { rows } else { 0 };
        for (side, (snapshot, source)) in read {
            say(&format!("{side}: definitions, and {:.1} % of the rows", share * 100.0));
            let wing = stage.wing(side, &snapshot, &source, (share, generated), folder).await?;
            stage.wings.insert(side, wing);
        }
        Ok(stage)
    }

    /// A copy as it is, on its own server.
    async fn copy(&mut self, side: Side, database: &Database) -> Result<()> {
        let server = Server::of_copy(side, database).await?;
        let source = Source::read(&database.connect(NAME).await?).await.with_context(|| format!("{side} cannot be read"))?;
        let rows: u64 = source.tables.iter().map(|table| table.rows).sum();
        self.sampled.all += rows;
        self.sampled.sizes.entry(Portion::Whole).or_default().1 += rows;
        self.wings.insert(side, Wing { server, bytes: source.bytes });
        Ok(())
    }

    async fn wing(
        &mut self,
        side: Side,
        snapshot: &Snapshot,
        source: &Source,
        (share, generated): (f64, u32),
        folder: &Folder,
    ) -> Result<Wing> {
        let binaries = self.binaries(side, source.major)?;
        let same = binaries.major() == source.major;
        let newer = ["wal_compression"];
        let mut settings: Settings = source.settings.iter().filter(|(name, _)| same || !newer.contains(name)).cloned().collect();
        // Its workers would come once a minute and disturb one round of many: what is timed here is the plan.
        settings.push(("autovacuum", "off".to_owned()));
        let cluster = Cluster::start(&binaries, settings).await.with_context(|| format!("a scratch server for {side}"))?;
        let admin = cluster.database("scratch server", "postgres")?.connect(NAME).await?;
        for role in &source.roles {
            let there = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";
            if !admin.query_one(there, &[&role.as_str()]).await?.get::<_, bool>(0) {
                admin.batch_execute(&format!("CREATE ROLE {role}")).await?;
            }
        }
        self.create(side, &admin, &source.locale).await?;
        let what = What { no_owner: true, no_privileges: true, ..What::default() };
        let archive = Archive::dump(Programs::find(source.major)?, snapshot.session(), snapshot.name(), &what).await?;
        for section in ["pre-data", "post-data"] {
            let file = folder.path().join(format!("{side}-{section}.sql"));
            // A schema that somebody dropped and made anew is dumped, and is there in a new database too.
            let text =
                archive.section(section).await?.replace("\nCREATE SCHEMA public;", "\nCREATE SCHEMA IF NOT EXISTS public;");
            std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
            let loaded = cluster.load(Portion::Whole.template(), &file, &binaries).await;
            loaded.with_context(|| format!("the definitions of {side} on a scratch server"))?;
        }
        let choices = choose(&source.tables, &source.links);
        let target = cluster.database("scratch server", Portion::Whole.template())?;
        let into = target.connect(NAME).await?;
        let mut whole = bring(snapshot.session(), &into, source, &choices, share).await?;
        if generated > 0 && side == Side::Blue {
            let failed = fill(&into, generated).await?;
            self.notes.extend(failed.into_iter().map(|why| format!("{side}: generated rows of {why}")));
            whole = rows_of(&into, &source.tables).await?;
            into.batch_execute("VACUUM (ANALYZE)").await.context("VACUUM of generated rows")?;
            self.sampled.all += whole.iter().zip(&source.tables).map(|(now, table)| now.saturating_sub(table.rows)).sum::<u64>();
        }
        drop(into);
        self.count(source, &choices, Portion::Whole, &whole);
        if share >= 1.0 {
            return Ok(Wing { server: Server::Scratch(cluster), bytes: source.bytes });
        }
        for (table, brought) in source.tables.iter().zip(&whole) {
            if *brought == 0 && table.rows > 0 {
                self.notes.push(format!("{side}: no row of {} is in the sample", table.name.plain()));
            }
        }
        admin.batch_execute("CREATE DATABASE tenth TEMPLATE whole").await?;
        let from = target.connect(NAME).await?;
        let smaller = cluster.database("scratch server", Portion::Tenth.template())?.connect(NAME).await?;
        let tables: Vec<String> = source.tables.iter().map(|table| table.name.to_string()).collect();
        if !tables.is_empty() {
            let empty = format!("SET session_replication_role = replica; TRUNCATE {} CASCADE", tables.join(", "));
            smaller.batch_execute(&empty).await?;
        }
        let tenth = bring(&from, &smaller, source, &choices, share / 10.0).await?;
        self.count(source, &choices, Portion::Tenth, &tenth);
        Ok(Wing { server: Server::Scratch(cluster), bytes: source.bytes })
    }

    fn count(&mut self, source: &Source, choices: &[Choice], extent: Portion, brought: &[u64]) {
        let entry = self.sampled.sizes.entry(extent).or_default();
        for ((table, choice), rows) in source.tables.iter().zip(choices).zip(brought) {
            entry.1 += rows;
            if *choice != Choice::Whole {
                entry.0 += rows;
            }
            if extent == Portion::Whole {
                self.sampled.all += table.rows;
                self.sampled.real += if *choice == Choice::Whole { 0 } else { table.rows };
            }
        }
    }

    /// The server programs of the real server's major version, or others.
    fn binaries(&mut self, side: Side, major: u32) -> Result<Binaries> {
        if let Some(same) = Binaries::find_all()?.into_iter().find(|found| found.major() == major) {
            return Ok(same);
        }
        let other = Binaries::find()?;
        self.notes.push(format!("{side} is PostgreSQL {major}, its scratch server {}", other.major()));
        Ok(other)
    }

    /// The database of the whole sample, in the encoding and locale of the real one where this machine has that.
    async fn create(&mut self, side: Side, admin: &Session, [encoding, collate, ctype]: &[String; 3]) -> Result<()> {
        let name = Portion::Whole.template();
        let create = |collate: &str, ctype: &str| {
            let [encoding, collate, ctype] = [encoding.as_str(), collate, ctype].map(Literal::new);
            format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype}")
        };
        if admin.batch_execute(&create(collate, ctype)).await.is_err() {
            let note = format!("{side} has the locale {collate}, which is not on this machine: sorting text costs less here");
            self.notes.push(note);
            admin.batch_execute(&create("C", "C")).await?;
        }
        Ok(())
    }

    /// New databases with a sample, one of each side.
    ///
    /// # Errors
    /// When a scratch server is gone.
    pub async fn fresh(&self, extent: Portion) -> Result<BTreeMap<Side, Database>> {
        let number = self.round.fetch_add(1, Ordering::Relaxed) + 1;
        let mut databases = BTreeMap::new();
        for (side, Wing { server, .. }) in &self.wings {
            databases.insert(*side, server.make(*side, number, extent.template()).await?);
        }
        Ok(databases)
    }

    /// Takes away what was made beside given copies so far.
    ///
    /// # Errors
    /// When something is still there; names it.
    pub async fn clear(&self) -> Result<()> {
        for wing in self.wings.values() {
            wing.server.clear().await?;
        }
        Ok(())
    }

    /// Whether it is on throw-away servers.
    pub fn scratch(&self) -> bool {
        self.wings.values().all(|wing| matches!(wing.server, Server::Scratch(_)))
    }

    /// The databases that the rounds are copied from. Whoever is connected keeps new rounds from beginning.
    ///
    /// # Errors
    /// Never for these names.
    pub fn templates(&self, extent: Portion) -> Result<BTreeMap<Side, Database>> {
        let one = |(side, wing): (&Side, &Wing)| Ok((*side, wing.server.template(extent.template())?));
        self.wings.iter().map(one).collect()
    }

    /// Bytes that the real database of a side takes.
    pub fn real_bytes(&self, side: Side) -> i64 {
        self.wings.get(&side).map_or(0, |wing| wing.bytes)
    }

    /// Lets the servers run on, and gives their connection strings.
    ///
    /// # Errors
    /// When a guardian is gone.
    pub fn keep(&mut self) -> Result<Vec<(Side, String)>> {
        let mut urls = Vec::new();
        for (side, wing) in &mut self.wings {
            if let Server::Scratch(cluster) = &mut wing.server {
                cluster.keep()?;
                urls.push((*side, cluster.url(Portion::Whole.template())));
            }
        }
        Ok(urls)
    }
}

/// The part of each table that is wanted, at most 1.
#[expect(clippy::cast_precision_loss, reason = "a part of rows")]
fn share(wanted: Wanted, largest: u64) -> f64 {
    match wanted {
        Wanted::Share(share) => share.min(1.0),
        Wanted::Generated(_) | Wanted::Copies => 1.0,
        Wanted::Rows(rows) if rows >= largest => 1.0,
        Wanted::Rows(rows) => rows as f64 / largest as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_of_the_largest_table() {
        assert_eq!(share(Wanted::Rows(5_000), 50_000), 0.1);
        assert_eq!((share(Wanted::Rows(5_000), 300), share(Wanted::Share(0.2), 300)), (1.0, 0.2));
        let mut sampled = Sampled { real: 1000, all: 1100, sizes: [(Portion::Whole, (100, 200))].into() };
        assert_eq!((sampled.share(Portion::Whole), sampled.share(Portion::Tenth)), (0.1, 1.0));
        sampled.real = 0;
        assert_eq!(sampled.share(Portion::Whole), 1.0, "nothing was sampled: everything is there");
    }
}
