//! Requests as the router understands them: `METHOD PATH?QUERY`, the Authorization header and the body, a line each.

use std::sync::LazyLock;

use crossfade::router::{Asked, Authentication, Digester, Endpoints, Form, Reach, identity, reach};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{HeaderMap, Method};

static DIGESTER: LazyLock<Digester> = LazyLock::new(|| Digester::random().unwrap());

struct Request<'a> {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: &'a [u8],
}

impl Request<'_> {
    fn asked(&self) -> Option<Asked> {
        identity(&DIGESTER, &[1], &self.target, &self.headers, self.body, &Form::read(self.body))
    }

    fn client(&self) -> Option<String> {
        let form = Form::read(self.body);
        let login = self.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        Authentication::read(login, &form).map(|who| who.client().to_owned())
    }
}

fn request(input: &[u8]) -> Request<'_> {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let first = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (method, target) = first.split_once(' ').unwrap_or(("POST", &first));
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("id.example.com"));
    if let Some(login) = parts.next().filter(|login| !login.is_empty()).and_then(|login| HeaderValue::from_bytes(login).ok()) {
        headers.insert(AUTHORIZATION, login);
    }
    let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::POST);
    Request { method, target: target.to_owned(), headers, body: parts.next().unwrap_or_default() }
}

pub fn check(input: &[u8]) -> Result<(), String> {
    let one = request(input);
    let (path, query) = one.target.split_once('?').map_or((one.target.as_str(), None), |(path, query)| (path, Some(query)));
    Endpoints::default().operation(&one.method, path);
    if let Reach::Client(id) = reach(path, query)
        && id.is_empty()
    {
        return Err("a revocation reaches a client without a name".to_owned());
    }
    let form = Form::read(one.body);
    for name in ["grant_type", "refresh_token", "client_id", "client_secret", "client_assertion", "token"] {
        let all: Vec<&str> = form.all(name).collect();
        let expected = all.first().copied().filter(|value| all.len() == 1 && !value.is_empty());
        if form.one(name) != expected {
            return Err(format!("{name} is said {} times and one of them is taken", all.len()));
        }
    }
    let Some(asked) = one.asked() else { return Ok(()) };
    let Some(client) = one.client() else { return Err("a refresh of nobody may be joined".to_owned()) };
    if one.asked() != Some(asked) {
        return Err("the same request has two identities".to_owned());
    }
    // Each request that differs in a byte of its body, its login or its path is another one; another client never has the same.
    let mut others: Vec<Vec<u8>> = (0..input.len())
        .step_by(input.len() / 24 + 1)
        .map(|at| {
            let mut other = input.to_vec();
            other[at] ^= 1 + (at % 7) as u8;
            other
        })
        .collect();
    others.extend([[input, b"x"].concat(), [input, b"&"].concat(), input[..input.len() - 1].to_vec()]);
    for other in &others {
        let other = request(other);
        let same = (&other.target, &other.headers, other.body) == (&one.target, &one.headers, one.body);
        let (Some(theirs), Some(them)) = (other.asked(), other.client()) else { continue };
        if (theirs.request == asked.request) != same {
            return Err(format!(
                "two requests that {} have {} identity",
                if same { "are the same" } else { "differ" },
                if same { "another" } else { "one" }
            ));
        }
        if (theirs.client == asked.client) != (them == client) {
            return Err("the identity of a client does not follow its name".to_owned());
        }
    }
    Ok(())
}
