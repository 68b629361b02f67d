// What test_foreign_clients asks of MQTT.js: `node client.cjs mqtt://HOST:PORT`. Each scenario prints `ok NAME`,
// once for 3.1.1 and once for 5.0; `restart` asks whoever started this to restart the gateway.
"use strict";
const assert = require("node:assert/strict");
const { connect } = require("mqtt");

const url = process.argv[2];
const unique = () => Math.random().toString(36).slice(2, 10);

/** Connects; what comes is kept, and `hears(n)` waits until it is so much. */
async function connected(protocolVersion, options = {}) {
  const heard = [];
  let wake = () => {};
  const client = connect(url, { protocolVersion, reconnectPeriod: 0, clientId: `js-${unique()}`, ...options });
  // Before it is connected: what waited comes right behind the CONNACK.
  client.on("message", (topic, payload, packet) => {
    heard.push({ topic, text: payload.toString(), packet });
    wake();
  });
  await new Promise((resolve, reject) => client.once("connect", resolve).once("error", reject));
  const hears = async (n) => {
    while (heard.length < n) await new Promise((resolve) => (wake = resolve));
    assert.equal(heard.length, n);
    return heard;
  };
  return { client, heard, hears };
}

const kept = (version) => (version === 5 ? { properties: { sessionExpiryInterval: 100 } } : {});
const texts = (heard) => heard.map((it) => it.text);

const scenarios = {
  async publish_subscribe(version) {
    const a = await connected(version), b = await connected(version);
    const root = unique();
    for (const qos of [0, 1, 2]) {
      const [granted] = await a.client.subscribeAsync(`${root}/${qos}/+`, { qos });
      assert.equal(granted.qos, qos);
      for (const payload of ["one", "two", "three"]) await b.client.publishAsync(`${root}/${qos}/x`, payload, { qos });
    }
    const heard = await a.hears(9);
    for (const qos of [0, 1, 2]) {
      assert.deepEqual(texts(heard.filter((it) => it.packet.qos === qos)), ["one", "two", "three"]);
    }
    await a.client.unsubscribeAsync(`${root}/0/+`);
    await b.client.publishAsync(`${root}/0/x`, "late", { qos: 1 });
    await b.client.publishAsync(`${root}/1/x`, "end", { qos: 1 });
    assert.equal((await a.hears(10))[9].text, "end");
    await a.client.endAsync(), await b.client.endAsync();
  },

  async retained(version) {
    const a = await connected(version), b = await connected(version);
    const topic = `${unique()}/kept`;
    await a.client.publishAsync(topic, "old", { qos: 1, retain: true });
    await a.client.publishAsync(topic, "new", { qos: 1, retain: true });
    await b.client.subscribeAsync(topic, { qos: 1 });
    const [message] = await b.hears(1);
    assert.deepEqual([message.text, message.packet.retain], ["new", true]);
    await a.client.publishAsync(topic, "", { qos: 1, retain: true });
    assert.equal((await b.hears(2))[1].packet.retain, false);
    const c = await connected(version);
    await c.client.subscribeAsync(topic), await c.client.publishAsync(topic, "live", { qos: 1 });
    assert.deepEqual(texts(await c.hears(1)), ["live"]);
    for (const it of [a, b, c]) await it.client.endAsync();
  },

  async will(version) {
    const topic = `${unique()}/will`;
    const watcher = await connected(version);
    await watcher.client.subscribeAsync(topic, { qos: 1 });
    const will = { topic, payload: Buffer.from("gone"), qos: 1, retain: false };
    const lost = await connected(version, { will }), leaving = await connected(version, { will });
    await leaving.client.endAsync();
    lost.client.on("error", () => {});
    lost.client.stream.destroy();
    assert.deepEqual(texts(await watcher.hears(1)), ["gone"]);
    await watcher.client.publishAsync(topic, "end", { qos: 1 });
    assert.deepEqual(texts(await watcher.hears(2)), ["gone", "end"]);
    await watcher.client.endAsync();
  },

  async shared(version) {
    const topic = `${unique()}/work`, n = 300;
    const members = await Promise.all([0, 1, 2].map(() => connected(version)));
    for (const member of members) await member.client.subscribeAsync(`$share/js/${topic}`, { qos: 1 });
    const publisher = await connected(version);
    const all = Array.from({ length: n }, (_, idx) => String(idx));
    await Promise.all(all.map((payload) => publisher.client.publishAsync(topic, payload, { qos: 1 })));
    while (members.reduce((sum, member) => sum + member.heard.length, 0) < n) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    const heard = members.flatMap((member) => texts(member.heard));
    assert.deepEqual(heard.map(Number).sort((x, y) => x - y), all.map(Number));
    for (const member of members) assert(member.heard.length > 50, `${member.heard.length} of ${n}`);
    for (const it of [...members, publisher]) await it.client.endAsync();
  },

  async session_resume(version) {
    const topic = `${unique()}/session`, clientId = `js-${unique()}`;
    const options = { clientId, clean: false, ...kept(version) };
    const first = await connected(version, options);
    await first.client.subscribeAsync(topic, { qos: 2 });
    first.client.on("error", () => {});
    first.client.stream.destroy();
    const publisher = await connected(version);
    for (const qos of [1, 2]) await publisher.client.publishAsync(topic, `q${qos}`, { qos });
    const second = await connected(version, options);
    assert.deepEqual(texts(await second.hears(2)), ["q1", "q2"]);
    await second.client.endAsync();
    const clean = await connected(version, { clientId, clean: true });
    await publisher.client.publishAsync(topic, "nobody", { qos: 1 });
    assert.equal(clean.heard.length, 0);
    await clean.client.endAsync(), await publisher.client.endAsync();
  },

  async user_properties(version) {
    if (version !== 5) return;
    const a = await connected(version), b = await connected(version);
    const topic = `${unique()}/properties`;
    await a.client.subscribeAsync(topic, { qos: 1, properties: { subscriptionIdentifier: 7 } });
    const properties = {
      userProperties: { name: ["one", "two"], other: "three" },
      contentType: "text/plain", responseTopic: "back", correlationData: Buffer.from([0, 1, 255]),
      messageExpiryInterval: 60,
    };
    await b.client.publishAsync(topic, "x", { qos: 1, properties });
    const [{ packet }] = await a.hears(1);
    const { subscriptionIdentifier, ...rest } = packet.properties;
    assert.deepEqual([].concat(subscriptionIdentifier), [7]);
    assert.deepEqual({ ...rest, userProperties: { ...rest.userProperties } }, properties);
    await a.client.endAsync(), await b.client.endAsync();
  },

  async reconnect(version) {
    const topic = `${unique()}/again`;
    const a = await connected(version, { reconnectPeriod: 50 });
    a.client.on("error", () => {});
    await a.client.subscribeAsync(topic, { qos: 1 });
    const back = new Promise((resolve) => a.client.once("connect", resolve));
    console.log("restart");
    await back;
    // It subscribes again by itself, before or after this.
    const b = await connected(version);
    while (a.heard.length === 0) await b.client.publishAsync(topic, "again", { qos: 1 });
    assert.equal(a.heard[0].text, "again");
    await a.client.endAsync(true), await b.client.endAsync();
  },
};

(async () => {
  for (const version of [4, 5]) {
    for (const [name, scenario] of Object.entries(scenarios)) {
      await scenario(version);
      console.log(`ok ${name}_${version}`);
    }
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
