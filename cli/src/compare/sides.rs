//! What is set against what: two drivers on one host, two hosts with one driver, or two URLs with one of each.

use std::fmt;

use ringshot::driver::{DriverChoice, DriverKind, probe};
use ringshot::host::Host;
use ringshot::load::Plan;

use crate::args::CompareArgs;
use crate::exit::Failure;
use crate::plan;
use crate::warnings::Warning;

/// One contestant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) driver: DriverKind,
    pub(super) host: Host,
}

/// The two contestants, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sides(pub(super) [Side; 2]);

impl Sides {
    /// What was asked for, before it is known whether it can run here: with epoll where one driver is yet to be chosen for both.
    pub(super) fn of(args: &CompareArgs) -> Result<Self, Failure> {
        use DriverKind::{Epoll, IoUring};
        match args.hosts[..] {
            [host] if args.urls.len() == 2 => Ok(Self([Side { driver: Epoll, host }; 2])),
            [_] if args.driver != DriverChoice::Auto => Err(Failure::unusable(
                "--driver is for two URLs or two --hosts: without them io_uring and epoll are compared",
            )),
            [host] => Ok(Self([IoUring, Epoll].map(|driver| Side { driver, host }))),
            [of, to] if of != to && args.urls.len() < 2 => {
                Ok(Self([of, to].map(|host| Side { driver: Epoll, host })))
            }
            [_, _] if args.urls.len() == 2 => {
                Err(Failure::unusable("--hosts takes one host where two URLs are compared"))
            }
            _ => Err(Failure::unusable("--hosts takes one host, or two that differ")),
        }
    }

    /// The same, if it can run here with so many connections a core.
    pub(super) fn choose(
        self,
        args: &CompareArgs,
        shards: &[u32],
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, Failure> {
        for side in &self.0 {
            side.host.check().map_err(Failure::unusable)?;
        }
        if self.0[0].driver != self.0[1].driver {
            return require_io_uring(shards).map(|()| self);
        }
        let driver = plan::choose_driver(args.driver, shards, warnings)?;
        Ok(Self(self.0.map(|side| Side { driver, ..side })))
    }

    /// The same loads, each on its side.
    pub(super) fn of_plans(self, plans: [Plan; 2]) -> [Plan; 2] {
        let [first, second] = plans;
        let on = |Side { driver, host }, plan| Plan { driver, host, ..plan };
        [on(self.0[0], first), on(self.0[1], second)]
    }

    /// What each is called: by that in which they differ.
    pub(super) fn names(self) -> [String; 2] {
        let [of, to] = self.0;
        if of == to {
            return ["A", "B"].map(str::to_owned);
        }
        let differ_in_host = of.host != to.host;
        self.0.map(
            |Side { driver, host }| {
                if differ_in_host { host.to_string() } else { driver.to_string() }
            },
        )
    }
}

/// ABBA: even rounds in the order of the report, odd ones the other way round.
pub(super) fn order(round: u32) -> [usize; 2] {
    if round.is_multiple_of(2) { [0, 1] } else { [1, 0] }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on the {} host", self.driver, self.host)
    }
}

fn require_io_uring(shards: &[u32]) -> Result<(), Failure> {
    let choice = probe::choose(DriverChoice::IoUring, shards);
    choice.map(|_| ()).map_err(|blocked| {
        Failure::unusable(format_args!("nothing to compare without io_uring: {blocked}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_alternates_and_names_tell_the_difference() {
        use DriverKind::{Epoll, IoUring};
        let side = |driver, host| Side { driver, host };
        let (uring, epoll) = (side(IoUring, Host::Thread), side(Epoll, Host::Thread));
        let drivers = Sides([uring, epoll]);
        assert_eq!([0, 1, 2].map(order), [[0, 1], [1, 0], [0, 1]]);
        assert_eq!(Sides([uring, uring]).names(), ["A", "B"]);
        assert_eq!(drivers.names(), ["io_uring", "epoll"]);
        let glommio = "glommio".parse().unwrap();
        let hosts = Sides([uring, side(IoUring, glommio)]);
        assert_eq!(hosts.names(), ["thread", "glommio"]);
        assert_eq!(hosts.0[1].to_string(), "io_uring on the glommio host");
    }
}
