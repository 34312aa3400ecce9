//! `ringshot report`: saved results shown again, several machines' as one.

use std::collections::BTreeSet;
use std::io::{read_to_string, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use ringshot::load::{Report, SCHEMA_VERSION, StageReport};
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::output::json::RunDocument;
use crate::output::results::ResultArgs;
use crate::thresholds::ThresholdOutcome;
use crate::warnings::{self, Warning};

/// The name of a file that is read from standard input.
const STANDARD_INPUT: &str = "-";

/// `ringshot report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Results saved as JSON, from `run -o json` or result.json of its --out-dir; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) output: ResultArgs,
}

/// Reads the results, merges them if there are several, and shows what there is.
pub(crate) fn report(args: &ReportArgs) -> Result<Exit, Failure> {
    let mut documents =
        args.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, Failure>>()?;
    args.output.prepare()?;
    warnings::print(&twice(&names(&args.files), &documents));
    warnings::print(&mixed(&documents));
    let document = match documents.len() {
        1 => documents.remove(0),
        _ => merged(&names(&args.files), documents)?,
    };
    args.output.show(&document)?;
    Ok(Exit::Ok)
}

/// A saved result.
pub(crate) fn read(file: &Path) -> Result<RunDocument, Failure> {
    let is_input = file == Path::new(STANDARD_INPUT);
    let name = if is_input { "standard input".into() } else { file.to_string_lossy() };
    let text = if is_input { read_to_string(stdin()) } else { std::fs::read_to_string(file) };
    let text =
        text.map_err(|error| Failure::unusable(format_args!("can't read {name}: {error}")))?;
    parse(&text).map_err(|reason| Failure::unusable(format_args!("{name} {reason}")))
}

fn parse(text: &str) -> Result<RunDocument, String> {
    let foreign = |error: serde_json::Error| {
        format!("is no result: {error}: save one with `ringshot run URL -o json`")
    };
    let value: Value = serde_json::from_str(text).map_err(foreign)?;
    match value.get("schema_version").and_then(Value::as_u64) {
        Some(version) if version == u64::from(SCHEMA_VERSION) => {}
        Some(other) => {
            return Err(format!(
                "has schema_version {other}, and this version reads {SCHEMA_VERSION}: \
                 show it with the version that wrote it"
            ));
        }
        None => return Err("is no result: it has no schema_version".to_owned()),
    }
    if let Some(command) = maker(&value) {
        return Err(format!(
            "is what `ringshot {command} -o json` printed, and no result of a run: \
             save one with `ringshot run URL -o json`"
        ));
    }
    serde_json::from_value(value).map_err(foreign)
}

/// The command that printed something else than a run's result.
fn maker(value: &Value) -> Option<&'static str> {
    let keys = [("contestants", "compare"), ("ceiling_per_second", "find-max")];
    keys.into_iter().find(|(key, _)| value.get(key).is_some()).map(|(_, command)| command)
}

/// What machines are called: by the file, by its directory for a `result.json`; by the whole path where two are the same.
pub(crate) fn names(files: &[PathBuf]) -> Vec<String> {
    let short: Vec<String> = files.iter().map(|file| short_name(file)).collect();
    let distinct: BTreeSet<&String> = short.iter().collect();
    match distinct.len() == short.len() {
        true => short,
        false => files.iter().map(|file| file.display().to_string()).collect(),
    }
}

fn short_name(file: &Path) -> String {
    if file == Path::new(STANDARD_INPUT) {
        return "stdin".to_owned();
    }
    let stem = file.file_stem().unwrap_or(file.as_os_str());
    let directory = file.parent().and_then(Path::file_name);
    let name = if stem == "result" { directory.unwrap_or(stem) } else { stem };
    name.to_string_lossy().into_owned()
}

/// The first result that is there before.
fn twice(names: &[String], documents: &[RunDocument]) -> Option<Warning> {
    documents.iter().enumerate().find_map(|(place, again)| {
        let before = documents[..place].iter().position(|it| it == again)?;
        Some(Warning::SameResult { name: names[before].clone(), again: names[place].clone() })
    })
}

/// The first result of another run than the first one's: what was asked of whom, by which interface, or in stages of which lengths. Rates may differ.
fn mixed(documents: &[RunDocument]) -> Option<Warning> {
    let asked = |it: &RunDocument| {
        let RunDocument { method, url, report, .. } = it;
        format!("{method} {url} on {}, {}", report.driver, report.arrival)
    };
    let lengths = |it: &RunDocument| -> Vec<f64> {
        it.report.stages.iter().flatten().map(|stage| stage.seconds).collect()
    };
    let staged = |it: &RunDocument| {
        let stages: Vec<String> =
            it.report.stages.iter().flatten().map(StageReport::to_string).collect();
        match stages.is_empty() {
            true => format!("{} without stages", asked(it)),
            false => format!("{} in stages {}", asked(it), stages.join(", ")),
        }
    };
    let first = documents.first()?;
    let told = |it: &RunDocument| {
        if asked(it) != asked(first) {
            Some((asked(first), asked(it)))
        } else if lengths(it) != lengths(first) {
            Some((staged(first), staged(it)))
        } else {
            None
        }
    };
    let (left, right) = documents.iter().find_map(told)?;
    Some(Warning::MixedResults { left, right })
}

/// All results as one. Thresholds were held against each alone, and say so.
fn merged(names: &[String], documents: Vec<RunDocument>) -> Result<RunDocument, Failure> {
    let common = |of: fn(&RunDocument) -> &String| {
        let distinct: BTreeSet<&String> = documents.iter().map(of).collect();
        distinct.into_iter().cloned().collect::<Vec<_>>().join(", ")
    };
    let (version, method, url) =
        (common(|it| &it.ringshot_version), common(|it| &it.method), common(|it| &it.url));
    let connections = documents.iter().map(|it| it.connections).fold(0, u32::saturating_add);
    let pipeline = documents.iter().map(|it| it.pipeline).max().unwrap_or(1);
    let resolve_us = documents.iter().map(|it| it.resolve_us).fold(0.0, f64::max);
    let thresholds = names.iter().zip(&documents).flat_map(|(name, it)| of_machine(name, it));
    let thresholds = thresholds.collect();
    let parts: Vec<(String, Report)> =
        names.iter().cloned().zip(documents.into_iter().map(|it| it.report)).collect();
    let report = Report::merge(&parts).map_err(Failure::unusable)?;
    Ok(RunDocument {
        ringshot_version: version,
        method,
        url,
        connections,
        pipeline,
        resolve_us,
        machines: names.to_vec(),
        report,
        thresholds,
    })
}

fn of_machine(name: &str, document: &RunDocument) -> Vec<ThresholdOutcome> {
    let named = |it: &ThresholdOutcome| ThresholdOutcome {
        text: format!("{name}: {}", it.text),
        ..it.clone()
    };
    document.thresholds.iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, sample};

    #[test]
    fn what_is_written_is_read_back() {
        for document in [sample::document(), sample::open_loop()] {
            assert_eq!(parse(&json::run(&document)).unwrap(), document);
        }
    }

    #[test]
    fn a_merge_through_files_loses_no_sample() {
        let saved = parse(&json::run(&sample::open_loop())).unwrap();
        let names = ["left".to_owned(), "right".to_owned()];
        assert_eq!(twice(&names, &[saved.clone(), sample::document()]), None);
        assert!(twice(&names, &[saved.clone(), saved.clone()]).is_some());
        let both = merged(&names, vec![saved.clone(), saved.clone()]).unwrap();
        let (one, two) = (&saved.report, &both.report);
        assert_eq!((two.requests, two.offered), (2 * one.requests, 2 * one.offered));
        assert_eq!(two.latency_us.samples, 2 * one.latency_us.samples);
        assert_eq!(two.latency_us.p99, one.latency_us.p99);
        assert_eq!((two.timeline.len(), two.timeline[3].offered), (10, 10_000));
        assert_eq!((both.connections, both.url, both.method), (128, saved.url, saved.method));
        assert_eq!(both.thresholds[2].text, "right: p99 > 5ms");
        assert_eq!(both.machines, names);
    }

    #[test]
    fn results_of_different_runs_are_told() {
        let (plain, mut other) = (sample::open_loop(), sample::open_loop());
        assert_eq!(mixed(&[plain.clone(), plain.clone()]), None);
        other.url = "http://other.test/".to_owned();
        let warning = mixed(&[plain.clone(), plain.clone(), other]).unwrap().to_string();
        assert!(warning.contains("http://other.test/ on io_uring, "), "{warning}");
        let mut ramp = sample::open_loop();
        ramp.report.stages =
            Some(vec![StageReport { seconds: 2.5, from_per_second: 0.0, to_per_second: 5e4 }]);
        let mut slower = ramp.clone();
        slower.report.stages.as_mut().unwrap()[0].to_per_second = 100.0;
        assert_eq!(mixed(&[ramp.clone(), slower]), None);
        let warning = mixed(&[sample::open_loop(), ramp]).unwrap().to_string();
        for part in [" without stages; ", " in stages 2.5s:0..50000): "] {
            assert!(warning.contains(part), "{warning}");
        }
    }

    #[test]
    fn results_from_before_pacing_and_stages_were_saved_have_none() {
        let mut value = serde_json::to_value(sample::open_loop()).unwrap();
        let fields = value.as_object_mut().unwrap();
        assert!(
            ["slack_us", "spin_us", "stages", "status_expected"]
                .iter()
                .all(|key| fields.remove(*key).is_some())
        );
        assert_eq!(parse(&value.to_string()).unwrap(), sample::open_loop());
    }

    #[test]
    fn runs_of_different_pacing_claim_none() {
        let plain = sample::open_loop();
        let mut slack = plain.clone();
        slack.report.slack_us = Some(1_000.0);
        let both = merged(&["a".to_owned(), "b".to_owned()], vec![plain, slack]).unwrap();
        let saved: Value = serde_json::from_str(&json::run(&both)).unwrap();
        assert_eq!((&saved["slack_us"], &saved["spin_us"]), (&Value::Null, &Value::from(0.0)));
        assert_eq!(parse(&json::run(&both)).unwrap().report.slack_us, None);
    }

    #[test]
    fn what_is_no_result_is_refused_in_a_line() {
        let check = |text: &str, part: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        };
        check("", "is no result: EOF");
        check("[]", "no schema_version");
        check("{\"schema_version\": 7}", "has schema_version 7, and this version reads 1");
        check("{\"schema_version\": 1}", "is no result: missing field");
        check(&sample::with_document(json::compare), "is what `ringshot compare -o json` printed");
        check(
            "{\"schema_version\": 1, \"ceiling_per_second\": 9}",
            "is what `ringshot find-max -o json` printed, and no result of a run",
        );
        let broken = json::run(&sample::open_loop()).replace("\"hdr_v2\": \"", "\"hdr_v2\": \"!");
        check(&broken, "Base64");
    }

    #[test]
    fn a_result_without_its_samples_can_be_shown_and_not_merged() {
        let names = ["a".to_owned(), "b".to_owned()];
        let error = merged(&names, vec![sample::document(), sample::document()]).unwrap_err();
        assert!(error.to_string().contains("a lacks the histograms"), "{error}");
    }

    #[test]
    fn machines_are_called_by_their_files() {
        let check = |files: &[&str], expected: &[&str]| {
            let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            assert_eq!(names(&files), expected);
        };
        check(&["out/left.json", "right.json"], &["left", "right"]);
        check(&["left/result.json", "right/result.json"], &["left", "right"]);
        check(&["a/x.json", "b/x.json"], &["a/x.json", "b/x.json"]);
        check(&["result.json"], &["result"]);
        check(&["-", "right.json"], &["stdin", "right"]);
    }
}
