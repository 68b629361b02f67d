//! Subjects and filters in their canonical form, the NATS spelling. Not the MQTT spelling: `mapping`
//! translates at the door.
