//! What a machine should be like for Ringway, and how to tell.
//!
//! A check reads what it needs from [`Machine`], whose root is a parameter, and leaves the judging
//! to a function of plain values. What only a real io_uring can tell comes in as [`RingFacts`].
//!
//! ```
//! use tuning::{Demand, Machine, RingFacts, Status, examine, worst};
//!
//! let checks = examine(&Machine::at("/"), &Demand::example(), &RingFacts::untried());
//! assert!(checks.iter().any(|check| check.name == "kernel"));
//! assert!(worst(&checks) >= Status::Ok);
//! ```

mod cgroup;
mod checks;
mod cpu;
mod demand;
mod finding;
mod limits;
mod machine;
mod memory;
mod network;
mod report;
mod ring;

pub use checks::{CHECKS, Check, Spec, examine, worst};
pub use demand::Demand;
pub use finding::{Finding, Status};
pub use machine::{Machine, cpu_list};
pub use report::{Style, json, text};
pub use ring::{Refusal, RingFacts};
