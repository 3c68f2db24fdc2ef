// Many lives of a page in a world with faults: it sees every kept message once and in order, or `lost`; never less.
//
//     node tests/browser/node/recovery_model.mjs FIRST_SEED COUNT
//
// Prints what happened in all lives together as JSON; a life that went wrong is printed with its seed, and ends it.
import { SlipSocket } from "./module.mjs";
import { Clock, FAULTS, Gateway, randomOf, webSocketOf } from "./world.mjs";

const NAMES = ["tea", "coffee", "$user:ann"];
const OPTIONS = { maxAgeMs: 100_000, overlapMs: 5_000, keepAliveMs: 20_000, openTimeoutMs: 5_000, longestPauseMs: 10_000 };

/** What a page has seen of one channel. */
class Observer {
  seen = []; // for a failure's report
  lost = 0;
  position = null;

  message(data, position) {
    this.seen.push(position);
    if (data !== position) throw new Error(`${position} came with the data of ${data}`);
    const next = this.position && `${this.position.split(":")[0]}:${Number(this.position.split(":")[1]) + 1}`;
    if (next && position !== next) throw new Error(`${position} came after ${this.position}`);
    this.position = position;
  }

  lose(position) {
    this.seen.push(`lost, on from ${position}`);
    this.lost++;
    this.position = position;
  }
}

async function live(seed) {
  const random = (Math.random = randomOf(seed));
  const chance = (probability) => random() < probability;
  const pick = (...choices) => choices[Math.floor(random() * choices.length)];
  const clock = new Clock();
  clock.install();
  const gateway = new Gateway(clock, random, {
    names: NAMES,
    keptCount: pick(10, 1_000),
    subscribes: pick("recover", "recover", "since", "plain"),
  });
  globalThis.WebSocket = webSocketOf(gateway);
  for (const name of Object.keys(FAULTS)) gateway.faults = { ...gateway.faults, [name]: pick(0, 0, 0.05, 0.3) };
  const observers = Object.fromEntries(NAMES.map((name) => [name, new Observer()]));
  const total = { lives: 1, messages: 0, lost: 0, recovers: 0, opens: 0, replaces: 0, forgotten: 0, sleeps: 0, outages: 0, unkept: 0 };
  const unkept = new Set();
  const failures = [];

  function begin(positions) {
    const url = () => `wss://example.org/?${encodeURIComponent(JSON.stringify(socket.positions))}`;
    const socket = new SlipSocket(url, { ...OPTIONS, recover: true, positions });
    const listen = (type, act) => socket.addEventListener(type, (event) => {
      try {
        act(event);
      } catch (error) {
        failures.push(error); // Node would report it much later
      }
    });
    listen("open", ({ replaces }) => (total.opens++, (total.replaces += replaces)));
    listen("lost", ({ channel, position }) => {
      const { position: last, seen } = observers[channel];
      const isRecoverable = last !== null && gateway.channels.get(channel).after(last) !== null;
      if (isRecoverable && gateway.deaths === 0) throw new Error(`lost after ${last} without a reason: ${seen.slice(-20)}`);
      observers[channel].lose(position);
    });
    listen("message", ({ channel, position, data }) => {
      total.messages++;
      if (position) observers[channel].message(data, position);
      else if (unkept.has(data)) throw new Error(`${data} came twice`);
      else unkept.add(data);
    });
    return socket;
  }

  // A page need not know its user's channel: it begins with the first message that it hears.
  const given = chance(0.5) ? NAMES : NAMES.filter((name) => !name.startsWith("$user:"));
  for (const name of given) observers[name].position = gateway.channels.get(name).position;
  let socket = begin(Object.fromEntries(given.map((name) => [name, observers[name].position])));
  const loss = pick(0, 0, 0.01);
  const cut = pick(0, 0.02, 0.1);
  let forgottenAt = 0;
  for (let step = 0; step < 150; step++) {
    const name = pick(...NAMES);
    const [open] = gateway.sockets;
    if (chance(0.6)) for (let burst = pick(1, 1, 1, 3, 12); burst > 0; burst--) gateway.publish(name);
    if (chance(0.1)) gateway.publishWithoutKeeping(name, `unkept ${total.unkept++}`);
    if (chance(loss) && clock.now - forgottenAt > 3_000) {
      // Frames of three epochs at a time may end in a second `lost`.
      forgottenAt = clock.now;
      gateway.channels.get(name).forget();
      total.forgotten++;
    }
    if (open && chance(cut)) open.end(1006);
    if (open && chance(cut / 4)) open.isDead = true;
    if (chance(0.002)) {
      const { faults } = gateway;
      gateway.faults = { ...faults, refuse: 1 };
      for (const each of gateway.sockets) each.end(1006);
      await clock.run(120_000);
      gateway.faults = faults;
      total.outages++;
    }
    if (chance(0.005)) {
      clock.sleep(200_000);
      total.sleeps++;
    }
    if (chance(0.01)) {
      const { positions } = socket;
      socket.close();
      socket = begin(positions); // a reload
    }
    if (chance(0.005)) {
      const at = gateway.channels.get(name).position; // the page has fetched its state
      observers[name].position = at;
      observers[name].seen.push(`loaded at ${at}`);
      socket.setPosition(name, at);
    }
    await clock.run(pick(0, 10, 200, 1_000, 5_000));
    if (failures.length) throw failures[0];
  }

  function publishUnheard() {
    gateway.faults = { ...FAULTS, drop: 1 };
    for (const name of NAMES) gateway.publish(name);
    gateway.faults = FAULTS;
  }

  /** The last things that go wrong. Each shows the page in some way that it has missed something. */
  const ends = {
    async gap() {
      publishUnheard();
      for (const name of NAMES) gateway.publish(name);
      await clock.run(8_000);
    },
    async cut() {
      publishUnheard();
      for (const open of gateway.sockets) open.end(1006);
      await clock.run(14_000);
    },
    async "cut, and no `subscribed`"() {
      publishUnheard();
      for (const open of gateway.sockets) open.end(1006);
      gateway.faults = { ...FAULTS, die: 1 };
      while (gateway.sockets.size === 0) await clock.run(1);
      await clock.run(1);
      gateway.faults = FAULTS;
      await clock.run(8_000);
    },
    async "dead socket"() {
      for (const open of gateway.sockets) open.isDead = true;
      for (const name of NAMES) gateway.publish(name);
      await clock.run(45_000);
    },
  };
  gateway.faults = FAULTS;
  await clock.run(100_000);
  const end = gateway.subscribes === "plain" ? "gap" : pick(...Object.keys(ends));
  await ends[end]();
  if (failures.length) throw failures[0];
  for (const [name, { position, seen }] of Object.entries(observers)) {
    const newest = gateway.channels.get(name).position;
    if (position !== newest) throw new Error(`${end}: ${name} ends at ${position}, not at ${newest}: ${seen.slice(-20)}`);
  }
  socket.close();
  total.lost = NAMES.reduce((sum, name) => sum + observers[name].lost, 0);
  total.recovers = gateway.recovers;
  return total;
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
