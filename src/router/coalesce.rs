//! One upstream request for identical refreshes, its answer repeated for a grace time. Pure: time and digests are given.
//!
//! Clients with bad networks and parallel workers send the same refresh token twice; a strict server takes the second for theft
//! and revokes the token family. What the ledger promises:
//!
//! - of identical requests (everything that authenticates the client, the token and the whole body) one is upstream at a time;
//! - its answer is repeated until the grace time is over, or the token that it gave has itself been used, or a revocation of a
//!   token of the family is seen: whatever comes then goes upstream, and the server judges it;
//! - answers that are no success are given to those who waited for them and kept for nobody;
//! - it is bounded in entries and bytes, and holds no token: only keyed digests, and the answers themselves.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// A keyed digest: of a whole request, of a token, of a client id.
pub type Digest = [u8; 32];

/// A refresh request, as digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Of everything that makes two requests identical.
    pub request: Digest,
    /// Of the refresh token.
    pub token: Digest,
    /// Of the client's id.
    pub client: Digest,
}

/// The tokens in an answer, as digests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Given {
    /// The new refresh token; `None` when the old one stays good.
    pub refresh: Option<Digest>,
    /// The new access token.
    pub access: Option<Digest>,
}

/// What a request is to do.
#[derive(Debug)]
pub enum Begin<F, A> {
    /// Go upstream, and [`Ledger::settle`] with this ticket whatever comes of it.
    Lead(Ticket),
    /// Wait for the one that is upstream.
    Join(F),
    /// Take this answer.
    Repeat(A),
    /// Go upstream, nobody will join: the ledger is full of requests that are upstream.
    Alone,
}

/// The right to settle one flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    asked: Asked,
    id: u64,
}

/// What came of a request that went upstream.
#[derive(Debug)]
pub enum Outcome<A> {
    /// New tokens, and how many bytes it takes to keep the answer.
    Rotated(A, Given, usize),
    /// The server refused: the token is as it was.
    Refused,
    /// An error of the server or of the way to it: the token may have been used up.
    Unknown,
}

/// Bounds of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How long an answer is repeated.
    pub grace: Duration,
    /// Most entries.
    pub entries: usize,
    /// Most bytes of answers.
    pub bytes: usize,
}

/// How many older tokens of a family an entry remembers, so that a revocation by one of them finds it.
const LINEAGE: usize = 16;

#[derive(Debug)]
enum State<F, A> {
    Flight(F),
    Answer { answer: A, given: Given, bytes: usize, until: Instant },
}

#[derive(Debug)]
struct Entry<F, A> {
    id: u64,
    asked: Asked,
    state: State<F, A>,
    /// Tokens of the same family that came before.
    lineage: Vec<Digest>,
}

impl<F, A> Entry<F, A> {
    fn given(&self) -> Given {
        match &self.state {
            State::Flight(_) => Given::default(),
            State::Answer { given, .. } => *given,
        }
    }

    fn tokens(&self) -> Vec<Digest> {
        let given = self.given();
        let mut tokens: Vec<Digest> = [Some(self.asked.token), given.refresh, given.access].into_iter().flatten().collect();
        tokens.extend(&self.lineage);
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }
}

/// The identical refreshes that are upstream or were a moment ago.
#[derive(Debug)]
pub struct Ledger<F, A> {
    entries: HashMap<Digest, Entry<F, A>>,
    /// Token → requests whose entries know it.
    known: HashMap<Digest, Vec<Digest>>,
    /// Answers by age.
    order: VecDeque<(Digest, u64)>,
    bytes: usize,
    next: u64,
    bounds: Bounds,
}

impl<F: Clone, A: Clone> Ledger<F, A> {
    /// An empty ledger.
    pub fn new(bounds: Bounds) -> Self {
        Self { entries: HashMap::new(), known: HashMap::new(), order: VecDeque::new(), bytes: 0, next: 0, bounds }
    }

    /// Other bounds from now on.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// How many requests are upstream, and how many answers are kept.
    pub fn live(&self) -> (usize, usize) {
        let flights = self.entries.values().filter(|entry| matches!(entry.state, State::Flight(_))).count();
        (flights, self.entries.len() - flights)
    }

    /// What a request is to do; `flight` is what others wait for if it goes upstream.
    pub fn begin(&mut self, asked: Asked, now: Instant, flight: impl FnOnce() -> F) -> Begin<F, A> {
        self.expire(now);
        match self.entries.get(&asked.request).map(|entry| &entry.state) {
            Some(State::Flight(flight)) => return Begin::Join(flight.clone()),
            Some(State::Answer { answer, .. }) => return Begin::Repeat(answer.clone()),
            None => {}
        }
        while self.entries.len() >= self.bounds.entries {
            if !self.drop_oldest() {
                return Begin::Alone;
            }
        }
        self.next += 1;
        let id = self.next;
        self.insert(Entry { id, asked, state: State::Flight(flight()), lineage: Vec::new() });
        Begin::Lead(Ticket { asked, id })
    }

    /// What came of the request with this ticket. Must be known here before anybody gets the answer.
    pub fn settle(&mut self, ticket: Ticket, outcome: Outcome<A>, now: Instant) {
        let Ticket { asked, id } = ticket;
        let ours = self.entries.get(&asked.request).is_some_and(|entry| entry.id == id);
        let lineage = match outcome {
            Outcome::Refused => Vec::new(),
            Outcome::Rotated(..) | Outcome::Unknown => self.supersede(&asked),
        };
        if !ours {
            return; // revoked meanwhile
        }
        self.remove(&asked.request);
        if let Outcome::Rotated(answer, given, bytes) = outcome
            && bytes <= self.bounds.bytes
        {
            let until = now + self.bounds.grace;
            self.insert(Entry { id, asked, state: State::Answer { answer, given, bytes, until }, lineage });
            self.order.push_back((asked.request, id));
            self.bytes += bytes;
            while self.bytes > self.bounds.bytes {
                self.drop_oldest();
            }
        }
    }

    /// Drops the answers that gave this token: it has been used, so what they answered is older than the previous token now.
    /// Gives the tokens that came before.
    fn supersede(&mut self, asked: &Asked) -> Vec<Digest> {
        let mut lineage = Vec::new();
        for request in self.known.get(&asked.token).cloned().unwrap_or_default() {
            let gave = |entry: &Entry<F, A>| request != asked.request && entry.given().refresh == Some(asked.token);
            if self.entries.get(&request).is_some_and(gave)
                && let Some(entry) = self.remove(&request)
            {
                lineage.extend(entry.tokens().into_iter().filter(|token| *token != asked.token));
            }
        }
        lineage.truncate(LINEAGE);
        lineage
    }

    /// A token was revoked: drops everything about its family that is known here. Gives whether anything was.
    pub fn revoked(&mut self, token: &Digest) -> bool {
        let requests = self.known.get(token).cloned().unwrap_or_default();
        requests.iter().for_each(|request| drop(self.remove(request)));
        !requests.is_empty()
    }

    /// Everything of a client was revoked.
    pub fn forget_client(&mut self, client: &Digest) {
        let theirs = self.entries.values().filter(|entry| entry.asked.client == *client);
        let requests: Vec<Digest> = theirs.map(|entry| entry.asked.request).collect();
        requests.iter().for_each(|request| drop(self.remove(request)));
    }

    /// Something was revoked of which only the server knows which tokens it reaches.
    pub fn forget_all(&mut self) {
        self.entries.clear();
        self.known.clear();
        self.order.clear();
        self.bytes = 0;
    }

    /// Drops the answers whose grace time is over.
    pub fn expire(&mut self, now: Instant) {
        while let Some((request, id)) = self.order.front() {
            match self.entries.get(request) {
                Some(Entry { id: now_there, state: State::Answer { until, .. }, .. }) if now_there == id && now < *until => break,
                _ => drop(self.drop_oldest()),
            }
        }
    }

    /// Drops the oldest answer; false when there is none.
    fn drop_oldest(&mut self) -> bool {
        let Some((request, id)) = self.order.pop_front() else { return false };
        if self.entries.get(&request).is_some_and(|entry| entry.id == id) {
            self.remove(&request);
        }
        true
    }

    fn insert(&mut self, entry: Entry<F, A>) {
        for token in entry.tokens() {
            self.known.entry(token).or_default().push(entry.asked.request);
        }
        self.entries.insert(entry.asked.request, entry);
    }

    fn remove(&mut self, request: &Digest) -> Option<Entry<F, A>> {
        let entry = self.entries.remove(request)?;
        for token in entry.tokens() {
            if let Some(requests) = self.known.get_mut(&token) {
                requests.retain(|other| other != request);
                if requests.is_empty() {
                    self.known.remove(&token);
                }
            }
        }
        if let State::Answer { bytes, .. } = &entry.state {
            self.bytes -= bytes;
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What happens at the router: requests of one of two families come (which token of the family, which client authentication,
    /// which body), answers come back, tokens are revoked, time passes.
    #[derive(Debug, Clone)]
    enum Event {
        /// Family, how many rotations old the token is, client authentication, body.
        Ask(usize, usize, u8, u8),
        /// Which of the open flights, what came of it: 0 to 5 rotated, 6 refused, 7 unknown and rotated, 8 unknown and not.
        Answer(usize, u8),
        /// Family, how many rotations old the token is, whether it is named by its access token.
        Revoke(usize, usize, bool),
        Wait(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        let age = || prop_oneof![3 => Just(0usize), 3 => Just(1usize), 2 => Just(2usize), 1 => 3..6usize];
        prop_oneof![
            6 => (0..2usize, age(), 0..2u8, prop_oneof![4 => Just(0u8), 1 => Just(1u8)]).prop_map(|(f, a, c, b)| Event::Ask(f, a, c, b)),
            5 => (0..8usize, 0..9u8).prop_map(|(flight, what)| Event::Answer(flight, what)),
            1 => (0..2usize, 0..4usize, any::<bool>()).prop_map(|(f, a, access)| Event::Revoke(f, a, access)),
            1 => (1..6_000u64).prop_map(Event::Wait),
        ]
    }

    fn digest(words: &[u64]) -> Digest {
        let mut out = [0; 32];
        for (place, word) in out.chunks_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    fn refresh(family: usize, generation: u64) -> Digest {
        digest(&[1, family as u64, generation])
    }

    fn access(family: usize, generation: u64) -> Digest {
        digest(&[2, family as u64, generation])
    }

    #[derive(Clone, Copy)]
    struct Flight {
        ticket: Option<Ticket>,
        family: usize,
        generation: u64,
        client: u8,
        body: u8,
    }

    /// The server as the ledger's caller sees it: each family's current generation; the generation whose rotation was the last
    /// that was answered, with what it gave; whether a token of the family was revoked since.
    #[derive(Default)]
    struct Family {
        current: u64,
        last_answered: Option<(u64, u64)>,
        revoked: bool,
    }

    const GRACE: Duration = Duration::from_secs(10);

    fn run(events: Vec<Event>, entries: usize) -> Result<(), TestCaseError> {
        let mut ledger: Ledger<usize, (usize, u64, u8, u8)> = Ledger::new(Bounds { grace: GRACE, entries, bytes: 1000 });
        let mut now = Instant::now();
        let mut families = [Family { current: 9, ..Family::default() }, Family { current: 9, ..Family::default() }];
        let mut flights: Vec<Flight> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        let mut answered_at: HashMap<(usize, u64), Instant> = HashMap::new();
        for event in events {
            match event {
                Event::Wait(ms) => now += Duration::from_millis(ms),
                Event::Ask(family, age, client, body) => {
                    let generation = families[family].current.saturating_sub(age as u64);
                    let request = digest(&[family as u64, generation, u64::from(client), 100 + u64::from(body)]);
                    let asked = Asked { request, token: refresh(family, generation), client: digest(&[u64::from(client)]) };
                    let same = |flight: &Flight| {
                        (flight.family, flight.generation, flight.client, flight.body) == (family, generation, client, body)
                    };
                    let number = flights.len();
                    let mut flight = Flight { ticket: None, family, generation, client, body };
                    match ledger.begin(asked, now, || number) {
                        Begin::Lead(ticket) => {
                            let twice = open.iter().any(|open| same(&flights[*open]) && flights[*open].ticket.is_some());
                            prop_assert!(!twice, "two identical requests upstream at once");
                            flight.ticket = Some(ticket);
                            flights.push(flight);
                            open.push(number);
                        }
                        Begin::Alone => {
                            prop_assert_eq!(ledger.live(), (entries, 0), "alone though there is room");
                            flights.push(flight);
                            open.push(number);
                        }
                        Begin::Join(leader) => {
                            prop_assert!(same(&flights[leader]) && open.contains(&leader), "joined another request");
                        }
                        Begin::Repeat((of, gave, by, with)) => {
                            prop_assert_eq!((of, by, with), (family, client, body), "another one's answer");
                            prop_assert_eq!(families[family].last_answered, Some((generation, gave)), "not the previous token");
                            prop_assert!(!families[family].revoked, "a repeated answer after a revocation");
                            prop_assert!(now < answered_at[&(family, generation)] + GRACE, "after the grace time");
                        }
                    }
                }
                Event::Answer(which, what) if !open.is_empty() => {
                    let Flight { ticket, family, generation, client, body } = flights[open.remove(which % open.len())];
                    let state = &mut families[family];
                    // A strict server rotates the current token, and takes every other one for stolen.
                    let good = generation == state.current;
                    if good && (what <= 5 || what == 7) {
                        state.current += 1;
                    }
                    let current = state.current;
                    let outcome = match what {
                        0..=5 if good => {
                            state.last_answered = Some((generation, current));
                            state.revoked = false;
                            answered_at.insert((family, generation), now);
                            let given = Given { refresh: Some(refresh(family, current)), access: Some(access(family, current)) };
                            Outcome::Rotated((family, current, client, body), given, 10)
                        }
                        0..=6 => Outcome::Refused,
                        _ => {
                            if state.last_answered.is_some_and(|(_, gave)| gave == generation) {
                                state.last_answered = None; // the token that it gave may be used up
                            }
                            Outcome::Unknown
                        }
                    };
                    if let Some(ticket) = ticket {
                        ledger.settle(ticket, outcome, now);
                    } else {
                        return Ok(()); // upstream without the ledger: what the model knows is not what the ledger knows
                    }
                }
                Event::Revoke(family, age, by_access) => {
                    let state = &mut families[family];
                    let generation = state.current.saturating_sub(age as u64);
                    // Tokens whose rotation lies before the last grace time are not known, and reach nothing that is kept.
                    let gave = state.last_answered;
                    let (reaches, token) = match by_access {
                        true => (gave.is_some_and(|(_, gave)| gave == generation), access(family, generation)),
                        false => {
                            let reaches = gave.is_some_and(|(from, gave)| generation == from || generation == gave);
                            (reaches, refresh(family, generation))
                        }
                    };
                    ledger.revoked(&token);
                    state.revoked |= reaches;
                    if !by_access {
                        // Its flights are nobody's to join any more, and their answers are not kept.
                        for flight in
                            flights.iter_mut().filter(|flight| (flight.family, flight.generation) == (family, generation))
                        {
                            if let Some(ticket) = flight.ticket {
                                let there = ledger.entries.get(&ticket.asked.request);
                                prop_assert!(there.is_none_or(|entry| entry.id != ticket.id), "a revoked flight is kept");
                            }
                        }
                        open.retain(|open| (flights[*open].family, flights[*open].generation) != (family, generation));
                    }
                }
                Event::Answer(..) => {}
            }
            let (in_flight, kept) = ledger.live();
            prop_assert!(in_flight + kept <= entries);
            prop_assert_eq!(ledger.bytes, kept * 10);
            prop_assert!(ledger.bytes <= 1000);
            let known: usize = ledger.known.values().map(Vec::len).sum();
            prop_assert_eq!(known, ledger.entries.values().map(|entry| entry.tokens().len()).sum::<usize>(), "the index leaks");
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn any_interleaving(events in prop::collection::vec(event(), 1..80), entries in prop_oneof![Just(100usize), 1..4usize]) {
            run(events, entries)?;
        }
    }

    fn asked(token: u64, client: u64) -> Asked {
        Asked { request: digest(&[7, token, client]), token: digest(&[token]), client: digest(&[8, client]) }
    }

    fn given(token: u64) -> Given {
        Given { refresh: Some(digest(&[token])), access: None }
    }

    /// A → B → C: B's answer is repeated, A's is not any more, and a revocation by A reaches B's.
    #[test]
    fn a_family_keeps_one_answer_and_its_ancestors() {
        let mut ledger: Ledger<(), u64> = Ledger::new(Bounds { grace: GRACE, entries: 10, bytes: 100 });
        let now = Instant::now();
        for (token, next) in [(1, 2), (2, 3)] {
            let Begin::Lead(ticket) = ledger.begin(asked(token, 0), now, || ()) else { panic!() };
            ledger.settle(ticket, Outcome::Rotated(next, given(next), 1), now);
        }
        assert!(matches!(ledger.begin(asked(2, 0), now, || ()), Begin::Repeat(3)));
        let Begin::Lead(older) = ledger.begin(asked(1, 0), now, || ()) else { panic!("an older token is not repeated") };
        ledger.settle(older, Outcome::Refused, now);
        assert!(ledger.revoked(&digest(&[1])));
        assert!(matches!(ledger.begin(asked(2, 0), now, || ()), Begin::Lead(_)));
    }

    #[test]
    fn what_one_client_asked_is_nothing_to_another() {
        let mut ledger: Ledger<(), u64> = Ledger::new(Bounds { grace: GRACE, entries: 10, bytes: 100 });
        let now = Instant::now();
        let Begin::Lead(ticket) = ledger.begin(asked(1, 0), now, || ()) else { panic!() };
        assert!(matches!(ledger.begin(asked(1, 1), now, || ()), Begin::Lead(_)));
        ledger.settle(ticket, Outcome::Rotated(5, given(5), 1), now);
        ledger.forget_client(&digest(&[8, 1]));
        assert!(matches!(ledger.begin(asked(1, 0), now, || ()), Begin::Repeat(5)));
        ledger.forget_client(&digest(&[8, 0]));
        assert_eq!(ledger.live(), (0, 0));
        let Begin::Lead(ticket) = ledger.begin(asked(1, 0), now, || ()) else { panic!() };
        ledger.settle(ticket, Outcome::Rotated(6, given(6), 1), now);
        ledger.expire(now + GRACE);
        assert_eq!((ledger.live(), ledger.bytes), ((0, 0), 0));
    }
}
