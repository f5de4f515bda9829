//! Tables cut into block ranges, so that several sessions can read them at once. Pure.

use super::Blocks;

/// Some blocks of one of the tables that were cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The position of its table in the list that was cut.
    pub of: usize,
    /// Its number within the table, from 0.
    pub number: i32,
    /// Its blocks.
    pub blocks: Blocks,
}

const LARGEST: u64 = 64 << 20;
const SMALLEST: u64 = 4 << 20;

/// Cuts tables, given as sizes in blocks, into parts of 4 to 64 MiB: about four for each of `jobs`, biggest tables first. The
/// last part of a table has no end. Where the server reads a block range only by reading the whole table (before
/// PostgreSQL 14), `ranges` is false and each table stays whole.
pub fn cut(blocks: &[u32], block_size: u32, jobs: usize, ranges: bool) -> Vec<Part> {
    let total: u64 = blocks.iter().map(|count| u64::from(*count)).sum::<u64>() * u64::from(block_size);
    let bytes = (total / (jobs.max(1) as u64 * 4)).clamp(SMALLEST, LARGEST);
    let step = u32::try_from(bytes / u64::from(block_size.max(1))).unwrap_or(u32::MAX).max(1);
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|of| std::cmp::Reverse(blocks[*of]));
    let mut parts = Vec::new();
    for of in order {
        let count = if ranges { blocks[of].div_ceil(step).max(1) } else { 1 };
        for number in 0..count {
            let to = (number + 1 < count).then(|| (number + 1) * step);
            parts.push(Part { of, number: number.cast_signed(), blocks: Blocks { from: number * step, to } });
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_tables_stay_whole_and_big_ones_come_first() {
        let parts = cut(&[0, 100_000, 10], 8192, 2, true);
        assert_eq!(parts[0].of, 1);
        assert_eq!(parts.iter().filter(|part| part.of == 1).count(), 13); // 781 MiB in parts of 64 MiB
        assert_eq!(
            &parts[13..],
            &[Part { of: 2, number: 0, blocks: Blocks::ALL }, Part { of: 0, number: 0, blocks: Blocks::ALL }]
        );
    }

    #[test]
    fn parts_cover_a_table_without_gap_or_overlap() {
        let parts = cut(&[5000], 8192, 4, true);
        assert_eq!(parts[0].blocks.from, 0);
        for pair in parts.windows(2) {
            assert_eq!(pair[0].blocks.to, Some(pair[1].blocks.from));
        }
        assert_eq!(parts.last().unwrap().blocks.to, None);
        assert!(parts.len() > 4);
    }

    #[test]
    fn without_block_ranges_every_table_is_one_part() {
        assert_eq!(cut(&[1_000_000, 5], 8192, 2, false).len(), 2);
    }
}
