// Many lives of a page in a world with faults: it knows who is there, and each `change` is what is different.
//
//     node tests/browser/node/presence_model.mjs FIRST_SEED COUNT
//
// Prints what happened in all lives together as JSON; a life that went wrong is printed with its seed, and ends it.
import assert from "node:assert/strict";
import { SlipSocket } from "./module.mjs";
import { FAULTS, PresenceGateway } from "./presence_world.mjs";
import { Clock, randomOf, webSocketOf } from "./world.mjs";

const NAMES = ["tea", "coffee"];
const OPTIONS = { recover: true, maxAgeMs: 20_000, overlapMs: 5_000, keepAliveMs: 20_000, openTimeoutMs: 5_000, longestPauseMs: 10_000 };

/** What a page makes of the events alone. */
class Observer {
  changes = 0;
  crowds = 0;
  updates = 0;

  constructor(presence) {
    this.presence = presence;
    this.list = new Map(presence.members?.map(({ user, info }) => [user, info]));
    this.count = presence.count;
    this.isListed = presence.members !== null;
    this.isLive = presence.isLive;
  }

  change({ joined, updated, left, count, members }) {
    const isListed = members !== null;
    const differs = joined.length + updated.length + left.length > 0 || count !== this.count || isListed !== this.isListed;
    assert.ok(differs, "a change without a difference");
    for (const { user, info } of left) {
      assert.equal(this.list.get(user), info);
      assert.ok(this.list.delete(user), `${user} left, and was not there`);
    }
    for (const { user, info } of updated) {
      assert.ok(this.list.has(user) && this.list.get(user) !== info, `${user} is as before`);
      this.list.set(user, info);
    }
    for (const { user, info } of joined) {
      assert.ok(!this.list.has(user), `${user} joined twice`);
      this.list.set(user, info);
    }
    if (!isListed) this.list.clear();
    Object.assign(this, { count, isListed });
    this.changes++;
    this.updates += updated.length;
    this.crowds += !isListed;
    assert.equal(members, this.presence.members);
    this.check();
  }

  turn(isLive) {
    assert.notEqual(isLive, this.isLive);
    this.isLive = isLive;
  }

  /** Compare what the page has heard with what the object says. */
  check() {
    const { members, count } = this.presence;
    assert.equal(count, this.count);
    assert.equal(members !== null, this.isListed);
    if (this.isListed) assert.deepEqual(members, [...this.list].map(([user, info]) => ({ user, info })));
    if (this.isListed) assert.equal(count, members.length);
  }
}

async function live(seed) {
  const random = (Math.random = randomOf(seed));
  const chance = (probability) => random() < probability;
  const pick = (...choices) => choices[Math.floor(random() * choices.length)];
  const clock = new Clock();
  clock.install();
  const gateway = new PresenceGateway(clock, random, NAMES);
  globalThis.WebSocket = webSocketOf(gateway);
  for (const name of Object.keys(FAULTS)) gateway.faults = { ...gateway.faults, [name]: pick(0, 0, 0.05, 0.3) };
  const total = { lives: 1, opens: 0, replaces: 0, sleeps: 0, outages: 0, askedLate: 0, staleSteps: 0, quietSteps: 0 };
  const observers = new Map();
  const failures = [];
  const socket = new SlipSocket("wss://example.org/", OPTIONS);
  const listen = (target, type, act) => target.addEventListener(type, (event) => {
    try {
      act(event);
    } catch (error) {
      failures.push(error); // Node would report it much later
    }
  });
  listen(socket, "open", ({ replaces }) => (total.opens++, (total.replaces += replaces)));

  function ask(name) {
    const presence = socket.presence(name);
    const observer = new Observer(presence);
    observers.set(name, observer);
    total.askedLate += presence.count > 0;
    listen(presence, "change", (event) => observer.change(event));
    listen(presence, "live", () => observer.turn(true));
    listen(presence, "stale", () => observer.turn(false));
  }

  /** Users come and go; now and then more than are listed. */
  function move({ present }) {
    for (let moves = pick(1, 1, 2, 5); moves > 0; moves--) {
      const user = `user ${pick(0, 1, 2, 3, 4, 5)}`;
      if (chance(0.5)) present.delete(user);
      else present.set(user, pick(null, 1, "two"));
    }
    const guests = chance(0.02) ? pick(190, 205) : 0;
    for (let number = 0; number < guests; number++) present.set(`guest ${number}`, null);
    if (chance(0.1)) for (const user of present.keys()) if (user.startsWith("guest")) present.delete(user);
  }

  function checkTruth(when, those = observers) {
    for (const [name, { presence, isLive }] of those) {
      const truth = gateway.rooms.get(name).present;
      assert.ok(presence.isLive && isLive, `${when}: ${name} is not live`);
      assert.equal(presence.count, truth.size, `${when}: ${name}`);
      if (truth.size > 200) assert.equal(presence.members, null);
      else assert.deepEqual(new Map(presence.members.map(({ user, info }) => [user, info])), truth, `${when}: ${name}`);
    }
    if (failures.length) throw failures[0];
  }

  const cut = pick(0, 0.02, 0.1);
  for (let step = 0; step < 150; step++) {
    const name = pick(...NAMES);
    const [open] = gateway.sockets;
    if (chance(0.5)) move(gateway.rooms.get(name));
    if (!observers.has(name) && chance(0.1)) ask(name);
    if (open && chance(cut)) open.end(1006);
    if (open && chance(cut / 4)) open.isDead = true;
    if (chance(0.002)) {
      const { faults } = gateway;
      gateway.faults = { ...faults, refuse: 1 };
      for (const each of gateway.sockets) each.end(1006);
      await clock.run(60_000);
      for (const each of observers.values()) assert.equal(each.presence.isLive, false);
      gateway.faults = faults;
      total.outages++;
    }
    if (chance(0.005)) {
      clock.sleep(200_000);
      total.sleeps++;
    }
    await clock.run(pick(0, 10, 200, 1_000, 3_000));
    for (const { presence } of observers.values()) {
      total.staleSteps += !presence.isLive;
      assert.ok(!presence.isLive || gateway.sockets.size > 0, "live without a socket");
    }
    for (const each of observers.values()) each.check();
    if (gateway.isQuiet) {
      total.quietSteps++;
      checkTruth(`step ${step}`, [...observers].filter(([, { presence }]) => presence.isLive));
    }
    if (failures.length) throw failures[0];
  }

  for (const name of NAMES) if (!observers.has(name)) ask(name);
  gateway.faults = FAULTS;
  await clock.run(60_000); // each socket has a successor by then
  checkTruth("at rest");
  const before = [...observers.values()].map(({ changes }) => changes);
  for (const open of gateway.sockets) open.end(1006);
  await clock.run(14_000);
  checkTruth("after a reconnect");
  const after = [...observers.values()].map(({ changes }) => changes);
  assert.deepEqual(after, before, "a change after a reconnect that missed nothing");
  socket.close();
  const sum = (count) => [...observers.values()].reduce((all, observer) => all + observer[count], 0);
  const { repeated, deaths, overtaken } = gateway;
  return { ...total, changes: sum("changes"), updates: sum("updates"), crowds: sum("crowds"), repeated, deaths, overtaken };
}

const [first, count] = process.argv.slice(2).map(Number);
const totals = {};
let seed = first;
try {
  for (; seed < first + count; seed++) {
    for (const [name, number] of Object.entries(await live(seed))) totals[name] = (totals[name] ?? 0) + number;
  }
  console.log(JSON.stringify(totals));
} catch (error) {
  console.error(`seed ${seed}: ${error.stack}`);
  process.exitCode = 1;
}
