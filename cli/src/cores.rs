//! Lists of core numbers: what `--cores` takes, and what the kernel prints in its `*_list` files. Pure.

use crate::exit::Failure;

/// The largest core number that is believed: the kernel's limit for x86-64 is 8192 cores.
const CORE_MAX: usize = 8191;

/// What `--cores` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CoreList {
    /// The command chooses among the cores that the process may use.
    Auto,
    /// These core numbers, in the order given.
    Listed(Vec<usize>),
}

impl CoreList {
    /// The listed cores, if each is in `available` and none is named twice; under `auto` what `auto` gives.
    pub(crate) fn resolve(
        &self,
        available: &[usize],
        auto: impl FnOnce(&[usize]) -> Vec<usize>,
    ) -> Result<Vec<usize>, Failure> {
        match self {
            Self::Auto => Ok(auto(available)),
            Self::Listed(cores) => checked(cores, available),
        }
    }
}

/// `auto`, or core numbers and ranges: `2` is core number 2, `0,2-5` are cores 0, 2, 3, 4 and 5.
pub(crate) fn core_list(text: &str) -> Result<CoreList, String> {
    match text.trim() {
        "auto" => Ok(CoreList::Auto),
        list => parse_ranges(list).map(CoreList::Listed),
    }
}

/// Numbers and ranges, separated by commas: the kernel's list format.
pub(crate) fn parse_ranges(text: &str) -> Result<Vec<usize>, String> {
    let wrong = || {
        format!(
            "{text:?} is not a list of cores: write auto, core numbers or ranges, like 2 or 0,2-5"
        )
    };
    let mut cores = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first = number(first).ok_or_else(wrong)?;
        let last = number(last).filter(|last| *last >= first).ok_or_else(wrong)?;
        cores.extend(first..=last);
    }
    Ok(cores)
}

/// The shortest list that names `cores`: `0,2-5`. The cores must be sorted.
pub(crate) fn format_ranges(cores: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => runs.push((core, core)),
        }
    }
    let text = |&(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}

/// `core 2` or `cores 0,2-5`.
pub(crate) fn name(cores: &[usize]) -> String {
    let noun = if cores.len() == 1 { "core" } else { "cores" };
    format!("{noun} {}", format_ranges(cores))
}

fn checked(cores: &[usize], available: &[usize]) -> Result<Vec<usize>, Failure> {
    for (position, core) in cores.iter().enumerate() {
        if !available.contains(core) {
            return Err(Failure::unusable(format_args!(
                "--cores: core {core} does not exist here or this process may not use it: choose from {}",
                format_ranges(available)
            )));
        }
        if cores[..position].contains(core) {
            return Err(Failure::unusable(format_args!("--cores: core {core} is named twice")));
        }
    }
    Ok(cores.to_vec())
}

fn number(text: &str) -> Option<usize> {
    text.trim().parse().ok().filter(|core| *core <= CORE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let check = |text, expected: &[usize]| {
            assert_eq!(core_list(text), Ok(CoreList::Listed(expected.to_vec())), "{text}");
        };
        check("2", &[2]);
        check("0,2-5", &[0, 2, 3, 4, 5]);
        check("3,1", &[3, 1]);
        check(" 0 , 1 ", &[0, 1]);
        check("4-4", &[4]);
        assert_eq!(core_list("auto"), Ok(CoreList::Auto));
    }

    #[test]
    fn wrong_lists() {
        for text in ["", ",", "1,", "a", "5-2", "-1", "1-", "1-2-3", "0-4000000000", "all"] {
            assert!(core_list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_cores_that_exist_and_each_once() {
        let check = |cores: &[usize], expected: Result<&[usize], &str>| {
            let resolved = CoreList::Listed(cores.to_vec()).resolve(&[0, 1, 2], |_| Vec::new());
            match expected {
                Ok(cores) => assert_eq!(resolved.unwrap(), cores),
                Err(part) => assert!(resolved.unwrap_err().to_string().contains(part), "{part}"),
            }
        };
        check(&[2, 0], Ok(&[2, 0]));
        check(
            &[3],
            Err("core 3 does not exist here or this process may not use it: choose from 0-2"),
        );
        check(&[1, 1], Err("core 1 is named twice"));
    }

    #[test]
    fn auto_is_the_commands_choice() {
        assert_eq!(CoreList::Auto.resolve(&[4, 5], |all| all[..1].to_vec()).unwrap(), [4]);
    }

    #[test]
    fn ranges_are_written_short() {
        let check = |cores: &[usize], expected| assert_eq!(format_ranges(cores), expected);
        check(&[], "");
        check(&[2], "2");
        check(&[0, 2, 3, 4, 5], "0,2-5");
        check(&[0, 1, 8, 9, 11], "0-1,8-9,11");
        assert_eq!(name(&[1]), "core 1");
        assert_eq!(name(&[0, 1]), "cores 0-1");
    }
}
