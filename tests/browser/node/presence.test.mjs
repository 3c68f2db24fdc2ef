// `socket.presence`, with sockets that come and go: `node --test tests/browser/node/presence.test.mjs`.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { SlipSocket } from "./module.mjs";
import { ScriptedWebSocket } from "./scripted_web_socket.mjs";
import { Clock } from "./world.mjs";

const OPTIONS = { recover: true, maxAgeMs: 100_000, overlapMs: 10_000, firstPauseMs: 1 };

let clock;
let sockets; // the WebSockets, all that were made
let heard; // of `tea`: "live", "stale" or [joined, left]

beforeEach(() => {
  clock = new Clock();
  clock.install();
  globalThis.WebSocket = ScriptedWebSocket;
  sockets = ScriptedWebSocket.made = [];
  heard = [];
});

async function begin(options) {
  const socket = new SlipSocket("wss://example.org/", { ...OPTIONS, ...options });
  await clock.run(0);
  await settled();
  return socket;
}

/** Wait for microtasks: events `live` and `stale`, and the next attempt of a socket. */
async function settled() {
  for (let turn = 0; turn < 4; turn++) await null;
}

/** Listen to `tea`, and check that events say what the object says. */
function listen(socket) {
  const presence = socket.presence("tea");
  for (const type of ["live", "stale"]) {
    presence.addEventListener(type, () => {
      assert.equal(presence.isLive, type === "live");
      heard.push(type);
    });
  }
  presence.addEventListener("change", ({ joined, left, count, members }) => {
    assert.deepEqual([count, members], [presence.count, presence.members]);
    heard.push([joined.map(({ user }) => user), left.map(({ user }) => user)]);
  });
  return presence;
}

function changed({ joined = [], ...frame }, channel = "tea") {
  return { slip: "presence", channel, joined: joined.map((user) => ({ user, info: null })), ...frame };
}

const all = (...users) => changed({ all: true, joined: users, count: users.length });
const users = ({ members }) => members.map(({ user }) => user);

test("a list is kept up to date over a lost socket, and the page hears what is different", async () => {
  const presence = listen(await begin());
  sockets[0].open();
  assert.deepEqual([presence.members, presence.count, presence.isLive], [[], 0, false]);
  sockets[0].get(all("ann", "bob"));
  await settled();
  sockets[0].get(changed({ joined: ["carol"], left: ["bob"], count: 2 }));
  sockets[0].end();
  await settled();
  assert.deepEqual([users(presence), presence.count, presence.isLive], [["ann", "carol"], 2, false]);
  await clock.run(1);
  sockets[1].open();
  sockets[1].get(all("carol", "dora"));
  await settled();
  assert.deepEqual(heard, [[["ann", "bob"], []], "live", [["carol"], ["bob"]], "stale", [["dora"], ["ann"]], "live"]);
  assert.deepEqual(users(presence), ["carol", "dora"]);
});

test("a reconnect after which the same are there changes nothing", async () => {
  const presence = listen(await begin());
  sockets[0].open();
  sockets[0].get(all("ann"));
  await settled();
  sockets[0].end();
  await clock.run(1);
  sockets[1].open();
  assert.equal(presence.isLive, false);
  sockets[1].get(all("ann"));
  await settled();
  assert.deepEqual(heard, [[["ann"], []], "live", "stale", "live"]);
});

test("while two sockets are open, the older one counts until the newer one has sent all", async () => {
  const presence = listen(await begin());
  sockets[0].open();
  sockets[0].get(all("ann"));
  await clock.run(100_000);
  sockets[1].open();
  sockets[0].get(changed({ joined: ["bob"], count: 2 }));
  assert.equal(presence.isLive, true);
  sockets[1].get(all("ann", "bob", "carol"));
  sockets[0].get(changed({ left: ["ann"], count: 1 }));
  await clock.run(10_000);
  assert.deepEqual(sockets.map(({ readyState }) => readyState), [3, 1]);
  sockets[1].get(changed({ left: ["bob"], count: 2 }));
  assert.deepEqual(heard, [[["ann"], []], "live", [["bob"], []], [["carol"], []], [[], ["bob"]]]);
});

test("a successor that has not sent all when the older socket is closed is not live until then", async () => {
  const presence = listen(await begin());
  sockets[0].open();
  sockets[0].get(all("ann"));
  await clock.run(100_000);
  sockets[1].open();
  await clock.run(10_000);
  assert.equal(presence.isLive, false);
  sockets[1].get(all("ann"));
  await settled();
  assert.deepEqual(heard, [[["ann"], []], "live", "stale", "live"]);
});

test("a socket that is lost while its successor has not sent all is not live", async () => {
  const presence = listen(await begin());
  sockets[0].open();
  sockets[0].get(all("ann"));
  await clock.run(100_000);
  sockets[1].open();
  sockets[0].end();
  assert.equal(presence.isLive, false);
});

test("a socket that is replaced twice within an overlap does not keep the list live", async () => {
  const presence = listen(await begin({ maxAgeMs: 100_000, overlapMs: 200_000 }));
  sockets[0].open();
  sockets[0].get(all("ann"));
  await clock.run(100_000);
  sockets[1].open();
  await clock.run(100_000);
  assert.equal(presence.isLive, true);
  sockets[2].open();
  assert.equal(presence.isLive, false);
});

test("a machine that was asleep has a list that is not live", async () => {
  const presence = listen(await begin());
  sockets[0].open();
  sockets[0].get(all("ann"));
  await settled();
  clock.sleep(8 * 60 * 60_000);
  await clock.run(0);
  assert.equal(presence.isLive, false);
  assert.equal(sockets.length, 2);
  sockets[1].open();
  sockets[1].get(all("bob"));
  await settled();
  assert.deepEqual(heard, [[["ann"], []], "live", "stale", [["bob"], ["ann"]], "live"]);
});

test("who is in a channel is remembered before the page asks", async () => {
  const socket = await begin();
  sockets[0].open();
  sockets[0].get(all("ann"));
  const presence = listen(socket);
  assert.deepEqual([users(presence), presence.count, presence.isLive], [["ann"], 1, true]);
  sockets[0].end();
  await settled();
  assert.deepEqual(heard, ["stale"]);
});

test("asking twice gives the same object, and another one for another channel", async () => {
  const socket = await begin();
  const presence = socket.presence("tea");
  sockets[0].open();
  sockets[0].get(all("ann"));
  assert.equal(socket.presence("tea"), presence);
  assert.notEqual(socket.presence("coffee"), presence);
  assert.equal(socket.presence("coffee").count, 0);
});

test("a channel's change is not another channel's", async () => {
  const socket = await begin();
  listen(socket);
  sockets[0].open();
  sockets[0].get(changed({ all: true, joined: ["ann"], count: 1 }, "coffee"));
  await settled();
  assert.deepEqual(heard, []);
  assert.deepEqual(users(socket.presence("coffee")), ["ann"]);
});

test("with another subprotocol nobody is there, and the list is never live", async () => {
  const presence = listen(await begin({ protocols: "v1" }));
  sockets[0].open("v1");
  sockets[0].get(all("ann"));
  await clock.run(1_000);
  assert.deepEqual([presence.members, presence.count, presence.isLive], [[], 0, false]);
  assert.deepEqual(heard, []);
});

test("a raw successor leaves the list as it was", async () => {
  const presence = listen(await begin({ protocols: "v1" }));
  sockets[0].open();
  sockets[0].get(all("ann"));
  await clock.run(100_000);
  sockets[1].open("v1");
  assert.equal(presence.isLive, true);
  await clock.run(10_000);
  assert.deepEqual([users(presence), presence.isLive], [["ann"], false]);
});

test("without `recover` there is no presence", async () => {
  const socket = await begin({ recover: false });
  assert.throws(() => socket.presence("tea"), { message: "SlipSocket has presence only with the option recover" });
});

test("after `close` the list is as it was, and not live", async () => {
  const socket = await begin();
  const presence = listen(socket);
  sockets[0].open();
  sockets[0].get(all("ann"));
  await settled();
  socket.close();
  sockets[0].get(all("bob"));
  assert.deepEqual([users(presence), presence.isLive], [["ann"], false]);
  await settled();
  assert.deepEqual(heard, [[["ann"], []], "live", "stale"]);
});

test("a page that closes its socket in an event of presence opens no other", async () => {
  for (const type of ["change", "live", "stale"]) {
    const socket = await begin();
    socket.presence("tea").addEventListener(type, () => socket.close());
    const own = sockets.at(-1);
    own.open();
    own.get(all("ann"));
    await settled();
    if (socket.state !== "closed") own.end();
    await clock.run(60_000);
    assert.equal(socket.state, "closed");
    assert.equal(sockets.at(-1), own);
  }
});

test("of channels that the page has not asked for, those heard last are remembered, a thousand in all", async () => {
  const socket = await begin();
  const asked = socket.presence("asked");
  sockets[0].open();
  const hear = (channel) => sockets[0].get(changed({ all: true, joined: ["ann"], count: 1 }, channel));
  for (const channel of ["asked", "tea", "old", "tea"]) hear(channel);
  for (let number = 0; number < 998; number++) hear(`room:${number}`);
  assert.equal(socket.presence("asked"), asked);
  assert.equal(socket.presence("tea").count, 1);
  assert.equal(socket.presence("room:0").count, 1);
  assert.equal(socket.presence("old").count, 0);
});
