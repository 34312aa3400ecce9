//! Requests that were given to lanes: first those that were sent, then those that wait to be, in the order in which they were given. No allocation after `new`.

use crate::clock::Instant;

/// One request of a run, given to a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flight {
    /// Its number over all cores.
    pub(super) index: u64,
    /// When it was due.
    pub(super) intended: Instant,
    /// When it could go out: it was due, its slack over, and a connection free for it.
    pub(super) possible: Instant,
    /// Its place in the mix.
    pub(super) request: u32,
    /// Whether it goes out once more: how late the client was with it is told by the first time.
    pub(super) resent: bool,
}

/// A lane's ring. Invariant: `sent + unsent` is at most the places of a lane.
#[derive(Debug, Clone, Copy, Default)]
struct Ring {
    oldest: u32,
    sent: u32,
    unsent: u32,
}

/// All lanes' requests.
#[derive(Debug)]
pub(super) struct Flights {
    places: Box<[Flight]>,
    rings: Box<[Ring]>,
    /// Places a lane.
    depth: u32,
    /// Given and not sent, over all lanes.
    unsent: u64,
}

impl Flights {
    /// Room for `depth` requests on each of `lanes` lanes.
    pub(super) fn new(lanes: u32, depth: u32) -> Self {
        let places = vec![Flight::default(); lanes as usize * depth as usize].into();
        Self { places, rings: vec![Ring::default(); lanes as usize].into(), depth, unsent: 0 }
    }

    fn place(&self, lane: u32, offset: u32) -> usize {
        let ring = self.rings[lane as usize];
        (lane * self.depth + (ring.oldest + offset) % self.depth) as usize
    }

    /// Gives a lane a request. `false` if it has no place: the caller asked for more than there is room.
    pub(super) fn give(&mut self, lane: u32, flight: Flight) -> bool {
        let ring = self.rings[lane as usize];
        if ring.sent + ring.unsent >= self.depth {
            debug_assert!(false, "more requests than places");
            return false;
        }
        self.places[self.place(lane, ring.sent + ring.unsent)] = flight;
        self.rings[lane as usize].unsent += 1;
        self.unsent += 1;
        true
    }

    /// How many lanes there are.
    pub(super) fn lanes(&self) -> u32 {
        self.rings.len() as u32
    }

    /// Requests of a lane that wait to be sent.
    #[inline]
    pub(super) fn unsent(&self, lane: u32) -> u32 {
        self.rings[lane as usize].unsent
    }

    /// The request that is sent next.
    #[inline]
    pub(super) fn first_unsent(&self, lane: u32) -> Option<Flight> {
        let ring = self.rings[lane as usize];
        (ring.unsent > 0).then(|| self.places[self.place(lane, ring.sent)])
    }

    /// The request that is answered next.
    #[inline]
    pub(super) fn first_sent(&self, lane: u32) -> Option<Flight> {
        let ring = self.rings[lane as usize];
        (ring.sent > 0).then(|| self.places[self.place(lane, 0)])
    }

    /// The next request goes out.
    #[inline]
    pub(super) fn send(&mut self, lane: u32) {
        let ring = &mut self.rings[lane as usize];
        debug_assert!(ring.unsent > 0, "nothing waits to be sent");
        ring.unsent -= 1;
        ring.sent += 1;
        self.unsent -= 1;
    }

    /// Takes the oldest request that was sent: it is answered, or never will be.
    #[inline]
    pub(super) fn end(&mut self, lane: u32) -> Option<Flight> {
        let flight = self.first_sent(lane)?;
        let ring = &mut self.rings[lane as usize];
        ring.sent -= 1;
        ring.oldest = (ring.oldest + 1) % self.depth;
        Some(flight)
    }

    /// Takes back the request of a lane that was given last and never sent.
    pub(super) fn take_back(&mut self, lane: u32) -> Option<Flight> {
        let ring = self.rings[lane as usize];
        let last = (ring.sent + ring.unsent).checked_sub(1).filter(|_| ring.unsent > 0)?;
        self.rings[lane as usize].unsent -= 1;
        self.unsent -= 1;
        Some(self.places[self.place(lane, last)])
    }

    /// Requests that wait to be sent, over all lanes.
    pub(super) fn unsent_in_all(&self) -> u64 {
        self.unsent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(index: u64) -> Flight {
        Flight { index, ..Flight::default() }
    }

    #[test]
    fn requests_are_sent_and_answered_in_the_order_in_which_they_were_given() {
        for depth in [1, 3] {
            let mut flights = Flights::new(2, depth);
            for round in 0..7_u64 {
                let numbers: Vec<u64> = (0..u64::from(depth)).map(|at| round * 10 + at).collect();
                assert!(numbers.iter().all(|index| flights.give(1, flight(*index))));
                assert_eq!(flights.first_unsent(1), Some(flight(numbers[0])));
                numbers.iter().for_each(|_| flights.send(1));
                assert_eq!((flights.unsent(1), flights.unsent_in_all()), (0, 0));
                let ended: Vec<u64> = numbers
                    .iter()
                    .filter_map(|_| flights.end(1))
                    .map(|flight| flight.index)
                    .collect();
                assert_eq!(ended, numbers);
                assert_eq!((flights.end(1), flights.end(0)), (None, None));
                assert_eq!((flights.take_back(1), flights.unsent_in_all()), (None, 0));
                // One more, so that the rounds begin at different places.
                assert!(flights.give(1, flight(99)) && flights.take_back(1) == Some(flight(99)));
            }
        }
    }
}
