//! What clients do that they should not: the same refresh twice at once, again after its answer, and again because no answer came in
//! time. A strict service takes each for theft and ends the whole token family; the router makes one request of them.

use std::time::{Duration, Instant};

use super::worker::{now, tokens};
use super::{Answer, App, Worker};

impl Worker {
    /// One of the three, with a session of its own.
    pub(super) async fn misbehave(&mut self) {
        let Some((index, app, token)) = self.refreshable() else { return };
        let grant = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
        match self.rng.u32(..3) {
            0 => {
                let answers = self.at_once(&app, &grant).await;
                self.same(index, "two refreshes at once", &answers);
            }
            1 => {
                let answers = [self.token(&app, &grant).await, self.token(&app, &grant).await];
                self.same(index, "a repeated refresh", &answers);
            }
            _ => {
                let (began, patience) = (Instant::now(), Duration::from_micros(self.rng.u64(..4000)));
                let secret = app.secret.as_deref();
                let answer = match tokio::time::timeout(patience, self.http.token(&app.id, secret, &grant)).await {
                    Ok(answer) => answer,
                    Err(_) => self.http.token(&app.id, secret, &grant).await,
                };
                self.measured.took(began.elapsed());
                self.same(index, "a refresh given up and tried again", &[answer]);
            }
        }
    }

    /// The same refresh twice at the same moment.
    pub(super) async fn at_once(&mut self, app: &App, grant: &[(&str, &str)]) -> [Answer; 2] {
        let one = async || {
            let began = Instant::now();
            (self.http.token(&app.id, app.secret.as_deref(), grant).await, began.elapsed())
        };
        let ((first, took), (second, also)) = tokio::join!(one(), one());
        self.measured.took(took);
        self.measured.took(also);
        [first, second]
    }

    /// A session that can be refreshed now.
    pub(super) fn refreshable(&mut self) -> Option<(usize, App, String)> {
        let index = self.draw(|held| held.refresh.as_ref().is_some_and(|token| token.good_at(now()) == Some(true)))?;
        let held = &self.sessions[index];
        Some((index, self.apps[held.app].clone(), held.refresh.as_ref()?.text.clone()))
    }

    /// Every answer must give the same tokens: then the session has them.
    fn same(&mut self, index: usize, what: &str, answers: &[Answer]) {
        let Some(refused) = answers.iter().find(|answer| !matches!(tokens(answer), Some((_, Some(_))))) else {
            let first = &answers[0];
            if answers.iter().any(|answer| answer.text("refresh_token") != first.text("refresh_token")) {
                self.sessions[index].doubtful = true;
                return self.measured.failed(format!("{what}: two token families"));
            }
            if let Some((access, refresh)) = tokens(first) {
                self.sessions[index].rotate(access, refresh);
            }
            return;
        };
        self.doubt(index, what, refused);
    }
}
