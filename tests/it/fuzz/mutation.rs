//! Changes to inputs, of bytes and of words, from a seed.

use std::ops::Range;

/// Makes inputs.
pub struct Mutator<'c> {
    rng: fastrand::Rng,
    corpus: &'c [Vec<u8>],
    /// Every word of the corpus once.
    words: Vec<Vec<u8>>,
}

/// Longest input.
const LONGEST: usize = 20_000;

/// Bytes that mean something to some parser.
const BYTES: &[u8] = b"\0\n\r\t \"'$%&()*+,-./0159:;<=>?@AZ[\\]^_`az{|}~\x7f\x80\xc3\xff";

impl<'c> Mutator<'c> {
    /// From a corpus that is not empty.
    pub fn new(seed: u64, corpus: &'c [Vec<u8>]) -> Self {
        let mut words: Vec<Vec<u8>> =
            corpus.iter().flat_map(|input| tokens(input).into_iter().map(|at| input[at].to_vec())).collect();
        words.sort();
        words.dedup();
        Self { rng: fastrand::Rng::with_seed(seed), corpus, words }
    }

    /// The next one.
    pub fn next(&mut self) -> Vec<u8> {
        let mut input = self.base();
        for _ in 0..self.rng.usize(1..=6) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    /// A seed; of a long one often only some lines, so that changes matter.
    fn base(&mut self) -> Vec<u8> {
        let all = &self.corpus[self.rng.usize(..self.corpus.len())];
        let lines: Vec<&[u8]> = all.split_inclusive(|byte| *byte == b'\n').collect();
        if lines.len() < 12 || self.rng.u8(..4) == 0 {
            return all.clone();
        }
        let from = self.rng.usize(..lines.len());
        let to = (from + self.rng.usize(1..12)).min(lines.len());
        lines[from..to].concat()
    }

    fn range(&mut self, length: usize) -> Range<usize> {
        let from = self.rng.usize(..=length);
        from..(from + self.rng.usize(..=40)).min(length)
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let length = input.len();
        let at = self.rng.usize(..=length);
        match self.rng.u8(..12) {
            0 if length > 0 => input[at.min(length - 1)] ^= 1 << self.rng.u8(..8),
            1 => input.insert(at, BYTES[self.rng.usize(..BYTES.len())]),
            2 => {
                input.drain(self.range(length));
            }
            3 => {
                let again = input[self.range(length)].to_vec();
                input.splice(at..at, again);
            }
            4 => input.truncate(at),
            5 => {
                let other = &self.corpus[self.rng.usize(..self.corpus.len())];
                let from = self.rng.usize(..=other.len());
                let to = (from + self.rng.usize(..200)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
            6 => {
                let many = self.rng.usize(1..200);
                let byte = BYTES[self.rng.usize(..BYTES.len())];
                input.splice(at..at, std::iter::repeat_n(byte, many));
            }
            7 | 8 => {
                let places = tokens(input);
                if let Some(place) = self.one(&places) {
                    let word = self.words[self.rng.usize(..self.words.len())].clone();
                    input.splice(place, word);
                }
            }
            9 => {
                let mut word = self.words[self.rng.usize(..self.words.len())].clone();
                word.push(b' ');
                input.splice(at..at, word);
            }
            10 => {
                let places = tokens(input);
                if let Some(place) = self.one(&places) {
                    input.drain(place);
                }
            }
            _ => {
                let places = tokens(input);
                if let (Some(one), Some(other)) = (self.one(&places), self.one(&places)) {
                    let (first, second) = if one.start <= other.start { (one, other) } else { (other, one) };
                    if first.end <= second.start {
                        let (a, b) = (input[first.clone()].to_vec(), input[second.clone()].to_vec());
                        input.splice(second, a);
                        input.splice(first, b);
                    }
                }
            }
        }
    }

    fn one(&mut self, places: &[Range<usize>]) -> Option<Range<usize>> {
        (!places.is_empty()).then(|| places[self.rng.usize(..places.len())].clone())
    }
}

/// Words, and each other mark alone.
fn tokens(input: &[u8]) -> Vec<Range<usize>> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 128;
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, byte) in input.iter().enumerate().filter(|(_, byte)| !byte.is_ascii_whitespace()) {
        match found.last_mut() {
            Some(last) if last.end == at && word(*byte) && word(input[at - 1]) => last.end += 1,
            _ => found.push(at..at + 1),
        }
    }
    found
}
