//! The public JSON corpus: nothing invalid is taken for JSON, nothing valid is refused as such.

use protocol::command::Parser;
use std::path::Path;

#[test]
fn the_corpus_is_judged_as_its_names_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/json-corpus");
    assert!(folder.join("done").exists(), "the corpus is not there: run scripts/tools");
    let mut parser = Parser::new();
    let (mut cases, mut wrong) = (0, vec![]);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".json") {
            continue;
        }
        cases += 1;
        let refusal = parser.parse(&mut std::fs::read(&path).unwrap()).err();
        let not_json = refusal.as_ref().is_some_and(|refusal| refusal.not_json);
        let too_deep = refusal.as_ref().is_some_and(|refusal| refusal.message.starts_with("nesting"));
        match &name[..2] {
            "y_" if not_json => wrong.push(name),
            "n_" if !not_json && !too_deep => wrong.push(name),
            _ => {}
        }
    }
    assert_eq!((cases, wrong), (318, vec![]));
}
