//! From moments of a run to places on the page: long pauses between times of work are drawn short. Pure.

use jiff::Timestamp;

use crate::report::story::Span;

/// A pause longer than this share of all work is drawn as long as this share.
const PAUSE: f64 = 0.06;

/// Moments to places from 0 to 100.
pub(super) struct Scale {
    /// Pieces: from and to in seconds since the epoch, and the place of each end.
    pieces: Vec<Piece>,
    cut: usize,
}

struct Piece {
    from: f64,
    to: f64,
    left: f64,
    right: f64,
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

impl Scale {
    /// Over these times of work, from the beginning to the end of the run.
    pub(super) fn of(spans: &[Span], began: Timestamp, ended: Timestamp) -> Self {
        let (began, ended) = (seconds(began), seconds(ended).max(seconds(began) + 0.001));
        let mut work: Vec<(f64, f64)> = spans.iter().map(|span| (seconds(span.from), seconds(span.to))).collect();
        work.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut edges = vec![began];
        let mut reached = began;
        for (from, to) in &work {
            if *from > reached {
                edges.extend([reached, *from]);
            }
            reached = reached.max(*to);
        }
        if ended > reached {
            edges.extend([reached, ended]);
        } else {
            edges.push(ended);
        }
        if edges.len() % 2 == 1 {
            edges.push(ended);
        }
        // Work and pauses take turns, work first.
        let lengths: Vec<f64> = edges.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let work: f64 = lengths.iter().step_by(2).sum();
        let most = if work > 0.0 { work * PAUSE } else { f64::INFINITY };
        let (mut place, mut pieces, mut cut) = (0.0, Vec::new(), 0);
        for (number, pair) in edges.windows(2).enumerate() {
            let pause = number % 2 == 1;
            let length = lengths[number];
            let drawn = if pause { length.min(most) } else { length };
            cut += usize::from(pause && length > most);
            pieces.push(Piece { from: pair[0], to: pair[1], left: place, right: place + drawn });
            place += drawn;
        }
        for piece in &mut pieces {
            piece.left *= 100.0 / place;
            piece.right *= 100.0 / place;
        }
        Self { pieces, cut }
    }

    /// The place of a moment.
    pub(super) fn at(&self, moment: Timestamp) -> f64 {
        let moment = seconds(moment);
        let piece = self.pieces.iter().find(|piece| moment <= piece.to && piece.to > piece.from).or(self.pieces.last());
        piece.map_or(0.0, |piece| {
            let share = ((moment - piece.from) / (piece.to - piece.from).max(1e-9)).clamp(0.0, 1.0);
            piece.left + share * (piece.right - piece.left)
        })
    }

    /// How many pauses are drawn short.
    pub(super) fn cut(&self) -> usize {
        self.cut
    }

    /// The moment at a place.
    pub(super) fn moment(&self, place: f64) -> Option<Timestamp> {
        let piece = self.pieces.iter().find(|piece| place <= piece.right).or(self.pieces.last())?;
        let share = ((place - piece.left) / (piece.right - piece.left).max(1e-9)).clamp(0.0, 1.0);
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch fit")]
        Timestamp::from_millisecond(((piece.from + share * (piece.to - piece.from)) * 1e3) as i64).ok()
    }
}

/// The moments at five places, as text below a drawing of this height in pixels.
pub(super) fn ticks(scale: &Scale, height: usize) -> String {
    let anchor = |place: f64| match place {
        0.0 => "start",
        100.0 => "end",
        _ => "middle",
    };
    let tick = |place: f64| {
        let at = scale.moment(place).map_or(String::new(), |at| at.strftime("%H:%M:%S").to_string());
        format!(
            "<line class=\"grid\" x1=\"{place}%\" x2=\"{place}%\" y1=\"0\" y2=\"{height}\"/>\
             <text class=\"tick\" x=\"{place}%\" y=\"{}\" text-anchor=\"{}\">{at}</text>",
            height + 14,
            anchor(place)
        )
    };
    [0.0, 25.0, 50.0, 75.0, 100.0].map(tick).concat()
}

#[cfg(test)]
mod tests {
    use super::super::super::{example, story::Story};
    use super::*;

    #[test]
    fn a_long_pause_is_drawn_short_and_the_order_stays() {
        let (lines, record) = example::run();
        let story = Story::of(&lines, &record).unwrap();
        let scale = Scale::of(&story.spans, story.began, story.ended);
        let places: Vec<f64> = [0, 1, 2, 4, 3600, 3612, 3617, 3620].map(|second| scale.at(example::at(second))).to_vec();
        assert!(places.windows(2).all(|pair| pair[0] <= pair[1]), "{places:?}");
        assert!(places[0] < 0.01 && (places[7] - 100.0).abs() < 0.01, "{places:?}");
        assert!(places[4] - places[3] < 10.0 && scale.cut() == 1, "{places:?}");
        assert!(places[5] - places[4] > 40.0, "{places:?}");
    }

    #[test]
    fn a_run_that_only_began_has_a_scale() {
        let scale = Scale::of(&[], example::at(0), example::at(0));
        assert!(scale.at(example::at(0)).is_finite() && scale.moment(50.0).is_some());
    }
}
