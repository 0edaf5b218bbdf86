//! One count or level, as shards and workers show it.

/// A figure by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// The field's name.
    pub name: &'static str,
    /// Only ever grows, or goes up and down.
    pub total: bool,
    /// What it counts.
    pub help: &'static str,
    /// The value now.
    pub value: u64,
}
