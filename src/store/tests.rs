//! Entries come back as they were written, and nothing else does.

use super::image::Image;
use super::journal::{Entry, Journal, Retained};
use crate::message::{ProtocolKind, Quality};
use crate::mqtt::change::{Change, Corrupt};
use crate::mqtt::packet::{Qos, SubscribeOptions};
use crate::mqtt::session::Expiry;
use crate::time::Time;
use ahash::RandomState;
use proptest::prelude::*;
use std::sync::Arc;

fn image() -> Image {
    Image::new(Arc::new(RandomState::with_seeds(1, 2, 3, 4)), 0)
}

fn retained(version: u64, payload: &[u8]) -> Entry<'_> {
    Entry::Retained(Retained {
        version,
        source: 7,
        protocol: ProtocolKind::Nats,
        quality: Quality::ExactlyOnce,
        expires_at: Time::from_nanos(9),
        subject: b"a.b",
        properties: b"",
        header: b"NATS/1.0\r\n\r\n",
        payload,
    })
}

fn written(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    entries.iter().for_each(|entry| entry.write(&mut bytes));
    bytes
}

fn changes(changes: &[Change<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    changes.iter().for_each(|change| change.write(&mut bytes));
    bytes
}

#[test]
fn entries_come_back_and_one_that_is_cut_off_is_left() {
    let entries = [
        Entry::Begins { client_id: b"c" },
        Entry::Changes { client_id: b"c", changes: b"xyz" },
        Entry::Ends { client_id: b"" },
        retained(3, b"x"),
        Entry::Cleared { version: 4, subject: b"a" },
    ];
    let bytes = written(&entries);
    let mut rest = &bytes[..];
    for entry in entries {
        let (read, len) = Entry::read(rest).unwrap().unwrap();
        assert_eq!(read, entry);
        assert!((0..len).all(|n| Entry::read(&rest[..n]) == Ok(None)));
        rest = &rest[len..];
    }
    assert_eq!(Entry::read(rest), Ok(None));
}

#[test]
fn of_one_retained_message_the_last_version_counts_whichever_journal_has_it() {
    let (mut one, mut other) = (image(), image());
    let journals =
        [written(&[retained(1, b"1"), retained(4, b"4")]), written(&[retained(2, b"2"), retained(3, b"3")])];
    journals.iter().for_each(|journal| assert_eq!(one.read(journal), Ok(journal.len())));
    journals.iter().rev().for_each(|journal| assert_eq!(other.read(journal), Ok(journal.len())));
    for image in [&mut one, &mut other] {
        assert_eq!(image.retained().map(|it| it.payload.to_vec()).collect::<Vec<_>>(), [b"4"]);
        image.read(&written(&[Entry::Cleared { version: 5, subject: b"a.b" }])).unwrap();
        assert_eq!((image.retained().count(), image.version()), (0, 5));
    }
}

#[test]
fn times_are_of_the_process_that_reads_them() {
    let mut image = Image::new(Arc::new(RandomState::with_seeds(1, 2, 3, 4)), -100);
    let (ends_at, will_due) = (Time::from_nanos(300), Time::NEVER);
    let left = changes(&[Change::Left { ends_at, will_due }]);
    image
        .read(&written(&[
            Entry::Begins { client_id: b"c" },
            Entry::Changes { client_id: b"c", changes: &left },
            retained(1, b"x"),
        ]))
        .unwrap();
    let stored = image.session(b"c").unwrap();
    assert!(stored.is_left);
    assert_eq!((stored.session.ends_at, stored.session.will_due), (Time::from_nanos(200), Time::NEVER));
    // It was over before this process began.
    assert_eq!(image.retained().map(|it| it.expires_at).collect::<Vec<_>>(), [Time::START]);
}

#[test]
fn what_could_not_have_been_written_is_corrupt() {
    let mut image = image();
    let apply = |image: &mut Image, of: &[Change<'_>]| {
        let changes = changes(of);
        image.read(&written(&[Entry::Changes { client_id: b"c", changes: &changes }]))
    };
    let expires = Change::Expires(Expiry::Never);
    assert_eq!(apply(&mut image, &[expires]), Err(Corrupt));
    assert_eq!(image.read(&written(&[Entry::Ends { client_id: b"c" }])), Err(Corrupt));
    image.read(&written(&[Entry::Begins { client_id: b"c" }])).unwrap();
    let options = SubscribeOptions { qos: Qos::AtLeastOnce, ..SubscribeOptions::default() };
    let subscribed =
        |filter: &'static str| Change::Subscribed { filter: filter.as_bytes(), options, identifier: 5 };
    assert!(apply(&mut image, &[subscribed("a/+")]).is_ok());
    assert_eq!(apply(&mut image, &[subscribed("a/#/b")]), Err(Corrupt));
    for wrong in [
        Change::Unsubscribed { filter: b"b" },
        Change::Replay { filter: b"b", is_due: true },
        Change::Leaves,
        Change::Dropped(1),
        Change::Finished(1),
        Change::Released(1),
        Change::Completed(1),
        Change::Received(0),
    ] {
        assert_eq!(apply(&mut image, std::slice::from_ref(&wrong)), Err(Corrupt), "{wrong:?}");
    }
}

#[test]
fn a_journal_says_where_it_is_and_what_is_kept() {
    let mut journal = Journal::default();
    assert!(journal.is_kept() && !journal.is_on());
    journal.write(&Entry::Begins { client_id: b"c" });
    let (end, mut taken) = (journal.n_written(), Vec::new());
    journal.take(&mut taken);
    assert_eq!(taken.len() as u64, end);
    assert!(!journal.is_kept());
    journal.note_kept(end);
    assert!(journal.is_kept());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
        kind in 1u8..6,
        len in 0u8..200,
    ) {
        let _ = image().read(&bytes);
        // And some that are near enough to an entry.
        let head = [&[kind, 0, 0, 0, len], &bytes[..]].concat();
        let _ = image().read(&head);
        bytes.truncate(usize::from(len));
        let begins = [Entry::Begins { client_id: b"c" }, Entry::Changes { client_id: b"c", changes: &bytes }];
        let mut image = image();
        let _ = image.read(&written(&begins));
        let mut whole = Vec::new();
        image.session(b"c").into_iter().for_each(|stored| stored.write(&mut whole));
    }
}
