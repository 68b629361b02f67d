//! What a glance at the publishes to come takes in.

use super::*;

#[test]
fn a_glance_takes_in_whole_publishes_and_no_more_than_eight() {
    let mut alone = Alone::new(settings());
    let (nats, mqtt) = (b"PUB a.b 1\r\nx\r\n", b"\x30\x06\x00\x03a/bx");
    for (op, is_mqtt) in [(nats.as_slice(), false), (mqtt.as_slice(), true)] {
        assert_eq!(alone.shard.glance(&op.repeat(3), is_mqtt), 3 * op.len());
        assert_eq!(alone.shard.glance(&op.repeat(30), is_mqtt), 8 * op.len());
    }
    assert_eq!(alone.shard.glance(b"PING\r\n", false), 1);
}
