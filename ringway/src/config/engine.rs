//! `[engine]`: shards and where they run.

use super::kind::{List, Number};
use super::reader::Reader;

/// Shards at most: the partition of a downstream topic is a u16, and no machine has more cores.
const SHARDS_MAX: u16 = 1_024;
/// The highest number of a core that an affinity mask can name.
const CORE_MAX: usize = 1_023;

/// Shards and where they run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Engine {
    pub(crate) shards: u16,
    pub(crate) cores: Vec<usize>,
}

impl Engine {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let one_per_core = engine::executor::cores_available().min(SHARDS_MAX.into()) as u16;
        let shards = Number(1..=SHARDS_MAX);
        let cores = List(Number(0..=CORE_MAX), SHARDS_MAX.into());
        Self {
            shards: reader.key_said("engine.shards", shards, one_per_core, "one per core"),
            cores: reader.key_said("engine.cores", cores, Vec::new(), "not pinned"),
        }
    }
}
