//! Numbers that look random and are a function of the seed. Never asks the system for entropy.

/// A stream of numbers (SplitMix64, Steele and others 2014): equal seeds give equal streams on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, any of 2^64.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; zero if `end` is zero.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(end)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True in `probability` of all cases: never at 0.0, always at 1.0.
    pub fn chance(&mut self, probability: f32) -> bool {
        // 24 bits are what an f32 holds exactly.
        ((self.number() >> 40) as f32) < probability * 16_777_216.0
    }

    /// One of `choices`, `None` if there are none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(choices.len() as u64) as usize)
    }

    /// Bytes to take of `most`: often all, else any number of them, or only a few. At least one.
    pub fn part(&mut self, most: u64, partial: f32) -> u64 {
        if !self.chance(partial) {
            return most;
        }
        let most = if self.chance(0.3) { most.min(8) } else { most };
        self.between(1, most.max(1))
    }

    /// A stream of its own, so that what one part draws does not move the numbers of another.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_sequence() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.number(), 6_457_827_717_110_365_317);
        assert_eq!(random.number(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn numbers_stay_in_their_range_and_repeat_with_the_seed() {
        let (mut one, mut two) = (Random::new(7), Random::new(7));
        for end in [0, 1, 2, 1000, u64::MAX] {
            let number = one.below(end);
            assert!(number < end || end == 0);
            assert_eq!(number, two.below(end));
        }
        for _ in 0..1000 {
            assert!((3..=5).contains(&one.between(3, 5)) && (1..=20).contains(&one.part(20, 0.5)));
            assert!(!one.chance(0.0) && one.chance(1.0));
        }
        let hits = (0..10_000).filter(|_| one.chance(0.25)).count();
        assert!((2200..2800).contains(&hits), "{hits} of 10000");
        assert_eq!((one.pick::<u8>(&[]), one.pick(&[4])), (None, Some(&4)));
    }
}
