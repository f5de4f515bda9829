//! Quoting. Every name and every value that becomes part of SQL text goes through these types.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An SQL identifier; displays in quotes, so that any name is safe (PostgreSQL manual 4.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Ident(String);

impl Ident {
    /// The identifier with exactly this name (case is kept).
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// A name that may carry a schema: `table` or `schema.table`. Without a schema the search path decides.
///
/// In plans it is written as in SQL: `hydra_client`, `auth.users`, `"Odd Schema"."Odd.Table"`. Unlike SQL, letters keep
/// their case without quotes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct QualifiedName {
    schema: Option<Ident>,
    name: Ident,
}

impl QualifiedName {
    /// A name in a schema.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: Some(Ident::new(schema)), name: Ident::new(name) }
    }

    /// A name the search path resolves.
    pub fn bare(name: impl Into<String>) -> Self {
        Self { schema: None, name: Ident::new(name) }
    }

    /// The schema, when one was given.
    pub fn schema(&self) -> Option<&Ident> {
        self.schema.as_ref()
    }

    /// The last part.
    pub fn name(&self) -> &Ident {
        &self.name
    }

    /// Another object in the same schema.
    pub fn sibling(&self, name: impl Into<String>) -> Self {
        Self { schema: self.schema.clone(), name: Ident::new(name) }
    }

    /// As a person would write it: without quotes where the parts are plain.
    pub fn plain(&self) -> String {
        let part = |ident: &Ident| {
            let plain = ident.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if plain { ident.as_str().to_owned() } else { ident.to_string() }
        };
        match &self.schema {
            Some(schema) => format!("{}.{}", part(schema), part(&self.name)),
            None => part(&self.name),
        }
    }

    /// The same without the schema that most have, `public`.
    pub fn short(&self) -> String {
        let plain = self.plain();
        plain.strip_prefix("public.").map_or(plain.clone(), str::to_owned)
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => self.name.fmt(f),
        }
    }
}

impl TryFrom<String> for QualifiedName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = vec![String::new()];
        let mut quoted = false;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    parts.last_mut().ok_or("empty name")?.push('"');
                }
                '"' => quoted = !quoted,
                '.' if !quoted => parts.push(String::new()),
                c => parts.last_mut().ok_or("empty name")?.push(c),
            }
        }
        if quoted || parts.iter().any(|p| p.is_empty() || p.contains('\0')) || parts.len() > 2 {
            return Err(format!("`{text}` is not a name of the form table or schema.table"));
        }
        let name = Ident(parts.pop().unwrap_or_default());
        Ok(Self { schema: parts.pop().map(Ident), name })
    }
}

impl From<QualifiedName> for String {
    fn from(name: QualifiedName) -> String {
        name.plain()
    }
}

/// A string constant; displays quoted, with `E''` where a backslash needs it (PostgreSQL manual 4.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal(String);

impl Literal {
    /// The constant with this value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = self.0.replace('\'', "''");
        if quoted.contains('\\') { write!(f, "E'{}'", quoted.replace('\\', "\\\\")) } else { write!(f, "'{quoted}'") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Result<QualifiedName, String> {
        QualifiedName::try_from(text.to_owned())
    }

    #[test]
    fn names_read_and_print() {
        assert_eq!(name("hydra_client").unwrap().to_string(), "\"hydra_client\"");
        assert_eq!(name("auth.users").unwrap().to_string(), "\"auth\".\"users\"");
        assert_eq!(name("\"Odd.Schema\".\"T\"\"x\"").unwrap().to_string(), "\"Odd.Schema\".\"T\"\"x\"");
        assert_eq!(name("\"Odd.Schema\".\"T\"\"x\"").unwrap().plain(), "\"Odd.Schema\".\"T\"\"x\"");
        for wrong in ["", ".", "a.", "a.b.c", "\"a"] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn literals_survive_quotes_and_backslashes() {
        assert_eq!(Literal::new("it's").to_string(), "'it''s'");
        assert_eq!(Literal::new("a\\'b").to_string(), "E'a\\\\''b'");
    }
}
