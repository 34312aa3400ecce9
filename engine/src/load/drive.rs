//! The loop of one core: connect, warm up, measure, drain, cancel. Takes the time, so that nothing below it has to.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::control::{PUBLISH_EVERY, Phase};
use super::gate::Start;
use super::merge::{CoreOutcome, per};
use super::plan::Pacing;
use super::run::{BLOCK_MAX, Job};
use super::schedule::Arrival;
use super::worker::Worker;
use crate::clock::Instant;
use crate::driver::{Counters, Driver};
use crate::host::Pace;
use crate::shard::Shard;
use crate::sys::affinity::Pinned;
use crate::sys::process::{CpuTime, run_delay_of_thread};

/// How long closing connections may take before the ring is closed over them.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// Connections of a core that are in the making at a time before the clock starts: more could overflow a listener's backlog, and a lost SYN costs a second.
const DIALS_MAX: u32 = 64;

/// How long requests must be sent for that time alone to say how busy the client was.
const USED_MIN: Duration = Duration::from_millis(100);

/// A job with its shard, and the clock that it runs by.
pub(super) struct Drive<D: Driver, P, C> {
    job: Job,
    shard: Shard<D>,
    worker: Worker,
    pinned: Pinned,
    pace: P,
    clock: C,
    /// What had been counted when measuring began; `None` until then.
    before: Option<Before>,
    /// When the watchers are shown the next histogram.
    publish_at: Instant,
    /// When what is unanswered is given up, since all that may be sent was sent.
    sent_out: Instant,
}

/// What a thread used of a length of time.
#[derive(Clone, Copy)]
struct Used {
    wall: Duration,
    cpu: Duration,
    run_delay: Duration,
}

/// Readings at the start of the measured time.
#[derive(Clone, Copy)]
struct Before {
    cpu: CpuTime,
    run_delay: Duration,
    shard: crate::shard::Counters,
    driver: Counters,
}

impl<D: Driver, P: Pace, C: FnMut() -> Instant> Drive<D, P, C> {
    pub(super) fn new(job: Job, shard: Shard<D>, pinned: Pinned, pace: P, clock: C) -> Self {
        let worker = Worker::new(&job.plan, job.place, job.lanes, &job.shared.budgets);
        let publish_at = Instant::default();
        let sent_out = Instant::NEVER;
        Self { job, shard, worker, pinned, pace, clock, before: None, publish_at, sent_out }
    }

    /// The whole run of this core.
    pub(super) async fn run(mut self) -> io::Result<CoreOutcome> {
        self.connect().await?;
        let Start::At(start) = self.job.shared.start.pass((self.clock)()) else {
            return Ok(self.outcome());
        };
        let from = start + self.job.plan.warm_up;
        let length = self.job.plan.length();
        let end = length.map_or(Instant::NEVER, |length| from + length);
        let measured = self.send(start, from, end).await?;
        let stopped_at = (self.clock)();
        let sending_end = self.sending_end(end, stopped_at);
        self.worker.end(end.min(stopped_at));
        let used = self.used(stopped_at);
        let now = self.drain(stopped_at).await?;
        if !measured {
            self.worker.forget();
        }
        let outcome = CoreOutcome {
            warm_up_seconds: seconds(start, if measured { from } else { stopped_at }),
            ..self.outcome()
        };
        let outcome = match measured {
            true => {
                let begun = self.worker.measured_from();
                // Of a moment the kernel's own work for it is a large part, which a longer look puts in its place.
                let used = if used.wall < USED_MIN { self.used(now) } else { used };
                CoreOutcome {
                    sending: seconds(begun, sending_end),
                    last_response: seconds(begun, self.worker.last_response()),
                    busy: used.share_of(used.cpu),
                    run_delay: used.share_of(used.run_delay),
                    ..outcome
                }
            }
            false => outcome,
        };
        self.close(now).await?;
        Ok(outcome)
    }

    /// When nothing was due or sent any more, of a run that sent until `stopped_at` and might have until `end`. A closed loop of so many requests goes on until
    /// the last one is answered; errors behind that are no part of its speed.
    fn sending_end(&self, end: Instant, stopped_at: Instant) -> Instant {
        let spent = stopped_at < end && !self.is_stopped() && !self.worker.is_exhausted();
        match self.job.plan.arrival {
            Arrival::Closed if spent => self.worker.last_end(),
            _ => end.min(stopped_at),
        }
    }

    /// What the thread used between the start of measuring and `now`.
    fn used(&self, now: Instant) -> Used {
        let before = self.before.unwrap_or_else(|| self.readings());
        Used {
            wall: now - self.worker.measured_from(),
            cpu: CpuTime::of_thread().since(before.cpu).total(),
            run_delay: run_delay_of_thread().saturating_sub(before.run_delay),
        }
    }

    /// Opens the connections, a few at a time; what can't be connected now is tried again when there is something to send.
    async fn connect(&mut self) -> io::Result<()> {
        let (lanes, mut next) = (self.job.lanes_first(), 0);
        let mut now = (self.clock)();
        let deadline = now + self.job.plan.timeouts.connect;
        while now < deadline && !self.is_stopped() {
            let failed = self.worker.recorder.connect_failures();
            if u64::from(self.shard.connected()) + failed >= u64::from(lanes) {
                break;
            }
            let room = DIALS_MAX.saturating_sub(self.shard.dialing());
            let last = lanes.min(next + room);
            (next..last).for_each(|lane| self.shard.rouse_lane(lane, &mut self.worker, now));
            next = last;
            now = self.turn(BLOCK_MAX).await?;
        }
        Ok(())
    }

    /// Sends from `start` to `end`, and measures from `from` on. Whether it came to that.
    async fn send(&mut self, start: Instant, from: Instant, end: Instant) -> io::Result<bool> {
        // Stopped while connections were being opened: those that are there have nothing to send.
        if self.is_stopped() {
            return Ok(false);
        }
        let warm_up = self.job.plan.warm_up;
        let mut measuring = warm_up.is_zero();
        let mut now = start;
        if measuring {
            self.measure(from);
        } else {
            self.job.gauge.set_phase(Phase::WarmUp);
            let arrival = self.job.plan.arrival.warm_up(warm_up);
            self.worker.begin(self.job.schedule(&arrival, start, u64::MAX));
        }
        self.shard.rouse(&mut self.worker, now);
        while now < end && !self.is_stopped() {
            // The rows that the warm-up took are the run's: without one there is nothing to measure.
            if !measuring && self.worker.is_exhausted() {
                break;
            }
            if !measuring && now >= from {
                measuring = true;
                self.measure(self.counts_from(from, now));
                self.shard.rouse(&mut self.worker, now);
            }
            if measuring && (self.is_done(end) || self.is_sent_out(now)) {
                break;
            }
            let until = if measuring { end } else { from };
            now = self.turn((until - now).min(BLOCK_MAX)).await?;
        }
        Ok(measuring)
    }

    /// From when on requests count, at the end of a warm-up that should have been at `from`: in a closed loop what the last turn sent still belongs to it.
    fn counts_from(&self, from: Instant, now: Instant) -> Instant {
        match self.job.plan.arrival {
            Arrival::Closed => now + Duration::from_nanos(1),
            _ => from,
        }
    }

    /// Whether all that may be sent has its answer, and nothing is to come.
    fn is_done(&self, end: Instant) -> bool {
        let counts = self.is_counted_out() || end == Instant::NEVER || self.worker.is_exhausted();
        counts && self.worker.is_spent() && self.is_idle()
    }

    /// Whether this core has no request left of so many. Where the schedule ends before that, it is the time that ends the run.
    fn is_counted_out(&self) -> bool {
        self.job.plan.stop.requests.is_some() && self.worker.is_counted_out()
    }

    /// Whether no answer is waited for. One to the warm-up is not, where so many requests end the run.
    fn is_idle(&self) -> bool {
        let counted = self.job.plan.stop.requests.is_some() && self.before.is_some();
        self.shard.is_idle() || counted && self.worker.is_answered()
    }

    /// Whether the last of so many requests of all cores was sent so long ago that the rest is not waited for. One that is to be sent once more is not sent.
    fn is_sent_out(&mut self, now: Instant) -> bool {
        let Some(drain) = self.job.plan.drain_sent else { return false };
        match self.is_counted_out() && self.worker.is_spent() {
            true => self.job.note_all_sent(),
            false => self.job.note_unsent(),
        }
        self.sent_out = match self.job.shared.unsent.load(Ordering::Relaxed) {
            0 => self.sent_out.min(now + drain),
            _ => Instant::NEVER,
        };
        now >= self.sent_out
    }

    fn is_stopped(&self) -> bool {
        self.job.shared.stop.load(Ordering::Relaxed)
    }

    /// One turn that blocks for at most `max_block`, or until a request is due; then what is due goes out.
    #[inline]
    async fn turn(&mut self, max_block: Duration) -> io::Result<Instant> {
        let due = self.worker.next_due();
        let (since, block) = if due == Instant::NEVER {
            (None, max_block)
        } else {
            let Pacing { spin, .. } = self.job.plan.pacing;
            let now = (self.clock)();
            // Spinning is blocking for no time, over and over.
            (Some(now), (due - (now + spin)).min(max_block))
        };
        let block = self.pace.block_max(block);
        let mut now = self.shard.turn_since(since, block, &mut self.worker, &mut self.clock)?;
        if self.worker.is_paced() {
            now = self.send_due();
        }
        self.publish(now);
        self.pace.give_way().await;
        Ok(now)
    }

    /// Sends what is due, and returns the time.
    fn send_due(&mut self) -> Instant {
        let now = (self.clock)();
        let Self { shard, worker, .. } = self;
        while let Some(lane) = worker.next_lane(now, |lane| shard.is_ready(lane)) {
            shard.rouse_lane(lane, worker, now);
        }
        now
    }

    /// Shows the watchers how far this core is, and keeps the time line.
    #[inline]
    fn publish(&mut self, now: Instant) {
        let totals = self.worker.totals(self.measured_bytes());
        let Self { worker, job, shard, .. } = self;
        worker.publish(&job.gauge, &totals, shard.in_flight(), shard.counters().connected);
        if worker.timeline.is_due(now) {
            worker.roll_timeline(now, totals);
        }
        if now >= self.publish_at {
            self.publish_at = now + PUBLISH_EVERY;
            self.worker.count_due(now);
            self.job.gauge.publish_slow(&self.worker.recorder, CpuTime::of_thread().total());
        }
    }

    /// Begins to measure: what is due from `from` on counts.
    fn measure(&mut self, from: Instant) {
        self.job.gauge.set_phase(Phase::Measuring);
        self.job.gauge.set_measured_from(from);
        let requests = self.job.plan.stop.requests.unwrap_or(u64::MAX);
        let end = self.job.plan.length().map_or(Instant::NEVER, |length| from + length);
        let mut schedule = self.job.schedule(&self.job.plan.arrival, from, requests);
        schedule.iter_mut().for_each(|schedule| schedule.cut(end));
        self.worker.measure(from, end, schedule);
        self.before = Some(self.readings());
    }

    fn readings(&self) -> Before {
        Before {
            cpu: CpuTime::of_thread(),
            run_delay: run_delay_of_thread(),
            shard: self.shard.counters(),
            driver: self.shard.driver().counters(),
        }
    }

    /// Bytes received since measuring began.
    #[inline]
    fn measured_bytes(&self) -> u64 {
        let before = self.before.as_ref().map(|before| before.shard.bytes_received);
        before.map_or(0, |before| self.shard.counters().bytes_received - before)
    }

    /// Waits for the last responses, then cancels what is left. Who ends a run by then wants no more to be sent; who ends it while it waits, not to wait either.
    async fn drain(&mut self, mut now: Instant) -> io::Result<Instant> {
        self.job.gauge.set_phase(Phase::Draining);
        let stopped = self.is_stopped();
        let deadline = (now + self.job.plan.drain).min(self.sent_out);
        while now < deadline && stopped == self.is_stopped() {
            // Without a row nothing can be sent.
            if stopped || self.worker.is_exhausted() {
                self.send_no_more(now);
            }
            if self.is_idle() && self.worker.is_drained() {
                break;
            }
            now = self.turn((deadline - now).min(BLOCK_MAX)).await?;
        }
        self.send_no_more(now);
        self.shard.close(&mut self.worker, now);
        let totals = self.worker.totals(self.measured_bytes());
        self.worker.finish_timeline(totals);
        Ok(now)
    }

    /// Gives up what was due and not sent.
    fn send_no_more(&mut self, now: Instant) {
        if !self.worker.is_drained() {
            self.worker.give_up(now);
        }
        self.shard.drain();
    }

    /// Gives descriptors and buffers back in order, for as long as that may take.
    async fn close(&mut self, mut now: Instant) -> io::Result<()> {
        let deadline = now + CLOSE_MAX;
        while !self.shard.is_closed() && now < deadline {
            now = self.turn(BLOCK_MAX).await?;
        }
        Ok(())
    }

    /// What was found, but for the times of it: it is taken out.
    fn outcome(&mut self) -> CoreOutcome {
        // Watchers keep what they were shown last.
        self.publish_at = Instant::NEVER;
        let before = self.before.unwrap_or_else(|| self.readings());
        let shard = self.shard.counters();
        let driver = self.shard.driver().counters();
        CoreOutcome {
            core: self.job.core,
            pinned: self.pinned,
            connections: self.job.lanes,
            recorder: std::mem::take(&mut self.worker.recorder),
            warm_up: std::mem::take(&mut self.worker.warm_up),
            warm_up_seconds: 0.0,
            warm_up_shed: self.worker.warm_up_shed,
            timeline: std::mem::take(&mut self.worker.timeline),
            tallies: self.worker.tallies(),
            sending: 0.0,
            last_response: 0.0,
            after: std::mem::take(&mut self.worker.after),
            cpu: CpuTime::of_thread().since(before.cpu),
            busy: 0.0,
            run_delay: 0.0,
            connected: shard.connected,
            bytes: shard.bytes_received - before.shard.bytes_received,
            turns: shard.turns - before.shard.turns,
            turns_with_completions: shard.turns_with_completions
                - before.shard.turns_with_completions,
            completions: shard.completions - before.shard.completions,
            driver: Counters {
                system_calls: driver.system_calls - before.driver.system_calls + shard.system_calls
                    - before.shard.system_calls,
                waits: driver.waits - before.driver.waits,
                completions: driver.completions - before.driver.completions,
                queue_overflows: driver.queue_overflows - before.driver.queue_overflows,
                buffers_starved: driver.buffers_starved - before.driver.buffers_starved,
            },
        }
    }
}

impl Used {
    fn share_of(&self, time: Duration) -> f64 {
        per(time.as_secs_f64(), self.wall.as_secs_f64()).min(1.0)
    }
}

fn seconds(from: Instant, to: Instant) -> f64 {
    (to - from).as_secs_f64()
}
