//! The connection keywords of libpq: their names, their environment variables, and what crossfade does with each.

/// What crossfade does with a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Used as libpq uses it.
    Used,
    /// Accepted and without effect here; the reason is in the table below.
    Idle,
    /// Refused when set to anything but these values, because ignoring it would give less than was asked for. The text says what to do instead.
    Only(&'static [&'static str], &'static str),
}

/// A connection keyword (PostgreSQL manual 34.1.2) and its environment variable (34.15).
#[derive(Debug)]
pub struct Keyword {
    /// As written in connection strings.
    pub name: &'static str,
    /// The variable that gives its default.
    pub variable: Option<&'static str>,
    /// What happens to it.
    pub support: Support,
}

const fn keyword(name: &'static str, variable: Option<&'static str>, support: Support) -> Keyword {
    Keyword { name, variable, support }
}

use Support::{Idle, Only, Used};

/// Every keyword of libpq 13 to 18 that names a way to connect.
pub const KEYWORDS: &[Keyword] = &[
    keyword("host", Some("PGHOST"), Used),
    keyword("hostaddr", Some("PGHOSTADDR"), Used),
    keyword("port", Some("PGPORT"), Used),
    keyword("dbname", Some("PGDATABASE"), Used),
    keyword("user", Some("PGUSER"), Used),
    keyword("password", Some("PGPASSWORD"), Used),
    keyword("passfile", Some("PGPASSFILE"), Used),
    keyword("service", Some("PGSERVICE"), Used),
    keyword("servicefile", Some("PGSERVICEFILE"), Used),
    keyword("connect_timeout", Some("PGCONNECT_TIMEOUT"), Used),
    keyword("options", Some("PGOPTIONS"), Used),
    keyword("keepalives", None, Used),
    keyword("keepalives_idle", None, Used),
    keyword("keepalives_interval", None, Used),
    keyword("keepalives_count", None, Used),
    keyword("tcp_user_timeout", None, Used),
    keyword("target_session_attrs", Some("PGTARGETSESSIONATTRS"), Used),
    keyword("load_balance_hosts", Some("PGLOADBALANCEHOSTS"), Used),
    keyword("channel_binding", Some("PGCHANNELBINDING"), Used),
    keyword("sslmode", Some("PGSSLMODE"), Used),
    keyword("sslnegotiation", Some("PGSSLNEGOTIATION"), Used),
    keyword("sslrootcert", Some("PGSSLROOTCERT"), Used),
    keyword("sslcrl", Some("PGSSLCRL"), Used),
    keyword("sslcrldir", Some("PGSSLCRLDIR"), Used),
    keyword("sslcert", Some("PGSSLCERT"), Used),
    keyword("sslkey", Some("PGSSLKEY"), Used),
    keyword("sslsni", Some("PGSSLSNI"), Used),
    keyword("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION"), Used),
    keyword("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION"), Used),
    keyword(
        "sslcertmode",
        Some("PGSSLCERTMODE"),
        Only(&["disable", "allow"], "use allow, and let pg_hba.conf ask for the certificate"),
    ),
    // the session carries crossfade's own name, by which a resumed run finds the backends of a killed one
    keyword("application_name", Some("PGAPPNAME"), Idle),
    keyword("fallback_application_name", None, Idle),
    keyword("client_encoding", Some("PGCLIENTENCODING"), Idle), // always UTF8
    keyword("sslcompression", Some("PGSSLCOMPRESSION"), Idle),  // no TLS library offers it any more
    keyword("krbsrvname", Some("PGKRBSRVNAME"), Idle),          // GSSAPI is never used
    keyword("gsslib", Some("PGGSSLIB"), Idle),
    keyword("gssdelegation", Some("PGGSSDELEGATION"), Idle),
    keyword("sslpassword", None, Only(&[], "decrypt the key: openssl pkey -in KEY -out NEWKEY")),
    keyword("gssencmode", Some("PGGSSENCMODE"), Only(&["disable", "prefer"], "use sslmode=verify-full for encryption")),
    keyword("replication", None, Only(&["false", "off", "no", "0"], "leave it out")),
    keyword("requirepeer", Some("PGREQUIREPEER"), Only(&[], "leave it out")),
    keyword("require_auth", Some("PGREQUIREAUTH"), Only(&[], "use sslmode=verify-full with channel_binding=require")),
    keyword("min_protocol_version", Some("PGMINPROTOCOLVERSION"), Only(&["3.0"], "leave it out")),
    keyword("max_protocol_version", Some("PGMAXPROTOCOLVERSION"), Idle), // protocol 3.0 is within every maximum
];

impl Keyword {
    /// The keyword of this name.
    pub fn find(name: &str) -> Option<&'static Keyword> {
        KEYWORDS.iter().find(|keyword| keyword.name == name)
    }

    /// Refuses values that crossfade could not honour.
    ///
    /// # Errors
    /// Names the keyword and what to do instead; never the value.
    pub fn accept(&self, value: &str) -> Result<(), String> {
        match self.support {
            Only(values, instead) if !value.is_empty() && !values.contains(&value) => {
                Err(format!("{} with this value is not supported: {instead}", self.name))
            }
            _ => Ok(()),
        }
    }
}

/// The known keyword that looks most like `name`.
pub fn nearest(name: &str) -> Option<&'static str> {
    let rated = KEYWORDS.iter().map(|keyword| (strsim::damerau_levenshtein(keyword.name, name), keyword.name));
    rated.min().filter(|(distance, _)| *distance <= 2).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        let accepts = |name: &str, value| Keyword::find(name).expect("known").accept(value).is_ok();
        assert!(accepts("gssencmode", "prefer") && !accepts("gssencmode", "require"));
        assert!(accepts("require_auth", "") && !accepts("require_auth", "scram-sha-256"));
        assert!(accepts("application_name", "anything"));
        assert_eq!(nearest("sslrootcerts"), Some("sslrootcert"));
        assert_eq!(nearest("quite_else"), None);
    }
}
