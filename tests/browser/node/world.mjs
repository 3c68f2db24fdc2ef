// A simulated world around one SlipSocket: a clock, a gateway that keeps messages, and a network with faults.

/** Numbers from 0 to 1, the same for the same seed (mulberry32, public domain). */
export function randomOf(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let x = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Time that passes only when `run` is called. It takes the place of the page's timers and clocks. */
export class Clock {
  now = 1_000_000;
  #timers = new Map();
  #lastId = 0;

  install() {
    globalThis.setTimeout = (act, ms = 0) => this.after(Math.max(0, ms), act);
    globalThis.clearTimeout = (id) => this.#timers.delete(id);
    Date.now = () => this.now;
    Object.defineProperty(globalThis, "performance", { value: { now: () => this.now }, configurable: true });
  }

  after(ms, act) {
    this.#timers.set(++this.#lastId, { at: this.now + ms, act });
    return this.#lastId;
  }

  /** Run what is due within `ms`, in order of time. */
  async run(ms) {
    const end = this.now + ms;
    for (;;) {
      let next = null;
      for (const [id, { at }] of this.#timers) {
        if (at <= end && (next === null || at < this.#timers.get(next).at)) next = id;
      }
      if (next === null) break;
      const { at, act } = this.#timers.get(next);
      this.#timers.delete(next);
      this.now = Math.max(this.now, at);
      act();
      for (let turn = 0; turn < 4; turn++) await null; // promises of the page
    }
    this.now = Math.max(this.now, end);
  }

  /** Time that passes without anything being run: the machine sleeps. */
  sleep(ms) {
    this.now += ms;
  }
}

/** What a gateway remembers of a channel. */
class Memory {
  static #made = 0;
  #keptCount;

  constructor(keptCount) {
    this.#keptCount = keptCount;
    this.forget();
  }

  forget() {
    this.epoch = `e${++Memory.#made}`;
    this.offset = 0;
    this.kept = []; // [offset, data]
  }

  get position() {
    return `${this.epoch}:${this.offset}`;
  }

  keep() {
    const data = `${this.epoch}:${++this.offset}`; // so that the page's observer knows what belongs where
    this.kept.push([this.offset, data]);
    if (this.kept.length > this.#keptCount) this.kept.shift();
    return data;
  }

  /** What came after a position, or null if it is not known any more. */
  after(position) {
    const [epoch, offset] = position.split(":");
    const missed = this.kept.filter(([each]) => each > Number(offset));
    const isWhole = epoch === this.epoch && Number(offset) <= this.offset && missed.length === this.offset - Number(offset);
    return isWhole ? missed : null;
  }
}

/** What may go wrong, each as a probability. */
export const FAULTS = {
  drop: 0, // of a live frame
  repeat: 0, // of a live frame
  late: 0, // that a live frame takes up to 2 s, instead of 100 ms
  lag: 0, // that the index of subscribers does not have a newcomer yet, for up to 2 s
  die: 0, // that a function dies at a moment of SUBSCRIBE or `recover`
  refuse: 0, // of an attempt to connect
};

/** The gateway subscribes connections to it without a word. */
function isOfUser(name) {
  return name.startsWith("$user:");
}

/** The gateway, behind a backend that subscribes each connection to all channels. */
export class Gateway {
  channels = new Map();
  sockets = new Set();
  recovers = 0;
  deaths = 0; // of functions
  faults = FAULTS;

  /** `subscribes` is "recover", "since" (what the URL names) or "plain". */
  constructor(clock, random, { names, keptCount, subscribes }) {
    Object.assign(this, { clock, random, subscribes });
    for (const name of names) this.channels.set(name, new Memory(keptCount));
  }

  happens(fault) {
    return this.random() < this.faults[fault];
  }

  publish(name) {
    const memory = this.channels.get(name);
    const data = memory.keep();
    for (const socket of this.sockets) if (socket.isIndexed) this.#sendLive(socket, name, data);
  }

  publishWithoutKeeping(name, data) {
    for (const socket of this.sockets) {
      if (socket.isIndexed) this.clock.after(this.random() * 100, () => socket.get({ slip: "message", channel: name, data }));
    }
  }

  accept(socket) {
    if (this.happens("refuse")) return socket.end(1006);
    this.sockets.add(socket);
    socket.open();
    for (const [name, memory] of this.channels) this.#subscribe(socket, name, memory);
  }

  take(socket, text) {
    const frame = JSON.parse(text);
    if (frame.slip === "ping") this.clock.after(5, () => socket.get({ slip: "pong" }));
    if (frame.slip !== "recover") return;
    this.recovers++;
    const memory = this.channels.get(frame.channel);
    this.clock.after(20 + this.random() * 80, () => {
      const newestSeen = memory.position;
      if (isOfUser(frame.channel)) this.clock.after(2_500, () => this.#lookAgain(socket, frame.channel, memory, newestSeen));
      this.#recover(socket, frame.channel, memory, frame.since);
    });
  }

  #sendLive(socket, name, data) {
    if (this.happens("drop")) return;
    for (let copies = this.happens("repeat") ? 2 : 1; copies > 0; copies--) {
      const ms = this.random() * (this.happens("late") ? 2_000 : 100);
      this.clock.after(ms, () => socket.get({ slip: "message", channel: name, data, position: data }));
    }
  }

  #subscribe(socket, name, memory) {
    const lag = this.happens("lag") ? this.random() * 2_000 : 0;
    this.clock.after(lag, () => (socket.isIndexed = true));
    const newestSeen = memory.position;
    if (lag && !isOfUser(name)) this.clock.after(2_500, () => this.#lookAgain(socket, name, memory, newestSeen));
    if (this.subscribes === "plain" || isOfUser(name)) return;
    const since = this.subscribes === "since" ? socket.positions[name] : undefined;
    if (since) this.#recover(socket, name, memory, since);
    else if (!this.#dies()) this.clock.after(this.random() * 100, () => this.#confirm(socket, name, newestSeen));
  }

  #lookAgain(socket, name, memory, newestSeen) {
    for (const [, data] of memory.after(newestSeen) ?? memory.kept) {
      socket.get({ slip: "message", channel: name, data, position: data });
    }
    this.#confirm(socket, name, memory.position);
  }

  /** One frame after the other; the function may die before each. */
  #recover(socket, name, memory, since) {
    if (this.#dies()) return;
    const missed = memory.after(since);
    const newest = memory.position;
    const frames = (missed ?? []).map(([, data]) => ({ slip: "message", channel: name, data, position: data }));
    frames.push({ slip: "subscribed", channel: name, position: newest, recovered: missed !== null, since });
    const sendNext = () => {
      if (frames.length === 0 || this.#dies()) return;
      socket.get(frames.shift());
      this.clock.after(this.random() * 20, sendNext);
    };
    sendNext();
  }

  #confirm(socket, name, position) {
    socket.get({ slip: "subscribed", channel: name, position });
  }

  #dies() {
    const dies = this.happens("die");
    this.deaths += dies;
    return dies;
  }
}

/** Return a WebSocket class whose sockets lead to `gateway`. */
export function webSocketOf(gateway) {
  return class FakeWebSocket {
    static OPEN = 1;
    readyState = 0;
    protocol = "";
    isIndexed = false;
    isDead = false; // the network has gone, and neither side knows

    constructor(url, protocols) {
      this.positions = JSON.parse(decodeURIComponent(new URL(url).search.slice(1)) || "{}");
      this.offered = protocols;
      gateway.clock.after(30, () => gateway.accept(this));
    }

    open() {
      if (this.readyState !== 0) return;
      this.readyState = 1;
      this.protocol = this.offered[0];
      this.onopen();
    }

    send(text) {
      if (!this.isDead) gateway.take(this, text);
    }

    get(frame) {
      if (this.readyState === 1 && !this.isDead) this.onmessage({ data: JSON.stringify(frame) });
    }

    end(code) {
      gateway.sockets.delete(this);
      if (this.readyState === 3) return;
      this.readyState = 3;
      this.onclose({ code, reason: "" });
    }

    close() {
      gateway.clock.after(10, () => this.end(1005));
    }
  };
}
