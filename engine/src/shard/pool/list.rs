//! Lists through numbers: each member is in at most one list of a set, and joins and leaves in O(1). Allocates only to grow.

/// Marks the end of a list.
const NIL: u32 = u32::MAX;
/// `previous` of a member that is in no list.
const ABSENT: u32 = u32::MAX - 1;

#[derive(Debug, Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
}

/// The links of all members of a set of lists.
#[derive(Debug, Default)]
pub(super) struct Links(Vec<Link>);

/// One list, oldest first.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    head: u32,
    tail: u32,
    count: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NIL, tail: NIL, count: 0 }
    }
}

impl List {
    /// Members.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.count
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The oldest member.
    #[inline]
    pub(super) fn first(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }

    /// The youngest member.
    #[inline]
    pub(super) fn last(&self) -> Option<u32> {
        (self.tail != NIL).then_some(self.tail)
    }
}

impl Links {
    fn link(&mut self, member: u32) -> &mut Link {
        let needed = member as usize + 1;
        if self.0.len() < needed {
            self.0.resize(needed, Link { previous: ABSENT, next: NIL });
        }
        &mut self.0[member as usize]
    }

    /// The member behind this one in its list.
    pub(super) fn next(&self, member: u32) -> Option<u32> {
        self.0.get(member as usize).map(|link| link.next).filter(|next| *next != NIL)
    }

    /// Whether the member is in a list.
    #[inline]
    pub(super) fn is_linked(&self, member: u32) -> bool {
        self.0.get(member as usize).is_some_and(|link| link.previous != ABSENT)
    }

    /// Joins a list as its youngest member.
    #[inline]
    pub(super) fn push_back(&mut self, list: &mut List, member: u32) {
        debug_assert!(!self.is_linked(member), "a member of two lists");
        let last = list.tail;
        *self.link(member) = Link { previous: last, next: NIL };
        match self.0.get_mut(last as usize) {
            Some(last) => last.next = member,
            None => list.head = member,
        }
        list.tail = member;
        list.count += 1;
    }

    /// Joins a list as its oldest member.
    pub(super) fn push_front(&mut self, list: &mut List, member: u32) {
        debug_assert!(!self.is_linked(member), "a member of two lists");
        let first = list.head;
        *self.link(member) = Link { previous: NIL, next: first };
        match self.0.get_mut(first as usize) {
            Some(first) => first.previous = member,
            None => list.tail = member,
        }
        list.head = member;
        list.count += 1;
    }

    /// Leaves the list that the member is in, which must be this one; nothing if it is in none.
    #[inline]
    pub(super) fn remove(&mut self, list: &mut List, member: u32) -> bool {
        if !self.is_linked(member) {
            return false;
        }
        let Link { previous, next } =
            std::mem::replace(self.link(member), Link { previous: ABSENT, next: NIL });
        match self.0.get_mut(previous as usize) {
            Some(before) => before.next = next,
            None => list.head = next,
        }
        match self.0.get_mut(next as usize) {
            Some(after) => after.previous = previous,
            None => list.tail = previous,
        }
        list.count -= 1;
        true
    }

    /// Takes the oldest member out.
    #[inline]
    pub(super) fn pop_front(&mut self, list: &mut List) -> Option<u32> {
        let first = list.first()?;
        self.remove(list, first);
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn agrees_with_a_deque() {
        let mut state = 11_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let (mut links, mut list) = (Links::default(), List::default());
        let mut naive = VecDeque::new();
        for _ in 0..20_000 {
            let member = random(20) as u32;
            let known = naive.iter().position(|other| *other == member);
            match random(4) {
                0 if known.is_none() => {
                    links.push_back(&mut list, member);
                    naive.push_back(member);
                }
                1 if known.is_none() => {
                    links.push_front(&mut list, member);
                    naive.push_front(member);
                }
                2 => assert_eq!(links.pop_front(&mut list), naive.pop_front()),
                _ => {
                    known.map(|place| naive.remove(place));
                    assert_eq!(links.remove(&mut list, member), known.is_some());
                }
            }
            assert_eq!(
                (list.first(), list.last(), list.len() as usize),
                (naive.front().copied(), naive.back().copied(), naive.len())
            );
            assert_eq!(links.is_linked(member), naive.contains(&member));
        }
    }
}
