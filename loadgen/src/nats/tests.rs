//! What a server says, whole, split anywhere, and from one that means harm.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

const TALK: &[u8] = b"INFO {\"server_id\":\"a\",\"max_payload\":1048576} \r\nPING\r\nPONG\r\n+OK\r\n\
    MSG bench.0 1 5\r\nhello\r\nMSG bench.0 1 _INBOX.1 0\r\n\r\n\
    HMSG bench.0 1 12 17\r\nNATS/1.0\r\n\r\nhello\r\nHMSG bench.0 1 in 12 12\r\nNATS/1.0\r\n\r\n\r\n\
    -ERR 'Authorization Violation'\r\n";

/// Everything that the input holds, as text, and what is left of it.
fn talk(mut input: &[u8]) -> Result<(Vec<String>, usize), Malformed> {
    let mut said = Vec::new();
    while let Some((op, length)) = parse(input)? {
        said.push(format!("{op:?}"));
        input = &input[length..];
    }
    Ok((said, input.len()))
}

#[test]
fn a_server_s_words_are_understood() {
    let (said, left) = talk(TALK).unwrap();
    assert_eq!((said.len(), left), (9, 0));
    let (op, _) = parse(b"MSG a 1 r 2\r\nhi\r\n").unwrap().unwrap();
    let line: &[u8] = b"MSG a 1 r 2\r\n";
    assert_eq!(op, Op::Message(Message { reply: Some(b"r"), line, headers: b"", payload: b"hi" }));
    assert_eq!(parse(b"-ERR 'no'\r\n").unwrap().unwrap().0, Op::Error(b"'no'"));
}

#[test]
fn nothing_is_taken_before_all_of_it_is_there() {
    let (whole, _) = talk(TALK).unwrap();
    for cut in 0..TALK.len() {
        let (mut said, left) = talk(&TALK[..cut]).unwrap();
        let (rest, nothing) = talk(&TALK[cut - left..]).unwrap();
        said.extend(rest);
        assert_eq!((said, nothing), (whole.clone(), 0), "cut at {cut}");
    }
}

#[test]
fn a_server_that_breaks_the_protocol_is_told_apart() {
    let wrong: [&[u8]; 8] = [
        b"MSG a 1\r\n",
        b"MSG a 1 x\r\n",
        b"MSG a 1 2\r\nhiXX",
        b"HMSG a 1 9 5\r\n",
        b"MSG a 1 999999999\r\n",
        b"MSG a 1 99999999999999999999\r\n",
        b"MSG a b c d e f g\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
    ];
    for bytes in wrong {
        assert!(parse(bytes).is_err(), "{}", printable(bytes));
    }
    assert!(parse(&vec![b'x'; LINE_MAX]).is_err());
}

#[test]
fn what_a_server_says_cannot_steer_the_terminal() {
    assert_eq!(printable(b"\x1b[31mred\r\n"), "·[31mred");
    assert!(printable(&[b'x'; 500]).chars().count() <= 121);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Some((_, length))) = parse(&bytes) {
            prop_assert!(length > 0 && length <= bytes.len());
        }
    }

    #[test]
    fn nearly_right_bytes_are_survived(at in 0..TALK.len(), byte: u8, cut in 0..TALK.len()) {
        let mut bytes = TALK.to_vec();
        bytes[at] = byte;
        bytes.truncate(cut);
        if let Ok((_, left)) = talk(&bytes) {
            prop_assert!(left <= bytes.len());
        }
    }
}
