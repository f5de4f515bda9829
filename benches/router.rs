//! `crossfade route` beside nginx as a reverse proxy, in the same run: the same backend (a second nginx), the same load (`wrk`), kept
//! alive on both ends, one after the other and round by round. And what it takes to keep 10,000 requests parked.
//!
//! `cargo bench --bench router` (Debian: `apt-get install nginx-light wrk`). Prints one JSON document. `ROUNDS` and `SECONDS` change
//! the length.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crossfade::router::{AdminConfig, Change, Changed, Control, Position};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PARKED: usize = 10_000;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // nginx and the router both end their threads and children on SIGTERM.
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn wait_for(port: u16) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let began = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "nothing listens on {address}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn nginx(folder: &Path, name: &str, server: &str, port: u16) -> Running {
    let conf = folder.join(format!("{name}.conf"));
    let here = folder.display();
    let text = format!(
        "daemon off; master_process on; worker_processes auto; pid {here}/{name}.pid; error_log {here}/{name}.log crit;\n\
         worker_rlimit_nofile 20000; events {{ worker_connections 8192; }}\n\
         http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {here}/{name}-b; proxy_temp_path {here}/{name}-p;\n\
         fastcgi_temp_path {here}/{name}-f; uwsgi_temp_path {here}/{name}-u; scgi_temp_path {here}/{name}-s; {server} }}\n"
    );
    std::fs::write(&conf, text).unwrap();
    let child = Command::new("nginx").arg("-c").arg(&conf).arg("-p").arg(folder).stderr(Stdio::null()).spawn();
    let running = Running(child.expect("nginx is missing: apt-get install nginx-light"));
    wait_for(port);
    running
}

/// Requests per second and the median in microseconds.
fn wrk(port: u16, connections: usize, seconds: u64) -> (f64, f64) {
    let ran = Command::new("wrk")
        .args(["-t1", "--latency", &format!("-c{connections}"), &format!("-d{seconds}s"), &format!("http://127.0.0.1:{port}/x")])
        .output()
        .expect("wrk is missing: apt-get install wrk");
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success() && !text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let word =
        |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).map(|rest| rest.trim().to_owned()).unwrap();
    let median = word("50%");
    let micros = match (median.strip_suffix("us"), median.strip_suffix("ms")) {
        (Some(micros), _) => micros.parse::<f64>().unwrap(),
        (_, Some(millis)) => millis.parse::<f64>().unwrap() * 1000.0,
        _ => panic!("{median}"),
    };
    (word("Requests/sec:").parse().unwrap(), micros)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn memory(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// Microseconds of processor time that a process and its children (nginx's workers) have used.
fn processor_us(pid: u32) -> u64 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let all = std::iter::once(pid).chain(children.split_whitespace().map(|child| child.parse().unwrap()));
    let ticks = all.map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<u64> =
            stat.rsplit_once(')').unwrap().1.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        // After the state, which is no number: utime and stime are the 11th and 12th (proc(5)).
        fields[10] + fields[11]
    });
    ticks.sum::<u64>() * 10_000
}

fn main() {
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rounds, seconds) = (number("ROUNDS", 3), number("SECONDS", 4));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (backend_port, nginx_port, router_port) = (free_port(), free_port(), free_port());
    let answer =
        "{\"active\":true,\"scope\":\"openid offline\",\"client_id\":\"app\",\"sub\":\"alice\",\"token_type\":\"access_token\"}";
    let backend = format!(
        "server {{ listen 127.0.0.1:{backend_port} reuseport; location / {{ default_type application/json; return 200 '{answer}'; }} }}"
    );
    let _backend = nginx(path, "backend", &backend, backend_port);
    let proxy = format!(
        "upstream side {{ server 127.0.0.1:{backend_port}; keepalive 256; keepalive_requests 100000000; }}\n\
         server {{ listen 127.0.0.1:{nginx_port}; location / {{ proxy_pass http://side; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Real-IP $remote_addr; }} }}"
    );
    let nginx = nginx(path, "proxy", &proxy, nginx_port);
    let config = format!(
        "format = 1\nstate = \"state\"\n[admin]\nsocket = \"admin.sock\"\n[[listen]]\nname = \"public\"\naddress = \"127.0.0.1:{router_port}\"\n\
         blue = \"http://127.0.0.1:{backend_port}\"\ngreen = \"http://127.0.0.1:{backend_port}\"\n[hold]\nrequests = {PARKED}\nwait = \"120s\"\n"
    );
    std::fs::write(path.join("router.toml"), config).unwrap();
    let child =
        Command::new(env!("CARGO_BIN_EXE_crossfade")).arg("route").arg(path.join("router.toml")).stderr(Stdio::null()).spawn();
    let router = Running(child.unwrap());
    wait_for(router_port);

    let mut figures = serde_json::Map::new();
    let ports = [
        ("direct", backend_port, None),
        ("nginx", nginx_port, Some(nginx.0.id())),
        ("crossfade", router_port, Some(router.0.id())),
    ];
    let mut measured = std::collections::BTreeMap::<(&str, usize), Vec<(f64, f64)>>::new();
    let mut processor = std::collections::BTreeMap::<&str, Vec<f64>>::new();
    for _ in 0..rounds {
        for connections in [1, 32] {
            for (name, port, pid) in ports {
                let before = pid.map(processor_us);
                let one = wrk(port, connections, seconds);
                if let (Some(pid), Some(before), 32) = (pid, before, connections) {
                    let used = (processor_us(pid) - before) as f64;
                    processor.entry(name).or_default().push(used / (one.0 * seconds as f64));
                }
                measured.entry((name, connections)).or_default().push(one);
            }
        }
    }
    let of = |name, connections| {
        let all = &measured[&(name, connections)];
        (median(all.iter().map(|one| one.0).collect()), median(all.iter().map(|one| one.1).collect()))
    };
    for (name, used) in processor {
        figures.insert(format!("{name}_processor_us_per_request"), median(used).into());
    }
    for (name, ..) in ports {
        let ((_, one), (rate, many)) = (of(name, 1), of(name, 32));
        figures.insert(name.to_owned(), serde_json::json!({"median_us_1": one, "requests_per_s_32": rate, "median_us_32": many}));
    }
    // Each round for itself: what else the machine does changes from round to round.
    let by_round = |round: usize| measured[&("crossfade", 32)][round].0 / measured[&("nginx", 32)][round].0;
    figures.insert("ratio_to_nginx".into(), median((0..measured[&("nginx", 32)].len()).map(by_round).collect()).into());
    let added = |round: usize| measured[&("crossfade", 1)][round].1 - measured[&("direct", 1)][round].1;
    figures.insert("added_median_us".into(), median((0..measured[&("direct", 1)].len()).map(added).collect()).into());
    let nginx_added = |round: usize| measured[&("nginx", 1)][round].1 - measured[&("direct", 1)][round].1;
    figures.insert("nginx_added_median_us".into(), median((0..measured[&("direct", 1)].len()).map(nginx_added).collect()).into());
    figures.insert("rss_kib_before".into(), memory(router.0.id(), "VmRSS").into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (released, took) = runtime.block_on(park(Control::new(AdminConfig::Socket(path.join("admin.sock"))), router_port));
    figures.insert("parked".into(), PARKED.into());
    figures.insert("peak_rss_kib_parked".into(), memory(router.0.id(), "VmHWM").into());
    figures.insert("answered_after_release".into(), released.into());
    figures.insert("release_ms".into(), u64::try_from(took.as_millis()).unwrap_or_default().into());
    println!("{}", serde_json::to_string_pretty(&figures).unwrap());
}

/// Parks as many as may be, releases them to green; how many got an answer, and in what time.
async fn park(control: Control, port: u16) -> (usize, Duration) {
    let change = |epoch, to, hold_ms| Change { epoch, to, hold_ms };
    let Changed::Done(held) = control.change(&change(1, Position::Hold, 120_000)).await.unwrap() else { panic!("not held") };
    let mut sockets = Vec::new();
    for number in 0..PARKED {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let body = format!("token=token-{number}");
        let request = format!(
            "POST /oauth2/introspect HTTP/1.1\r\nHost: login.example\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        sockets.push(socket);
    }
    while control.status().await.unwrap().instances[0].parked < PARKED as u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let began = Instant::now();
    let Changed::Done(_) = control.change(&change(held.epoch, Position::Green, 0)).await.unwrap() else { panic!("not released") };
    let mut answered = 0;
    for mut socket in sockets {
        let mut answer = [0; 1024];
        let length = socket.read(&mut answer).await.unwrap_or(0);
        answered += usize::from(answer[..length].starts_with(b"HTTP/1.1 200"));
    }
    (answered, began.elapsed())
}
