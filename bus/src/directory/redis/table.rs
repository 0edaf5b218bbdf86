//! A gateway's own list of its routes, from which it asserts them again, a slice at a time.

use super::routes::Assertion;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::SessionRef;
use protocol::limits::REASSERT_RENEWALS;

#[derive(Debug, Default)]
pub(super) struct Table {
    routes: Vec<Assertion>,
    places: HashMap<SessionRef, usize, RandomState>,
    cursor: usize,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.routes.len()
    }

    pub(super) fn insert(&mut self, route: Assertion) {
        match self.places.insert(route.session.session, self.routes.len()) {
            None => self.routes.push(route),
            Some(place) => {
                self.places.insert(route.session.session, place);
                self.routes[place] = route;
            }
        }
    }

    pub(super) fn remove(&mut self, session: SessionRef) {
        let Some(place) = self.places.remove(&session) else { return };
        self.routes.swap_remove(place);
        if let Some(moved) = self.routes.get(place) {
            self.places.insert(moved.session.session, place);
        }
    }

    pub(super) fn all(&self) -> &[Assertion] {
        &self.routes
    }

    /// The next slice: each route comes again within [`REASSERT_RENEWALS`] renewals, unless it
    /// moved up just then; it is in the next round.
    pub(super) fn slice(&mut self) -> &[Assertion] {
        if self.cursor >= self.routes.len() {
            self.cursor = 0;
        }
        let from = self.cursor;
        let to = (from + self.routes.len().div_ceil(REASSERT_RENEWALS)).min(self.routes.len());
        self.cursor = to;
        &self.routes[from..to]
    }
}

#[cfg(test)]
mod tests {
    use super::{Assertion, Table};
    use protocol::limits::REASSERT_RENEWALS;
    use protocol::{GatewayId, Origin, SessionRef, UnixMs, UserId};
    use std::collections::HashSet;

    fn route(slot: u32) -> Assertion {
        let session = SessionRef { shard: 0, slot, generation: 0 };
        let session = Origin { gateway: GatewayId::new("gw").unwrap(), boot_epoch: 1, session };
        Assertion { user: UserId(slot.into()), session, opened: UnixMs(0), device: 0 }
    }

    #[test]
    fn every_route_is_in_one_of_so_many_slices() {
        let mut table = Table::default();
        assert_eq!(table.slice().len(), 0);
        (0..100).for_each(|slot| table.insert(route(slot)));
        (0..100).step_by(3).for_each(|slot| table.remove(route(slot).session.session));
        table.insert(route(1));
        assert_eq!(table.len(), 66);
        let mut seen = HashSet::new();
        for _ in 0..REASSERT_RENEWALS {
            seen.extend(table.slice().iter().map(|route| route.user));
        }
        let expected = (0..100).filter(|slot| slot % 3 != 0).map(UserId).collect();
        assert_eq!(seen, expected);
        assert_eq!(table.all().len(), 66);
    }
}
