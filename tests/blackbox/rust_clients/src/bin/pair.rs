//! One of a pair in test_pairs: `pair URL`. Takes a command a line, and tells what it hears. Texts and payloads are
//! in hex, `-` where they are empty; headers are NAME:VALUE, with commas between them.

use async_nats::{Client, HeaderMap, Message, RequestErrorKind};
use futures_util::StreamExt;
use strait_tests_clients::{bytes, hex, join, pairs};
use tokio::sync::mpsc;

fn pairs_of(message: &Message) -> String {
    let mut pairs = Vec::new();
    for (name, values) in message.headers.iter().flat_map(|headers| headers.iter()) {
        for value in values {
            let name: &str = name.as_ref();
            pairs.push((name, value.as_str()));
        }
    }
    join(pairs)
}

fn headers_of(said: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(said) {
        headers.append(name, value);
    }
    headers
}

/// Returns once the gateway has taken what was said: nobody answers.
async fn settle(client: &Client) {
    let nobody = client.request("pairs.rust.nobody", "".into()).await;
    assert_eq!(nobody.expect_err("nobody answers").kind(), RequestErrorKind::NoResponders);
}

async fn obey(client: &Client, command: &str, name: String, payload: Vec<u8>, pairs: &str) {
    match command {
        "subscribe" | "serve" => {
            let mut subscriber = client.subscribe(name).await.unwrap();
            let is_service = command == "serve";
            let client = client.clone();
            tokio::spawn(async move {
                while let Some(message) = subscriber.next().await {
                    let (subject, data) = (&message.subject, &message.payload);
                    if is_service {
                        let answer: Vec<u8> = data.iter().rev().copied().collect();
                        let headers = message.headers.clone().unwrap_or_default();
                        let reply = message.reply.expect("a request");
                        client.publish_with_headers(reply, headers, answer.into()).await.unwrap();
                    } else {
                        println!("heard {subject} {} {}", hex(data), pairs_of(&message));
                    }
                }
            });
        }
        "publish" => {
            client.publish_with_headers(name, headers_of(pairs), payload.into()).await.unwrap();
        }
        "request" => {
            let answer = client.request_with_headers(name, headers_of(pairs), payload.into()).await.unwrap();
            println!("answer {} {}", hex(&answer.payload), pairs_of(&answer));
        }
        other => panic!("no command: {other}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url = std::env::args().nth(1).expect("a URL");
    let client = async_nats::connect(url).await.expect("the gateway accepts");
    let (tell, mut lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lines().for_each(|line| tell.send(line.unwrap()).unwrap()));
    while let Some(line) = lines.recv().await {
        let mut parts = line.split(' ');
        let mut next = || parts.next().unwrap_or("-");
        let (command, name, payload, pairs) = (next(), next().to_owned(), bytes(next()), next());
        obey(&client, command, name, payload, pairs).await;
        settle(&client).await;
        println!("ok");
    }
}
