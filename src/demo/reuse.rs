//! What the same unruly clients cost without a router that coalesces: shown beside the journeys, with sessions of their own.

use std::sync::Arc;

use super::{App, OAuthClient, Service, Worker};

/// Sessions that are refreshed twice at once.
const SESSIONS: usize = 24;

/// Refreshes some new sessions twice at the same moment through this router; how many token families the service ended for it.
pub(super) async fn revoked_by_reuse_of(service: &Service, http: OAuthClient, apps: Arc<Vec<App>>, seed: u64) -> u64 {
    let before = service.families_revoked_by_reuse();
    let mut worker = Worker::new(http, apps, seed, Vec::new());
    for _ in 0..SESSIONS {
        worker.sessions.clear();
        worker.begin().await;
        if let Some((_, app, token)) = worker.refreshable() {
            worker.at_once(&app, &[("grant_type", "refresh_token"), ("refresh_token", &token)]).await;
        }
    }
    service.families_revoked_by_reuse() - before
}
