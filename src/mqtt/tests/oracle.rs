//! The codec against an independent one, on packets of every kind and on damaged ones: the same bytes are
//! accepted or refused by both, and what both accept has the same fields.

use proptest::prelude::*;

use super::other_codec;
use crate::mqtt::encode;
use crate::mqtt::packet::Version;
use crate::mqtt::tests::frame;
use crate::mqtt::tests::generate::{Ingredients, Kitchen, ingredients, kinds_and_versions};

fn compare(bytes: &[u8], version: Version) -> Result<(), TestCaseError> {
    other_codec::compare(bytes, version).map_err(TestCaseError::fail)
}

/// A change to a body: somewhere, something.
#[derive(Clone, Debug)]
enum Edit {
    Set(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Cut(usize),
}

impl Edit {
    fn apply(&self, body: &mut Vec<u8>) {
        let n = body.len();
        match *self {
            Edit::Set(at, byte) if n > 0 => body[at % n] = byte,
            Edit::Insert(at, byte) => body.insert(at % (n + 1), byte),
            Edit::Remove(at) if n > 0 => drop(body.remove(at % n)),
            Edit::Cut(at) => body.truncate(at % (n + 1)),
            Edit::Set(..) | Edit::Remove(_) => {}
        }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    // Small bytes are lengths, identifiers and flags; they do more than the others.
    let byte = || prop_oneof![0..0x30u8, any::<u8>()];
    let at = || prop_oneof![0..24usize, any::<usize>()];
    prop_oneof![
        4 => (at(), byte()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        1 => (at(), byte()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        1 => at().prop_map(Edit::Remove),
        1 => at().prop_map(Edit::Cut),
    ]
}

fn compare_edited(it: &Ingredients, edits: &[Edit]) -> Result<(), TestCaseError> {
    for (kind, version) in kinds_and_versions().filter(|it| it.1 != Version::V3_1) {
        let kitchen = Kitchen::new(it, kind, version);
        let mut bytes = Vec::new();
        encode::packet(&mut bytes, version, &kitchen.packet()).unwrap();
        let n_header = 2 + bytes[1..].iter().take_while(|&&byte| byte & 0x80 != 0).count();
        let mut body = bytes.split_off(n_header);
        for edit in edits {
            edit.apply(&mut body);
        }
        compare(&frame(bytes[0], &body), version)?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn legal_packets_are_the_same_to_both_codecs(it in ingredients()) {
        compare_edited(&it, &[])?;
    }

    #[test]
    fn damaged_packets_are_the_same_to_both_codecs(
        it in ingredients(),
        edits in proptest::collection::vec(edit(), 1..4),
    ) {
        compare_edited(&it, &edits)?;
    }
}
