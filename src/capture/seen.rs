//! Which transactions a snapshot sees, as SQL conditions that an index serves. Pure.

use anyhow::Context;

/// A `pg_snapshot` taken apart (PostgreSQL manual 9.27.8): `xmin:xmax:xip,xip`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// The first transaction id that was not assigned yet.
    pub xmax: u64,
    /// Those below it that were still running.
    running: Vec<u64>,
}

impl Seen {
    /// Reads the text form.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let wrong = || format!("`{text}` is not the text of a pg_snapshot");
        let mut parts = text.split(':');
        let (Some(_), Some(xmax), Some(running), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            anyhow::bail!(wrong());
        };
        let ids = running.split(',').filter(|id| !id.is_empty()).map(str::parse);
        let running = ids.collect::<Result<_, _>>().with_context(wrong)?;
        Ok(Self { xmax: xmax.parse().with_context(wrong)?, running })
    }

    /// The transactions it does not see: two conditions that exclude each other.
    pub fn unseen(&self) -> [String; 2] {
        [format!("transaction >= '{}'", self.xmax), format!("transaction = ANY ({})", self.list())]
    }

    /// The transactions it sees, aborted ones among them.
    pub fn seen(&self) -> String {
        format!("transaction < '{}' AND transaction <> ALL ({})", self.xmax, self.list())
    }

    /// The whole id of a transaction of which the log tells the lower half: the one within two thousand million of this
    /// snapshot, since no transaction that is told is older or younger (PostgreSQL manual 25.1.5).
    pub fn whole(&self, lower: u32) -> u64 {
        let near = (self.xmax & !u64::from(u32::MAX)) | u64::from(lower);
        let half = 1_u64 << 31;
        if near > self.xmax + half && near > u64::from(u32::MAX) {
            near - (half << 1)
        } else if near + half < self.xmax {
            near + (half << 1)
        } else {
            near
        }
    }

    fn list(&self) -> String {
        let ids: Vec<String> = self.running.iter().map(u64::to_string).collect();
        format!("'{{{}}}'::xid8[]", ids.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_id_becomes_a_whole_one() {
        let whole = |xmax: u64, lower: u32| Seen { xmax, running: Vec::new() }.whole(lower);
        let epoch = 1_u64 << 32;
        assert_eq!((whole(700, 690), whole(700, 710)), (690, 710));
        assert_eq!(whole(5 * epoch + 700, 690), 5 * epoch + 690);
        // Just before and just after the half runs over.
        assert_eq!(whole(5 * epoch + 3, u32::MAX - 1), 5 * epoch - 2);
        assert_eq!(whole(5 * epoch - 3, 4), 5 * epoch + 4);
        assert_eq!(whole(700, u32::MAX - 1), u64::from(u32::MAX) - 1, "there is no epoch before the first");
    }

    #[test]
    fn a_snapshot_becomes_conditions() {
        let seen = Seen::parse("100:105:100,103").unwrap();
        assert_eq!(seen.unseen(), ["transaction >= '105'", "transaction = ANY ('{100,103}'::xid8[])"]);
        assert_eq!(seen.seen(), "transaction < '105' AND transaction <> ALL ('{100,103}'::xid8[])");
        assert_eq!(Seen::parse("100:100:").unwrap().running, Vec::<u64>::new());
        for wrong in ["", "1:2", "1:2:3:4", "a:b:", "1:2:x"] {
            assert!(Seen::parse(wrong).is_err(), "{wrong}");
        }
    }
}
