//! What the tables of tests are held against: everything that may hold a test or a name.

use std::fs;
use std::path::Path;

/// The Rust and the Python in some folders of the repository.
pub fn text_of(folders: &[&str]) -> String {
    let mut waiting: Vec<_> =
        folders.iter().map(|it| Path::new(env!("CARGO_MANIFEST_DIR")).join(it)).collect();
    let mut text = String::new();
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "py") {
                text += &fs::read_to_string(&path).unwrap();
            }
        }
    }
    text
}
