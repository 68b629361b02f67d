//! What test_foreign_clients asks of async-nats: `client URL`. Each scenario prints `ok NAME`; `restart` asks
//! whoever started this to restart the gateway.

use async_nats::{Client, ConnectOptions, Event, HeaderMap, RequestErrorKind, Subscriber};
use futures_util::StreamExt;
use futures_util::future::join_all;
use std::collections::HashSet;
use std::time::Duration;
use tokio::sync::mpsc;

const MIB: usize = 1 << 20;
const N_SUBSCRIPTIONS: usize = 10_000;
const WAIT: Duration = Duration::from_secs(30);

async fn connected(url: &str) -> Client {
    // Ten thousand answers may wait for one who asks for them one by one.
    let options = ConnectOptions::new().subscription_capacity(1 << 16).client_capacity(1 << 16);
    options.connect(url).await.expect("the gateway accepts")
}

async fn next(subscriber: &mut Subscriber) -> async_nats::Message {
    tokio::time::timeout(WAIT, subscriber.next()).await.expect("a message comes in time").expect("not ended")
}

fn text(message: &async_nats::Message) -> &str {
    std::str::from_utf8(&message.payload).expect("text")
}

/// Returns once the gateway has taken what was said: async-nats flushes to the socket alone, so this asks
/// for something, and nobody is there to answer.
async fn settle(client: &Client) {
    let nobody = client.request("rust.settle.nobody", "".into()).await;
    assert_eq!(nobody.expect_err("nobody answers").kind(), RequestErrorKind::NoResponders);
}

async fn publish_subscribe(url: &str) {
    let (a, b) = (connected(url).await, connected(url).await);
    let mut exact = a.subscribe("rust.p.x").await.unwrap();
    let mut star = a.subscribe("rust.p.*").await.unwrap();
    let mut tail = a.subscribe("rust.p.>").await.unwrap();
    settle(&a).await;
    for end in ["y.z", "x", "y.z", "x"] {
        b.publish(format!("rust.p.{end}"), end.into()).await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!(text(&next(&mut tail).await), "y.z");
        assert_eq!(text(&next(&mut tail).await), "x");
        assert_eq!(next(&mut star).await.subject.as_str(), "rust.p.x");
        assert_eq!(text(&next(&mut exact).await), "x");
    }
}

async fn queues(url: &str) {
    const N: usize = 600;
    let (taken, mut heard) = mpsc::unbounded_channel();
    let mut members = Vec::new();
    for idx in 0..4 {
        let member = connected(url).await;
        let mut subscriber = member.queue_subscribe("rust.q", "workers".into()).await.unwrap();
        settle(&member).await;
        members.push(member);
        let taken = taken.clone();
        tokio::spawn(async move {
            while let Some(message) = subscriber.next().await {
                let _ = taken.send((idx, text(&message).to_owned()));
            }
        });
    }
    let publisher = connected(url).await;
    for n in 0..N {
        publisher.publish("rust.q", n.to_string().into()).await.unwrap();
    }
    let (mut shares, mut seen) = ([0; 4], HashSet::new());
    for _ in 0..N {
        let (idx, payload) = tokio::time::timeout(WAIT, heard.recv()).await.unwrap().unwrap();
        shares[idx] += 1;
        assert!(seen.insert(payload), "taken twice");
    }
    assert!(shares.iter().all(|&share| share > N / 10), "{shares:?}");
}

async fn serve(url: &str, subject: &'static str) -> Client {
    let server = connected(url).await;
    let mut requests = server.queue_subscribe(subject, "s".into()).await.unwrap();
    settle(&server).await;
    let client = server.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let answer = text(&request).to_uppercase();
            client.publish(request.reply.expect("a request"), answer.into()).await.unwrap();
        }
    });
    server
}

async fn requests_of_the_new_style(url: &str) {
    let _server = serve(url, "rust.ask").await;
    let client = connected(url).await;
    let asked = (0..200).map(|n| client.request("rust.ask", format!("r{n}").into()));
    for (n, answer) in join_all(asked).await.into_iter().enumerate() {
        assert_eq!(text(&answer.unwrap()), format!("R{n}"));
    }
}

async fn requests_of_the_old_style(url: &str) {
    let _server = serve(url, "rust.ask.old").await;
    let client = connected(url).await;
    for n in 0..100 {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.unwrap();
        answers.unsubscribe_after(1).await.unwrap();
        client.publish_with_reply("rust.ask.old", inbox, format!("r{n}").into()).await.unwrap();
        assert_eq!(text(&next(&mut answers).await), format!("R{n}"));
    }
}

async fn headers(url: &str) {
    let (a, b) = (connected(url).await, connected(url).await);
    let mut subscriber = a.subscribe("rust.h").await.unwrap();
    settle(&a).await;
    let mut sent = HeaderMap::new();
    sent.append("Alpha", "1");
    sent.append("Alpha", "2");
    sent.insert("x-lower", "two words");
    b.publish_with_headers("rust.h", sent.clone(), "body".into()).await.unwrap();
    let message = next(&mut subscriber).await;
    assert_eq!(message.headers, Some(sent));
    assert_eq!(text(&message), "body");
}

async fn a_payload_of_one_mib(url: &str) {
    let (a, b) = (connected(url).await, connected(url).await);
    assert_eq!(a.server_info().max_payload, MIB);
    let mut subscriber = a.subscribe("rust.mib").await.unwrap();
    settle(&a).await;
    let payload: Vec<u8> = (0..MIB).map(|n| (n % 251) as u8).collect();
    for _ in 0..3 {
        b.publish("rust.mib", payload.clone().into()).await.unwrap();
    }
    for _ in 0..3 {
        assert!(next(&mut subscriber).await.payload == payload);
    }
}

async fn ten_thousand_subscriptions(url: &str) {
    let (a, b) = (connected(url).await, connected(url).await);
    let mut subscribers = Vec::new();
    for n in 0..N_SUBSCRIPTIONS {
        subscribers.push(a.subscribe(format!("rust.s.{n}")).await.unwrap());
    }
    settle(&a).await;
    for n in 0..N_SUBSCRIPTIONS {
        b.publish(format!("rust.s.{n}"), n.to_string().into()).await.unwrap();
    }
    for (n, subscriber) in subscribers.iter_mut().enumerate() {
        assert_eq!(text(&next(subscriber).await), n.to_string());
    }
}

async fn unsubscribing_after_some(url: &str) {
    let (a, b) = (connected(url).await, connected(url).await);
    let mut subscriber = a.subscribe("rust.max").await.unwrap();
    subscriber.unsubscribe_after(3).await.unwrap();
    settle(&a).await;
    for n in 0..9 {
        b.publish("rust.max", n.to_string().into()).await.unwrap();
    }
    for n in 0..3 {
        assert_eq!(text(&next(&mut subscriber).await), n.to_string());
    }
    assert!(tokio::time::timeout(WAIT, subscriber.next()).await.expect("it ends").is_none());
}

async fn drain(url: &str) {
    let (a, b) = (connected(url).await, connected(url).await);
    let mut subscriber = a.subscribe("rust.d").await.unwrap();
    let mut last = a.subscribe("rust.d.end").await.unwrap();
    settle(&a).await;
    for n in 0..2000 {
        b.publish("rust.d", n.to_string().into()).await.unwrap();
    }
    b.publish("rust.d.end", "".into()).await.unwrap();
    next(&mut last).await;
    a.drain().await.unwrap();
    for n in 0..2000 {
        assert_eq!(text(&next(&mut subscriber).await), n.to_string());
    }
    assert!(tokio::time::timeout(WAIT, subscriber.next()).await.expect("it ends").is_none());
}

async fn reconnect(url: &str) {
    let (connects, mut connected) = mpsc::unbounded_channel();
    let options = || {
        let connects = connects.clone();
        ConnectOptions::new().reconnect_delay_callback(|_| Duration::from_millis(50)).event_callback(move |event| {
            let connects = connects.clone();
            async move {
                if matches!(event, Event::Connected) {
                    let _ = connects.send(());
                }
            }
        })
    };
    let (a, b) = (options().connect(url).await.unwrap(), options().connect(url).await.unwrap());
    let mut subscriber = a.subscribe("rust.r").await.unwrap();
    for _ in 0..2 {
        connected.recv().await.unwrap();
    }
    settle(&a).await;
    println!("restart");
    for _ in 0..2 {
        tokio::time::timeout(WAIT, connected.recv()).await.expect("reconnects").unwrap();
    }
    settle(&a).await;
    b.publish("rust.r", "after".into()).await.unwrap();
    assert_eq!(text(&next(&mut subscriber).await), "after");
}

macro_rules! scenarios {
    ($url:expr, $($name:ident)+) => {
        $(
            $name($url).await;
            println!("ok {}", stringify!($name));
        )+
    };
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url = std::env::args().nth(1).expect("a URL");
    scenarios!(&url,
        publish_subscribe
        queues
        requests_of_the_new_style
        requests_of_the_old_style
        headers
        a_payload_of_one_mib
        ten_thousand_subscriptions
        unsubscribing_after_some
        drain
        reconnect
    );
}
