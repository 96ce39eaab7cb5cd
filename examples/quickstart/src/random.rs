//! Random numbers that are the same on every machine and in every run.

/// SplitMix64 (Steele, Lea and Flood, 2014): small, fast, and fit for sample data, not for secrets.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// The sequence that belongs to a seed and a label, so that one part of the data never shifts another.
    pub(crate) fn labelled(seed: u64, label: &str) -> Self {
        // FNV-1a, which unlike the standard library's hasher is fixed by its definition.
        let hash = label
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3));
        let mut random = Self { state: seed ^ hash };
        random.next();
        random
    }

    /// A number from 0 up to, and without, `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        debug_assert!(bound > 0, "there is no number below zero");
        // The upper half of a 128-bit product lies below `bound`, whatever the random half is.
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// A number between two others, both included.
    pub(crate) fn between(&mut self, least: i64, most: i64) -> i64 {
        let span = usize::try_from(most - least).expect("the least comes first") + 1;
        least + i64::try_from(self.below(span)).expect("a part of the span fits where the span did")
    }

    /// True in this many of a hundred cases.
    pub(crate) fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_label_give_the_same_numbers() {
        let draw = |label| {
            let mut random = Random::labelled(7, label);
            (0..20).map(|_| random.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(draw("customers"), draw("customers"));
        assert_ne!(draw("customers"), draw("products"));
    }

    #[test]
    fn both_ends_of_a_range_are_drawn_and_nothing_beyond() {
        let mut random = Random::labelled(7, "range");
        let drawn: std::collections::BTreeSet<i64> = (0..200).map(|_| random.between(-2, 2)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2]);
    }
}
