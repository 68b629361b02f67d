//! What tests hold tables and house rules against: everything that may hold a test or a name.

use std::fs;
use std::path::{Path, PathBuf};

/// The files of some folders of the repository that end in one of `extensions`, with their text.
pub fn files(folders: &[&str], extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting: Vec<_> = folders.iter().map(|it| root.join(it)).collect();
    let mut found = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|it| extensions.iter().any(|known| it == *known)) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}
