//! What test_foreign_clients asks of rumqttc, of both its clients: `mqtt mqtt://HOST:PORT`. Each scenario prints
//! `ok NAME_VERSION`; `restart` asks whoever started this to restart the gateway.

use rumqttc::v5::mqttbytes::QoS as Qos5;
use rumqttc::v5::mqttbytes::v5::{
    LastWill as Will5, Packet as Packet5, PublishProperties, SubscribeProperties,
    SubscribeReasonCode as Code5,
};
use rumqttc::{AsyncClient, EventLoop, LastWill, MqttOptions, Packet, QoS, SubscribeReasonCode, v5};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const WAIT: Duration = Duration::from_secs(30);
const PACKET_BYTES_MAX: u32 = 2 << 20;
const CAPACITY: usize = 1 << 12;

/// The gateway, and the version that is played.
#[derive(Clone)]
struct At {
    host: String,
    port: u16,
    version: u8,
}

/// How a client connects.
#[derive(Clone, Default)]
struct Wish {
    /// Without one it has a new name, and a session that ends with its connection.
    name: Option<String>,
    will_topic: Option<String>,
}

/// A client with the task that has its connection.
struct Client {
    requests: Requests,
    commands: UnboundedSender<Command>,
    heard: UnboundedReceiver<Heard>,
    answers: UnboundedReceiver<Answer>,
}

enum Requests {
    V4(AsyncClient),
    V5(v5::AsyncClient),
}

enum Loop {
    V4(Box<EventLoop>),
    /// With the topics of its aliases: what it tells of a message is what the packet has.
    V5(Box<v5::EventLoop>, HashMap<u16, String>),
}

enum Command {
    /// Cut the connection, as a network does.
    Lose,
    Return,
    End,
}

#[derive(Debug, PartialEq)]
struct Heard {
    topic: String,
    text: String,
    qos: u8,
    retain: bool,
    properties: Option<PublishProperties>,
}

#[derive(Debug, PartialEq)]
enum Answer {
    Connected { session_present: bool },
    Granted(Vec<Option<u8>>),
    Unsubscribed,
    Acknowledged(u16),
}

enum Event {
    Heard(Heard),
    Answer(Answer),
    Other,
}

fn unique() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("rust-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Client {
    async fn connected(at: &At, wish: Wish) -> Self {
        let (client, session_present) = Self::connected_again(at, wish).await;
        assert!(!session_present);
        client
    }

    /// Connects, and says whether there was a session.
    async fn connected_again(at: &At, wish: Wish) -> (Self, bool) {
        let (requests, event_loop) = if at.version == 5 { make_v5(at, &wish) } else { make_v4(at, &wish) };
        let (to_heard, heard) = unbounded_channel();
        let (to_answers, answers) = unbounded_channel();
        let (commands, to_obey) = unbounded_channel();
        tokio::spawn(run(event_loop, to_obey, to_heard, to_answers));
        let mut client = Self { requests, commands, heard, answers };
        let session_present = client.connects().await;
        (client, session_present)
    }

    /// Waits until it has connected, for the first time or again.
    async fn connects(&mut self) -> bool {
        loop {
            if let Answer::Connected { session_present } = self.answer().await {
                return session_present;
            }
        }
    }

    async fn answer(&mut self) -> Answer {
        tokio::time::timeout(WAIT, self.answers.recv())
            .await
            .expect("an answer in time")
            .expect("its task runs")
    }

    async fn next(&mut self) -> Heard {
        tokio::time::timeout(WAIT, self.heard.recv())
            .await
            .expect("a message in time")
            .expect("its task runs")
    }

    async fn texts(&mut self, n: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..n {
            texts.push(self.next().await.text);
        }
        assert!(self.heard.is_empty(), "{texts:?} and more");
        texts
    }

    async fn subscribe(&mut self, filter: &str, qos: u8) {
        match &self.requests {
            Requests::V4(client) => client.subscribe(filter, rumqttc::qos(qos).unwrap()).await.unwrap(),
            Requests::V5(client) => client.subscribe(filter, qos5(qos)).await.unwrap(),
        }
        assert_eq!(self.answer().await, Answer::Granted(vec![Some(qos)]), "{filter}");
    }

    async fn unsubscribe(&mut self, filter: &str) {
        match &self.requests {
            Requests::V4(client) => client.unsubscribe(filter).await.unwrap(),
            Requests::V5(client) => client.unsubscribe(filter).await.unwrap(),
        }
        assert_eq!(self.answer().await, Answer::Unsubscribed);
    }

    /// Publishes, and waits for what acknowledges it.
    async fn publish(&mut self, topic: &str, text: &str, qos: u8, retain: bool) {
        self.begin_publish(topic, text, qos, retain).await;
        if qos > 0 {
            assert!(matches!(self.answer().await, Answer::Acknowledged(_)));
        }
    }

    /// Returns when what was heard is acknowledged to the end: rumqttc takes a PUBREL of an earlier connection
    /// for an error, and never comes to its session again.
    async fn settle(&mut self) {
        self.publish("rust/settle/nobody", "", 1, false).await;
    }

    async fn begin_publish(&self, topic: &str, text: &str, qos: u8, retain: bool) {
        match &self.requests {
            Requests::V4(client) => {
                client.publish(topic, rumqttc::qos(qos).unwrap(), retain, text).await.unwrap()
            }
            Requests::V5(client) => client.publish(topic, qos5(qos), retain, text.to_owned()).await.unwrap(),
        }
    }

    /// DISCONNECT.
    async fn leave(self) {
        match &self.requests {
            Requests::V4(client) => client.disconnect().await.unwrap(),
            Requests::V5(client) => client.disconnect().await.unwrap(),
        }
        let _ = self.commands.send(Command::End);
        // The task is over when it has gone.
        self.commands.closed().await;
    }

    fn lose(&self) {
        let _ = self.commands.send(Command::Lose);
    }

    async fn come_back(&mut self) -> bool {
        let _ = self.commands.send(Command::Return);
        self.connects().await
    }
}

fn qos5(qos: u8) -> Qos5 {
    rumqttc::v5::mqttbytes::qos(qos).unwrap()
}

fn make_v4(at: &At, wish: &Wish) -> (Requests, Loop) {
    let name = wish.name.clone().unwrap_or_else(unique);
    let mut options = MqttOptions::new(name, &at.host, at.port);
    options.set_clean_session(wish.name.is_none()).set_inflight(100);
    options.set_max_packet_size(PACKET_BYTES_MAX as usize, PACKET_BYTES_MAX as usize);
    if let Some(topic) = &wish.will_topic {
        options.set_last_will(LastWill::new(topic, "gone", QoS::AtLeastOnce, false));
    }
    let (client, event_loop) = AsyncClient::new(options, CAPACITY);
    (Requests::V4(client), Loop::V4(Box::new(event_loop)))
}

fn make_v5(at: &At, wish: &Wish) -> (Requests, Loop) {
    let name = wish.name.clone().unwrap_or_else(unique);
    let mut options = v5::MqttOptions::new(name, &at.host, at.port);
    options.set_clean_start(wish.name.is_none()).set_outgoing_inflight_upper_limit(100);
    options.set_max_packet_size(Some(PACKET_BYTES_MAX)).set_topic_alias_max(Some(10));
    options.set_session_expiry_interval(wish.name.is_some().then_some(100));
    if let Some(topic) = &wish.will_topic {
        options.set_last_will(Will5::new(topic.clone(), "gone", Qos5::AtLeastOnce, false, None));
    }
    let (client, event_loop) = v5::AsyncClient::new(options, CAPACITY);
    (Requests::V5(client), Loop::V5(Box::new(event_loop), HashMap::new()))
}

impl Loop {
    async fn poll(&mut self) -> Result<Event, String> {
        match self {
            Self::V4(event_loop) => match event_loop.poll().await {
                Ok(rumqttc::Event::Incoming(packet)) => Ok(event_v4(packet)),
                Ok(rumqttc::Event::Outgoing(_)) => Ok(Event::Other),
                Err(error) => Err(error.to_string()),
            },
            Self::V5(event_loop, topics) => match event_loop.poll().await {
                Ok(v5::Event::Incoming(packet)) => Ok(event_v5(packet, topics)),
                Ok(v5::Event::Outgoing(_)) => Ok(Event::Other),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    fn cut(&mut self) {
        match self {
            Self::V4(event_loop) => event_loop.clean(),
            Self::V5(event_loop, _) => event_loop.clean(),
        }
    }
}

fn event_v4(packet: Packet) -> Event {
    let answer = match packet {
        Packet::Publish(publish) => {
            return Event::Heard(Heard {
                topic: publish.topic,
                text: String::from_utf8(publish.payload.to_vec()).unwrap(),
                qos: publish.qos as u8,
                retain: publish.retain,
                properties: None,
            });
        }
        Packet::ConnAck(connack) => Answer::Connected { session_present: connack.session_present },
        Packet::SubAck(suback) => Answer::Granted(
            suback
                .return_codes
                .iter()
                .map(|code| match code {
                    SubscribeReasonCode::Success(qos) => Some(*qos as u8),
                    SubscribeReasonCode::Failure => None,
                })
                .collect(),
        ),
        Packet::UnsubAck(_) => Answer::Unsubscribed,
        Packet::PubAck(ack) => Answer::Acknowledged(ack.pkid),
        Packet::PubComp(ack) => Answer::Acknowledged(ack.pkid),
        _ => return Event::Other,
    };
    Event::Answer(answer)
}

fn event_v5(packet: Packet5, topics: &mut HashMap<u16, String>) -> Event {
    let answer = match packet {
        Packet5::Publish(publish) => {
            let mut topic = String::from_utf8(publish.topic.to_vec()).unwrap();
            if let Some(alias) = publish.properties.as_ref().and_then(|it| it.topic_alias) {
                if topic.is_empty() {
                    topic = topics[&alias].clone();
                }
                topics.insert(alias, topic.clone());
            }
            return Event::Heard(Heard {
                topic,
                text: String::from_utf8(publish.payload.to_vec()).unwrap(),
                qos: publish.qos as u8,
                retain: publish.retain,
                properties: publish.properties,
            });
        }
        Packet5::ConnAck(connack) => Answer::Connected { session_present: connack.session_present },
        Packet5::SubAck(suback) => Answer::Granted(
            suback
                .return_codes
                .iter()
                .map(|code| if let Code5::Success(qos) = code { Some(*qos as u8) } else { None })
                .collect(),
        ),
        Packet5::UnsubAck(_) => Answer::Unsubscribed,
        Packet5::PubAck(ack) => Answer::Acknowledged(ack.pkid),
        Packet5::PubComp(ack) => Answer::Acknowledged(ack.pkid),
        _ => return Event::Other,
    };
    Event::Answer(answer)
}

/// Has the connection, and makes another where it ends.
async fn run(
    mut event_loop: Loop,
    mut commands: UnboundedReceiver<Command>,
    heard: UnboundedSender<Heard>,
    answers: UnboundedSender<Answer>,
) {
    let mut is_leaving = false;
    loop {
        tokio::select! {
            event = event_loop.poll() => match event {
                Ok(Event::Heard(it)) => drop(heard.send(it)),
                Ok(Event::Answer(it)) => drop(answers.send(it)),
                Ok(Event::Other) => {}
                Err(_) if is_leaving => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            command = commands.recv(), if !is_leaving => match command {
                Some(Command::Lose) => {
                    event_loop.cut();
                    while !matches!(commands.recv().await, Some(Command::Return) | None) {}
                }
                Some(Command::Return) => {}
                Some(Command::End) => is_leaving = true,
                None => return,
            },
        }
    }
}

async fn publish_subscribe(at: &At) {
    let (mut a, mut b) =
        (Client::connected(at, Wish::default()).await, Client::connected(at, Wish::default()).await);
    let root = unique();
    for qos in 0..3 {
        a.subscribe(&format!("{root}/{qos}/+"), qos).await;
        for text in ["one", "two", "three"] {
            b.publish(&format!("{root}/{qos}/x"), text, qos, false).await;
        }
        for text in ["one", "two", "three"] {
            let heard = a.next().await;
            let wanted = (format!("{root}/{qos}/x"), text, qos, false);
            assert_eq!((heard.topic, heard.text.as_str(), heard.qos, heard.retain), wanted);
        }
    }
    a.unsubscribe(&format!("{root}/0/+")).await;
    b.publish(&format!("{root}/0/x"), "late", 1, false).await;
    b.publish(&format!("{root}/1/x"), "end", 1, false).await;
    assert_eq!(a.texts(1).await, ["end"]);
    a.leave().await;
    b.leave().await;
}

async fn many_in_order(at: &At) {
    const N: usize = 2_000;
    let (mut a, mut b) =
        (Client::connected(at, Wish::default()).await, Client::connected(at, Wish::default()).await);
    for qos in 0..3 {
        let topic = unique();
        a.subscribe(&topic, 2).await;
        for n in 0..N {
            b.begin_publish(&topic, &n.to_string(), qos, false).await;
        }
        for n in 0..N {
            assert_eq!(a.next().await.text, n.to_string());
        }
        for _ in 0..if qos == 0 { 0 } else { N } {
            assert!(matches!(b.answer().await, Answer::Acknowledged(_)));
        }
    }
    a.leave().await;
    b.leave().await;
}

async fn a_payload_of_one_mib(at: &At) {
    let (mut a, mut b) =
        (Client::connected(at, Wish::default()).await, Client::connected(at, Wish::default()).await);
    let topic = unique();
    a.subscribe(&topic, 2).await;
    let text = "x".repeat(1 << 20);
    for qos in 0..3 {
        b.publish(&topic, &text, qos, false).await;
        let heard = a.next().await;
        assert!(heard.qos == qos && heard.text == text);
    }
    a.leave().await;
    b.leave().await;
}

async fn retained(at: &At) {
    let (mut a, mut b) =
        (Client::connected(at, Wish::default()).await, Client::connected(at, Wish::default()).await);
    let topic = format!("{}/kept", unique());
    a.publish(&topic, "old", 1, true).await;
    a.publish(&topic, "new", 1, true).await;
    b.subscribe(&topic, 1).await;
    let heard = b.next().await;
    assert_eq!((heard.text.as_str(), heard.retain), ("new", true));
    a.publish(&topic, "", 1, true).await;
    assert!(!b.next().await.retain);
    let mut c = Client::connected(at, Wish::default()).await;
    c.subscribe(&topic, 1).await;
    a.publish(&topic, "live", 1, false).await;
    assert_eq!(c.texts(1).await, ["live"]);
    for client in [a, b, c] {
        client.leave().await;
    }
}

async fn will(at: &At) {
    let topic = format!("{}/will", unique());
    let mut watcher = Client::connected(at, Wish::default()).await;
    watcher.subscribe(&topic, 1).await;
    let wish = Wish { will_topic: Some(topic.clone()), ..Wish::default() };
    let (lost, leaving) = (Client::connected(at, wish.clone()).await, Client::connected(at, wish).await);
    leaving.leave().await;
    lost.lose();
    assert_eq!(watcher.texts(1).await, ["gone"]);
    watcher.publish(&topic, "end", 1, false).await;
    assert_eq!(watcher.texts(1).await, ["end"]);
    watcher.leave().await;
}

async fn shared(at: &At) {
    const N: usize = 300;
    let topic = format!("{}/work", unique());
    let (taken, mut heard) = unbounded_channel();
    for idx in 0..3 {
        let mut member = Client::connected(at, Wish::default()).await;
        member.subscribe(&format!("$share/rust/{topic}"), 1).await;
        let taken = taken.clone();
        tokio::spawn(async move {
            // All of it: its connection ends where any part is dropped.
            let member = &mut member;
            while let Some(it) = member.heard.recv().await {
                let _ = taken.send((idx, it.text));
            }
        });
    }
    let mut publisher = Client::connected(at, Wish::default()).await;
    for n in 0..N {
        publisher.publish(&topic, &n.to_string(), 1, false).await;
    }
    let (mut shares, mut seen) = ([0; 3], HashSet::new());
    for _ in 0..N {
        let (idx, text) = tokio::time::timeout(WAIT, heard.recv()).await.unwrap().unwrap();
        shares[idx] += 1;
        assert!(seen.insert(text), "taken twice");
    }
    assert!(shares.iter().all(|&share| share > N / 6), "{shares:?}");
    publisher.leave().await;
}

async fn session_resume(at: &At) {
    let (topic, name) = (format!("{}/session", unique()), unique());
    let wish = Wish { name: Some(name.clone()), ..Wish::default() };
    let mut first = Client::connected(at, wish.clone()).await;
    first.subscribe(&topic, 2).await;
    first.lose();
    let mut publisher = Client::connected(at, Wish::default()).await;
    for qos in [1, 2] {
        publisher.publish(&topic, &format!("q{qos}"), qos, false).await;
    }
    assert!(first.come_back().await);
    assert_eq!(first.texts(2).await, ["q1", "q2"]);
    first.settle().await;
    // And by a program that starts anew.
    first.leave().await;
    publisher.publish(&topic, "waits", 2, false).await;
    let (mut second, session_present) = Client::connected_again(at, wish).await;
    assert!(session_present);
    assert_eq!(second.texts(1).await, ["waits"]);
    second.leave().await;
    publisher.leave().await;
}

/// What was under way from a client when it was cut off comes again, and of QoS 2 nobody hears it twice.
async fn a_publisher_that_comes_back(at: &At) {
    const N: usize = 90;
    let topic = unique();
    let mut subscriber = Client::connected(at, Wish::default()).await;
    subscriber.subscribe(&topic, 2).await;
    let mut publisher = Client::connected(at, Wish { name: Some(unique()), ..Wish::default() }).await;
    let mut counts = BTreeMap::new();
    for qos in [1, 2] {
        for n in 0..N {
            publisher.begin_publish(&topic, &format!("{qos} {n}"), qos, false).await;
            if n % 30 == 0 {
                tokio::task::yield_now().await;
            }
        }
        publisher.lose();
        assert!(publisher.come_back().await);
        publisher.begin_publish(&topic, &format!("{qos} end"), qos, false).await;
        loop {
            let heard = subscriber.next().await;
            *counts.entry(heard.text.clone()).or_insert(0) += 1;
            if heard.text == format!("{qos} end") {
                break;
            }
        }
        for n in 0..N {
            let n_heard = counts.get(&format!("{qos} {n}")).copied().unwrap_or(0);
            assert!(n_heard == 1 || (qos == 1 && n_heard > 0), "{qos} {n} was heard {n_heard} times");
        }
    }
    publisher.leave().await;
    subscriber.leave().await;
}

async fn properties(at: &At) {
    let (mut a, b) =
        (Client::connected(at, Wish::default()).await, Client::connected(at, Wish::default()).await);
    let (Requests::V5(subscriber), Requests::V5(publisher)) = (&a.requests, &b.requests) else { panic!() };
    let topic = format!("{}/properties", unique());
    let identified = SubscribeProperties { id: Some(7), user_properties: Vec::new() };
    subscriber.subscribe_with_properties(topic.as_str(), Qos5::AtLeastOnce, identified).await.unwrap();
    assert_eq!(a.answer().await, Answer::Granted(vec![Some(1)]));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let sent = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(60),
        response_topic: Some("back".into()),
        correlation_data: Some(vec![0, 1, 255].into()),
        user_properties: vec![pair("name", "one"), pair("other", "three"), pair("name", "two")],
        content_type: Some("text/plain".into()),
        ..PublishProperties::default()
    };
    let properties = PublishProperties { topic_alias: Some(3), ..sent.clone() };
    // The second is told by its alias alone.
    for topic in [topic.as_str(), ""] {
        publisher
            .publish_with_properties(topic, Qos5::AtLeastOnce, false, "x", properties.clone())
            .await
            .unwrap();
        let heard = a.next().await;
        let wanted = PublishProperties { subscription_identifiers: vec![7], ..sent.clone() };
        assert_eq!(heard.properties, Some(wanted));
    }
    a.leave().await;
    b.leave().await;
}

async fn reconnect(at: &At) {
    let topic = format!("{}/again", unique());
    let mut a = Client::connected(at, Wish::default()).await;
    a.subscribe(&topic, 1).await;
    println!("restart");
    a.connects().await;
    a.subscribe(&topic, 1).await;
    let mut b = Client::connected(at, Wish::default()).await;
    b.publish(&topic, "again", 1, false).await;
    assert_eq!(a.texts(1).await, ["again"]);
    a.leave().await;
    b.leave().await;
}

macro_rules! scenarios {
    ($at:expr, $($name:ident)+) => {
        $(
            $name($at).await;
            println!("ok {}_{}", stringify!($name), $at.version);
        )+
    };
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url = std::env::args().nth(1).expect("a URL");
    let (host, port) = url.trim_start_matches("mqtt://").rsplit_once(':').expect("a host and a port");
    let port = port.parse().expect("a port");
    for version in [4, 5] {
        let at = &At { host: host.into(), port, version };
        scenarios!(at,
            publish_subscribe
            many_in_order
            a_payload_of_one_mib
            retained
            will
            shared
            session_resume
            a_publisher_that_comes_back
            reconnect
        );
        if version == 5 {
            scenarios!(at, properties);
        }
    }
}
