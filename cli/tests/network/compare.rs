//! `ringshot compare`, the main job, with an origin of its own and with someone else's.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::json::check_schema;
use super::program::{PATIENCE, Program, Server, io_uring_works, ringshot};

const SHORT: [&str; 9] =
    ["compare", "--rounds", "5", "-d", "200ms", "--warmup", "100ms", "-c", "8"];

/// Figures of a contestant that are medians of the rounds.
const MEDIANS: [&str; 4] =
    ["requests", "requests_per_second", "cpu_us_per_request", "bytes_per_second"];

fn check_document(value: &Value) {
    check_schema("compare.schema.json", value);
    assert_eq!((&value["rounds_completed"], &value["interrupted"]), (&5.into(), &false.into()));
    let contestants = value["contestants"].as_array().expect("a list");
    assert_eq!(contestants.len(), 2, "{value:#}");
    for (one, name) in contestants.iter().zip(["io_uring", "epoll"]) {
        assert_eq!((&one["name"], &one["errors_total"]), (&name.into(), &0.into()), "{one:#}");
        for key in MEDIANS {
            assert!(one[key].as_f64().is_some_and(|figure| figure > 0.0), "{key}: {one:#}");
        }
        check_median(one);
    }
    check_ratios(value["ratios"].as_array().expect("a list"));
}

/// Each request that the server has seen is in one count: those of warm-ups too.
#[test]
fn all_that_a_comparison_sends_is_told() {
    let server = Server::start(&[]);
    let urls = ["a", "b"].map(|path| format!("{}{path}", server.url));
    let value = ringshot(&[&SHORT[..], &[&urls[0], &urls[1], "-q", "-o", "json"]].concat())
        .json_with_code(0);
    check_schema("compare.schema.json", &value);
    let sum = |of: &Value, keys: [&str; 3]| -> u64 {
        keys.iter().map(|key| of[key].as_u64().expect("a count")).sum()
    };
    let side = |place: usize| {
        let apart = sum(&value["unmeasured"][place], ["requests", "errors", "cancelled"]);
        let rounds = ["requests_total", "errors_total", "cancelled_total"];
        assert!(apart > 0, "{value:#}");
        apart + sum(&value["contestants"][place], rounds)
    };
    assert_eq!(server.stop(), side(0) + side(1), "{value:#}");
}

/// The rate is the median of the rounds' rates, within their spread.
fn check_median(one: &Value) {
    let rounds = one["rounds"].as_array().expect("a list");
    let mut rates: Vec<f64> =
        rounds.iter().map(|round| round["requests_per_second"].as_f64().expect("one")).collect();
    rates.sort_by(f64::total_cmp);
    assert_eq!((rates.len(), one["requests_per_second"].as_f64()), (5, Some(rates[2])));
    let spread = |key: &str| one["spread"][key].as_f64();
    assert_eq!((spread("min"), spread("max")), (Some(rates[0]), Some(rates[4])));
}

fn check_ratios(ratios: &[Value]) {
    let metrics: Vec<_> =
        ratios.iter().map(|ratio| ratio["metric"].as_str().expect("one")).collect();
    let expected =
        ["requests_per_second", "successes_per_second", "cpu_us_per_request", "p50", "p99"];
    assert_eq!(metrics, expected);
    for ratio in ratios {
        assert_eq!((&ratio["of"], &ratio["to"]), (&"io_uring".into(), &"epoll".into()));
        let [low, median, high] =
            ["low", "median", "high"].map(|key| ratio[key].as_f64().expect(key));
        assert!(0.0 < low && low <= median && median <= high, "{ratio:#}");
        let contains_one = low <= 1.0 && 1.0 <= high;
        assert_eq!(ratio["contains_one"], contains_one, "{ratio:#}");
        assert_eq!(ratio["significant"], !contains_one, "{ratio:#}");
    }
}

/// Nothing listens at `url` any more; a child that was told to end may take its time.
fn check_gone(url: &str) {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "{address} still accepts connections");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn it_starts_an_origin_and_takes_it_along() {
    if !io_uring_works() {
        return;
    }
    let ended = ringshot(&[&SHORT[..], &["-o", "json"]].concat());
    let value = ended.json_with_code(0);
    check_document(&value);
    assert_eq!(value["settings"]["body_bytes"], 13);
    assert!(value["placement"]["origin_cores"].is_array(), "{value:#}");
    assert!(ended.stderr.contains("round 5 of 5: "), "{ended:#?}");
    check_gone(value["url"].as_str().expect("a URL"));
}

#[test]
fn it_takes_a_url() {
    if !io_uring_works() {
        return;
    }
    let server = Server::start(&[]);
    let value = ringshot(&[&SHORT[..], &[&server.url, "-q", "-o", "json"]].concat());
    assert!(!value.stderr.contains("round"), "{value:#?}");
    let value = value.json_with_code(0);
    check_document(&value);
    assert_eq!(value["url"], server.url);
    assert!(value["settings"]["body_bytes"].is_null(), "{value:#}");
    let total = |index: usize| value["contestants"][index]["requests_total"].as_u64();
    assert!(server.stop() >= total(0).expect("a count") + total(1).expect("a count"));
}

#[test]
fn it_sets_hosts_against_each_other() {
    if !io_uring_works() {
        return;
    }
    let hosts = ["-q", "-o", "json", "--hosts", "glommio,thread", "--driver", "epoll"];
    let value = ringshot(&[&SHORT[..], &hosts].concat()).json_with_code(0);
    check_schema("compare.schema.json", &value);
    let told = |index: usize, key: &str| value["contestants"][index][key].clone();
    for (index, host) in ["glommio", "thread"].into_iter().enumerate() {
        assert_eq!((told(index, "name"), told(index, "host")), (host.into(), host.into()));
        assert_eq!(
            (told(index, "driver"), told(index, "errors_total")),
            ("epoll".into(), 0.into())
        );
    }
    let ratio = &value["ratios"][0];
    assert_eq!((&ratio["of"], &ratio["to"]), (&"glommio".into(), &"thread".into()));
}

#[test]
fn hosts_must_differ() {
    let check =
        |hosts| ringshot(&["compare", "--hosts", hosts]).check_refused(&["two that differ"]);
    check("thread,thread");
    check("thread,glommio,thread");
}

#[test]
fn what_means_nothing_for_a_comparison_is_refused() {
    let check = |args: &[&str], words| {
        ringshot(&[&["compare"], args].concat()).check_refused(&[words]);
    };
    check(&["--driver", "epoll"], "--driver is for two URLs");
    check(&["--warmup", "721h"], "--warmup must be at most 30 days");
}

#[test]
fn the_text_gives_a_verdict() {
    if !io_uring_works() {
        return;
    }
    let ended = ringshot(&[&SHORT[..], &["-q", "--body-bytes", "64KiB"]].concat());
    assert_eq!(ended.code(), Some(0), "{ended:#?}");
    let row = |label: &str| {
        let verdicts = ended.stdout.split("95% interval").nth(1).expect("a table of ratios");
        let line = verdicts.lines().find(|line| line.starts_with(label)).expect("a row");
        assert!(line.contains("no difference shown") || line.contains('%'), "{line}");
    };
    for label in ["requests a second", "CPU a request"] {
        row(label);
    }
    // Of latencies only one answer is given.
    let differences = ended.stdout.split("95% interval of the difference").nth(1);
    assert!(differences.is_some_and(|text| text.contains("latency p50")), "{ended:#?}");
    assert_eq!(ended.stdout.matches("latency p99 ").count(), 2, "{ended:#?}");
    assert!(ended.stdout.contains("medians of the rounds"), "{ended:#?}");
}

#[test]
fn interrupted_it_compares_the_rounds_it_has() {
    if !io_uring_works() {
        return;
    }
    let long = ["compare", "--rounds", "1000", "-d", "100ms", "--warmup", "0", "-o", "json"];
    let mut program = Program::start(&long);
    program.stderr_line("round 2 of 1000: ");
    program.signal("-INT");
    let value = program.wait().json_with_code(0);
    check_schema("compare.schema.json", &value);
    assert_eq!(value["interrupted"], true, "{value:#}");
    assert!(value["rounds_completed"].as_u64() >= Some(2), "{value:#}");
    check_gone(value["url"].as_str().expect("a URL"));
}

#[test]
fn interrupted_before_a_round_it_has_nothing_to_compare() {
    if !io_uring_works() {
        return;
    }
    let mut program = Program::start(&["compare", "--warmup", "60s"]);
    let line = program.stderr_line("http://");
    program.stderr_line("warming up");
    program.signal("-INT");
    let ended = program.wait();
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(130), ""), "{ended:#?}");
    assert!(ended.stderr.contains("interrupted before the first round"), "{ended:#?}");
    check_gone(line.split(": ").next().expect("a URL"));
}

#[test]
fn killed_it_takes_its_origin_along() {
    if !io_uring_works() {
        return;
    }
    let mut program = Program::start(&["compare", "--warmup", "60s"]);
    let line = program.stderr_line("http://");
    program.stderr_line("warming up");
    program.signal("-KILL");
    assert_eq!(program.wait().code(), None);
    check_gone(line.split(": ").next().expect("a URL"));
}

#[test]
fn two_urls_of_known_delays_are_told_apart() {
    let server = Server::start(&[]);
    let [fast, slow] = ["delay/5", "delay/20"].map(|path| format!("{}{path}", server.url));
    let args =
        [&SHORT[..], &[&fast, &slow, "-q", "-o", "json", "--fail-if-slower", "20%"]].concat();
    let ended = ringshot(&args);
    let value = ended.json_with_code(3);
    check_schema("compare.schema.json", &value);
    assert_eq!(value["sources"], serde_json::json!([fast, slow]));
    assert_eq!(
        (&value["contestants"][0]["name"], &value["ratios"][0]["to"]),
        (&"A".into(), &"B".into())
    );
    assert_eq!(value["ratios"][0]["significant"], true, "{value:#}");
    let p50 = &value["differences"][0];
    assert!(p50["significant"] == true && p50["high_us"].as_f64() < Some(0.0), "{p50:#}");
    assert!(value["summary"].as_str().is_some_and(|text| text.starts_with("B is ")), "{value:#}");
    assert!(ended.stderr.contains("--fail-if-slower 20.0%: B is "), "{}", ended.stderr);
    // The other way round the second is the faster one.
    let args = [&SHORT[..], &[&slow, &fast, "-q", "--fail-if-slower", "20%"]].concat();
    let ended = ringshot(&args);
    assert_eq!(ended.code(), Some(0), "{ended:#?}");
    assert!(ended.stdout.contains("faster than A (95%: "), "{ended:#?}");
}

#[test]
fn a_side_that_refuses_at_once_is_not_faster() {
    let server = Server::start(&[]);
    let [answers, refuses] = ["delay/5", "status/500"].map(|path| format!("{}{path}", server.url));
    let gate = ["-q", "--fail-if-slower", "5%"];
    let ended = ringshot(&[&SHORT[..], &[&answers, &refuses], &gate].concat());
    assert_eq!(ended.code(), Some(3), "{ended:#?}");
    assert!(ended.stderr.contains("no response of B was a success"), "{ended:#?}");
    assert!(!ended.stdout.contains("faster"), "{ended:#?}");
    let ended = ringshot(&[&SHORT[..], &[&refuses, &answers], &gate].concat());
    assert_eq!(ended.code(), Some(4), "{ended:#?}");
}

#[test]
fn saved_loads_of_different_kinds_are_not_judged() {
    let server = Server::start(&[]);
    let folder = std::env::temp_dir().join(format!("ringshot-unlike-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let url = format!("{}delay/5", server.url);
    let files = [&["-c", "2"][..], &["-c", "2", "-R", "50"]].map(|load| {
        let ended = ringshot(&[&["run", &url, "-d", "1s", "-o", "json", "-q"], load].concat());
        let file = folder.join(format!("{}.json", load.len()));
        std::fs::write(&file, &ended.stdout).expect("a file");
        file.display().to_string()
    });
    let shown = ringshot(&["compare", &files[0], &files[1]]);
    assert_eq!(shown.code(), Some(0), "{shown:#?}");
    assert!(shown.stdout.contains("no ratio: different loads were asked for"), "{shown:#?}");
    let judged = ringshot(&["compare", &files[0], &files[1], "--fail-if-slower", "5%"]);
    assert_eq!(judged.code(), Some(2), "{judged:#?}");
    assert!(judged.stderr.contains("was a closed loop, and"), "{judged:#?}");
    let compared = ringshot(&["compare", &files[0], &files[0], "-o", "json"]);
    let file = folder.join("compared.json");
    std::fs::write(&file, &compared.stdout).expect("a file");
    let file = file.display().to_string();
    let told = "is what `ringshot compare -o json` printed";
    ringshot(&["compare", &file, &files[0]]).check_refused(&[told]);
    std::fs::remove_dir_all(&folder).expect("the folder goes");
}

/// Whoever's client was late says nothing of its server, on whichever side.
fn check_late(folder: &std::path::Path, files: &[String; 2]) {
    let saved = std::fs::read_to_string(&files[1]).expect("the result");
    let mut result: Value = serde_json::from_str(&saved).expect("JSON");
    result["verdict"]["valid"] = false.into();
    result["verdict"]["summary"] = "The client sent late.".into();
    let late = folder.join("late.json");
    std::fs::write(&late, result.to_string()).expect("a file");
    let late = late.display().to_string();
    for (place, sides) in [[&late, &files[0]], [&files[0], &late]].into_iter().enumerate() {
        let gate = ["-o", "json", "--fail-if-slower", "20%"];
        let ended = ringshot(&[&["compare", sides[0], sides[1]], &gate[..]].concat());
        let told = "warning: the figures of late are not valid: The client sent late.\n";
        assert!(ended.stderr.contains(told), "{ended:#?}");
        assert!(ended.stderr.contains("can't be judged: the figures of late are not valid"));
        let value = ended.json_with_code(4);
        check_schema("compare.schema.json", &value);
        assert_eq!(value["contestants"][place]["valid"], false, "{value:#}");
        assert_eq!(value["contestants"][1 - place]["valid"], true, "{value:#}");
        assert_eq!(ringshot(&["compare", sides[0], sides[1]]).code(), Some(0));
    }
}

#[test]
fn two_saved_results_are_compared() {
    let server = Server::start(&[]);
    let folder = std::env::temp_dir().join(format!("ringshot-saved-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let files = ["5", "20"].map(|delay| {
        let url = format!("{}delay/{delay}", server.url);
        let ended = ringshot(&["run", &url, "-d", "6500ms", "-c", "4", "-o", "json"]);
        let file = folder.join(format!("{delay}.json"));
        std::fs::write(&file, &ended.stdout).expect("a file");
        file.display().to_string()
    });
    let args = ["compare", &files[0], &files[1], "-o", "json", "--fail-if-slower", "20%"];
    let value = ringshot(&args).json_with_code(3);
    check_schema("compare.schema.json", &value);
    assert!(value["settings"].is_null() && value["url"].is_null(), "{value:#}");
    assert_eq!(value["ratios"][0]["significant"], true, "{value:#}");
    check_late(&folder, &files);
    // Too short to tell anything by.
    let short = ringshot(&["run", &server.url, "-d", "1s", "-c", "4", "-o", "json"]);
    std::fs::write(folder.join("short.json"), &short.stdout).expect("a file");
    let short = folder.join("short.json").display().to_string();
    let ended = ringshot(&["compare", &files[0], &short, "--fail-if-slower", "20%"]);
    assert_eq!(ended.code(), Some(4), "{ended:#?}");
    assert!(ended.stderr.contains("--fail-if-slower 20.0% can't be judged: "), "{ended:#?}");
    assert_eq!(ringshot(&["compare", &files[0], &short]).code(), Some(0));
    let refused = ringshot(&["compare", &files[0], &files[1], "-q", "--rounds", "9", "-c", "5"]);
    refused.check_refused(&["--rounds means nothing for saved results"]);
    let text = ringshot(&["compare", &files[1], &files[0]]);
    assert_eq!(text.code(), Some(0), "{text:#?}");
    assert!(
        text.stdout.contains("saved results") && text.stdout.contains("% faster than"),
        "{text:#?}"
    );
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    let gone = ringshot(&["compare", &files[0], &files[1]]);
    gone.check_refused(&["can't read", &files[0], "No such file"]);
}
