//! A set of sequence numbers, kept as ranges: what arrives in order takes the room of one range.

/// A set of `u64`, as sorted ranges that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    /// First and last of each, both included.
    ranges: Vec<(u64, u64)>,
}

impl Ranges {
    /// Adds one; false if it was there.
    pub(crate) fn insert(&mut self, n: u64) -> bool {
        if let Some(last) = self.ranges.last_mut() {
            // Nearly always: the next one after the last.
            if last.1.checked_add(1) == Some(n) {
                last.1 = n;
                return true;
            }
        }
        let at = self.ranges.partition_point(|range| range.1 < n);
        if self.ranges.get(at).is_some_and(|range| range.0 <= n) {
            return false;
        }
        let joins_left = at > 0 && self.ranges[at - 1].1 + 1 == n;
        let joins_right = self.ranges.get(at).is_some_and(|range| n + 1 == range.0);
        match (joins_left, joins_right) {
            (true, true) => {
                self.ranges[at - 1].1 = self.ranges[at].1;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].1 = n,
            (false, true) => self.ranges[at].0 = n,
            (false, false) => self.ranges.insert(at, (n, n)),
        }
        true
    }

    /// Starts over with everything from 0 to `last`.
    pub(crate) fn reset_to(&mut self, last: u64) {
        self.ranges.clear();
        self.ranges.push((0, last));
    }

    /// Whether it holds `n`.
    pub(crate) fn contains(&self, n: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.1 < n);
        self.ranges.get(at).is_some_and(|range| range.0 <= n)
    }

    /// The last of the first range: up to there nothing is missing.
    pub(crate) fn contiguous(&self) -> u64 {
        self.ranges.first().map_or(0, |range| range.1)
    }

    /// The largest.
    pub(crate) fn last(&self) -> Option<u64> {
        self.ranges.last().map(|range| range.1)
    }

    /// Whether something is missing between the first and the last.
    pub(crate) fn has_hole(&self) -> bool {
        self.ranges.len() > 1
    }

    /// What is missing between `after` and `last`: first and last of each hole, both included.
    pub(crate) fn holes(&self, after: u64, last: u64) -> Vec<(u64, u64)> {
        let mut holes = vec![];
        let mut next = after.checked_add(1);
        for &(from, to) in self.ranges.iter().take_while(|range| range.0 <= last) {
            let Some(first) = next else { break };
            if from > first {
                holes.push((first, from - 1));
            }
            next = to.checked_add(1).map(|after| after.max(first));
        }
        if let Some(first) = next.filter(|first| *first <= last) {
            holes.push((first, last));
        }
        holes
    }
}

#[cfg(test)]
mod tests {
    use super::Ranges;

    #[test]
    fn numbers_join_into_ranges_whatever_their_order() {
        let mut set = Ranges::default();
        for n in [1, 2, 5, 4, 9] {
            assert!(set.insert(n), "{n}");
        }
        for n in [1, 2, 4, 5, 9] {
            assert!(!set.insert(n), "{n}");
            assert!(set.contains(n), "{n}");
        }
        assert_eq!(set.ranges, [(1, 2), (4, 5), (9, 9)]);
        assert_eq!(set.holes(0, 9), [(3, 3), (6, 8)]);
        assert_eq!(set.holes(3, 11), [(6, 8), (10, 11)]);
        assert!(set.insert(3));
        assert_eq!((set.contiguous(), set.last(), set.has_hole()), (5, Some(9), true));
    }

    #[test]
    fn the_ends_of_the_numbers_do_not_overflow() {
        let mut set = Ranges::default();
        for n in [u64::MAX, 0, u64::MAX - 1] {
            assert!(set.insert(n));
        }
        assert_eq!(set.holes(0, u64::MAX), [(1, u64::MAX - 2)]);
        set.reset_to(7);
        assert!(set.insert(8) && !set.insert(3));
        assert_eq!(set.contiguous(), 8);
    }
}
