//! What an application holds of one session, and what it therefore expects of the service and of the database. Pure.

/// A token and when it ends.
#[derive(Clone)]
pub struct Token {
    /// The token as the application sends it.
    pub text: String,
    /// When it ends by itself, in Unix seconds.
    pub expires: i64,
}

impl Token {
    /// Whether the service must call it good at this moment (Unix seconds); `None` within a minute of its end.
    pub fn good_at(&self, now: i64) -> Option<bool> {
        match self.expires - now {
            left if left > 60 => Some(true),
            left if left < -60 => Some(false),
            _ => None,
        }
    }
}

/// One session as the application knows it. No two clients hold the same one.
#[derive(Clone)]
pub struct Held {
    /// The consent challenge, which names the session in the database.
    pub consent: String,
    /// The application's number in [`super::World`].
    pub app: usize,
    /// The user.
    pub subject: String,
    /// What was granted.
    pub scope: Vec<String>,
    /// Whether the consent was remembered, so that only its tokens make the session valid.
    pub skipped: bool,
    /// The access token.
    pub access: Option<Token>,
    /// The refresh token.
    pub refresh: Option<Token>,
    /// Tokens that were rotated or revoked, the latest ones: the service must call them inactive.
    pub dead: Vec<String>,
    /// Whether this client made the session.
    pub created: bool,
    /// Whether this client changed it.
    pub changed: bool,
    /// Whether this client revoked its tokens.
    pub revoked: bool,
    /// Whether a write failed, so that what the database holds is not known.
    pub doubtful: bool,
}

impl Held {
    /// How many token rows the database must hold: expired ones count, nobody has removed them.
    pub fn tokens(&self) -> i64 {
        i64::from(self.access.is_some()) + i64::from(self.refresh.is_some())
    }

    /// The tokens came from the service anew; the old ones are dead.
    pub fn rotate(&mut self, access: Token, refresh: Option<Token>) {
        self.changed = true;
        let old = [self.access.replace(access), std::mem::replace(&mut self.refresh, refresh)];
        self.bury(old);
    }

    /// The tokens were revoked.
    pub fn revoke(&mut self) {
        (self.changed, self.revoked) = (true, true);
        let old = [self.access.take(), self.refresh.take()];
        self.bury(old);
    }

    fn bury(&mut self, tokens: [Option<Token>; 2]) {
        self.dead.extend(tokens.into_iter().flatten().map(|token| token.text));
        let surplus = self.dead.len().saturating_sub(4);
        self.dead.drain(..surplus);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::demo) fn held(consent: &str, tokens: bool) -> Held {
        let token = |text: &str| Token { text: text.to_owned(), expires: 1000 };
        Held {
            consent: consent.to_owned(),
            app: 0,
            subject: "user-1".to_owned(),
            scope: vec!["openid".to_owned(), "offline".to_owned()],
            skipped: false,
            access: tokens.then(|| token("a.1")),
            refresh: tokens.then(|| token("r.1")),
            dead: Vec::new(),
            created: false,
            changed: false,
            revoked: false,
            doubtful: false,
        }
    }

    #[test]
    fn a_rotation_kills_what_was_there() {
        let mut held = held("c", true);
        held.rotate(Token { text: "a.2".to_owned(), expires: 1 }, None);
        assert_eq!((held.dead.as_slice(), held.tokens()), (["a.1".to_owned(), "r.1".to_owned()].as_slice(), 1));
        held.revoke();
        assert_eq!((held.dead.len(), held.tokens(), held.revoked), (3, 0, true));
    }

    #[test]
    fn around_its_end_a_token_is_neither() {
        let token = Token { text: String::new(), expires: 1000 };
        assert_eq!([token.good_at(900), token.good_at(970), token.good_at(1100)], [Some(true), None, Some(false)]);
    }
}
