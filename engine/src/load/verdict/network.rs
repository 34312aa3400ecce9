//! What lay between client and server, as far as the client's end of the connections shows it. Pure.
//!
//! A server on the same machine has no network before it, whatever its sockets say: over loopback a round trip is the wait for a core.

use super::super::binomial::Binomial;
use super::super::report::{Report, SocketsReport};
use super::evidence::percent;
use super::share;

/// The share of segments sent again from which on TCP's speed is set by losses rather than by its ends (Mathis and others 1997: at 1 % the window is about ten segments).
const RETRANSMITTED_MAX: f64 = 0.01;
/// The share of segments received out of order from which on so many are lost on their way to us: of a body of some dozens, one that is lost puts about ten behind
/// it out of order.
const OUT_OF_ORDER_MAX: f64 = 0.05;
/// Fewer of either prove nothing, whatever their share: losses come in bursts.
const SEGMENTS_LOST_MIN: u64 = 10;
/// The share of connections that are gone from which on they come and go: fewer are no more than some exceptions.
const COME_AND_GO_MIN: f64 = 0.1;
/// Requests a connection below which, where connections come and go, those looked at are not like the others: who waits for a lost segment is there to be seen for longer.
const REQUESTS_A_CONNECTION_MIN: u64 = 10;
/// Shorter ways there and back are of no account, or those of a server so near that its cores' wake-ups are part of them.
const ROUND_TRIP_US_MIN: f64 = 1_000.0;
/// The share of a request's time from which on something is most of it.
const MOST: f64 = 0.5;

/// What the network was in the way by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Segments from the client were lost.
    Sent,
    /// Segments from the server were lost.
    Received,
    /// The way there and back is most of a request's time.
    Distance,
}

impl Obstacle {
    /// The first that there is.
    pub(super) fn of(report: &Report) -> Option<Self> {
        Self::of_losses(report).or_else(|| is_far(report).then_some(Self::Distance))
    }

    /// Losses only.
    pub(super) fn of_losses(report: &Report) -> Option<Self> {
        let sockets = remote(report)?;
        let kept = report.cores.iter().map(|core| u64::from(core.connections)).sum::<u64>();
        // Of a few that were made anew, all the others were there to be looked at.
        let gone = report.connections_opened.saturating_sub(kept);
        let come_and_go = share(gone, report.connections_opened) > COME_AND_GO_MIN;
        if come_and_go && report.connections_opened * REQUESTS_A_CONNECTION_MIN > report.sent {
            return None;
        }
        let again = [sockets.segments_retransmitted, sockets.segments_sent];
        let unordered = [sockets.segments_out_of_order, sockets.segments_received];
        match () {
            () if surely_exceeds(again, RETRANSMITTED_MAX) => Some(Self::Sent),
            () if surely_exceeds(unordered, OUT_OF_ORDER_MAX) => Some(Self::Received),
            () => None,
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Sent => "The network was the limit: it lost segments on their way to the server.",
            Self::Received => {
                "The network was the limit: segments came out of order, as they do where others are lost on their way to the client."
            }
            Self::Distance => {
                "The network was the limit: the way there and back took most of a request's time. More connections may get more out of the server."
            }
        }
    }
}

/// The sockets of servers that are not on this machine.
fn remote(report: &Report) -> Option<SocketsReport> {
    report.sockets.filter(|sockets| sockets.server_queue_bytes.is_none())
}

/// Whether `part` of `whole` shows a share above `most`: the lower end of its 95 % interval does (Clopper & Pearson 1934).
fn surely_exceeds([part, whole]: [u64; 2], most: f64) -> bool {
    let least = Binomial { trials: whole, share: most }.high();
    part >= SEGMENTS_LOST_MIN && least.is_some_and(|least| part >= least)
}

fn is_far(report: &Report) -> bool {
    let time = report.service_time_us.p50;
    remote(report).is_some_and(|sockets| {
        time > 0.0 && sockets.min_rtt_us >= ROUND_TRIP_US_MIN.max(time * MOST)
    })
}

/// Whether most of a request's time is its body's way from a server that is not on this machine: by what is not seen from here.
pub(super) fn may_slow_bodies(report: &Report) -> bool {
    remote(report).is_some() && body_share(report) > MOST
}

/// The part of the median service time that comes after the first byte, 0 to 1, of what was answered: what was cut off may have had no first byte.
fn body_share(report: &Report) -> f64 {
    let answered = report.histograms.service_time.get("2xx");
    let all = match answered {
        Some(times) => times.quantile_us(0.5),
        None if report.cancelled == 0 => report.service_time_us.p50,
        None => 0.0,
    };
    let first = report.first_byte_us.p50;
    if all > 0.0 && first > 0.0 { (1.0 - first / all).max(0.0) } else { 0.0 }
}

/// What sockets and bodies showed.
pub(super) fn evidence(report: &Report) -> Vec<String> {
    let body = body_share(report);
    let bodies = (body > MOST).then(|| {
        format!("bodies: {} of the median service time came after the first byte", percent(body))
    });
    bodies.into_iter().chain(report.sockets.iter().flat_map(socket_evidence)).collect()
}

fn socket_evidence(sockets: &SocketsReport) -> Vec<String> {
    let lost = (sockets.segments_sent > 0).then(|| segments(sockets));
    let queues = format!(
        "queues of a connection: {} unread by the client, {:.0} unacknowledged by the server",
        whole_bytes(sockets.receive_queue_bytes),
        sockets.send_queue_bytes
    );
    let unread = sockets.server_queue_bytes.map(|bytes| {
        format!("server's queue of a connection: {} unread by the server", whole_bytes(bytes))
    });
    [lost, Some(queues), unread].into_iter().flatten().collect()
}

/// `1 byte`, `512 bytes`.
fn whole_bytes(bytes: f64) -> String {
    match format!("{bytes:.0}") {
        one if one == "1" => "1 byte".to_owned(),
        many => format!("{many} bytes"),
    }
}

fn segments(sockets: &SocketsReport) -> String {
    let SocketsReport { segments_sent, segments_received, rtt_us, min_rtt_us, .. } = *sockets;
    let again = percent(share(sockets.segments_retransmitted, segments_sent));
    let unordered = match segments_received {
        0 => String::new(),
        received => {
            let unordered = percent(share(sockets.segments_out_of_order, received));
            format!(", {unordered} of {received} received out of order")
        }
    };
    let least = match min_rtt_us {
        0.0 => String::new(),
        least => format!(", at least {least:.0} us"),
    };
    format!(
        "network: {again} of {segments_sent} segments sent again{unordered}, median round trip {rtt_us:.0} us{least}"
    )
}
