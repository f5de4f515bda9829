//! Throw-away servers go away, however the process that started them ends.

use std::time::Duration;

use crate::support::{TestDb, cluster};

#[tokio::test]
async fn a_throw_away_server_serves() {
    let db = TestDb::empty().await;
    assert_eq!(db.value("1 + 1").await, "2");
    assert!(cluster().folder().exists());
}

/// Tries until it holds, at most ten seconds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not become true in ten seconds");
}
