//! What the process around us says about connections.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Environment variables and the operating system's user: everything a connection string is completed from.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    user: Option<String>,
    home: Option<PathBuf>,
}

impl Environment {
    /// An environment of these variables, for a user without name.
    pub fn new<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { variables, user: None, home: None }
    }

    /// The same with a user of this name.
    #[must_use]
    pub fn with_user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// The environment of this process; the user is the one of its effective user id.
    pub fn of_process() -> Self {
        let account = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self {
            variables: variables.filter(|(name, _)| name.starts_with("PG") || name == "HOME").collect(),
            user: account.as_ref().map(|account| account.name.clone()),
            home: account.map(|account| account.dir),
        }
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The operating system's name of the user: the default of keyword `user`.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The user's home folder: `HOME`, else the one of the account.
    pub fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").filter(|home| !home.is_empty()).map(PathBuf::from).or_else(|| self.home.clone())
    }
}
