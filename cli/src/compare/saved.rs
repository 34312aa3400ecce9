//! Two results that `ringshot run -o json` saved, set against each other. Sends nothing.

use std::path::Path;

use ringshot::load::Comparison;
use ringshot::load::compare::Series;
use ringshot::load::statistics::PAIRS_MIN;

use super::{SCHEMA_VERSION, conclude};
use crate::args::CompareArgs;
use crate::exit::{Exit, Failure};
use crate::output::{headings, json};
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
    let [of, to] = [report::read(Path::new(files[0]))?, report::read(Path::new(files[1]))?];
    let asked_for = [&of, &to].map(headings::asked_for);
    let [of, to] = [[of.report], [to.report]];
    let comparison = Comparison::of_runs(
        Series { name: files[0], reports: &of },
        Series { name: files[1], reports: &to },
        args.seed,
    );
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
        comparison: &comparison,
    };
    warnings::print(&short(&comparison));
    conclude(args, &document)
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
