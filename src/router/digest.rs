//! Keyed digests: what the router compares tokens by. HMAC-SHA-256 (RFC 2104) with a key that is drawn at start and never leaves
//! the process.

use anyhow::anyhow;
use ring::hmac;
use ring::rand::SystemRandom;

use crate::router::coalesce::Digest;

/// The key of one router.
pub struct Digester(hmac::Key);

impl Digester {
    /// A digester with a key of its own.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> anyhow::Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Self(key.map_err(|_| anyhow!("the system gives no random numbers"))?))
    }

    /// The digest of these parts, in this role; the boundary between parts counts.
    pub fn of(&self, role: &str, parts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [role.as_bytes()].iter().chain(parts) {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}
