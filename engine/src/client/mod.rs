//! The public library: what an application uses from any runtime.

pub mod cpu;
pub mod queue;
