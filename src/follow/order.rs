//! The order of tables by their foreign keys. Pure.

/// The tables `0..count`, parents before children. `edges` are (child, parent). Where tables point at each other in a circle
/// their own order stays; the circles are given too, each as the tables in it.
pub(super) fn order(count: usize, edges: &[(usize, usize)]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let (mut order, mut circles) = (Vec::new(), Vec::new());
    let mut left: Vec<usize> = (0..count).collect();
    while !left.is_empty() {
        let free = |table: &usize| {
            let mut parents = edges.iter().filter(|(child, parent)| child == table && parent != child);
            parents.all(|(_, parent)| !left.contains(parent))
        };
        let next: Vec<usize> = left.iter().copied().filter(|table| free(table)).collect();
        let next = if next.is_empty() {
            let circle = circle(&left, edges);
            circles.push(circle.clone());
            circle
        } else {
            next
        };
        left.retain(|table| !next.contains(table));
        order.extend(next);
    }
    (order, circles)
}

/// The tables of one circle that waits for no table outside of it.
fn circle(left: &[usize], edges: &[(usize, usize)]) -> Vec<usize> {
    let reach = |from: usize| {
        let mut found = vec![from];
        let mut at = 0;
        while at < found.len() {
            let parents = edges.iter().filter(|(child, parent)| *child == found[at] && left.contains(parent));
            let new: Vec<usize> = parents.map(|(_, parent)| *parent).filter(|parent| !found.contains(parent)).collect();
            found.extend(new);
            at += 1;
        }
        found.sort_unstable();
        found
    };
    left.iter().map(|table| reach(*table)).min_by_key(Vec::len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first() {
        let (order, circles) = order(4, &[(0, 1), (1, 3), (2, 3), (2, 2)]);
        assert_eq!((order, circles), (vec![3, 1, 2, 0], Vec::new()));
    }

    #[test]
    fn a_circle_is_told_and_does_not_hold_up_the_rest() {
        let (order, circles) = order(4, &[(0, 1), (1, 2), (2, 1), (1, 3)]);
        assert_eq!(circles, vec![vec![1, 2]]);
        assert_eq!(order, vec![3, 1, 2, 0]);
    }
}
