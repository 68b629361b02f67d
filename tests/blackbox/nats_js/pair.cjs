// One of a pair in test_pairs: `node pair.cjs URL`. Takes a command a line, and tells what it hears. Texts and
// payloads are in hex, `-` where they are empty; headers are NAME:VALUE, with commas between them.
"use strict";
const { connect, headers } = require("@nats-io/transport-node");
const readline = require("node:readline");

const hex = (bytes) => Buffer.from(bytes).toString("hex") || "-";
const bytes = (text) => (text === "-" ? Buffer.alloc(0) : Buffer.from(text, "hex"));

function pairsOf(message) {
  const pairs = [];
  for (const [name, values] of message.headers ?? []) {
    for (const value of values) pairs.push(`${hex(name)}:${hex(value)}`);
  }
  return pairs.join(",") || "-";
}

function headersOf(text) {
  if (text === "-") return undefined;
  const all = headers();
  for (const pair of text.split(",")) all.append(...pair.split(":").map((part) => bytes(part).toString()));
  return all;
}

(async () => {
  const connection = await connect({ servers: process.argv[2], reconnect: false });
  const commands = {
    async subscribe(name) {
      connection.subscribe(name, {
        callback: (_, message) => console.log(`heard ${message.subject} ${hex(message.data)} ${pairsOf(message)}`),
      });
    },
    async serve(name) {
      connection.subscribe(name, {
        callback: (_, message) => message.respond(message.data.slice().reverse(), { headers: message.headers }),
      });
    },
    async publish(name, payload, pairs) {
      connection.publish(name, bytes(payload), { headers: headersOf(pairs) });
    },
    async request(name, payload, pairs) {
      const options = { timeout: 20_000, headers: headersOf(pairs) };
      const answer = await connection.request(name, bytes(payload), options);
      console.log(`answer ${hex(answer.data)} ${pairsOf(answer)}`);
    },
  };
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [command, ...rest] = line.split(" ");
    await commands[command](...rest);
    await connection.flush();
    console.log("ok");
  }
  await connection.close();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
