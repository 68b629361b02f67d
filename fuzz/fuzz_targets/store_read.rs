//! Any bytes, as the journal of a process that died. Nothing panics, and what is taken for sessions can be
//! said again and is then the same. Not a shard that begins with it: the simulation crashes those.

#![no_main]

use libfuzzer_sys::fuzz_target;
use strait::shard::keys::Keys;
use strait::store::image::Image;
use strait::store::journal::Entry;

fn image() -> Image {
    Image::new(Keys::from_seed([1, 2, 3, 4, 5, 6]).shared_hasher(), 0)
}

fuzz_target!(|input: &[u8]| {
    let mut read = image();
    let _ = read.read(input);
    // As one session's changes, however the entry around them is broken.
    let mut bytes = Vec::new();
    Entry::Begins { client_id: b"c" }.write(&mut bytes);
    Entry::Changes { client_id: b"c", changes: input }.write(&mut bytes);
    let _ = read.read(&bytes);
    for retained in read.retained() {
        let mut bytes = Vec::new();
        Entry::Retained(retained).write(&mut bytes);
        assert!(Entry::read(&bytes) == Ok(Some((Entry::Retained(retained), bytes.len()))));
    }
    for (client_id, stored) in read.take_sessions() {
        let whole = comes_back(&client_id, &said(&stored));
        assert!(whole == said(&stored), "{}", whole.escape_ascii());
    }
});

fn said(stored: &strait::store::image::Stored) -> Vec<u8> {
    let mut changes = Vec::new();
    stored.write(&mut changes);
    changes
}

fn comes_back(client_id: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Entry::Begins { client_id }.write(&mut bytes);
    Entry::Changes { client_id, changes }.write(&mut bytes);
    let mut image = image();
    assert!(image.read(&bytes) == Ok(bytes.len()), "{}", changes.escape_ascii());
    image.session(client_id).map(said).unwrap_or_default()
}
