//! One of a pair in test_pairs, rumqttc: `pair_mqtt HOST:PORT`. Takes a command a line, and tells what it hears.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use strait_tests_clients::{bytes, hex, join, pairs};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const ANSWERS: &str = "pairs/answers/rumqttc";
const CORRELATION: &[u8] = b"\0\r\n";

/// Topics whose messages are requests.
type Served = Arc<Mutex<HashSet<String>>>;

async fn take(client: &AsyncClient, served: &Served, publish: Publish) {
    let topic = std::str::from_utf8(&publish.topic).unwrap();
    let said = publish.properties.unwrap_or_default();
    let pairs = join(said.user_properties.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let payload = &publish.payload;
    let is_request = served.lock().unwrap().contains(topic);
    if topic == ANSWERS {
        assert_eq!(said.correlation_data.as_deref(), Some(CORRELATION));
        println!("answer {} {pairs}", hex(payload));
    } else if is_request {
        let answer: Vec<u8> = payload.iter().rev().copied().collect();
        let PublishProperties { correlation_data, user_properties, .. } = said;
        let told = PublishProperties { correlation_data, user_properties, ..PublishProperties::default() };
        let topic = said.response_topic.expect("a request");
        client.publish_with_properties(topic, QoS::AtMostOnce, false, answer, told).await.unwrap();
    } else {
        println!("heard {topic} {} {pairs} {} {}", hex(payload), publish.qos as u8, u8::from(publish.retain));
    }
}

/// Has the connection, and tells of each acknowledgement.
async fn run(mut event_loop: EventLoop, client: AsyncClient, served: Served, done: UnboundedSender<()>) {
    loop {
        match event_loop.poll().await.expect("the gateway stays") {
            Event::Incoming(Packet::Publish(publish)) => take(&client, &served, publish).await,
            Event::Incoming(
                Packet::ConnAck(_) | Packet::SubAck(_) | Packet::PubAck(_) | Packet::PubComp(_),
            ) => done.send(()).unwrap(),
            _ => {}
        }
    }
}

async fn subscribe(client: &AsyncClient, name: &str, done: &mut UnboundedReceiver<()>) {
    client.subscribe(name, QoS::ExactlyOnce).await.unwrap();
    done.recv().await.unwrap();
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let address = std::env::args().nth(1).expect("an address");
    let (host, port) = address.rsplit_once(':').expect("a host and a port");
    let (client, event_loop) = AsyncClient::new(MqttOptions::new("rumqttc", host, port.parse().unwrap()), 100);
    let (tell_done, mut done) = unbounded_channel();
    let served = Served::default();
    tokio::spawn(run(event_loop, client.clone(), served.clone(), tell_done));
    done.recv().await.expect("the gateway accepts");
    let (tell, mut lines) = unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lines().for_each(|line| tell.send(line.unwrap()).unwrap()));
    while let Some(line) = lines.recv().await {
        let mut parts = line.split(' ');
        let mut next = || parts.next().unwrap_or("-");
        let (command, name, payload) = (next(), next(), bytes(next()));
        let user_properties = pairs(next()).collect();
        let mut told = PublishProperties { user_properties, ..PublishProperties::default() };
        match command {
            "subscribe" => subscribe(&client, name, &mut done).await,
            "serve" => {
                served.lock().unwrap().insert(name.to_owned());
                subscribe(&client, name, &mut done).await;
            }
            "publish" => {
                let qos = rumqttc::v5::mqttbytes::qos(next().parse().unwrap()).unwrap();
                client.publish_with_properties(name, qos, next() == "1", payload, told).await.unwrap();
                if qos != QoS::AtMostOnce {
                    done.recv().await.unwrap();
                }
            }
            "request" => {
                subscribe(&client, ANSWERS, &mut done).await;
                told.response_topic = Some(ANSWERS.to_owned());
                told.correlation_data = Some(CORRELATION.into());
                client.publish_with_properties(name, QoS::AtMostOnce, false, payload, told).await.unwrap();
            }
            other => panic!("no command: {other}"),
        }
        println!("ok");
    }
}
