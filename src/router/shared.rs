//! A route that several routers follow, in `crossfade.route` of a PostgreSQL database that is not the one to be fenced.
//!
//! Every router reads it on each notification and every `poll`, and says in the same statement which epoch it goes by and what it
//! has in flight: a cutover waits for all of them. A router that cannot read it parks requests, and goes where the route last
//! pointed when that has lasted too long ([`standing`]).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::pg::{Database, Session, ensure_control, explain};
use crate::router::admin::Instance;
use crate::router::config::SharedConfig;
use crate::router::core::Core;
use crate::router::route::{Change, Position, Refused, Route, standing};
use crate::terms::Side;

const CHANNEL: &str = "crossfade_route";

/// The route's columns, and the time of the database's clock.
const ROUTE: &str = "SELECT epoch, position, side, deadline_ms, (extract(epoch FROM clock_timestamp()) * 1000)::bigint \
    FROM crossfade.route WHERE name = $1";

/// A route in a database.
pub struct Shared {
    database: Database,
    config: SharedConfig,
    /// When the route was asked for the last time that it was answered.
    heard: Mutex<Instant>,
    /// The session for questions and changes.
    asking: tokio::sync::Mutex<Option<Session>>,
}

impl Shared {
    /// The route of this configuration; connects to nothing yet.
    ///
    /// # Errors
    /// When the environment variable holds no connection string.
    pub fn new(config: &SharedConfig) -> anyhow::Result<Arc<Self>> {
        let url = std::env::var(&config.url_env)
            .with_context(|| format!("{} is not set: it holds the connection string of the shared route", config.url_env))?;
        let now = Instant::now();
        Ok(Arc::new(Self {
            database: Database::parse("the route's database", &url)?,
            config: config.clone(),
            heard: Mutex::new(now.checked_sub(config.confirm_within + Duration::from_millis(1)).unwrap_or(now)),
            asking: tokio::sync::Mutex::default(),
        }))
    }

    /// Follows the route until the router stops, then takes this router off the list.
    pub async fn follow(self: Arc<Self>, core: Arc<Core>) {
        let stopped = core.stopped.clone();
        let standing = async {
            loop {
                self.stand(&core);
                tokio::time::sleep(self.config.poll / 2).await;
            }
        };
        let reading = async {
            loop {
                let (notified, mut notices) = unbounded_channel();
                let database = self.database.notifying(notified);
                let error = match database.connect(&format!("crossfade route {}", core.settings().config.name)).await {
                    Ok(session) => self.read_on(&core, session, &mut notices).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = error {
                    tracing::warn!("the shared route cannot be read: {}", explain(&error));
                }
                tokio::time::sleep(self.config.poll).await;
            }
        };
        tokio::select! {
            () = stopped.cancelled() => {}
            () = standing => {}
            () = reading => {}
        }
        let goodbye = async {
            let session = self.database.connect("crossfade route").await?;
            let gone = "DELETE FROM crossfade.route_instance WHERE route = $1 AND instance = $2";
            session.execute(gone, &[&self.config.route, &self.instance(&core)]).await?;
            anyhow::Ok(())
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), goodbye).await; // its row grows old
    }

    fn instance(&self, core: &Core) -> String {
        core.keeper.instance(&core.settings().config.name)
    }

    /// Sets the gate by what is known and how old it is.
    fn stand(&self, core: &Core) {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let silent_for = heard.elapsed();
        core.keeper.stand(|route| standing(route, silent_for, self.config.confirm_within, self.config.hold_for));
    }

    /// Reads the route as long as the session lasts.
    async fn read_on(&self, core: &Core, mut session: Session, notices: &mut UnboundedReceiver<String>) -> anyhow::Result<()> {
        let own = core.keeper.route();
        ensure_control(&mut session).await?;
        session.batch_execute(&format!("LISTEN {CHANNEL}; SET synchronous_commit = off")).await?;
        let first = "INSERT INTO crossfade.route (name, epoch, position, side, deadline_ms) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
        let (epoch, deadline) = (own.epoch.cast_signed(), own.deadline_ms.cast_signed());
        let (position, side) = (own.position.to_string(), own.side.to_string());
        session.execute(first, &[&self.config.route, &epoch, &position, &side, &deadline]).await?;
        let beat = session
            .prepare(&format!(
                "WITH beat AS ( \
                    INSERT INTO crossfade.route_instance (route, instance, epoch, blue, green, parked) VALUES ($1, $2, $3, $4, $5, $6) \
                    ON CONFLICT (route, instance) DO UPDATE SET epoch = $3, blue = $4, green = $5, parked = $6, seen_at = clock_timestamp() \
                 ) {ROUTE}"
            ))
            .await?;
        let instance = self.instance(core);
        loop {
            let asked = Instant::now();
            // The epoch first: what is in flight then is in flight under that epoch.
            let epoch = core.keeper.route().epoch.cast_signed();
            let gauges = core.gauges();
            let [blue, green] = gauges.in_flight.map(u64::cast_signed);
            let parked = i64::try_from(gauges.parked).unwrap_or(i64::MAX);
            let values: [&(dyn ToSql + Sync); 6] = [&self.config.route, &instance, &epoch, &blue, &green, &parked];
            let answer = session.query_one(&beat, &values);
            let row = tokio::time::timeout(self.config.confirm_within, answer).await.context("no answer in time")??;
            let (route, now_ms) = route_of(&row)?;
            core.keeper.adopt(route)?;
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = asked;
            self.stand(core);
            if let Some(change) = route.overdue(now_ms) {
                match self.change(&change).await {
                    Ok(route) => {
                        tracing::warn!(epoch = route.epoch, "a hold ended by its deadline: {} serves again", route.position)
                    }
                    Err(refused) => tracing::debug!("a hold was ended by somebody else: {refused}"),
                }
                continue;
            }
            if route.epoch.cast_signed() != epoch {
                continue; // says at once that it goes by the new one
            }
            let wait = match route.position {
                Position::Hold => self.config.poll.min(Duration::from_millis(20)),
                Position::Blue | Position::Green => self.config.poll,
            };
            let _ = tokio::time::timeout(wait, notices.recv()).await;
            while notices.try_recv().is_ok() {}
        }
    }

    /// The route and the routers that follow it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn read(&self) -> anyhow::Result<(Route, Vec<Instance>)> {
        self.asked(async |session: &mut Session| {
            let row = session.query_one(ROUTE, &[&self.config.route]).await?;
            let instances = session
                .query(
                    "SELECT instance, epoch, blue, green, parked, \
                            (extract(epoch FROM clock_timestamp() - seen_at) * 1000)::bigint \
                     FROM crossfade.route_instance WHERE route = $1 AND seen_at > clock_timestamp() - interval '1 day' ORDER BY instance",
                    &[&self.config.route],
                )
                .await?;
            let number = |row: &Row, column: usize| row.get::<_, i64>(column).max(0).cast_unsigned();
            let instances = instances.iter().map(|row| Instance {
                name: row.get(0),
                epoch: number(row, 1),
                blue: number(row, 2),
                green: number(row, 3),
                parked: number(row, 4),
                age_ms: number(row, 5),
            });
            Ok((route_of(&row)?.0, instances.collect()))
        })
        .await
    }

    /// Changes the route for all routers; committed when it returns.
    ///
    /// # Errors
    /// When somebody changed it in between, or the database does not answer: ask again what it is then.
    pub async fn change(&self, change: &Change) -> Result<Route, Refused> {
        let changed = self
            .asked(async |session: &mut Session| {
                let work = session.transaction().await?;
                let row = work.query_one(&format!("{ROUTE} FOR UPDATE"), &[&self.config.route]).await?;
                let (route, now_ms) = route_of(&row)?;
                let next = match route.changed(change, now_ms) {
                    Ok(next) => next,
                    Err(refused) => return Ok(Err(refused)),
                };
                let (epoch, deadline) = (next.epoch.cast_signed(), next.deadline_ms.cast_signed());
                work.execute(
                    "UPDATE crossfade.route SET epoch = $2, position = $3, side = $4, deadline_ms = $5, moved_at = clock_timestamp() WHERE name = $1",
                    &[&self.config.route, &epoch, &next.position.to_string(), &next.side.to_string(), &deadline],
                )
                .await?;
                work.execute("SELECT pg_notify($1, $2)", &[&CHANNEL, &self.config.route]).await?;
                work.commit().await?;
                Ok(Ok(next))
            })
            .await;
        changed.unwrap_or_else(|error| {
            Err(Refused::NotKept(format!("{}; ask what the route is (`crossfade route get`) before you go on", explain(&error))))
        })
    }

    /// Asks on a session of its own, within the time in which the route must be confirmed.
    async fn asked<T>(&self, work: impl AsyncFnOnce(&mut Session) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let asking = async {
            let mut kept = self.asking.lock().await;
            let mut session = match kept.take().filter(|session| !session.is_closed()) {
                Some(session) => session,
                None => self.database.connect("crossfade route").await?,
            };
            let answer = work(&mut session).await?;
            *kept = Some(session);
            anyhow::Ok(answer)
        };
        tokio::time::timeout(self.config.confirm_within, asking).await.context("the route's database gives no answer in time")?
    }
}

fn route_of(row: &Row) -> anyhow::Result<(Route, u64)> {
    let side = |text: &str| match text {
        "blue" => Ok(Side::Blue),
        "green" => Ok(Side::Green),
        other => Err(anyhow::anyhow!("crossfade.route has a side {other}")),
    };
    let position = match row.get::<_, &str>(1) {
        "hold" => Position::Hold,
        other => side(other)?.into(),
    };
    let number = |column: usize| row.get::<_, i64>(column).max(0).cast_unsigned();
    Ok((Route { epoch: number(0), position, side: side(row.get(2))?, deadline_ms: number(3) }, number(4)))
}
