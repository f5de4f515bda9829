//! A real PgBouncer, as the unprivileged user that the servers of the tests run as.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crossfade::pg::{Database, Environment};

use crate::support::{TestDb, cluster, eventually};

/// PgBouncer with one database, `app`, in transaction pooling. It ends when this is dropped.
pub struct Bouncer {
    folder: tempfile::TempDir,
    child: Child,
}

fn line(db: &TestDb) -> String {
    format!("[databases]\napp = host={} port=5432 dbname={} user=postgres\n", cluster().folder().display(), db.name())
}

impl Bouncer {
    /// Starts it in front of blue.
    pub async fn start(blue: &TestDb, green: &TestDb) -> Self {
        let folder = tempfile::Builder::new().prefix("crossfade-bouncer-").tempdir().unwrap();
        let at = folder.path();
        std::fs::write(at.join("app.blue.ini"), line(blue)).unwrap();
        std::fs::write(at.join("app.green.ini"), line(green)).unwrap();
        std::fs::write(at.join("app.ini"), line(blue)).unwrap();
        std::fs::write(at.join("users"), "\"postgres\" \"\"\n").unwrap();
        let here = at.display();
        let text = format!(
            "%include {here}/app.ini\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\nunix_socket_dir = {here}\nauth_type = trust\n\
             auth_file = {here}/users\nadmin_users = postgres\npool_mode = transaction\nlogfile = {here}/log\n\
             ignore_startup_parameters = extra_float_digits,options\n"
        );
        std::fs::write(at.join("pgbouncer.ini"), text).unwrap();
        let mut command = Command::new(program());
        if nix::unistd::geteuid().is_root() {
            let user =
                nix::unistd::User::from_name("postgres").unwrap().expect("PgBouncer refuses to run as root: a user postgres");
            for path in std::fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()).chain([at.to_owned()]) {
                chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
            }
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let child = command.arg("-q").arg(at.join("pgbouncer.ini")).stdin(Stdio::null()).spawn().unwrap();
        let bouncer = Self { folder, child };
        eventually("PgBouncer answers", async || bouncer.database("app").console("test").await.is_ok()).await;
        bouncer
    }

    /// The connection string of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@:6432/{database}?host={}&connect_timeout=60", self.folder.path().display())
    }

    /// The same as the library takes it.
    pub fn database(&self, database: &str) -> Database {
        Database::parse_in("PgBouncer", &self.url(database), &Environment::default()).unwrap()
    }

    /// The `[[step.participant]]` of it.
    pub fn participant(&self) -> String {
        let at = self.folder.path().display();
        format!(
            "[[step.participant]]\nkind = \"pgbouncer\"\nname = \"bouncer\"\nconsole_env = \"CONSOLE_URL\"\ndatabase = \"app\"\n\
             path = \"{at}/app.ini\"\nblue = \"{at}/app.blue.ini\"\ngreen = \"{at}/app.green.ini\"\n"
        )
    }

    /// The database that PgBouncer sends its clients to.
    pub async fn behind(&self) -> String {
        let console = self.database("app").console("test").await.unwrap();
        let rows = console.simple_query("SELECT current_database()").await.unwrap();
        rows.iter()
            .find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .unwrap()
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join("pgbouncer")).find(|program| Path::new(program).exists());
    found.expect("this test needs PgBouncer: apt-get install pgbouncer")
}
