//! Two results that `ringshot run -o json` saved, set against each other. Sends nothing.

use std::path::{Path, PathBuf};

use ringshot::load::compare::Series;
use ringshot::load::statistics::PAIRS_MIN;
use ringshot::load::{Comparison, Report, Verdict};

use super::{SCHEMA_VERSION, conclude};
use crate::args::CompareArgs;
use crate::exit::{Exit, Failure};
use crate::output::{comparison, headings, json};
use crate::report;
use crate::warnings::{self, Warning};

/// The two files, if files are what was given.
pub(super) fn files(given: &[String]) -> Result<Option<[&str; 2]>, Failure> {
    // One that is not there is told as such, not as a URL without a scheme.
    let is_named_so = |path: &Path| path.extension().is_some_and(|name| name == "json");
    let is_file = |text: &String| {
        let path = Path::new(text);
        !text.contains("://") && (path.exists() || is_named_so(path))
    };
    match given {
        [of, to] if is_file(of) && is_file(to) => Ok(Some([of, to])),
        _ if given.iter().any(is_file) => Err(Failure::unusable(
            "compare takes two results of `ringshot run -o json`, or URLs: give two files that exist",
        )),
        _ => Ok(None),
    }
}

/// Reads both and prints what they show.
pub(super) fn compare(args: &CompareArgs, files: [&str; 2]) -> Result<Exit, Failure> {
    check_options(args)?;
    let [of, to] = [report::read(Path::new(files[0]))?, report::read(Path::new(files[1]))?];
    let asked_for = [&of, &to].map(headings::asked_for);
    let [of, to] = [[of.report], [to.report]];
    let [name_of, name_to] = names(files);
    let comparison = Comparison::of_runs(
        Series { name: &name_of, reports: &of },
        Series { name: &name_to, reports: &to },
        args.seed,
    );
    let warm_up = |report: &Report| {
        let mut sent = json::Unmeasured::default();
        sent.add_warm_up(report);
        sent
    };
    let document = json::CompareDocument {
        schema_version: SCHEMA_VERSION,
        ringshot_version: env!("CARGO_PKG_VERSION"),
        url: None,
        sources: &files,
        settings: None,
        placement: None,
        asked_for: &asked_for,
        rounds_completed: 1,
        interrupted: of[0].interrupted || to[0].interrupted,
        unmeasured: &[warm_up(&of[0]), warm_up(&to[0])],
        comparison: &comparison,
    };
    let sides = [(name_of, &of[0].verdict), (name_to, &to[0].verdict)];
    warnings::print(&short(&comparison));
    warnings::print(&sides.into_iter().filter_map(not_valid).collect::<Vec<_>>());
    conclude(args, &document)
}

fn check_options(args: &CompareArgs) -> Result<(), Failure> {
    match &args.for_rounds {
        None => Ok(()),
        Some(option) => Err(Failure::unusable(format_args!(
            "{option} means nothing for saved results, which nothing is sent for: leave it out"
        ))),
    }
}

/// What they are called: as results that are merged are, or A and B where columns have no room for what tells them apart.
fn names(files: [&str; 2]) -> [String; 2] {
    let called = report::names(&files.map(PathBuf::from));
    match <[String; 2]>::try_from(called) {
        Ok(names) if comparison::are_told_apart(&names[0], &names[1]) => names,
        _ => ["A", "B"].map(str::to_owned),
    }
}

/// A side whose figures can't be taken for its server's.
fn not_valid((name, verdict): (String, &Verdict)) -> Option<Warning> {
    let summary = verdict.summary.clone();
    (!verdict.valid).then_some(Warning::NotValid { name, summary })
}

/// Too few seconds to tell anything by.
fn short(comparison: &Comparison) -> Option<Warning> {
    let seconds = comparison.pairs;
    (seconds < PAIRS_MIN).then_some(Warning::ShortResults { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_from_urls() {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").to_owned();
        let url = "http://127.0.0.1/".to_owned();
        assert_eq!(files(&[here.clone(), here.clone()]), Ok(Some([here.as_str(); 2])));
        assert_eq!(files(&[url.clone(), url.clone()]), Ok(None));
        assert_eq!(files(&[]), Ok(None));
        for mixed in [vec![here.clone()], vec![here.clone(), url]] {
            assert!(files(&mixed).unwrap_err().to_string().contains("two files"), "{mixed:?}");
        }
    }

    #[test]
    fn results_are_called_by_what_tells_them_apart() {
        let check = |files, expected: [&str; 2]| assert_eq!(names(files), expected, "{files:?}");
        check(["before.json", "out/after.json"], ["before", "after"]);
        check(["mon/result.json", "tue/result.json"], ["mon", "tue"]);
        check(["very/long/path/x.json", "more/long/path/x.json"], ["A", "B"]);
        check(["x.json", "x.json"], ["A", "B"]);
        check(["first-of-this-monday.json", "last-of-this-monday.json"], ["A", "B"]);
    }

    #[test]
    fn a_result_that_is_not_there_is_no_url() {
        let found =
            |given: [&str; 2]| files(&given.map(str::to_owned)).map(|files| files.is_some());
        // That it is missing shows when it is read.
        assert!(matches!(found(["not-there.json", "nor-this.json"]), Ok(true)));
        assert!(matches!(found(["http://h/a.json", "http://h/b.json"]), Ok(false)));
        assert!(matches!(found(["localhost:8080", "localhost:8081"]), Ok(false)));
        assert!(found(["not-there.json", "http://h/"]).is_err());
    }
}
