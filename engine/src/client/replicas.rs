//! A thread's own replicas of the targets that it asks for often: threads that clone one target count its references on one cache line, which makes each of them wait for the others.
//!
//! Two cores that asked for one target spent twice as long on a request as with one each, and more cores would wait for more (`benches/programs/client.rs`, part `cores`).

use std::array;
use std::cell::RefCell;

use super::Target;

/// Replicas that a thread keeps at most, each with the target that it replicates, until the thread ends.
const REPLICAS_MAX: usize = 16;
/// Uses from which a target is worth a replica, which costs some 200 ns once.
const USES_MIN: u32 = 32;

thread_local! {
    static REPLICAS: RefCell<Replicas> = RefCell::default();
}

/// A clone of the calling thread's replica, or of `target` itself while that is not used often.
#[inline]
pub(super) fn clone_of(target: &Target) -> Target {
    let replica = REPLICAS.try_with(|replicas| replicas.borrow_mut().clone_of(target));
    // While the thread ends.
    replica.unwrap_or_else(|_| target.clone())
}

/// Each target has one place, by its address; the last one used there has it.
struct Replicas([Place; REPLICAS_MAX]);

#[derive(Default)]
struct Place {
    /// Of the target that was used last. Without a replica another one may have come to lie there, and inherits its uses.
    address: usize,
    uses: u32,
    replica: Option<Replica>,
}

struct Replica {
    /// As long as it is held, no other has its address.
    _of: Target,
    own: Target,
}

impl Default for Replicas {
    fn default() -> Self {
        Self(array::from_fn(|_| Place::default()))
    }
}

impl Replicas {
    #[inline]
    fn clone_of(&mut self, target: &Target) -> Target {
        let address = target.address();
        // Targets lie on cache lines of their own.
        let place = &mut self.0[address / 64 % REPLICAS_MAX];
        if place.address != address {
            *place = Place { address, ..Place::default() };
        }
        if let Some(replica) = &place.replica {
            return replica.own.clone();
        }
        place.uses += 1;
        if place.uses < USES_MIN {
            return target.clone();
        }
        let own = target.replicate();
        place.replica = Some(Replica { _of: target.clone(), own: own.clone() });
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_same(one: &Target, other: &Target) -> bool {
        one.address() == other.address()
    }

    #[test]
    fn what_is_used_often_gets_one_replica_a_thread() {
        let target: Target = "http://h.test:81/a?b".parse().unwrap();
        let replica = || {
            for _ in 1..USES_MIN {
                assert!(is_same(&Target::from(&target), &target));
            }
            let replica = Target::from(&target);
            assert!(!is_same(&replica, &target) && replica == target);
            assert!(is_same(&Target::from(&target), &replica));
            replica
        };
        let [one, other] =
            [(); 2].map(|()| std::thread::scope(|scope| scope.spawn(replica).join().unwrap()));
        assert!(!is_same(&one, &other));
    }

    #[test]
    fn a_target_where_another_was_is_not_taken_for_it() {
        let mut replicas = Replicas::default();
        for number in 0..1000 {
            // Freed in each round: the next one mostly gets its address.
            let target: Target = format!("http://h.test/{number}").parse().unwrap();
            assert_eq!(replicas.clone_of(&target), target);
        }
    }

    #[test]
    fn there_are_never_more_replicas_than_places() {
        let mut replicas = Replicas::default();
        let targets: Vec<Target> =
            (0..100).map(|number| format!("http://h.test/{number}").parse().unwrap()).collect();
        for target in &targets {
            for _ in 0..2 * USES_MIN {
                assert_eq!(replicas.clone_of(target), *target);
            }
        }
        let kept = replicas.0.iter().filter(|place| place.replica.is_some()).count();
        assert!((1..=REPLICAS_MAX).contains(&kept));
    }
}
