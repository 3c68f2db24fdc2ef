// The gateway of a simulated world that knows who is in which channel, for `webSocketOf` of world.mjs.

/** What may go wrong, each as a probability. */
export const FAULTS = {
  repeat: 0, // of a frame
  slow: 0, // of a socket, whose frames take up to 4 s, instead of 100 ms; always in order
  lag: 0, // that a newcomer is subscribed up to 7 s after it was accepted
  die: 0, // that a function dies before it has sent all members to a newcomer
  refuse: 0, // of an attempt to connect
};

const COALESCE_MS = 1_000;
const GRACE_MS = 20_000;
const MAX_LISTED = 200;

/** Who is in a channel, and what its subscribers have been sent. */
class Room {
  present = new Map(); // user -> info
  sent = new Map();
  subscribers = new Set(); // sockets

  /** The next frame for each subscriber, or null if nothing has changed. */
  change() {
    const before = this.sent;
    this.sent = new Map(this.present);
    if (this.sent.size > MAX_LISTED) return this.sent.size === before.size ? null : { count: this.sent.size };
    if (before.size > MAX_LISTED) return this.all();
    const joined = listOf(this.sent).filter(({ user, info }) => !before.has(user) || before.get(user) !== info);
    const left = [...before.keys()].filter((user) => !this.sent.has(user));
    return joined.length + left.length === 0 ? null : framed({ joined, left, count: this.sent.size });
  }

  get isSent() {
    return this.sent.size === this.present.size && [...this.present].every(([user, info]) => this.sent.get(user) === info);
  }

  /** The first frame for a newcomer. It has no order that a page may rely on. */
  all() {
    const count = this.sent.size;
    return count > MAX_LISTED ? { count } : framed({ all: true, joined: listOf(this.sent).reverse(), count });
  }
}

function listOf(members) {
  return [...members].map(([user, info]) => ({ user, info }));
}

/** Leave empty lists out. */
function framed(frame) {
  return Object.fromEntries(Object.entries(frame).filter(([, value]) => value.length !== 0));
}

/** The gateway, behind a backend that subscribes each connection to all channels, with presence, as the user "me". */
export class PresenceGateway {
  rooms = new Map();
  sockets = new Set();
  faults = FAULTS;
  repeated = 0;
  deaths = 0;
  overtaken = 0; // frames of a socket after its successor was sent all

  constructor(clock, random, names) {
    Object.assign(this, { clock, random });
    for (const name of names) this.rooms.set(name, new Room());
    this.#tick();
  }

  happens(fault) {
    return this.random() < this.faults[fault];
  }

  accept(socket) {
    if (this.happens("refuse")) return socket.end(1006);
    this.sockets.add(socket);
    socket.idleAt = 0;
    socket.slowestMs = this.happens("slow") ? 4_000 : 100;
    socket.open();
    for (const [name, room] of this.rooms) {
      const lag = this.random() * (this.happens("lag") ? 7_000 : 100);
      this.clock.after(lag, () => this.#subscribe(socket, name, room));
    }
  }

  /** Whether everything has arrived. */
  get isQuiet() {
    const areIdle = [...this.sockets].every(({ idleAt, isDead }) => idleAt < this.clock.now && !isDead);
    return areIdle && [...this.rooms.values()].every(({ isSent }) => isSent);
  }

  take(socket, text) {
    if (JSON.parse(text).slip === "ping") this.clock.after(5, () => socket.get({ slip: "pong" }));
  }

  #subscribe(socket, name, room) {
    room.present.set("me", null);
    room.subscribers.add(socket);
    if (this.happens("die")) return this.deaths++;
    this.#send(socket, name, room.all());
    this.clock.after(socket.idleAt - this.clock.now, () => (socket.hasAll = true));
  }

  #tick() {
    for (const [name, room] of this.rooms) {
      const frame = room.change();
      for (const socket of frame ? room.subscribers : []) this.#send(socket, name, frame);
      if (this.sockets.size === 0) this.clock.after(GRACE_MS, () => this.sockets.size === 0 && room.present.delete("me"));
    }
    this.clock.after(COALESCE_MS, () => this.#tick());
  }

  /** In order for each socket. */
  #send(socket, name, frame) {
    const isRepeated = this.happens("repeat");
    this.repeated += isRepeated;
    for (let copies = isRepeated ? 2 : 1; copies > 0; copies--) {
      socket.idleAt = Math.max(socket.idleAt, this.clock.now + this.random() * socket.slowestMs);
      this.clock.after(socket.idleAt - this.clock.now, () => this.#arrive(socket, name, frame));
    }
  }

  #arrive(socket, name, frame) {
    const [first, ...successors] = this.sockets;
    this.overtaken += first === socket && successors.some(({ hasAll }) => hasAll);
    socket.get({ slip: "presence", channel: name, ...frame });
  }
}
