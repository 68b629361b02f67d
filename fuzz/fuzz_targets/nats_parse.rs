//! Any bytes, read as NATS ops one after another. Nothing panics, no answer claims more bytes than there are,
//! and an op means the same whether it came at once or byte by byte. Not a connection: options stay as given.

#![no_main]

use libfuzzer_sys::fuzz_target;
use strait::nats::op::Op;
use strait::nats::parse::{Limits, Parsed, parse};

const LIMITS: Limits = Limits { control_line_bytes_max: 256, payload_bytes_max: 1_024, header_bytes_max: usize::MAX };

fuzz_target!(|input: &[u8]| {
    let Some((&first, mut rest)) = input.split_first() else { return };
    let headers = first & 1 == 1;
    loop {
        let parsed = parse(rest, headers, &LIMITS);
        assert_agrees_with_pieces(rest, headers, parsed.as_ref().ok());
        match parsed {
            Ok(Parsed::Op(op, taken)) => {
                assert!(taken > 0 && taken <= rest.len());
                assert_within(&op, rest);
                rest = &rest[taken..];
            }
            Ok(Parsed::Incomplete { need }) => return assert!(need > rest.len()),
            Err(malformed) => return drop(malformed.to_string()),
        }
    }
});

/// A beginning is incomplete, or already the error that the whole would be; it is never another op.
fn assert_agrees_with_pieces(input: &[u8], headers: bool, whole: Option<&Parsed<'_>>) {
    let Some(Parsed::Op(_, taken)) = whole else { return };
    for cut in [1, taken / 2, taken - 1] {
        match parse(&input[..cut], headers, &LIMITS) {
            Ok(Parsed::Incomplete { need }) => assert!(need > cut && need <= *taken),
            other => panic!("cut at {cut} of {taken}: {other:?}"),
        }
    }
}

fn assert_within(op: &Op<'_>, input: &[u8]) {
    if let Op::Publish(publish) = op {
        let total = publish.subject.len() + publish.reply.len() + publish.header.len() + publish.payload.len();
        assert!(total <= input.len());
        assert!(publish.header.len() + publish.payload.len() <= LIMITS.payload_bytes_max);
    }
}
