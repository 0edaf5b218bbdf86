//! Which users are whose, where several processes make one run.

use serde::{Deserialize, Serialize};

/// One of several parts of a run's users. Neighbours stay together, so that what one writes to the
/// other goes out and comes in by one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    /// Which part, from 0.
    pub(crate) index: u32,
    /// How many parts there are.
    pub(crate) of: u32,
}

impl Share {
    /// All users: one process makes the run.
    pub(crate) const ALL: Self = Self { index: 0, of: 1 };

    /// Where a user stands among those of this share; none if it is another's.
    pub(crate) fn place(self, user: u64) -> Option<u64> {
        let (pair, of) = (user / 2, u64::from(self.of));
        (pair % of == u64::from(self.index)).then(|| pair / of * 2 + user % 2)
    }

    /// The user that stands there.
    pub(crate) fn user(self, place: u64) -> u64 {
        (place / 2 * u64::from(self.of) + u64::from(self.index)) * 2 + place % 2
    }

    /// How many of the first `users` are in this share.
    pub(crate) fn count(self, users: u64) -> u64 {
        let (pairs, of, index) = (users / 2, u64::from(self.of), u64::from(self.index));
        let whole = pairs / of + u64::from(pairs % of > index);
        2 * whole + u64::from(users % 2 == 1 && pairs % of == index)
    }
}

#[cfg(test)]
mod tests {
    use super::Share;

    fn shares(of: u32) -> impl Iterator<Item = Share> {
        (0..of).map(move |index| Share { index, of })
    }

    #[test]
    fn every_user_is_in_one_share_and_neighbours_are_in_the_same() {
        for of in [1, 2, 3, 7] {
            for user in 0..200u64 {
                let owners: Vec<_> = shares(of).filter(|share| share.place(user).is_some()).collect();
                assert_eq!(owners.len(), 1, "user {user} of {of}");
                assert!(owners[0].place(user ^ 1).is_some(), "user {user} of {of}");
            }
        }
    }

    #[test]
    fn the_places_of_a_share_have_no_holes_and_lead_back_to_their_users() {
        for of in [1, 2, 3, 7] {
            for users in [0, 1, 2, 3, 13, 14, 15, 99, 100] {
                for share in shares(of) {
                    let own: Vec<u64> = (0..users).filter(|user| share.place(*user).is_some()).collect();
                    assert_eq!(share.count(users), own.len() as u64, "{share:?} of {users}");
                    let back: Vec<u64> = (0..share.count(users)).map(|place| share.user(place)).collect();
                    assert_eq!(back, own, "{share:?} of {users}");
                }
            }
        }
    }
}
