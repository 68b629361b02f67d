// What test_foreign_clients asks of nats.js: `node client.cjs URL`. Each scenario prints `ok NAME`; `restart`
// asks whoever started this to restart the gateway.
"use strict";
const assert = require("node:assert/strict");
const { connect, createInbox, headers, nuid } = require("@nats-io/transport-node");

const MIB = 1 << 20;
const N_SUBSCRIPTIONS = 10_000;
const url = process.argv[2];
const text = (message) => new TextDecoder().decode(message.data);
const connected = (options = {}) => connect({ servers: url, reconnect: false, ...options });
const subject = (name) => `${nuid.next()}.${name}`;

/** Calls back for each message, and keeps what went wrong for the end of the scenario. */
function listen(connection, filter, onMessage, options = {}) {
  return connection.subscribe(filter, {
    ...options,
    callback: (error, message) => {
      assert.ifError(error);
      onMessage(message);
    },
  });
}

/** `n` messages of a filter, once the gateway knows that they are wanted. */
async function hears(connection, filter, n, options) {
  const heard = [];
  const all = new Promise((resolve) => {
    listen(connection, filter, (message) => heard.push(message) === n && resolve(heard), options);
  });
  await connection.flush();
  return { all, heard };
}

const scenarios = {
  async publish_subscribe() {
    const [a, b] = [await connected(), await connected()];
    const root = subject("p");
    const filters = [`${root}.x`, `${root}.*`, `${root}.>`];
    const all = await Promise.all(filters.map((filter) => hears(a, filter, 2)));
    for (const end of ["x", "y.z", "x", "y.z"]) b.publish(`${root}.${end}`, end);
    const exact = await all[0].all, star = await all[1].all;
    await a.flush(), await b.flush(), await a.flush();
    assert.deepEqual(exact.map(text), ["x", "x"]);
    assert.deepEqual(star.map(text), ["x", "x"]);
    assert.deepEqual(all[2].heard.map(text), ["x", "y.z", "x", "y.z"]);
    await a.close(), await b.close();
  },

  async queues() {
    const name = subject("q"), taken = new Map(), n = 600;
    const members = await Promise.all(Array.from({ length: 4 }, () => connected()));
    let resolve;
    const all = new Promise((done) => (resolve = done));
    members.forEach((member, idx) =>
      listen(member, name, (message) => {
        assert(!taken.has(text(message)), "taken twice");
        taken.set(text(message), idx);
        if (taken.size === n) resolve();
      }, { queue: "workers" }));
    await Promise.all(members.map((member) => member.flush()));
    const publisher = await connected();
    for (let i = 0; i < n; i++) publisher.publish(name, `${i}`);
    await all;
    const shares = members.map((_, idx) => [...taken.values()].filter((by) => by === idx).length);
    assert(shares.every((share) => share > n / 10), `shares ${shares}`);
    await Promise.all([...members, publisher].map((connection) => connection.close()));
  },

  async requests_of_the_new_style() {
    await ask({});
  },

  async requests_of_the_old_style() {
    await ask({ noMux: true });
  },

  async many_answers_to_one_request() {
    const [a, b] = [await connected(), await connected()];
    const name = subject("many");
    listen(a, name, (message) => ["1", "2", "3"].forEach((answer) => message.respond(answer)));
    await a.flush();
    const answers = [];
    const options = { strategy: "count", maxMessages: 3, maxWait: 20_000 };
    for await (const answer of await b.requestMany(name, "?", options)) answers.push(text(answer));
    assert.deepEqual(answers, ["1", "2", "3"]);
    await a.close(), await b.close();
  },

  async nobody_to_answer() {
    const a = await connected();
    for (const options of [{}, { noMux: true }]) {
      const began = Date.now();
      await assert.rejects(a.request(subject("nobody"), "?", { timeout: 30_000, ...options }), /responders/i);
      assert(Date.now() - began < 10_000);
    }
    await a.close();
  },

  async headers() {
    const [a, b] = [await connected(), await connected()];
    const name = subject("h"), { all } = await hears(a, name, 1);
    const sent = headers();
    sent.append("Alpha", "1");
    sent.append("Alpha", "2");
    sent.set("x-lower", "two words");
    b.publish(name, "body", { headers: sent });
    const [message] = await all;
    assert.deepEqual(message.headers.values("Alpha"), ["1", "2"]);
    assert.equal(message.headers.get("x-lower"), "two words");
    assert.equal(text(message), "body");
    await a.close(), await b.close();
  },

  async a_payload_of_one_mib() {
    const [a, b] = [await connected(), await connected()];
    assert.equal(a.info.max_payload, MIB);
    const name = subject("mib"), { all } = await hears(a, name, 3);
    const payload = Uint8Array.from({ length: MIB }, (_, i) => i % 251);
    for (let i = 0; i < 3; i++) b.publish(name, payload);
    for (const message of await all) assert(Buffer.from(message.data).equals(Buffer.from(payload)));
    await a.close(), await b.close();
  },

  async ten_thousand_subscriptions() {
    const [a, b] = [await connected(), await connected()];
    const root = subject("s"), heard = new Set();
    let resolve;
    const all = new Promise((done) => (resolve = done));
    for (let i = 0; i < N_SUBSCRIPTIONS; i++) {
      listen(a, `${root}.${i}`, (message) => heard.add(message.subject).size === N_SUBSCRIPTIONS && resolve());
    }
    await a.flush();
    for (let i = 0; i < N_SUBSCRIPTIONS; i++) b.publish(`${root}.${i}`);
    await all;
    await a.close(), await b.close();
  },

  async unsubscribing_after_some() {
    const [a, b] = [await connected(), await connected()];
    const name = subject("max"), heard = [];
    const subscription = listen(a, name, (message) => heard.push(text(message)), { max: 3 });
    await a.flush();
    for (let i = 0; i < 9; i++) b.publish(name, `${i}`);
    await subscription.closed;
    await b.flush(), await a.flush();
    assert.deepEqual(heard, ["0", "1", "2"]);
    await a.close(), await b.close();
  },

  async drain() {
    const [a, b] = [await connected(), await connected()];
    const name = subject("d"), heard = [], inbox = createInbox();
    listen(a, name, (message) => heard.push(text(message)));
    const { all } = await hears(a, inbox, 1);
    for (let i = 0; i < 2000; i++) b.publish(name, `${i}`);
    b.publish(inbox);
    await all;
    await a.drain();
    assert.deepEqual(heard, Array.from({ length: 2000 }, (_, i) => `${i}`));
    assert(a.isClosed());
    // What a drain of a publisher has not written yet goes out.
    const c = await connected(), { all: last } = await hears(c, name, 100);
    for (let i = 0; i < 100; i++) b.publish(name, `${i}`);
    await b.drain();
    assert.equal((await last).length, 100);
    await c.close();
  },

  async reconnect() {
    const options = { reconnect: true, maxReconnectAttempts: -1, reconnectTimeWait: 50 };
    const [a, b] = [await connected(options), await connected(options)];
    const name = subject("r"), heard = [];
    const subscription = listen(a, name, (message) => heard.push(text(message)));
    const again = Promise.all([a, b].map(reconnected));
    await a.flush();
    console.log("restart");
    await again;
    await a.flush();
    b.publish(name, "after"), await b.flush();
    while (heard.length === 0) await a.flush();
    assert.deepEqual(heard, ["after"]);
    subscription.unsubscribe();
    await a.close(), await b.close();
  },
};

async function reconnected(connection) {
  for await (const status of connection.status()) if (status.type === "reconnect") return;
}

async function ask(options) {
  const [a, b] = [await connected(), await connected()];
  const name = subject("ask");
  listen(a, name, (message) => assert(message.respond(text(message).toUpperCase())), { queue: "s" });
  await a.flush();
  const one = (i) => b.request(name, `r${i}`, { timeout: 30_000, ...options });
  const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => one(i)));
  assert.deepEqual(answers.map(text), Array.from({ length: 200 }, (_, i) => `R${i}`));
  await a.close(), await b.close();
}

(async () => {
  for (const [name, scenario] of Object.entries(scenarios)) {
    await scenario();
    console.log(`ok ${name}`);
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
