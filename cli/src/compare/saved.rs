//! Two results that `ringshot run -o json` saved, set against each other. Sends nothing.

use std::fs;
use std::path::Path;

use ringshot::load::compare::Series;
use ringshot::load::{Comparison, Report};

use super::{SCHEMA_VERSION, conclude};
use crate::args::CompareArgs;
use crate::exit::{Exit, Failure};
use crate::output::json;

/// The two files, if files are what was given.
pub(super) fn files(given: &[String]) -> Result<Option<[&str; 2]>, Failure> {
    let is_file = |text: &String| !text.contains("://") && Path::new(text).exists();
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
    let [of, to] = [[read(files[0])?], [read(files[1])?]];
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
        rounds_completed: 1,
        interrupted: of[0].interrupted || to[0].interrupted,
        comparison: &comparison,
    };
    conclude(args, &document)
}

fn read(path: &str) -> Result<Report, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::unusable(format_args!("can't read {path}: {error}")))?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::unusable(format_args!(
            "{path} is no result of this version's `ringshot run -o json`: {error}"
        ))
    })
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
        assert!(read(&here).unwrap_err().to_string().contains("is no result"));
        assert!(read("/no/such/file").unwrap_err().to_string().contains("can't read"));
    }
}
