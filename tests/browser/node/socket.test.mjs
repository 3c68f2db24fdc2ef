// Two sockets at a time, minutes of silence, and backends that choose another subprotocol, with a clock of our own:
// `node --test tests/browser/node/socket.test.mjs`.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { SlipSocket } from "./module.mjs";
import { ScriptedWebSocket } from "./scripted_web_socket.mjs";
import { Clock } from "./world.mjs";

const OPTIONS = { recover: true, positions: { tea: "e1:12" }, maxAgeMs: 100_000, overlapMs: 10_000, firstPauseMs: 1 };

let clock;
let sockets; // the WebSockets, all that were made
let heard; // events of the page: [type, channel, position or data]

const subscribed = (position) => ({ slip: "subscribed", channel: "tea", position });
const message = (position) => ({ slip: "message", channel: "tea", data: "milk", position });
const recover = (since) => JSON.stringify({ slip: "recover", channel: "tea", since });
const PING = JSON.stringify({ slip: "ping" });

beforeEach(() => {
  clock = new Clock();
  clock.install();
  globalThis.WebSocket = ScriptedWebSocket;
  sockets = ScriptedWebSocket.made = [];
  heard = [];
});

async function begin(options) {
  const socket = new SlipSocket("wss://example.org/", { ...OPTIONS, ...options });
  for (const type of ["message", "lost", "error"]) {
    socket.addEventListener(type, ({ channel, position, data, code }) => heard.push([type, channel, position ?? data ?? code]));
  }
  await clock.run(0);
  await null;
  await null;
  return socket;
}

test("`subscribed` of the socket that was replaced says nothing of its successor", async () => {
  await begin();
  sockets[0].open();
  sockets[0].get(subscribed("e1:12"));
  await clock.run(100_000);
  sockets[1].open();
  sockets[0].get(subscribed("e1:12"));
  await clock.run(5_000);
  assert.deepEqual(sockets[1].sent, [recover("e1:12")]);
});

test("a message that both sockets of an overlap receive is handed out once, one without a position too", async () => {
  await begin();
  sockets[0].open();
  sockets[0].get(subscribed("e1:12"));
  await clock.run(100_000);
  sockets[1].open();
  sockets[1].get(subscribed("e1:12"));
  for (const socket of sockets) {
    socket.get(message("e1:13"));
    socket.get({ slip: "message", channel: "tea", data: "not kept" });
    socket.get({ slip: "text", data: "to all" });
  }
  assert.deepEqual(heard, [
    ["message", "tea", "e1:13"],
    ["message", "tea", "not kept"],
    ["message", undefined, "to all"],
  ]);
});

test("a ping to the socket that was replaced does not end its successor", async () => {
  await begin({ keepAliveMs: 99_000 - 5_000 });
  sockets[0].open();
  sockets[0].get(subscribed("e1:12"));
  await clock.run(100_000);
  assert.deepEqual(sockets[0].sent, [PING]);
  sockets[1].open();
  sockets[1].get(subscribed("e1:12"));
  await clock.run(60_000);
  assert.equal(sockets.length, 2);
});

test("a socket that does not answer a ping is given up", async () => {
  await begin({ keepAliveMs: 20_000 });
  sockets[0].open();
  sockets[0].get(subscribed("e1:12"));
  await clock.run(20_000);
  sockets[0].get({ slip: "pong" });
  await clock.run(20_000);
  assert.deepEqual(sockets[0].sent, [PING, PING]);
  await clock.run(30_100);
  assert.equal(sockets[0].readyState, 3);
  assert.equal(sockets.length, 2);
});

test("a `recover` without a response is repeated with a ping, so that a dead socket is not taken for a loss", async () => {
  await begin();
  sockets[0].open();
  await clock.run(10_000);
  assert.deepEqual(sockets[0].sent, [recover("e1:12"), recover("e1:12"), PING]);
  await clock.run(30_100);
  assert.equal(sockets.length, 2);
  assert.deepEqual(heard, []);
});

test("frames that nobody knows are ignored", async () => {
  await begin();
  sockets[0].open();
  for (const frame of ["", "[]", "null", "tea", { slip: "new" }, { slip: 1 }, subscribed("nothing"), {}]) sockets[0].get(frame);
  sockets[0].get({ ...message("e1:13"), slip: "message", colour: "green" });
  assert.deepEqual(heard, [["message", "tea", "e1:13"]]);
});

test("what the gateway refuses is an `error`", async () => {
  await begin();
  sockets[0].open();
  sockets[0].get({ slip: "error", code: "too_large" });
  await clock.run(5_000);
  sockets[0].get({ slip: "error", code: "not_subscribed", channel: "tea" });
  await clock.run(60_000);
  assert.deepEqual(heard, [
    ["error", undefined, "too_large"],
    ["error", "tea", "not_subscribed"],
  ]);
  assert.deepEqual(sockets[0].sent, [recover("e1:12")]);
});

test("with another subprotocol texts are raw, and what may have been missed is lost", async () => {
  const socket = await begin({ protocols: ["v1", "slip.v1"], numberTexts: true });
  assert.deepEqual(sockets[0].offered, ["slip.v1", "v1"]);
  sockets[0].open("v1");
  sockets[0].get(JSON.stringify({ slip: "text", data: "hi" }));
  assert.deepEqual(heard, [
    ["lost", "tea", undefined],
    ["message", undefined, '{"slip":"text","data":"hi"}'],
  ]);
  assert.equal(socket.send("hi"), true);
  assert.deepEqual(sockets[0].sent, ["\u00011\u0001hi"]);
  assert.deepEqual(socket.positions, {});
});

test("a raw successor is sent no `recover`", async () => {
  await begin({ protocols: "v1" });
  sockets[0].open();
  sockets[0].get(subscribed("e1:12"));
  await clock.run(100_000);
  sockets[1].open("v1");
  sockets[0].get(message("e1:13"));
  sockets[0].get(message("e1:15"));
  sockets[0].get(message("e1:17"));
  await clock.run(80_000);
  assert.deepEqual(sockets[1].sent, []);
});

test("a text is sent in its envelope, which counts", async () => {
  const socket = await begin({ numberTexts: true });
  assert.equal(socket.send("too early"), false);
  sockets[0].open();
  assert.equal(socket.send('say "é"'), true);
  assert.deepEqual(JSON.parse(sockets[0].sent[0]), { slip: "text", data: '\u00011\u0001say "é"' });
  const envelope = JSON.stringify({ slip: "text", data: "\u00012\u0001" }).length;
  assert.throws(() => socket.send("x".repeat(32 * 1024 - envelope + 1)), {
    name: "RangeError",
    message: "API Gateway takes 32768 bytes of a browser, got 32769",
  });
  assert.equal(socket.send("x".repeat(32 * 1024 - envelope)), true);
});

test("positions can be read, set and forgotten", async () => {
  const socket = await begin({ positions: { tea: "e1:12", __proto__: null, constructor: "e1:1" } });
  assert.deepEqual(socket.positions, { tea: "e1:12", constructor: "e1:1" });
  socket.setPosition("constructor", null);
  socket.setPosition("coffee", "e7:1");
  sockets[0].open();
  sockets[0].get(subscribed("e1:12"));
  sockets[0].get(message("e1:13"));
  assert.deepEqual(socket.positions, { tea: "e1:13", coffee: "e7:1" });
  socket.setPosition("tea", "e1:10");
  assert.deepEqual(sockets[0].sent, [recover("e1:10")]);
  assert.throws(() => socket.setPosition("tea", "12"), { message: "SlipSocket needs positions like k3J9:12, got 12" });
  await assert.rejects(begin({ positions: { tea: 12 } }), { message: "SlipSocket needs positions like k3J9:12, got 12" });
  const raw = await begin({ recover: false, positions: {} });
  assert.deepEqual(raw.positions, {});
  assert.throws(() => raw.setPosition("tea", "e1:1"), { message: "SlipSocket has positions only with the option recover" });
});

test("a page that closes its socket while it is handed something is handed nothing more", async () => {
  const socket = await begin();
  sockets[0].open();
  sockets[0].get(message("e1:14"));
  socket.addEventListener("message", () => socket.close());
  sockets[0].get(message("e1:13"));
  assert.deepEqual(heard, [["message", "tea", "e1:13"]]);
});

test("the channels that were heard last are remembered, a thousand of them", async () => {
  const socket = await begin({ positions: { old: "e1:1", tea: "e1:12" } });
  sockets[0].open();
  sockets[0].get(message("e1:13"));
  for (let number = 0; number < 999; number++) socket.setPosition(`room:${number}`, "e1:1");
  const names = Object.keys(socket.positions);
  assert.equal(names.length, 1_000);
  assert.equal(names[0], "tea");
});
