//! What the service asks of a database, as SQL texts with the same parameters and result columns for every schema.

/// One schema's SQL. Columns are always named, so that added columns change nothing for this service. Lists travel as text
/// joined by `|` and times are the server's own, in UTC. Access tokens live one hour, refresh tokens 720 hours, codes ten
/// minutes.
#[derive(Debug)]
pub struct Store {
    /// What people call the schema.
    pub name: &'static str,
    /// Client id → hash of its secret (`''`: public), the grant types it may use.
    pub client: &'static str,
    /// Signature → token type, client, subject, granted scope, whether it is good now, when it was issued (Unix seconds).
    pub introspect: &'static str,
    /// A login and its granted consent, with the code for them. Login session, login challenge, consent challenge, client,
    /// subject, scope, request URL, login verifier, login csrf, consent verifier, consent csrf, signature of the code, form,
    /// session data, PKCE form (NULL without one).
    pub authorize: &'static str,
    /// Uses up a code. Signature, client → request, scope, granted scope, form, session data, subject, consent challenge.
    pub use_code: &'static str,
    /// Uses up the PKCE challenge of a code. Signature → its form.
    pub use_pkce: &'static str,
    /// Uses up a refresh token. Parameters and columns as for `use_code`.
    pub use_refresh: &'static str,
    /// Ends what a refresh token gives when it is used a second time. Signature, client → how many token families had something
    /// to end.
    pub refuse_reuse: Option<&'static str>,
    /// Deletes the access tokens of a request.
    pub drop_access: &'static str,
    /// Writes an access token and, where a signature is given, a refresh token. Signature of the access token, of the
    /// refresh token (NULL for none), request, client, scope, granted scope, form, session data, subject, consent
    /// challenge (NULL without one).
    pub issue: &'static str,
    /// Deletes the tokens of the request a token belongs to. Signature, client.
    pub revoke: &'static str,
}
