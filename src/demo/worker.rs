//! One live client: does one thing after another with the sessions it holds, and checks every answer against its books.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::{Answer, App, Held, Measured, OAuthClient, Token};

/// How often a client does what, as weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    introspect: u32,
    refresh: u32,
    begin: u32,
    revoke: u32,
    machine: u32,
    unruly: u32,
}

impl Mix {
    /// Everything applications do.
    pub const READ_WRITE: Mix = Mix { introspect: 70, refresh: 12, begin: 8, revoke: 3, machine: 7, unruly: 0 };
    /// Only what writes: what a copy that nobody follows would lose.
    pub const WRITES: Mix = Mix { introspect: 0, refresh: 45, begin: 45, revoke: 10, machine: 0, unruly: 0 };
    /// Everything, and now and then what applications should not do: a service alone would end token families for it.
    pub const UNRULY: Mix = Mix { introspect: 66, refresh: 10, unruly: 6, ..Mix::READ_WRITE };
}

/// One live client and its books.
pub struct Worker {
    pub(super) http: OAuthClient,
    pub(super) apps: Arc<Vec<App>>,
    pub(super) rng: fastrand::Rng,
    /// The sessions it holds, nobody else does.
    pub sessions: Vec<Held>,
    machine: Vec<(usize, Token)>,
    /// What it measured since it was last asked.
    pub measured: Measured,
}

/// Live clients of a demo.
pub(super) const CLIENTS: usize = 16;

/// The application in whose name tokens are introspected: it has a secret.
const RESOURCE_SERVER: usize = 1;

impl Worker {
    /// A client that holds these sessions.
    pub fn new(http: OAuthClient, apps: Arc<Vec<App>>, seed: u64, sessions: Vec<Held>) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        Self { http, apps, rng, sessions, machine: Vec::new(), measured: Measured::default() }
    }

    /// Does one thing.
    pub async fn act(&mut self, mix: Mix) {
        let weights = [mix.introspect, mix.refresh, mix.begin, mix.revoke, mix.machine, mix.unruly];
        let mut draw = self.rng.u32(..weights.iter().sum::<u32>());
        let choice = weights.iter().position(|weight| {
            let hit = draw < *weight;
            draw = draw.saturating_sub(*weight);
            hit
        });
        match choice {
            Some(1) => self.refresh().await,
            Some(2) => self.begin().await,
            Some(3) => self.revoke().await,
            Some(4) => self.machine().await,
            Some(5) => self.misbehave().await,
            _ => self.introspect().await,
        }
    }

    /// Which session, among a few drawn ones, has what is wanted.
    pub(super) fn draw(&mut self, wanted: impl Fn(&Held) -> bool) -> Option<usize> {
        let sessions = &self.sessions;
        let tries = if sessions.is_empty() { 0 } else { 16 };
        let mut drawn = (0..tries).map(|_| self.rng.usize(..sessions.len()));
        drawn.find(|index| !sessions[*index].doubtful && wanted(&sessions[*index]))
    }

    async fn introspect(&mut self) {
        if !self.machine.is_empty() && self.rng.u32(..10) == 0 {
            let (app, token) = self.machine[self.rng.usize(..self.machine.len())].clone();
            let subject = self.apps[app].id.clone();
            return self.check(&token.text, token.good_at(now()), app, &subject).await;
        }
        let Some(index) = self.draw(|_| true) else { return };
        let held = &self.sessions[index];
        let mut tokens: Vec<(String, Option<bool>)> = held.dead.iter().map(|dead| (dead.clone(), Some(false))).collect();
        let live = [&held.access, &held.refresh].into_iter().flatten();
        tokens.extend(live.map(|token| (token.text.clone(), token.good_at(now()))));
        let (app, subject) = (held.app, held.subject.clone());
        if let Some((token, good)) = self.rng.choice(tokens) {
            self.check(&token, good, app, &subject).await;
        }
    }

    /// Introspects a token that must be good, must not be, or (`None`) is about to end.
    async fn check(&mut self, token: &str, good: Option<bool>, app: usize, subject: &str) {
        let server = self.apps[RESOURCE_SERVER % self.apps.len()].clone();
        let began = Instant::now();
        let answer = self.http.introspect(&server.id, server.secret.as_deref(), token).await;
        self.measured.took(began.elapsed());
        let Some(active) = answer.body["active"].as_bool().filter(|_| answer.status == 200) else {
            return self.fail("introspect", &answer);
        };
        let wrong = match good {
            Some(good) if good != active => Some(if good { "a good token is inactive" } else { "a dead token is active" }),
            _ if active && answer.text("client_id") != self.apps[app].id => Some("another client's token"),
            _ if active && answer.text("sub") != subject => Some("another user's token"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            self.measured.failed(format!("introspect: {wrong}"));
        }
    }

    /// Asks for every token that it got or ended since its books were opened; how many answers are not what it was told.
    pub async fn ask_for_all(&mut self) -> u64 {
        let before = self.measured.requests_failed();
        let mut all: Vec<(String, Option<bool>, usize, String)> = Vec::new();
        for held in self.sessions.iter().filter(|held| held.changed && !held.doubtful) {
            let live =
                [&held.access, &held.refresh].into_iter().flatten().map(|token| (token.text.clone(), token.good_at(now())));
            let dead = held.dead.iter().map(|dead| (dead.clone(), Some(false)));
            all.extend(live.chain(dead).map(|(token, good)| (token, good, held.app, held.subject.clone())));
        }
        for (app, token) in &self.machine {
            all.push((token.text.clone(), token.good_at(now()), *app, self.apps[*app].id.clone()));
        }
        for (token, good, app, subject) in all {
            self.check(&token, good, app, &subject).await;
        }
        self.measured.requests_failed() - before
    }

    async fn refresh(&mut self) {
        let Some((index, app, token)) = self.refreshable() else { return self.introspect().await };
        let grant = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
        let answer = self.token(&app, &grant).await;
        match tokens(&answer) {
            Some((access, Some(refresh))) => self.sessions[index].rotate(access, Some(refresh)),
            _ => self.doubt(index, "refresh", &answer),
        }
    }

    /// A login with consent, and the code exchanged for tokens.
    pub(super) async fn begin(&mut self) {
        let number = self.rng.usize(..self.apps.len());
        let app = self.apps[number].clone();
        let subject = format!("user-{}", self.rng.u32(..1_000_000));
        let scope = ["openid offline", "openid offline profile email", "openid profile"][self.rng.usize(..3)];
        let verifier: Option<String> =
            app.secret.is_none().then(|| std::iter::repeat_with(|| self.rng.alphanumeric()).take(48).collect());
        let began = Instant::now();
        let answer = self.http.authorize(&app.id, &subject, scope, verifier.as_deref()).await;
        self.measured.took(began.elapsed());
        let (code, consent) = (answer.text("code").to_owned(), answer.text("consent_challenge").to_owned());
        if answer.status != 200 || code.is_empty() || consent.is_empty() {
            return self.fail("login and consent", &answer);
        }
        self.sessions.push(Held {
            consent,
            app: number,
            subject,
            scope: scope.split(' ').map(str::to_owned).collect(),
            skipped: false,
            access: None,
            refresh: None,
            dead: Vec::new(),
            created: true,
            changed: true,
            revoked: false,
            doubtful: false,
        });
        let mut grant = vec![("grant_type", "authorization_code"), ("code", code.as_str())];
        grant.extend(verifier.as_deref().map(|verifier| ("code_verifier", verifier)));
        let answer = self.token(&app, &grant).await;
        let index = self.sessions.len() - 1;
        match tokens(&answer) {
            Some((access, refresh)) if refresh.is_some() == scope.contains("offline") => {
                self.sessions[index].rotate(access, refresh);
            }
            _ => self.doubt(index, "code", &answer),
        }
    }

    async fn revoke(&mut self) {
        let Some(index) = self.draw(|held| held.tokens() > 0) else { return self.introspect().await };
        let held = &self.sessions[index];
        let app = self.apps[held.app].clone();
        let Some(token) = held.refresh.as_ref().or(held.access.as_ref()).map(|token| token.text.clone()) else { return };
        let began = Instant::now();
        let answer = self.http.revoke(&app.id, app.secret.as_deref(), &token).await;
        self.measured.took(began.elapsed());
        match answer.status {
            200 => self.sessions[index].revoke(),
            _ => self.doubt(index, "revoke", &answer),
        }
    }

    async fn machine(&mut self) {
        let number = self.rng.usize(..self.apps.len());
        let app = self.apps[number].clone();
        if app.secret.is_none() {
            return self.introspect().await;
        }
        let answer = self.token(&app, &[("grant_type", "client_credentials"), ("scope", "invoices:read")]).await;
        match tokens(&answer) {
            Some((access, None)) => self.machine.push((number, access)),
            _ => self.fail("client credentials", &answer),
        }
    }

    pub(super) async fn token(&mut self, app: &App, grant: &[(&str, &str)]) -> Answer {
        let began = Instant::now();
        let answer = self.http.token(&app.id, app.secret.as_deref(), grant).await;
        self.measured.took(began.elapsed());
        answer
    }

    pub(super) fn doubt(&mut self, index: usize, what: &str, answer: &Answer) {
        self.sessions[index].doubtful = true;
        self.fail(what, answer);
    }

    fn fail(&mut self, what: &str, answer: &Answer) {
        self.measured.failed(match answer.status {
            0 => format!("{what}: no answer"),
            200 => format!("{what}: an answer of another form"),
            status => format!("{what}: status {status} {}", answer.text("error")).trim_end().to_owned(),
        });
    }
}

/// As many clients of the service behind this address, each session to one of them.
pub(super) fn share_out(apps: &Arc<Vec<App>>, sessions: Vec<Held>, service: SocketAddr, seed: u64) -> Vec<Worker> {
    let mut shares: Vec<Vec<Held>> = (0..CLIENTS).map(|_| Vec::new()).collect();
    for (index, held) in sessions.into_iter().enumerate() {
        shares[index % CLIENTS].push(held);
    }
    let http = OAuthClient::new(service);
    let worker = |(number, share)| Worker::new(http.clone(), Arc::clone(apps), seed.wrapping_add(number), share);
    (0u64..).zip(shares).map(worker).collect()
}

/// The access token and, if there is one, the refresh token of an answer.
pub(super) fn tokens(answer: &Answer) -> Option<(Token, Option<Token>)> {
    let text = |name| Some(answer.text(name).to_owned()).filter(|text| answer.status == 200 && !text.is_empty());
    let access = Token { text: text("access_token")?, expires: now() + answer.body["expires_in"].as_i64()? };
    Some((access, text("refresh_token").map(|text| Token { text, expires: now() + 720 * 3600 })))
}

pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
