//! The CPU quota of this process's control group, and how long it kept the group from running (cgroups(7)). Reads files, changes nothing.
//!
//! A quota holds for all groups below, and each group tells only of its own: so all are read, from the process's own up to the root that is visible.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where control groups are mounted, or their hierarchies.
const ROOT: &str = "/sys/fs/cgroup";

/// The groups that a process is in, as far as their CPU time goes. Those that can't be seen are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cgroups {
    groups: Vec<(Version, PathBuf)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Cgroups {
    /// This process's.
    #[must_use]
    pub fn of_process() -> Self {
        let memberships = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::of(&memberships, Path::new(ROOT))
    }

    /// Of lines `hierarchy:controllers:path`; in version 2 the hierarchy is 0, and no controllers are named.
    fn of(memberships: &str, root: &Path) -> Self {
        let mut groups = Vec::new();
        for line in memberships.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let has_cpu = controllers.split(',').any(|controller| controller == "cpu");
            let (version, mounts) = match (controllers, has_cpu) {
                ("", _) => (Version::Two, vec![root.to_owned(), root.join("unified")]),
                (_, true) => (Version::One, vec![root.join(controllers), root.join("cpu")]),
                _ => continue,
            };
            let mount = mounts.into_iter().find(|mount| is_mount(version, mount));
            groups.extend(mount.iter().flat_map(|mount| up(mount, path)).map(|it| (version, it)));
        }
        Self { groups }
    }

    /// The cores' worth of CPU time that the tightest quota allows, or `None` without one.
    #[must_use]
    pub fn quota(&self) -> Option<f64> {
        let quotas = self.groups.iter().filter_map(|(version, group)| match version {
            Version::Two => quota_of(&read(group, "cpu.max")?),
            Version::One => {
                let [quota, period] = ["cpu.cfs_quota_us", "cpu.cfs_period_us"];
                let text = [read(group, quota)?, read(group, period)?].join(" ");
                quota_of(&text)
            }
        });
        quotas.reduce(f64::min)
    }

    /// How long quotas kept threads of these groups from running so far, summed over cores; zero where the kernel does not say.
    #[must_use]
    pub fn throttled(&self) -> Duration {
        let times = self.groups.iter().filter_map(|(version, group)| {
            let text = read(group, "cpu.stat")?;
            match version {
                Version::Two => figure(&text, "throttled_usec").map(Duration::from_micros),
                Version::One => figure(&text, "throttled_time").map(Duration::from_nanos),
            }
        });
        times.sum()
    }
}

/// Version 2 may be mounted beside the hierarchies of version 1.
fn is_mount(version: Version, mount: &Path) -> bool {
    match version {
        Version::Two => mount.join("cgroup.controllers").exists(),
        Version::One => mount.join("cpu.shares").exists() || mount.join("cpu.stat").exists(),
    }
}

/// The group at `path` and those above it. In a container the path may be the host's, and what is mounted the container's own: then only that is there.
fn up(mount: &Path, path: &str) -> Vec<PathBuf> {
    let own = mount.join(path.trim_start_matches('/'));
    let groups = own.ancestors().take_while(|group| group.starts_with(mount));
    groups.filter(|group| group.is_dir()).map(Path::to_owned).collect()
}

fn read(group: &Path, file: &str) -> Option<String> {
    fs::read_to_string(group.join(file)).ok()
}

/// Cores out of `quota period`, both in the same unit; without a quota the first is `max` or -1.
fn quota_of(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota: f64 = words.next()?.parse().ok()?;
    let period: f64 = words.next()?.parse().ok()?;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// The figure of a line `name figure`.
fn figure(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_read_as_cores() {
        let check = |text: &str, expected: Option<f64>| assert_eq!(quota_of(text), expected);
        check("20000 100000\n", Some(0.2));
        check("150000 100000", Some(1.5));
        check("max 100000\n", None);
        check("-1\n 100000\n", None);
        check("", None);
        check("20000", None);
        check("20000 0", None);
    }

    #[test]
    fn figures_are_found_by_their_whole_name() {
        let text = "nr_periods 10\nnr_throttled 3\nthrottled_usec 4500\n";
        assert_eq!(figure(text, "throttled_usec"), Some(4500));
        assert_eq!(figure(text, "throttled"), None);
        assert_eq!(figure("throttled_usec x", "throttled_usec"), None);
    }

    /// What is read where `files` are all that is mounted.
    fn check(memberships: &str, files: &[(&str, &str)], quota: Option<f64>, throttled: Duration) {
        let name = format!("ringshot-cgroups-{}", std::process::id());
        let root = std::env::temp_dir().join(name);
        for (file, text) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let groups = Cgroups::of(memberships, &root);
        let found = (groups.quota(), groups.throttled());
        let _ = fs::remove_dir_all(&root);
        assert_eq!(found, (quota, throttled), "{memberships:?} {files:?}");
    }

    #[test]
    fn every_group_up_to_the_root_counts() {
        let none = Duration::ZERO;
        check("", &[], None, none);
        check("0::/a/b\n", &[], None, none);
        let (root, stat) = (("cgroup.controllers", "cpu"), "throttled_usec 7\n");
        check("0::/a/b\n", &[root, ("a/b/cpu.max", "max 100000")], None, none);
        let both = [
            root,
            ("a/b/cpu.max", "300000 100000"),
            ("a/b/cpu.stat", stat),
            ("a/cpu.max", "50000 100000"),
            ("a/cpu.stat", stat),
        ];
        check("0::/a/b\n", &both, Some(0.5), Duration::from_micros(14));
        // The path is the host's; the group is the root here.
        let inside = [root, ("cpu.max", "10000 100000"), ("cpu.stat", stat)];
        check("0::/docker/1\n", &inside, Some(0.1), Duration::from_micros(7));
        let beside = [("unified/cgroup.controllers", ""), ("unified/a/cpu.max", "1 2")];
        check("0::/a\n", &beside, Some(0.5), none);
    }

    #[test]
    fn version_1_is_read_too() {
        let files = [
            ("cpu,cpuacct/cpu.shares", "1024"),
            ("cpu,cpuacct/a/cpu.cfs_quota_us", "20000\n"),
            ("cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"),
            ("cpu,cpuacct/a/cpu.stat", "nr_throttled 3\nthrottled_time 4000\n"),
        ];
        let memberships = "9:cpuset:/x\n4:cpu,cpuacct:/a\n0::/\n";
        check(memberships, &files, Some(0.2), Duration::from_micros(4));
        let files = [
            ("cpu/cpu.shares", "1024"),
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
        ];
        check("1:cpu:/\n", &files, None, Duration::ZERO);
    }
}
