//! A result in the format that was asked for, printed or as files in a directory.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use rustix::fs::{FlockOperation, flock};

use super::json::{self, RunDocument};
use super::{csv, hdrlog, hgrm, html, text};
use crate::exit::Failure;

/// How a result is shown.
#[derive(Debug, Args)]
pub(crate) struct ResultArgs {
    /// What to print on standard output
    #[arg(short, long, value_enum, default_value = "text", help_heading = "Output")]
    pub(crate) output: ResultFormat,
    /// Write every format into this directory too; files of their names are replaced, all or none
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) out_dir: Option<PathBuf>,
}

/// How a run's result is shown.
#[derive(Debug, Args)]
pub(crate) struct RunOutputArgs {
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    /// Show no progress
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResultFormat {
    /// For people
    Text,
    /// As docs/json.md says
    Json,
    /// metric,value,unit
    Csv,
    /// One page with plots
    Html,
    /// Percentiles of the response time, for HdrHistogram's plotter
    Hgrm,
}

/// The name of a result's file, and what it holds.
type Rendered = (&'static str, fn(&RunDocument) -> String);

/// What `--out-dir` writes.
const FILES: [Rendered; 8] = [
    ("result.json", json::run),
    ("summary.txt", text::render),
    ("summary.csv", csv::summary),
    ("timeline.csv", |it| csv::timeline(&it.report.timeline)),
    ("response_time.hgrm", |it| hgrm::response_time(&it.report)),
    ("service_time.hgrm", |it| hgrm::service_time(&it.report)),
    ("latency.hlog", |it| hdrlog::render(&it.report)),
    ("report.html", html::render),
];

impl ResultArgs {
    /// Makes the directory, and sees whether it can be written: before a run, so that a long one is not for nothing.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        let Some(directory) = &self.out_dir else { return Ok(()) };
        std::fs::create_dir_all(directory).map_err(|error| unwritable(directory, &error))?;
        probe(directory)
    }

    /// Writes the result's files, and prints it, each also where the other can't be done: a run is not made again for a full disk behind the standard output.
    pub(crate) fn show(&self, document: &RunDocument) -> Result<(), Failure> {
        let print = match self.output {
            ResultFormat::Text => super::print_text,
            _ => super::print,
        };
        self.show_by(print, document)
    }

    fn show_by(
        &self,
        print: impl FnOnce(&str) -> Result<(), Failure>,
        document: &RunDocument,
    ) -> Result<(), Failure> {
        let written = self.out_dir.as_ref().map_or(Ok(()), |directory| write(directory, document));
        print(&render(self.output, document)).and(written)
    }
}

fn render(format: ResultFormat, document: &RunDocument) -> String {
    match format {
        ResultFormat::Text => text::render(document),
        ResultFormat::Json => json::run(document),
        ResultFormat::Csv => csv::summary(document),
        ResultFormat::Html => html::render(document),
        ResultFormat::Hgrm => hgrm::response_time(&document.report),
    }
}

/// Makes a file and removes it, and opens those that will be replaced.
fn probe(directory: &Path) -> Result<(), Failure> {
    let mine = directory.join(format!(".ringshot-{}", std::process::id()));
    let made = match OpenOptions::new().write(true).create_new(true).open(&mine) {
        // One that was left there is removed as well.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    };
    let removed = made.and_then(|()| std::fs::remove_file(&mine));
    removed.map_err(|error| unwritable(directory, &error))?;
    for (name, _) in FILES {
        let path = directory.join(name);
        let open = || OpenOptions::new().write(true).open(&path).map(drop);
        match check_plain(&path).and_then(|()| open()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(unwritable(&path, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A FIFO would be waited for until somebody reads it (fifo(7)), and a device is none of our files either.
fn check_plain(path: &Path) -> std::io::Result<()> {
    match std::fs::metadata(path)?.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err(ErrorKind::IsADirectory.into()),
        kind if kind.is_fifo() => Err(std::io::Error::other("it is a FIFO, not a file")),
        _ => Err(std::io::Error::other("it is a device or a socket, not a file")),
    }
}

/// Writes all files or, where one can't be written, none: what was there is the result of another run,
/// and stays whole. One run writes at a time, so that of several all files are those of the last.
fn write(directory: &Path, document: &RunDocument) -> Result<(), Failure> {
    let _lock = lock(directory);
    let made = FILES.iter().try_for_each(|(name, render)| {
        let path = directory.join(name);
        let is_plain = match check_plain(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            checked => checked,
        };
        let written = is_plain.and_then(|()| write_new(&beside(&path), &render(document)));
        written.map_err(|error| unwritable(&path, &error))
    });
    let put = made.and_then(|()| {
        FILES.iter().try_for_each(|(name, _)| {
            let path = directory.join(name);
            std::fs::rename(beside(&path), &path).map_err(|error| unwritable(&path, &error))
        })
    });
    if put.is_err() {
        // Those that are not there need no removal, and one that can't be removed is in nobody's way.
        FILES
            .iter()
            .for_each(|(name, _)| drop(std::fs::remove_file(beside(&directory.join(name)))));
    }
    put
}

/// Waits until no other run writes there, for as long as the file lives; `None` where that can't be
/// told (flock(2)).
fn lock(directory: &Path) -> Option<File> {
    let directory = File::open(directory).ok()?;
    flock(&directory, FlockOperation::LockExclusive).ok()?;
    Some(directory)
}

/// Where a file is written before it gets its name.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

/// Whatever a run left there that was killed is removed first, and never followed or waited for.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let remedy = match error.kind() {
        ErrorKind::StorageFull => "the disk is full: free some of it, or name another directory",
        ErrorKind::QuotaExceeded => "free some of your quota, or name another directory",
        _ => "name another directory",
    };
    Failure::unusable(format_args!("--out-dir: can't write {}: {error}: {remedy}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::letters::harmless;
    use crate::output::sample;

    #[test]
    fn files_are_written_also_if_nothing_can_be_printed() {
        let directory = std::env::temp_dir().join(format!("ringshot-full-{}", std::process::id()));
        let args = ResultArgs { output: ResultFormat::Json, out_dir: Some(directory.clone()) };
        args.prepare().unwrap();
        let full = |_: &str| Err(Failure::unusable("no space left on device"));
        let failure = args.show_by(full, &sample::document()).unwrap_err();
        assert!(failure.to_string().contains("no space"), "{failure}");
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), FILES.len());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn every_file_is_written_and_replaced() {
        let directory = std::env::temp_dir().join(format!("ringshot-files-{}", std::process::id()));
        let nested = directory.join("a/b");
        let args = ResultArgs { output: ResultFormat::Text, out_dir: Some(nested.clone()) };
        args.prepare().unwrap();
        for _ in 0..2 {
            write(&nested, &sample::open_loop()).unwrap();
        }
        let mut found: Vec<String> = std::fs::read_dir(&nested)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort_unstable();
        let mut expected = FILES.map(|(name, _)| name).to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected);
        let taken =
            ResultArgs { output: ResultFormat::Text, out_dir: Some(nested.join("result.json")) };
        assert!(taken.prepare().unwrap_err().to_string().contains("--out-dir: can't write"));
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_cannot_be_written_leaves_the_result_before_it_whole() {
        let directory = std::env::temp_dir().join(format!("ringshot-whole-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let of = |url: &str| {
            let mut document = sample::open_loop();
            url.clone_into(&mut document.url);
            document
        };
        let read = || -> Vec<String> {
            FILES.map(|(name, _)| std::fs::read_to_string(directory.join(name)).unwrap()).into()
        };
        write(&directory, &of("http://first.test/")).unwrap();
        let first = read();
        // The last of them can't be written: its place is taken, and not by a file.
        let taken = directory.join(".report.html.new");
        std::fs::create_dir(&taken).unwrap();
        let line = write(&directory, &of("http://second.test/")).unwrap_err().to_string();
        assert!(line.contains("/report.html: "), "{line}");
        assert_eq!(read(), first);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), FILES.len() + 1, "{line}");
        std::fs::remove_dir(&taken).unwrap();
        // What a run left that was killed is replaced, and not followed.
        std::os::unix::fs::symlink("/dev/full", &taken).unwrap();
        write(&directory, &of("http://second.test/")).unwrap();
        assert!(read()[0].contains("second.test"));
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), FILES.len());
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn of_runs_that_end_at_once_all_files_are_one_runs() {
        let directory =
            std::env::temp_dir().join(format!("ringshot-at-once-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::thread::scope(|scope| {
            for run in ["http://one.test/", "http://two.test/"] {
                let directory = &directory;
                scope.spawn(move || {
                    let document = RunDocument { url: run.to_owned(), ..sample::open_loop() };
                    (0..20).for_each(|_| write(directory, &document).unwrap());
                });
            }
        });
        let has = |name: &str, url: &str| {
            std::fs::read_to_string(directory.join(name)).unwrap().contains(url)
        };
        let one = has("result.json", "one.test");
        for name in ["result.json", "summary.txt", "report.html"] {
            assert!(has(name, if one { "one.test" } else { "two.test" }), "{name}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_remedy_follows_the_reason() {
        let line = |kind: ErrorKind| unwritable(Path::new("x"), &kind.into()).to_string();
        assert!(line(ErrorKind::StorageFull).contains("the disk is full"));
        assert!(line(ErrorKind::QuotaExceeded).contains("quota"));
        assert!(line(ErrorKind::PermissionDenied).ends_with(": name another directory"));
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_told_before_the_run() {
        let refused = |directory: &Path| {
            let out_dir = Some(directory.to_owned());
            let args = ResultArgs { output: ResultFormat::Text, out_dir };
            args.prepare().unwrap_err().to_string()
        };
        // Nobody makes files there, not even root.
        let line = refused(Path::new("/proc/self/fdinfo"));
        assert!(line.contains("--out-dir: can't write /proc/self/fdinfo: "), "{line}");
        let directory = std::env::temp_dir().join(format!("ringshot-taken-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("summary.csv")).unwrap();
        let line = refused(&directory);
        assert!(line.contains("summary.csv: "), "{line}");
        let failure = write(&directory, &sample::open_loop()).unwrap_err().to_string();
        let found = std::fs::read_dir(&directory).unwrap().count();
        assert_eq!((failure, found), (line, 1), "all or none");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        use std::process::Command;
        let directory = std::env::temp_dir().join(format!("ringshot-fifo-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let args = ResultArgs { output: ResultFormat::Text, out_dir: Some(directory.clone()) };
        let check = |name: &str, words: &str, make: &dyn Fn(&Path)| {
            let path = directory.join(name);
            make(&path);
            let line = args.prepare().unwrap_err().to_string();
            assert!(line.contains(&format!("{name}: {words}")), "{line}");
            // Nor afterwards, where it came about meanwhile.
            assert_eq!(write(&directory, &sample::open_loop()).unwrap_err().to_string(), line);
            std::fs::remove_file(path).unwrap();
            args.prepare().unwrap();
        };
        let fifo =
            |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        let device = |path: &Path| {
            std::os::unix::fs::symlink("/dev/full", path).unwrap();
        };
        check("summary.csv", "it is a FIFO, not a file", &fifo);
        check("latency.hlog", "it is a device or a socket, not a file", &device);
        // What was left behind under the name of the file that is made to try is in nobody's way.
        let mine = directory.join(format!(".ringshot-{}", std::process::id()));
        fifo(&mine);
        args.prepare().unwrap();
        assert!(!mine.exists());
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn words_of_others_steer_no_terminal_and_no_page() {
        const WORDS: &str = "\u{1b}[2J\0\u{9b}2J\r\u{7f}\u{202e}<b>";
        let words = || WORDS.to_owned();
        let mut document = sample::open_loop();
        (document.method, document.url, document.ringshot_version) = (words(), words(), words());
        document.machines = vec![words()];
        document.thresholds.iter_mut().for_each(|it| (it.text, it.metric) = (words(), words()));
        let report = &mut document.report;
        (report.driver, report.host, report.arrival) = (words(), words(), words());
        report.exhausted_feeds = vec![words()];
        report.outcomes.insert(words(), 7);
        report.error_examples.insert(words(), words());
        (report.verdict.summary, report.verdict.evidence) = (words(), vec![words()]);
        report.cores[0].machine = words();
        let name = ringshot::load::NameReport { name: words(), requests: 1, ..Default::default() };
        report.names = vec![name];
        for (file, render) in FILES {
            let text = render(&document);
            let steers = |letter: &char| *letter != '\n' && harmless(*letter) != *letter;
            assert_eq!(text.chars().find(steers), None, "{file}");
        }
        let read: RunDocument = serde_json::from_str(&json::run(&document)).unwrap();
        assert_eq!((read.url, &*read.report.names[0].name), (words(), WORDS));
    }

    #[test]
    fn each_format_is_its_own() {
        let document = sample::open_loop();
        let begins = |format, start: &str| {
            let text = render(format, &document);
            assert!(text.starts_with(start), "{format:?}: {}", &text[..80]);
        };
        begins(ResultFormat::Text, "GET http://");
        begins(ResultFormat::Json, "{\n");
        begins(ResultFormat::Csv, "metric,value,unit\n");
        begins(ResultFormat::Html, "<!doctype html>");
        begins(ResultFormat::Hgrm, "       Value ");
    }
}
