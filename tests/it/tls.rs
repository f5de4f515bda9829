//! Connections over TCP and TLS as libpq means them, against real servers with certificates of our own.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossfade::pg::{Database, Environment, Received, Replication, Session, StreamEnded};
use crossfade::shadow::{Binaries, Cluster};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};

use crate::proxy::Proxy;
use crate::support::TestDb;
use crate::told::told;

const SERIAL: u64 = 4711;

/// Who may come in how. `tests` is the only database these lines let anybody into from outside.
const HBA: &str = "\
local     all   postgres               trust
hostssl   tests bearer    127.0.0.1/32 cert
hostssl   tests secured   127.0.0.1/32 scram-sha-256
host      tests anywhere  127.0.0.1/32 scram-sha-256
hostnossl tests unsecured 127.0.0.1/32 trust
";

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key in PEM form.
fn signed(by: &Issuer, common_name: &str, names: &[&str]) -> (String, String) {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(SerialNumber::from(SERIAL));
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, by).unwrap().pem(), key.serialize_pem())
}

/// A self-signed certificate that may sign, for a common name only, as the one-line recipes make it.
fn home_made(common_name: &str) -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// A server with TLS on a free port of 127.0.0.1, and the folder with the client's files.
struct Server {
    port: u16,
    client: tempfile::TempDir,
    _cluster: Cluster,
    _files: tempfile::TempDir,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    async fn start(certificate: &(String, String), clients: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = files.path().join(name);
            write_private(&path, text);
            give_to_server(&path);
            path.display().to_string()
        };
        give_to_server(files.path());
        let port = free_port();
        let settings = vec![
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", port.to_string()),
            ("ssl", "on".to_owned()),
            ("ssl_cert_file", put("server.crt", &certificate.0)),
            ("ssl_key_file", put("server.key", &certificate.1)),
            ("ssl_ca_file", put("clients.crt", clients)),
            ("hba_file", put("hba.conf", HBA)),
            ("password_encryption", "scram-sha-256".to_owned()),
        ];
        let cluster = Cluster::start(&Binaries::find().unwrap(), settings).await.unwrap();
        let admin = cluster.database("admin", "postgres").unwrap().connect("test").await.unwrap();
        for sql in [
            "CREATE DATABASE tests",
            "CREATE ROLE bearer LOGIN",
            "CREATE ROLE unsecured LOGIN",
            "CREATE ROLE secured LOGIN PASSWORD 'right'",
            "CREATE ROLE anywhere LOGIN PASSWORD 'right'",
        ] {
            admin.batch_execute(sql).await.unwrap();
        }
        Self { port, client: tempfile::tempdir().unwrap(), _cluster: cluster, _files: files }
    }

    /// Puts a file where the client finds it.
    fn give(&self, name: &str, text: &str) -> String {
        let path = self.client.path().join(name);
        write_private(&path, text);
        path.display().to_string()
    }

    /// Connects with `rest` beside address, port and database; nothing of this machine's environment counts.
    async fn connect(&self, rest: &str) -> anyhow::Result<Session> {
        let conninfo = format!("hostaddr=127.0.0.1 port={} dbname=tests {rest}", self.port);
        self.connect_in(&conninfo, &[]).await
    }

    async fn connect_in(&self, conninfo: &str, variables: &[(&str, &str)]) -> anyhow::Result<Session> {
        let home = self.client.path().display().to_string();
        let environment = Environment::new([("HOME", home.as_str())].into_iter().chain(variables.iter().copied()));
        Database::parse_in("blue", conninfo, &environment)?.connect("crossfade/test").await
    }

    async fn refusal(&self, rest: &str) -> String {
        refusal(self.connect(rest).await)
    }
}

/// The message of a connection that must fail; it may hold neither password nor the connection string.
#[track_caller]
fn refusal(connected: anyhow::Result<Session>) -> String {
    let text = crossfade::pg::explain(&connected.err().expect("this connection must be refused"));
    assert!(!text.contains("hunter2") && !text.contains("password="), "{text}");
    assert!(text.contains("blue"), "{text}");
    text
}

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// As root our throw-away servers run as another user, who must own their key.
fn give_to_server(path: &Path) {
    if nix::unistd::geteuid().is_root() {
        let known = ["postgres", "nobody"].into_iter().find_map(|name| nix::unistd::User::from_name(name).unwrap());
        let user = known.expect("a user that servers can run as");
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
}

/// TLS version of a session as the server sees it, `""` without TLS.
async fn version(session: &Session) -> String {
    let sql = "SELECT coalesce(version, '') FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    session.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn certificates_of_an_authority() {
    let (ours, other) = (authority("ours"), authority("other"));
    let server = Server::start(&signed(&ours, "unused", &["db.example", "127.0.0.1"]), &ours.pem()).await;
    let root = server.give("ours.crt", &ours.pem());
    let wrong_root = server.give("other.crt", &other.pem());
    let secured = "user=secured password=right";

    let full = format!("host=db.example sslmode=verify-full sslrootcert={root} channel_binding=require {secured}");
    let session = server.connect(&full).await.unwrap();
    assert_eq!(version(&session).await, "TLSv1.3");
    let name: String = session.query_one("SHOW application_name", &[]).await.unwrap().get(0);
    assert_eq!(name, "crossfade/test");
    let older = server.connect(&format!("{full} ssl_max_protocol_version=TLSv1.2")).await.unwrap();
    assert_eq!(version(&older).await, "TLSv1.2", "channel binding works with TLS 1.2 too");
    let by_address = format!("host=127.0.0.1 sslmode=verify-full sslrootcert={root} {secured}");
    server.connect(&by_address).await.unwrap();

    let wrong = server.refusal(&format!("host=else.example sslmode=verify-full sslrootcert={root} {secured}")).await;
    assert!(wrong.contains("not valid for name \"else.example\"") && wrong.contains("next: write the name"), "{wrong}");
    server.connect(&format!("host=else.example sslmode=verify-ca sslrootcert={root} {secured}")).await.unwrap();
    server.connect(&format!("sslmode=verify-ca sslrootcert={root} {secured}")).await.unwrap();
    for mode in ["verify-ca", "require"] {
        let unknown = server.refusal(&format!("host=db.example sslmode={mode} sslrootcert={wrong_root} {secured}")).await;
        assert!(unknown.contains("UnknownIssuer") && unknown.contains("next: name the authority's"), "{mode}: {unknown}");
    }
    server.connect(&format!("sslmode=require {secured}")).await.unwrap();
    server.connect(&format!("sslmode=require sslrootcert=/not/there {secured}")).await.unwrap();

    // the default file counts as well
    std::fs::create_dir(server.client.path().join(".postgresql")).unwrap();
    server.give(".postgresql/root.crt", &other.pem());
    assert!(server.refusal(&format!("sslmode=require {secured}")).await.contains("UnknownIssuer"));
    server.give(".postgresql/root.crt", &ours.pem());
    server.connect(&format!("host=db.example sslmode=verify-full {secured}")).await.unwrap();

    let revoked = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2020, 1, 1),
        next_update: rcgen::date_time_ymd(2120, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(SERIAL),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = server.give("revoked.crl", &revoked.signed_by(&ours).unwrap().pem().unwrap());
    let text = server.refusal(&format!("sslmode=verify-ca sslcrl={list} {secured}")).await;
    assert!(text.contains("Revoked"), "{text}");
}

#[tokio::test]
async fn client_certificates() {
    let (ours, other) = (authority("ours"), authority("other"));
    let server = Server::start(&signed(&ours, "unused", &["db.example"]), &ours.pem()).await;
    let identity = |name: &str, by: &Issuer, role: &str| {
        let (certificate, key) = signed(by, role, &[]);
        let (certificate, key) = (server.give(&format!("{name}.crt"), &certificate), server.give(&format!("{name}.key"), &key));
        format!("sslmode=require sslcert={certificate} sslkey={key}")
    };
    let bearer = identity("bearer", &ours, "bearer");
    let session = server.connect(&format!("user=bearer {bearer}")).await.unwrap();
    let row = session.query_one("SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).await.unwrap();
    assert!(row.get::<_, String>(0).contains("bearer"));

    let none = server.refusal("user=bearer sslmode=require").await;
    assert!(none.contains("valid client certificate") && none.contains("SQLSTATE 28000"), "{none}");
    let someone_else = identity("guest", &ours, "guest");
    assert!(server.refusal(&format!("user=bearer {someone_else}")).await.contains("SQLSTATE 28000"));
    let foreign = identity("foreign", &other, "bearer");
    let text = server.refusal(&format!("user=bearer {foreign}")).await;
    assert!(text.contains("TLS: the server does not know the authority of our certificate"), "{text}");
}

#[tokio::test]
async fn a_home_made_certificate_in_the_root_file() {
    let certificate = home_made("db.example");
    let server = Server::start(&certificate, &certificate.0).await;
    let root = server.give("root.crt", &certificate.0);
    let full = |host: &str| format!("host={host} user=secured password=right sslmode=verify-full sslrootcert={root}");
    server.connect(&format!("{} channel_binding=require", full("db.example"))).await.unwrap();
    assert!(server.refusal(&full("else.example")).await.contains("not valid for name"));
    let another = server.give("another.crt", &home_made("db.example").0);
    let text = server.refusal(&format!("user=secured password=right sslmode=verify-ca sslrootcert={another}")).await;
    assert!(text.contains("self-signed and we do not know it"), "{text}");
}

#[tokio::test]
async fn with_tls_and_without_it() {
    let ours = authority("ours");
    let server = Server::start(&signed(&ours, "unused", &["db.example"]), &ours.pem()).await;
    for (rest, expected) in [
        ("user=secured password=right sslmode=allow", "TLSv1.3"),
        ("user=secured password=right sslmode=prefer", "TLSv1.3"),
        ("user=secured password=right", "TLSv1.3"),
        ("user=unsecured sslmode=prefer", ""),
        ("user=unsecured sslmode=allow", ""),
        ("user=anywhere password=right sslmode=allow", ""),
        ("user=anywhere password=right sslmode=disable", ""),
    ] {
        let session = server.connect(rest).await.unwrap_or_else(|error| panic!("{rest}: {error:#}"));
        assert_eq!(version(&session).await, expected, "{rest}");
    }
    for (rest, expected) in [
        ("user=secured password=right sslmode=disable", "no pg_hba.conf entry"),
        ("user=unsecured sslmode=require", "SQLSTATE 28000"),
        ("user=anywhere password=right sslmode=disable channel_binding=require", "did not use channel binding"),
    ] {
        let text = server.refusal(rest).await;
        assert!(text.contains(expected) && text.contains("\n  next: "), "{rest}: {text}");
    }
}

/// The same server, when its certificate is out of date, and when it has no TLS any more.
#[tokio::test]
async fn a_certificate_that_is_out_of_date_and_no_tls_at_all() {
    let ours = authority("ours");
    let mut params = CertificateParams::new(vec!["db.example".to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    let key = KeyPair::generate().unwrap();
    let expired = (params.signed_by(&key, &ours).unwrap().pem(), key.serialize_pem());
    let server = Server::start(&expired, &ours.pem()).await;
    let root = server.give("root.crt", &ours.pem());
    for mode in ["verify-ca", "verify-full"] {
        let rest = format!("host=db.example user=secured password=right sslmode={mode} sslrootcert={root}");
        let text = server.refusal(&rest).await;
        assert!(text.contains("out of date") && text.contains("next: renew the server's certificate"), "{mode}: {text}");
    }
    let session = server.connect("user=anywhere password=right sslmode=require").await.unwrap();
    // Over TCP the server looks for a client that vanished as early as we look for it.
    let shown: String = session.query_one("SHOW tcp_keepalives_idle", &[]).await.unwrap().get(0);
    assert_eq!(shown, "30");
    let rarely = server.connect("user=anywhere password=right keepalives_idle=7").await.unwrap();
    assert_eq!(rarely.query_one("SHOW tcp_keepalives_idle", &[]).await.unwrap().get::<_, String>(0), "7");
    let plain = TestDb::empty().await;
    let proxy = Proxy::before(&plain); // servers give no TLS over their sockets
    let port = proxy.port();
    for mode in ["require", "verify-full"] {
        let conninfo =
            format!("hostaddr=127.0.0.1 host=db.example port={port} dbname=x user=u sslmode={mode} sslrootcert={root}");
        let text = refusal(server.connect_in(&conninfo, &[]).await);
        assert!(text.contains("does not support TLS") && text.contains("next: turn on ssl"), "{mode}: {text}");
    }
    told(
        "TLS: unknown authority, wrong name, out of date, revoked, no TLS, no client certificate",
        "real servers with certificates of our own",
        6,
        "each refused, with what is wrong and the next command",
    );
}

#[tokio::test]
async fn logins_and_where_passwords_come_from() {
    let ours = authority("ours");
    let server = Server::start(&signed(&ours, "unused", &["db.example"]), &ours.pem()).await;
    let wrong = server.refusal("user=secured password=hunter2").await;
    assert!(wrong.contains("password authentication failed") && wrong.contains("it came from the connection string"), "{wrong}");
    assert!(
        wrong.starts_with(&format!("cannot connect to blue (database tests, user secured): 127.0.0.1:{}", server.port)),
        "{wrong}"
    );
    assert_eq!(wrong.matches("SQLSTATE 28P01").count(), 1, "a wrong password is not tried again without TLS: {wrong}");
    let none = server.refusal("user=secured").await;
    assert!(none.contains("none is given") && none.contains(":tests:secured:PASSWORD to ~/.pgpass"), "{none}");
    let missing = server.refusal("user=anywhere password=right dbname=nothing sslmode=require").await;
    assert!(missing.contains("SQLSTATE 28000"), "{missing}");

    let file = server.give(".pgpass", &format!("127.0.0.1:{}:tests:secured:right\n", server.port));
    server.connect("user=secured").await.unwrap();
    std::fs::set_permissions(PathBuf::from(file), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(server.refusal("user=secured").await.contains("chmod 0600"));

    let uri = format!("postgresql://secured:{}@127.0.0.1:{}/tests", "%72ight", server.port);
    server.connect_in(&uri, &[("PGPASSWORD", "hunter2")]).await.unwrap();
    let services = format!("[here]\nhostaddr=127.0.0.1\nport={}\ndbname=tests\nuser=secured\n", server.port);
    server.give(".pg_service.conf", &services);
    server.connect_in("service=here", &[("PGPASSWORD", "right"), ("PGUSER", "unsecured")]).await.unwrap();
}

#[tokio::test]
async fn lists_of_servers_and_kinds_of_servers() {
    let ours = authority("ours");
    let server = Server::start(&signed(&ours, "unused", &["db.example"]), &ours.pem()).await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (closed, silent_port) = (free_port(), silent.local_addr().unwrap().port());
    let at = |ports: String, rest: &str| {
        let hosts = vec!["127.0.0.1"; ports.split(',').count()].join(",");
        format!("host={hosts} port={ports} user=anywhere password=right dbname=tests connect_timeout=1 {rest}")
    };
    let connect = async |conninfo: String| server.connect_in(&conninfo, &[]).await;

    connect(at(format!("{closed},{silent_port},{}", server.port), "")).await.unwrap();
    connect(at(format!("{closed},{}", server.port), "load_balance_hosts=random")).await.unwrap();
    for wanted in ["read-write", "primary", "prefer-standby"] {
        connect(at(server.port.to_string(), &format!("target_session_attrs={wanted}"))).await.unwrap();
    }
    for (wanted, options) in [("standby", ""), ("read-only", ""), ("read-write", "options='-c default_transaction_read_only=on'")]
    {
        let text = refusal(connect(at(server.port.to_string(), &format!("target_session_attrs={wanted} {options}"))).await);
        assert!(text.contains("target_session_attrs: it is"), "{text}");
    }

    let began = Instant::now();
    let text = refusal(connect(at(silent_port.to_string(), "")).await);
    assert!(text.contains("no session within 1s") && began.elapsed() < Duration::from_secs(5), "{text}");
    let text = refusal(connect(at(closed.to_string(), "")).await);
    assert!(text.contains("connection refused") && text.contains("next: pg_isready"), "{text}");
    let nowhere = server.client.path().display();
    let text = refusal(connect(format!("host={nowhere} user=u")).await);
    assert!(text.contains("there is no such socket") && text.contains("next: ls -la"), "{text}");
    let text = refusal(connect("host=no-such-host.invalid user=u".to_owned()).await);
    assert!(text.contains("cannot be resolved"), "{text}");
}

/// The stream of a slot takes the way of a session: TLS with the same checks, the same password; and a socket.
#[tokio::test]
async fn replication_takes_the_way_of_a_session() {
    let ours = authority("ours");
    let server = Server::start(&signed(&ours, "unused", &["db.example"]), &ours.pem()).await;
    let root = server.give("root.pem", &ours.pem());
    let admin = server._cluster.database("admin", "tests").unwrap().connect("test").await.unwrap();
    for sql in [
        "ALTER ROLE secured REPLICATION",
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE PUBLICATION p FOR TABLE t",
        "SELECT pg_create_logical_replication_slot('s', 'pgoutput')",
    ] {
        admin.batch_execute(sql).await.unwrap();
    }
    let sockets = server._cluster.database("socket", "tests").unwrap().connect("test").await.unwrap();
    let full = format!("host=db.example user=secured password=right sslmode=verify-full sslrootcert={root}");
    let encrypted = server.connect(&full).await.unwrap();
    for (session, tls) in [(&encrypted, true), (&sockets, false)] {
        let mut stream = Replication::start(session, "s", "p", 0, "crossfade/test/slot").await.unwrap();
        let ssl = "SELECT count(*) FROM pg_stat_replication JOIN pg_stat_ssl USING (pid) WHERE application_name = 'crossfade/test/slot' AND ssl";
        assert_eq!(admin.query_one(ssl, &[]).await.unwrap().get::<_, i64>(0), i64::from(tls));
        admin.batch_execute("SELECT pg_logical_emit_message(false, 'test', 'words'), pg_current_xact_id()").await.unwrap();
        loop {
            if let Received::Said { prefix, words, at } = stream.next().await.unwrap() {
                assert_eq!((prefix.as_str(), &words[..]), ("test", &b"words"[..]));
                stream.confirm(at);
                break;
            }
        }
        drop(stream);
        crate::support::eventually("the server lets go of the slot", async || {
            let active = "SELECT count(*) FROM pg_replication_slots WHERE active";
            admin.query_one(active, &[]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
    }
    let bound = server.connect(&format!("{full} channel_binding=require")).await.unwrap();
    let refused = Replication::start(&bound, "s", "p", 0, "test").await.err().unwrap().to_string();
    assert!(refused.contains("cannot bind its login") && !refused.contains("right"), "{refused}");
    let missing = Replication::start(&encrypted, "nothing", "p", 0, "test").await.err().unwrap();
    assert!(missing.to_string().contains("SQLSTATE 42704") && !missing.downcast::<StreamEnded>().unwrap().passes);
}
