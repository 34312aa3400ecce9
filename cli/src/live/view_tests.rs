use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ringshot::load::StatusCounts;

use super::*;
use crate::live::sample;

/// The run after 4 s, on so many cores, as a terminal of this size shows it.
fn screen(width: u16, height: u16, cores: u32, facts: &Facts, drawing: Drawing) -> String {
    let mut history = History::default();
    for tick in 1..=20 {
        history.push(&sample::on_cores(f64::from(tick) * 0.2, cores), &facts.arrival);
    }
    picture(width, height, |frame| draw(frame, facts, &history, drawing))
}

fn picture(width: u16, height: u16, draw: impl FnOnce(&mut Frame<'_>)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(draw).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(width.max(1)));
    let row = |cells: &[ratatui::buffer::Cell]| {
        let text: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        format!("{}\n", text.trim_end())
    };
    rows.map(row).collect()
}

fn check(name: &str, shown: &str, expected: &str) {
    assert_eq!(shown.trim_end(), expected.trim_end(), "{name} shows\n{shown}");
}

#[test]
fn a_terminal_of_80_by_24() {
    let shown = screen(80, 24, 2, &sample::facts(2), Drawing::On);
    check("80x24", &shown, include_str!("screens/80x24.txt"));
}

#[test]
fn a_terminal_of_40_by_10() {
    let shown = screen(40, 10, 2, &sample::facts(2), Drawing::On);
    check("40x10", &shown, include_str!("screens/40x10.txt"));
}

#[test]
fn a_terminal_without_utf_8_is_shown_ascii_alone() {
    let mut history = History::default();
    for tick in 1..=20 {
        history.push(&sample::on_cores(f64::from(tick) * 0.2, 2), &sample::facts(2).arrival);
    }
    let facts = Facts { title: "GET /検索é".to_owned(), ..sample::facts(2) };
    for (width, height) in [(80, 24), (60, 16), (40, 10)] {
        let shown = picture(width, height, |frame| {
            draw(frame, &facts, &history, Drawing::On);
            spell(frame.buffer_mut(), Charset::Ascii);
        });
        assert!(
            shown.is_ascii() && shown.contains(" GET /? ? ?") && shown.contains("==-"),
            "{shown}"
        );
    }
}

#[test]
fn a_closed_loop_of_128_cores_that_is_paused() {
    let facts =
        Facts { arrival: Arrival::Closed, stop: Stop::requests(1_000_000), ..sample::facts(128) };
    let shown = screen(100, 20, 128, &facts, Drawing::Paused);
    for part in ["none: closed loop", "200,000 of 1,000,000 requests, 4.0 s", " PAUSED   p goes on"]
    {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    assert!(shown.contains(" cores     ") && !shown.contains(" core 1 "), "{shown}");
}

#[test]
fn every_size_can_be_drawn() {
    for cores in [1, 2, 64] {
        for (width, height) in [(1, 1), (3, 10), (10, 3), (20, 8), (40, 40), (200, 5), (300, 90)] {
            let shown = screen(width, height, cores, &sample::facts(cores as usize), Drawing::On);
            assert_eq!(shown.lines().count(), usize::from(height), "{width}x{height}");
        }
    }
}

#[test]
fn a_server_that_refuses_everything_does_not_look_well() {
    let mut now = sample::snapshot(4.0);
    now.status = StatusCounts { server_error: 200_000, ..StatusCounts::default() };
    let (facts, mut history) = (sample::facts(2), History::default());
    history.push(&now, &facts.arrival);
    for (width, height) in [(80, 24), (100, 30), (40, 10)] {
        let shown = picture(width, height, |frame| draw(frame, &facts, &history, Drawing::On));
        assert!(shown.contains("errors    3  0.0%   200,000 not 2xx/3xx"), "{shown}");
    }
}

#[test]
fn before_anything_has_happened() {
    let (facts, history) = (sample::facts(2), History::default());
    let shown = picture(80, 24, |frame| draw(frame, &facts, &history, Drawing::On));
    for part in ["starting", " 0.0 s", "0%", "target    -", "q ends the run"] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
}
