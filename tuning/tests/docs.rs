//! The pages say what the code says: checks in `docs/tuning.md`, items in `docs/lexicon.md`.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).expect("the page is there")
}

#[test]
fn the_tuning_page_has_the_doctors_checks_in_their_order() {
    let page = page("tuning.md");
    let told: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let checks: Vec<_> = tuning::CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(told, checks);
}

#[test]
fn every_item_of_the_lexicon_is_in_the_sources() {
    let page = page("lexicon.md");
    let rows = page.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut items = 0;
    for row in rows {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().expect("a column");
        for item in last.split('`').skip(1).step_by(2) {
            items += 1;
            let there = if item.contains("::") { defines(item) } else { root().join(item).is_file() };
            assert!(there, "{item} is not in the sources (row: {row})");
        }
    }
    assert!(items > 50, "the table was read: {items} items");
}

/// Whether `crate::module::Type::member` is defined in a file of that crate and module.
fn defines(item: &str) -> bool {
    let segments: Vec<_> = item.split("::").collect();
    let (name, path) = segments.split_last().expect("a name");
    let is_type = |segment: &str| segment.starts_with(|c: char| c.is_ascii_uppercase());
    let owner = path.last().copied().filter(|segment| is_type(segment));
    let modules = &path[..path.len() - usize::from(owner.is_some())];
    let base = modules.iter().skip(1).fold(root().join(modules[0]).join("src"), |dir, name| dir.join(name));
    let mut files = Vec::new();
    collect(&base, &mut files);
    files.extend(Some(base.with_extension("rs")).filter(|file| file.is_file()));
    let module = base.join(format!("{name}.rs")).is_file() || base.join(name).join("mod.rs").is_file();
    module
        || files.iter().any(|file| {
            let text = fs::read_to_string(file).expect("a source");
            let owned = owner.is_none_or(|owner| has_item(&text, owner));
            owned && (has_item(&text, name) || owner.is_some() && has_member(&text, name))
        })
}

fn has_item(text: &str, name: &str) -> bool {
    ["struct", "enum", "trait", "fn", "const", "type", "impl"]
        .iter()
        .any(|keyword| has_words(text, &format!("{keyword} {name}")))
}

/// A field or a variant.
fn has_member(text: &str, name: &str) -> bool {
    text.lines()
        .map(|line| line.trim_start().trim_start_matches("pub "))
        .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([':', '(', ',', ' '])))
}

/// Whether `words` occur and do not go on as a longer name.
fn has_words(text: &str, words: &str) -> bool {
    text.match_indices(words).any(|(at, _)| {
        let goes_on = |c: char| c.is_alphanumeric() || c == '_';
        !text[at + words.len()..].starts_with(goes_on) && !text[..at].ends_with(goes_on)
    })
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
