//! Build script of each package whose binaries or tests hold librdkafka: see
//! `src/kafka/metadata_update.c` for what is wrapped and why.

/// Called by the build script of `bus` itself, too.
pub(crate) fn main() {
    println!("cargo::rustc-link-arg=-Wl,--wrap=rd_kafka_metadata_update_op");
    println!("cargo::rerun-if-changed=../bus/link.rs");
}
