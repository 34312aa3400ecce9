//! Places that are used again, each use with its own generation, so that a stale name finds nothing. Keeps the memory of what was in a place.

/// Names one use of one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    /// The place.
    pub(crate) index: u32,
    /// Which use of it.
    pub(crate) generation: u32,
}

impl Id {
    /// No place.
    pub(super) const NONE: Self = Self { index: u32::MAX, generation: 0 };
}

/// What can be put away and used again.
pub(super) trait Renew: Default {
    /// Makes it as good as new, keeping its memory.
    fn renew(&mut self);
}

#[derive(Debug, Default)]
struct Place<T> {
    generation: u32,
    used: bool,
    value: T,
}

/// A growing list of places. Invariant: `free` holds exactly the places that are not used.
#[derive(Debug, Default)]
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T: Renew> Slab<T> {
    /// Takes a place, the one freed last if there is one.
    #[inline]
    pub(super) fn take(&mut self) -> Id {
        if self.free.is_empty() {
            self.free.push(self.places.len() as u32);
            self.places.push(Place::default());
        }
        let index = self.free.pop().unwrap_or_default();
        let place = &mut self.places[index as usize];
        place.used = true;
        Id { index, generation: place.generation }
    }

    /// Frees a place; a stale name frees nothing.
    #[inline]
    pub(super) fn free(&mut self, id: Id) {
        let Some(place) = self.places.get_mut(id.index as usize) else { return };
        if place.used && place.generation == id.generation {
            place.used = false;
            place.generation = place.generation.wrapping_add(1);
            place.value.renew();
            self.free.push(id.index);
        }
    }

    #[inline]
    pub(super) fn find(&self, id: Id) -> Option<&T> {
        let place = self.places.get(id.index as usize)?;
        (place.used && place.generation == id.generation).then_some(&place.value)
    }

    #[inline]
    pub(super) fn find_mut(&mut self, id: Id) -> Option<&mut T> {
        let place = self.places.get_mut(id.index as usize)?;
        (place.used && place.generation == id.generation).then_some(&mut place.value)
    }

    /// The name of the present use of a place.
    #[inline]
    pub(super) fn id_of(&self, index: u32) -> Option<Id> {
        let place = self.places.get(index as usize)?;
        place.used.then_some(Id { index, generation: place.generation })
    }

    /// What is in a place, in use or not: it may keep something from one use to the next.
    pub(super) fn place_mut(&mut self, index: u32) -> Option<&mut T> {
        self.places.get_mut(index as usize).map(|place| &mut place.value)
    }

    /// Places in use.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The names of all places in use.
    pub(super) fn ids(&self) -> Vec<Id> {
        (0..self.places.len() as u32).filter_map(|index| self.id_of(index)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Renew for Vec<u8> {
        fn renew(&mut self) {
            self.clear();
        }
    }

    #[test]
    fn a_stale_name_finds_nothing_and_memory_stays() {
        let mut slab = Slab::<Vec<u8>>::default();
        let first = slab.take();
        slab.find_mut(first).unwrap().extend(b"memory");
        slab.free(first);
        slab.free(first);
        let second = slab.take();
        assert_eq!((second.index, slab.len()), (first.index, 1));
        assert_eq!((slab.find(first), slab.find(second).map(Vec::len)), (None, Some(0)));
        assert!(slab.find(second).unwrap().capacity() >= 6);
        assert_eq!((slab.take().index, slab.ids().len()), (1, 2));
    }
}
