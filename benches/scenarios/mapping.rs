//! Topics to subjects and back.

use super::{Meter, Named, Scenario};
use std::hint::black_box;
use strait::subject::mapping::{subject_to_topic, topic_to_subject};

pub const ALL: &[Named] = &[
    Named { name: "mapping/topic-to-subject/plain", make: || Box::new(ToSubject::new("sensor/data/temp")) },
    Named {
        name: "mapping/topic-to-subject/escaped",
        make: || Box::new(ToSubject::new("spBv1.0/a b//DDATA")),
    },
    Named { name: "mapping/subject-to-topic/plain", make: || Box::new(ToTopic::new("sensor/data/temp")) },
    Named { name: "mapping/subject-to-topic/escaped", make: || Box::new(ToTopic::new("spBv1.0/a b//DDATA")) },
];

/// Translations in one play.
const N: u64 = 1_000;

#[derive(Debug)]
struct ToSubject {
    topic: &'static str,
    subject: Vec<u8>,
}

impl ToSubject {
    fn new(topic: &'static str) -> Self {
        Self { topic, subject: Vec::with_capacity(1_024) }
    }
}

impl Scenario for ToSubject {
    fn play(&mut self, meter: &mut Meter) -> u64 {
        meter.measure(|| {
            for _ in 0..N {
                self.subject.clear();
                topic_to_subject(black_box(self.topic.as_bytes()), &mut self.subject);
                black_box(&self.subject);
            }
        });
        N
    }
}

#[derive(Debug)]
struct ToTopic {
    subject: Vec<u8>,
    topic: Vec<u8>,
}

impl ToTopic {
    fn new(topic: &str) -> Self {
        let mut subject = Vec::new();
        topic_to_subject(topic.as_bytes(), &mut subject);
        Self { subject, topic: Vec::with_capacity(1_024) }
    }
}

impl Scenario for ToTopic {
    fn play(&mut self, meter: &mut Meter) -> u64 {
        meter.measure(|| {
            for _ in 0..N {
                self.topic.clear();
                assert!(subject_to_topic(black_box(&self.subject), &mut self.topic));
                black_box(&self.topic);
            }
        });
        N
    }
}
