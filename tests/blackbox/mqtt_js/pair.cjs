// One of a pair in test_pairs: `node pair.cjs mqtt://HOST:PORT`. Takes a command a line, and tells what it hears.
// Texts and payloads are in hex, `-` where they are empty; user properties are NAME:VALUE, with commas between them.
"use strict";
const { connectAsync } = require("mqtt");
const readline = require("node:readline");

const hex = (bytes) => Buffer.from(bytes).toString("hex") || "-";
const bytes = (text) => (text === "-" ? Buffer.alloc(0) : Buffer.from(text, "hex"));
const ANSWERS = "pairs/answers/js", CORRELATION = Buffer.from([0, 13, 10]);

function pairsOf(packet) {
  const pairs = [];
  for (const [name, values] of Object.entries(packet.properties?.userProperties ?? {})) {
    for (const value of [].concat(values)) pairs.push(`${hex(name)}:${hex(value)}`);
  }
  return pairs.join(",") || "-";
}

function propertiesOf(text) {
  if (text === "-") return {};
  const userProperties = {};
  for (const pair of text.split(",")) {
    const [name, value] = pair.split(":").map((part) => bytes(part).toString());
    (userProperties[name] ??= []).push(value);
  }
  return { userProperties };
}

(async () => {
  const client = await connectAsync(process.argv[2], { protocolVersion: 5, reconnectPeriod: 0 });
  const served = new Set();
  client.on("message", (topic, payload, packet) => {
    const { responseTopic, correlationData, userProperties } = packet.properties ?? {};
    if (topic === ANSWERS) {
      const isMine = Buffer.compare(correlationData ?? Buffer.alloc(0), CORRELATION) === 0;
      console.log(isMine ? `answer ${hex(payload)} ${pairsOf(packet)}` : "answer of another request");
    } else if (served.has(topic)) {
      client.publish(responseTopic, Buffer.from(payload).reverse(), { properties: { userProperties, correlationData } });
    } else {
      console.log(`heard ${topic} ${hex(payload)} ${pairsOf(packet)} ${packet.qos} ${Number(packet.retain)}`);
    }
  });
  const commands = {
    async subscribe(name) {
      await client.subscribeAsync(name, { qos: 2 });
    },
    async serve(name) {
      served.add(name);
      await client.subscribeAsync(name, { qos: 1 });
    },
    async publish(name, payload, pairs, qos, retain) {
      const options = { qos: Number(qos), retain: retain === "1", properties: propertiesOf(pairs) };
      await client.publishAsync(name, bytes(payload), options);
    },
    async request(name, payload, pairs) {
      await client.subscribeAsync(ANSWERS);
      const properties = { ...propertiesOf(pairs), responseTopic: ANSWERS, correlationData: CORRELATION };
      await client.publishAsync(name, bytes(payload), { properties });
    },
  };
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [command, ...rest] = line.split(" ");
    await commands[command](...rest);
    console.log("ok");
  }
  await client.endAsync();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
