//! What a client may write, and what ends its connection. Everything the acceptance recordings show on
//! the wire is checked there; here are the shapes that a recording can't split.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use proptest::prelude::*;

const LIMITS: Limits =
    Limits { control_line_bytes_max: 64, payload_bytes_max: 100, header_bytes_max: usize::MAX };

fn op(input: &[u8]) -> (Op<'_>, usize) {
    match parse(input, true, &LIMITS).unwrap() {
        Parsed::Op(op, taken) => (op, taken),
        Parsed::Incomplete { need } => panic!("incomplete, needs {need}"),
    }
}

fn error(input: &[u8]) -> Malformed {
    parse(input, true, &LIMITS).unwrap_err()
}

#[test]
fn a_publish_has_its_parts() {
    let (op, taken) = op(b"PUB a.b 5\r\nhello\r\nPING\r\n");
    let Op::Publish(publish) = op else { panic!("{op:?}") };
    assert_eq!((publish.subject, publish.reply, publish.payload), (&b"a.b"[..], &b""[..], &b"hello"[..]));
    assert_eq!(taken, 18);
}

#[test]
fn headers_and_payload_are_told_apart() {
    let (op, _) = op(b"hpub\ta r  018 20\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
    let Op::Publish(publish) = op else { panic!("{op:?}") };
    assert_eq!((publish.reply, publish.header.len(), publish.payload), (&b"r"[..], 18, &b"hi"[..]));
    assert_eq!(publish.digits, Digits { header: 3, total: 2 });
}

#[test]
fn every_split_of_an_op_is_incomplete_and_asks_for_more() {
    let whole = b"HPUB a r 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n";
    for len in 0..whole.len() {
        match parse(&whole[..len], true, &LIMITS).unwrap() {
            Parsed::Incomplete { need } => assert!(need > len && need <= whole.len(), "{len}: {need}"),
            Parsed::Op(op, _) => panic!("{len}: {op:?}"),
        }
    }
}

#[test]
fn foreign_protocols_are_told_at_their_first_wrong_byte() {
    assert_eq!(error(b"G"), Malformed::UnknownOperation);
    assert_eq!(error(b"\x10"), Malformed::UnknownOperation);
    assert_eq!(error(b"PUBX"), Malformed::UnknownOperation);
    assert_eq!(error(b"\r\n"), Malformed::UnknownOperation);
    assert_eq!(error(b" PING\r\n"), Malformed::UnknownOperation);
}

#[test]
fn a_line_over_its_limit_is_refused_before_it_ends() {
    let line = [b"SUB ".as_slice(), &[b's'; 66]].concat();
    assert_eq!(error(&line), Malformed::ControlLineTooLong);
    assert_eq!(error(&[b"PING ".as_slice(), &[b'x'; 66]].concat()), Malformed::ControlLineTooLong);
    assert_eq!(error(&[b"SUB ".as_slice(), &[b' '; 64]].concat()), Malformed::ControlLineTooLong);
    let exact = [b"SUB ".as_slice(), &[b's'; 62], b" 1\r\n"].concat();
    assert!(matches!(op(&exact), (Op::Subscribe { .. }, 70)));
}

#[test]
fn a_payload_over_its_limit_is_refused_before_it_comes() {
    assert_eq!(error(b"PUB a 101\r\n"), Malformed::PayloadTooLarge);
    assert!(matches!(parse(b"PUB a 100\r\n", true, &LIMITS), Ok(Parsed::Incomplete { need: 113 })));
}

#[test]
fn wrong_arguments_close_without_a_word() {
    for input in [
        "SUB a\n",
        "SUB a q 1 2\n",
        "PUB a\n",
        "PUB a b c 1\n",
        "PUB a -1\n",
        "PUB a 1234567890\n",
        "UNSUB \n",
        "HPUB a 3 2\n",
        "INFO\n",
        "INFO junk\n",
    ] {
        assert_eq!(error(input.as_bytes()), Malformed::Arguments, "{input:?}");
        assert_eq!(error(input.as_bytes()).error_text(), None);
    }
    assert_eq!(parse(b"HPUB a 1 2\n", false, &LIMITS), Err(Malformed::HeadersNotAnnounced));
}

#[test]
fn what_only_servers_say_is_passed_over_or_ends_the_connection() {
    for input in ["INFO {}\n", "info{\"a\":1}\n", "INFO null\n", "+OK\n", "+ok junk\n"] {
        assert_eq!(op(input.as_bytes()), (Op::Ignored, input.len()));
    }
    assert_eq!(error(b"-ERR 'x'\n"), Malformed::ErrFromPeer);
    assert_eq!(error(b"-err\n"), Malformed::UnknownOperation);
}

#[test]
fn an_unsub_limit_that_nothing_can_reach_means_now() {
    for (input, expected) in [("1", None), ("1 0", None), ("1 -1", None), ("1 abc", None), ("1 007", Some(7))]
    {
        let line = format!("UNSUB {input}\r\n");
        assert!(matches!(op(line.as_bytes()), (Op::Unsubscribe { sid: b"1", max }, _) if max == expected));
    }
}

proptest! {
    #[test]
    fn the_usual_publish_is_read_as_any_other(
        line in "H?PUB ?[a-z.*/\u{1}é]{0,8}[ \t]{0,2}([a-z]{1,3} |)[0-9]{0,2} ?[0-9]{0,11}(\r\n|\n|\r|)",
        payload in "[a-z]{0,12}(\r\n|\n|)",
        headers: bool,
        control_line_bytes_max in 1usize..20,
    ) {
        let limits = Limits { control_line_bytes_max, payload_bytes_max: 1_000, header_bytes_max: 1_000 };
        let input = [line.as_bytes(), payload.as_bytes()].concat();
        prop_assert_eq!(parse(&input, headers, &limits), parse_any(&input, headers, &limits));
    }

    #[test]
    fn a_glance_at_a_publish_sees_what_parsing_it_does(
        subject in "[a-z.*/é]{1,8}",
        payload in "[a-z]{0,12}",
        after in "[A-Z ]{0,9}",
    ) {
        let n = payload.len();
        for line in [format!("PUB {subject} {n}"), format!("HPUB {subject} 0 {n}")] {
            let input = format!("{line}\r\n{payload}\r\n{after}");
            let parsed = parse(input.as_bytes(), true, &LIMITS).unwrap();
            let Parsed::Op(Op::Publish(publish), taken) = parsed else { panic!("{parsed:?}") };
            prop_assert_eq!(glance(input.as_bytes(), &LIMITS), Some((publish.subject, taken)));
        }
    }

    #[test]
    fn any_bytes_are_taken_within_their_length_or_asked_for_more(
        input in proptest::collection::vec(prop_oneof![
            any::<u8>(), Just(b' '), Just(b'\n'), Just(b'\r'), Just(b'1'), Just(b'P'), Just(b'U'), Just(b'B'), Just(b'S')
        ], 0..60),
        headers: bool,
    ) {
        match parse(&input, headers, &LIMITS) {
            Ok(Parsed::Op(_, taken)) => prop_assert!(taken > 0 && taken <= input.len()),
            Ok(Parsed::Incomplete { need }) => prop_assert!(need > input.len()),
            Err(_) => {}
        }
    }
}
