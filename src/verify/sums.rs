//! Count and hash sum per bucket of keys. Pure.

use std::collections::BTreeMap;

/// Per bucket: how many rows, and the sum of their hashes. The order in which rows are added does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums(BTreeMap<i32, (u64, i128)>);

impl Sums {
    /// Adds some rows of a bucket.
    pub fn add(&mut self, bucket: i32, rows: u64, sum: i128) {
        let entry = self.0.entry(bucket).or_default();
        entry.0 += rows;
        entry.1 += sum;
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.0.values().map(|(rows, _)| rows).sum()
    }

    /// The buckets in which the two differ, in groups that hold at most about `limit` rows on both sides together; a bucket
    /// that holds more is a group of its own.
    pub fn differing(&self, other: &Sums, limit: u64) -> Vec<Vec<i32>> {
        let mut groups: Vec<Vec<i32>> = Vec::new();
        let mut room = 0;
        let mut buckets: Vec<i32> = self.0.keys().chain(other.0.keys()).copied().collect();
        buckets.sort_unstable();
        buckets.dedup();
        for bucket in buckets {
            let (here, there) = (self.0.get(&bucket), other.0.get(&bucket));
            if here == there {
                continue;
            }
            let rows = here.map_or(0, |sum| sum.0) + there.map_or(0, |sum| sum.0);
            match groups.last_mut().filter(|_| rows <= room) {
                Some(group) => group.push(bucket),
                None => {
                    groups.push(vec![bucket]);
                    room = limit;
                }
            }
            room = room.saturating_sub(rows);
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(entries: &[(i32, u64, i128)]) -> Sums {
        let mut sums = Sums::default();
        for (bucket, rows, sum) in entries {
            sums.add(*bucket, *rows, *sum);
        }
        sums
    }

    #[test]
    fn parts_add_up() {
        assert_eq!(sums(&[(1, 2, -5), (1, 3, 7), (2, 1, 1)]), sums(&[(2, 1, 1), (1, 5, 2)]));
    }

    #[test]
    fn buckets_that_differ_in_count_or_sum_are_found_in_groups() {
        let blue = sums(&[(0, 5, 9), (1, 5, 1), (2, 5, 2), (4, 50, 3)]);
        let green = sums(&[(0, 5, 9), (1, 5, 2), (3, 1, 1), (4, 51, 3)]);
        assert_eq!(blue.differing(&green, 20), vec![vec![1, 2, 3], vec![4]]);
        assert!(blue.differing(&blue, 20).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_single_change_is_found(rows in proptest::collection::vec((0..8i32, 0..i64::MAX), 1..40), which in 0..40usize) {
            let all: Vec<(i32, u64, i128)> = rows.iter().map(|(bucket, hash)| (*bucket, 1, i128::from(*hash))).collect();
            let mut changed = all.clone();
            let which = which % all.len();
            changed[which].2 -= 1;
            let found = sums(&all).differing(&sums(&changed), 1000);
            proptest::prop_assert_eq!(found, vec![vec![all[which].0]]);
        }
    }
}
