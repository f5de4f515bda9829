//! How to reach NATS. Addresses and secrets come from the environment and from files, never from the command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream::{self, context::Context as Stream};
use async_nats::{ConnectOptions, Event};

/// A server and who we are there.
#[derive(Clone)]
pub struct Account {
    servers: Vec<String>,
    credentials: Option<PathBuf>,
}

/// How long one request may take.
const ANSWER: Duration = Duration::from_secs(5);

impl Account {
    /// Reads the addresses (`nats://user:password@host:4222`, `tls://host:4222`, several with commas) from this variable, and where
    /// the credentials file (JWT and key) is from that one.
    ///
    /// # Errors
    /// Names the variable, without showing what it holds.
    pub fn from_env(address: &str, credentials: Option<&str>) -> Result<Self, String> {
        let read = |name: &str| std::env::var(name).map_err(|_| format!("environment variable {name} is not set, or no UTF-8"));
        let servers: Vec<String> =
            read(address)?.split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect();
        let wrong = |text: &String| text.parse::<async_nats::ServerAddr>().is_err();
        if servers.is_empty() || servers.iter().any(wrong) {
            return Err(format!("environment variable {address} holds no address such as nats://host:4222"));
        }
        let credentials = credentials.map(|name| read(name).map(PathBuf::from)).transpose()?;
        Ok(Self { servers, credentials })
    }

    /// Connects, also to a server that is away for now; a connection that is lost is made again by itself. `told` hears of both.
    ///
    /// # Errors
    /// When the credentials file cannot be read.
    pub async fn connect(&self, told: impl Fn(&str) + Send + Sync + Clone + 'static) -> anyhow::Result<Stream> {
        let mut options =
            ConnectOptions::new().name("crossfade").retry_on_initial_connect().request_timeout(Some(ANSWER)).event_callback(
                move |event| {
                    let told = told.clone();
                    async move {
                        match event {
                            Event::Connected => told("connected to NATS"),
                            Event::Disconnected => told("NATS is away; waiting for it"),
                            Event::ClientError(error) if error.to_string().contains("authorization") => {
                                told("NATS refuses the user or the credentials; trying again");
                            }
                            _ => {}
                        }
                    }
                },
            );
        // The library does not take them out of the address itself.
        if let Some((user, password)) = self.servers.iter().find_map(|server| user_of(server)) {
            options = options.user_and_password(user, password);
        }
        if let Some(path) = &self.credentials {
            let shown = || format!("cannot use the credentials file {}", path.display());
            options = options.credentials_file(path).await.with_context(shown)?;
        }
        // The library's message may show the address, which may hold a password.
        let client = options
            .connect(self.servers.as_slice())
            .await
            .map_err(|error| anyhow::anyhow!("cannot connect to NATS: {:?}", error.kind()))?;
        let mut stream = jetstream::new(client);
        stream.set_timeout(ANSWER);
        Ok(stream)
    }
}

/// User and password in an address.
fn user_of(server: &str) -> Option<(String, String)> {
    let server: async_nats::ServerAddr = server.parse().ok()?;
    let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((plain(server.username()?), plain(server.password().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_come_out_of_the_address() {
        let of = |server| user_of(server).map(|(user, password)| format!("{user} {password}"));
        assert_eq!(of("nats://some%40one:p%3Aw@host:4222"), Some("some@one p:w".to_owned()));
        assert_eq!(of("nats://host:4222"), None);
    }
}
