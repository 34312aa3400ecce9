//! What this kernel allows (stub until the probe branch lands).
use super::{DriverChoice, DriverKind, uring::Tier};
use serde::Serialize;
/// x
#[derive(Debug, Serialize)]
pub struct Probe {
    /// x
    pub kernel: String,
    /// x
    pub tier: Option<Tier>,
    /// x
    pub blocked: Option<Blocked>,
    /// x
    pub features: Vec<Feature>,
}
/// x
#[derive(Debug, Serialize)]
pub struct Feature {
    /// x
    pub name: &'static str,
    /// x
    pub since: &'static str,
    /// x
    pub available: bool,
    /// x
    pub reason: String,
    /// x
    pub used_for: &'static str,
}
/// x
#[derive(Debug, Serialize)]
pub enum Blocked {
    /// x
    Other,
}
impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("blocked")
    }
}
impl std::error::Error for Blocked {}
/// x
#[derive(Debug)]
pub struct Choice {
    /// x
    pub kind: DriverKind,
    /// x
    pub notice: Option<String>,
}
/// x
#[must_use]
pub fn probe() -> Probe {
    Probe { kernel: String::new(), tier: Some(Tier::MinWait), blocked: None, features: vec![] }
}
/// x
/// # Errors
/// x
pub fn choose(choice: DriverChoice) -> Result<Choice, Blocked> {
    Ok(Choice {
        kind: if choice == DriverChoice::Epoll { DriverKind::Epoll } else { DriverKind::IoUring },
        notice: None,
    })
}
