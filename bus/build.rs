//! Builds what stands in for a function of librdkafka.

mod link;

fn main() {
    let source = "src/kafka/metadata_update.c";
    println!("cargo::rerun-if-changed={source}");
    cc::Build::new()
        .file(source)
        // Also where nothing of it has been asked for yet.
        .link_lib_modifier("+whole-archive")
        .warnings_into_errors(true)
        .compile("ringway_metadata_update");
    link::main();
}
