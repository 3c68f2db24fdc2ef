// The browser's side of SLIP Sockets: a WebSocket that lasts. One file, no dependencies, MIT licence.
//
//     import { SlipSocket } from "./slip-sockets.js";
//
//     const socket = new SlipSocket("wss://abc123.execute-api.eu-west-1.amazonaws.com/live");
//     socket.addEventListener("message", (event) => console.log(event.data));

/** API Gateway's largest frame, in bytes of UTF-8; browsers send a text as one. A larger one closes the socket (1009). */
const MAX_TEXT_BYTES = 32 * 1024;

/** `maxAgeMs` is shortened by a random part up to this: pages that opened together do not all return together. */
const AGE_JITTER = 0.05;

/** Browsers delay timers of a hidden tab by a minute at most. If one fires later than this, the machine was asleep. */
const ASLEEP_MS = 90_000;

/** The subprotocol of `recover` and `presence`: each message is a JSON object, and its member `slip` names its kind. */
const SLIP = "slip.v1";

/** A message that seems to be missing may be on its way, by another publisher or the other socket of an overlap. */
const GAP_MS = 250;

/** How long to wait for `subscribed` after a socket has opened or after `recover`; twice as long each time it is sent again. */
const ANSWER_MS = 5_000;

/** After this number of `recover` without a response the messages are taken for lost. */
const MAX_ASKED = 4;

/** What one channel holds behind a gap. The gateway recovers as much at a time; what is not held is recovered later. */
const MAX_HELD = 1_000;
const MAX_HELD_LENGTH = 1024 * 1024;

/** Positions are remembered for this number of channels, those that were heard last. So are members for which
 *  the page has not asked. */
const MAX_CHANNELS = 1_000;

/** If a channel has more members, the gateway sends their number alone. */
const MAX_LISTED = 200;

const DEFAULTS = {
  /** Subprotocols to offer, as WebSocket takes them. */
  protocols: [],
  /** Sent when no text was sent or received for `keepAliveMs`. API Gateway closes a socket after 10 minutes of silence,
   *  and a hidden tab's timer may be a minute late. */
  keepAliveText: "",
  keepAliveMs: 8 * 60_000,
  /** At this age a socket is replaced: API Gateway closes every socket after 2 hours. */
  maxAgeMs: 115 * 60_000,
  /** How long a replaced socket still receives beside its successor; its texts are remembered as long after that. */
  overlapMs: 5_000,
  /** The pause after the nth failure in a row is a random part of `firstPauseMs` * 2^(n-1), or of `longestPauseMs`. */
  firstPauseMs: 1_000,
  longestPauseMs: 30_000,
  /** A socket that was open for this time does not count as a failure. */
  steadyMs: 10_000,
  /** Number the texts of each socket, for a gateway with INBOUND=ordered: it puts those in order that came before their
   *  forerunner, and your backend sees the texts alone. Without INBOUND=ordered it would see the numbers. */
  numberTexts: false,
  /** Offer the subprotocol slip.v1, and hand out each kept message once and in order, whatever happens to sockets.
   *  `presence` needs it too. */
  recover: false,
  /** With `recover`: what the page has already, by channel, as `{"room:tea": "k3J9:12"}`: the positions at which it was
   *  rendered. */
  positions: {},
  /** With `recover`: keep the positions in sessionStorage under this key when the page goes away, for the next time. */
  sessionKey: "",
  /** An attempt that takes longer is abandoned, and a socket that gives no answer to a `ping` for as long. A backend has 25 s
   *  to accept a client. */
  openTimeoutMs: 30_000,
};

/**
 * A WebSocket that is kept alive while it is silent, replaced without a gap before it gets too old, and opened again if
 * it is lost. An EventTarget; its events:
 *
 * - `open`: `send` works from now on. If `event.replaces` is true, the socket before it is still open and no text was
 *   missed. Otherwise, except for the first `open`, texts since the last `waiting` were missed.
 * - `message`: a text, in `event.data`. With `recover`, `event.channel` and `event.position` are those of a message that was
 *   published to a channel; `position` is undefined if it was not kept.
 * - `waiting`: the socket is lost, or could not be opened; the next attempt begins `event.pauseMs` from now.
 *   `event.code` and `event.reason` are the WebSocket's; `event.error` is the error that `url` threw.
 * - `connecting`: an attempt begins while no socket is open.
 * - `close`: `close` was called. It is the last event.
 *
 * With `recover` alone:
 *
 * - `lost`: messages of `event.channel` were missed and cannot be recovered. Load the state of the page again; what comes
 *   after `event.position` is handed out.
 * - `error`: the gateway refused a frame. `event.code` is "not_subscribed", "invalid" or "too_large"; `event.channel` is the
 *   channel, if it is about one.
 */
export class SlipSocket extends EventTarget {
  #url;
  #options;
  #state = "connecting";
  #failures = 0;
  #current = null; // the WebSocket that is open, and sends
  #old = null; // the one before it, for the time that they overlap
  #opening = null; // the next one, while it is being opened
  #attempt = 0; // its number; events of earlier attempts are ignored
  #overlap = null; // the texts received while two sockets may receive the same
  #openedAt = 0;
  #activeAt = 0;
  #number = 0; // of the current socket's last text
  #channels = null; // with `recover`
  #presences = new Presences(); // empty without `recover`
  #timers = {};

  /**
   * `url` is a ws: or wss: URL, or a function that returns one or a promise of one. The function is called for each
   * attempt, so that it can add a fresh token. `options` are those of DEFAULTS, above.
   */
  constructor(url, options = {}) {
    super();
    const unknown = Object.keys(options).find((name) => !Object.hasOwn(DEFAULTS, name));
    if (unknown) throw new TypeError(`SlipSocket has no option ${unknown}; it has ${Object.keys(DEFAULTS).join(", ")}`);
    if (typeof url !== "function") checkUrl(url);
    this.#url = typeof url === "function" ? url : () => url;
    this.#options = { ...DEFAULTS, ...options };
    const { recover, positions, sessionKey } = this.#options;
    if (recover) this.#channels = new Channels((channel, action) => this.#perform(channel, action), positions, sessionKey);
    globalThis.addEventListener?.("online", this.#whenOnline);
    queueMicrotask(() => this.#connect()); // by then the caller has added listeners
  }

  /** "connecting", "open", "waiting" or "closed". */
  get state() {
    return this.#state;
  }

  /** The subprotocol that the backend has chosen; "" if it chose none, or no socket is open. Unless it is "slip.v1",
   *  `recover` and `presence` have no effect on this socket. */
  get protocol() {
    return this.#current?.protocol ?? "";
  }

  /** With `recover`: the position up to which the page has seen everything, by channel, as `{"room:tea": "k3J9:12"}`. */
  get positions() {
    return this.#channels?.positions ?? {};
  }

  /**
   * With `recover`: the page has loaded the state of a channel as it was at `position`. What came after it is handed out,
   * again if need be. `null` forgets the channel.
   */
  setPosition(channel, position) {
    if (!this.#channels) throw new TypeError("SlipSocket has positions only with the option recover");
    this.#channels.setPosition(channel, position);
  }

  /**
   * With `recover`: who is in a channel to which the backend subscribes the page with `presence`. Returns a Presence, the
   * same one for the same channel.
   */
  presence(channel) {
    if (!this.#channels) throw new TypeError("SlipSocket has presence only with the option recover");
    return this.#presences.of(channel);
  }

  /**
   * Send a text, of 32 KB at most, and return true. Return false if no socket is open: the text was not sent.
   * The browser does not report whether a text has arrived; if that matters, let your backend confirm it.
   */
  send(text) {
    if (typeof text !== "string") throw new TypeError(`SlipSocket sends text, got ${typeof text}; JSON.stringify it`);
    const data = this.#options.numberTexts ? `\u0001${this.#number + 1}\u0001${text}` : text;
    const frame = this.#isEnveloped(this.#current) ? JSON.stringify({ slip: "text", data }) : data;
    if (frame.length * 3 > MAX_TEXT_BYTES) {
      const bytes = new TextEncoder().encode(frame).length;
      if (bytes > MAX_TEXT_BYTES) throw new RangeError(`API Gateway takes ${MAX_TEXT_BYTES} bytes of a browser, got ${bytes}`);
    }
    if (!this.#transmit(frame)) return false;
    this.#number++;
    return true;
  }

  /** Make the next attempt now, if a pause is going on. The browser's `online` event does the same. */
  hurry() {
    if (this.#state === "waiting") this.#connect();
  }

  /** Close, and stay closed. `code` is 1000, or from 3000 to 4999. */
  close(code = 1000, reason = "") {
    if (this.#state === "closed") return;
    this.#current?.close(code, reason); // first, because it throws if code or reason are wrong
    this.#opening?.close();
    this.#old?.close();
    this.#presences.leave(this.#current, this.#old);
    this.#forget();
    this.#channels?.close();
    this.#attempt++;
    this.#state = "closed";
    globalThis.removeEventListener?.("online", this.#whenOnline);
    this.#emit("close");
  }

  // Opening

  async #connect() {
    if (this.#state === "closed") return;
    clearTimeout(this.#timers.connect);
    const attempt = ++this.#attempt;
    if (this.#current) this.#beginOverlap();
    else this.#change("connecting");
    this.#timers.connect = setTimeout(() => this.#fail(attempt, { reason: "no response in time" }), this.#options.openTimeoutMs);
    let socket;
    try {
      const url = await this.#url();
      if (attempt !== this.#attempt) return;
      const { protocols, recover } = this.#options;
      socket = new WebSocket(checkUrl(url), recover ? [...new Set([SLIP].concat(protocols))] : protocols);
    } catch (error) {
      this.#fail(attempt, { error });
      return;
    }
    this.#opening = socket;
    socket.onopen = () => this.#promote(socket);
    socket.onmessage = ({ data }) => this.#receive(socket, data);
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#opening) this.#fail(attempt, { code, reason });
      else if (socket === this.#current) this.#lose({ code, reason });
      else if (socket === this.#old) this.#presences.leave(socket);
    };
  }

  #promote(socket) {
    if (socket !== this.#opening) return;
    clearTimeout(this.#timers.connect);
    this.#presences.leave(this.#old); // one that has been replaced twice within an overlap
    this.#old?.close();
    const replaced = (this.#old = this.#current);
    this.#opening = null;
    this.#current = socket;
    this.#openedAt = this.#activeAt = Date.now();
    this.#number = 0;
    this.#endPing();
    const { maxAgeMs, overlapMs } = this.#options;
    this.#later("age", maxAgeMs * (1 - AGE_JITTER * Math.random()), () => this.#connect());
    this.#watch();
    if (replaced) {
      clearTimeout(this.#timers.overlap);
      this.#timers.overlap = setTimeout(() => this.#leaveOld(), overlapMs);
    }
    this.#change("open", { replaces: Boolean(replaced) });
    if (socket !== this.#current) return; // closed meanwhile, by a listener
    if (this.#isEnveloped(socket)) this.#channels.connect(Boolean(replaced));
    else this.#channels?.lose();
  }

  #fail(attempt, why) {
    if (attempt !== this.#attempt) return;
    this.#attempt++;
    const socket = this.#opening;
    this.#opening = null;
    socket?.close();
    if (!this.#old) this.#endOverlap();
    this.#retry(why);
  }

  #lose(why) {
    this.#presences.leave(this.#current);
    if (Date.now() - this.#openedAt >= this.#options.steadyMs) this.#failures = 0;
    this.#current = null;
    clearTimeout(this.#timers.age);
    clearTimeout(this.#timers.keepAlive);
    this.#endPing();
    this.#channels?.disconnect();
    this.#leaveOld();
    if (this.#opening) this.#change("connecting"); // its successor is under way
    else this.#retry(why);
  }

  #retry(why) {
    const { firstPauseMs, longestPauseMs } = this.#options;
    const pauseMs = Math.random() * Math.min(firstPauseMs * 2 ** this.#failures++, longestPauseMs);
    clearTimeout(this.#timers.connect);
    this.#timers.connect = setTimeout(() => this.#connect(), pauseMs);
    if (!this.#current) this.#change("waiting", { code: undefined, reason: "", error: undefined, ...why, pauseMs });
  }

  // While it is open

  #receive(socket, text) {
    if (socket !== this.#current && socket !== this.#old) return;
    if (socket === this.#current) {
      this.#activeAt = Date.now();
      this.#endPing();
    }
    if (this.#isEnveloped(socket)) this.#receiveFrame(socket, text);
    else if (!this.#overlap?.isRepeated(socket, text)) this.#handOut(text);
  }

  /** Act on a frame of slip.v1. Unknown kinds are ignored. */
  #receiveFrame(socket, text) {
    const frame = parseFrame(text);
    const { slip, channel, data, position, recovered, since, code } = frame;
    const parsed = parsePosition(position);
    if (slip === "message" && parsed) this.#channels.message(channel, parsed, data);
    else if (slip === "message" || slip === "text") {
      if (!this.#overlap?.isRepeated(socket, text)) this.#handOut(data, slip === "message" ? { channel, position } : {});
    } else if (slip === "presence") this.#presences.receive(channel, socket, socket === this.#current, frame);
    else if (socket !== this.#current) return; // it answers what was asked of the socket before
    else if (slip === "subscribed" && parsed) this.#channels.subscribed(channel, parsed, recovered, since);
    else if (slip === "error") {
      this.#emit("error", { code, channel });
      this.#channels.refused(channel);
    }
  }

  /** Do what a channel asks for. */
  #perform(channel, { type, position, data, isRepeated }) {
    if (this.#state === "closed") return;
    if (type === "message") this.#handOut(data, { channel, position });
    else if (type === "lost") this.#emit("lost", { channel, position });
    else {
      this.#transmit(JSON.stringify({ slip: "recover", channel, since: position }));
      if (isRepeated) this.#ping(); // was it the gateway or the socket that gave no response?
    }
  }

  #handOut(data, details) {
    this.dispatchEvent(Object.assign(new MessageEvent("message", { data }), details));
  }

  /** Whether messages of this socket are frames of slip.v1; before one is open, whether it is hoped for. */
  #isEnveloped(socket) {
    return this.#channels !== null && (socket === null || socket.protocol === SLIP);
  }

  #transmit(frame) {
    if (this.#current?.readyState !== WebSocket.OPEN) return false;
    this.#current.send(frame);
    this.#activeAt = Date.now();
    return true;
  }

  /** Send the keep-alive text if it is due, and check again when it may be due next. */
  #watch() {
    const { keepAliveMs, keepAliveText } = this.#options;
    let pauseMs = this.#activeAt + keepAliveMs - Date.now();
    if (pauseMs <= 0) {
      pauseMs = keepAliveMs;
      if (this.#isEnveloped(this.#current)) this.#ping();
      else this.send(keepAliveText);
    }
    this.#later("keepAlive", pauseMs, () => this.#watch());
  }

  /** API Gateway answers itself. If it does not, the socket is dead, and the browser has not noticed. */
  #ping() {
    if (this.#timers.pong) return;
    this.#transmit(JSON.stringify({ slip: "ping" }));
    this.#later("pong", this.#options.openTimeoutMs, () => this.#abandon("no answer to ping"));
  }

  #endPing() {
    clearTimeout(this.#timers.pong);
    this.#timers.pong = null;
  }

  /** Call `act` after a pause. If the machine slept meanwhile, the socket is dead, and the browser has not noticed. */
  #later(name, pauseMs, act) {
    const dueAt = Date.now() + pauseMs;
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(() => {
      if (Date.now() - dueAt < ASLEEP_MS) act();
      else this.#abandon("the machine was asleep");
    }, pauseMs);
  }

  #abandon(reason) {
    const socket = this.#current;
    this.#lose({ reason });
    socket?.close();
    this.hurry();
  }

  // While two may receive the same

  #beginOverlap() {
    this.#overlap ??= new Overlap();
    if (!this.#old) clearTimeout(this.#timers.overlap);
  }

  #leaveOld() {
    const old = this.#old;
    this.#old = null;
    this.#presences.leave(old);
    old?.close();
    this.#endOverlap();
  }

  /** Not at once: texts that the old socket received first are still on their way to its successor. */
  #endOverlap() {
    clearTimeout(this.#timers.overlap);
    this.#timers.overlap = setTimeout(() => (this.#overlap = null), this.#options.overlapMs);
  }

  #forget() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#current = this.#old = this.#opening = this.#overlap = null;
  }

  // Events

  #whenOnline = () => {
    if (this.#current && this.#isEnveloped(this.#current)) this.#ping(); // is it the network that it was opened in?
    else this.hurry();
  };

  #change(state, details) {
    this.#state = state;
    this.#emit(state, details);
  }

  #emit(type, details) {
    this.dispatchEvent(Object.assign(new Event(type), details));
  }
}

/**
 * Two sockets with the same subscriptions receive the same texts, one a little before the other. A text that one of
 * them has received n times and the other m times is passed on max(n, m) times.
 */
class Overlap {
  #counts = new Map(); // text -> Map of socket -> how often

  isRepeated(socket, text) {
    if (!this.#counts.has(text)) this.#counts.set(text, new Map());
    const counts = this.#counts.get(text);
    const passedOn = Math.max(0, ...counts.values());
    const count = (counts.get(socket) ?? 0) + 1;
    counts.set(socket, count);
    return count <= passedOn;
  }
}

/** The channels of a SlipSocket: their timers, and their positions when the page goes away. */
class Channels {
  #channels = new Map(); // name -> Channel; the one heard last comes last
  #timers = new Map(); // name -> timer
  #isConnected = false;
  #perform;
  #sessionKey;

  /** `perform` is called with a channel's name and each of the channel's actions. */
  constructor(perform, positions, sessionKey) {
    this.#perform = perform;
    this.#sessionKey = sessionKey;
    const given = Object.entries(positions).map(([name, position]) => [name, checkPosition(position)]);
    for (const [name, position] of [...this.#saved(), ...given]) this.#add(name, newChannel(name, position));
    globalThis.addEventListener?.("pagehide", this.#save);
  }

  get positions() {
    const begun = [...this.#channels].filter(([, channel]) => channel.position !== null);
    return Object.fromEntries(begun.map(([name, channel]) => [name, channel.position]));
  }

  setPosition(name, position) {
    const parsed = position === null ? null : checkPosition(position);
    if (parsed === null) this.#forget(name);
    else if (this.#channels.has(name)) this.#run(name, this.#channels.get(name).moveTo(parsed, now()));
    else {
      this.#add(name, newChannel(name, parsed));
      if (this.#isConnected) this.#run(name, this.#channels.get(name).connect(false, now()));
    }
  }

  message(name, position, data) {
    this.#run(name, this.#heard(name).message(position, data, now()));
  }

  subscribed(name, position, recovered, since) {
    this.#run(name, this.#heard(name).subscribed(position, recovered, since, now()));
  }

  refused(name) {
    if (this.#channels.has(name)) this.#run(name, this.#channels.get(name).refused(now()));
  }

  connect(replaces) {
    this.#isConnected = true;
    for (const [name, channel] of [...this.#channels]) this.#run(name, channel.connect(replaces, now()));
  }

  disconnect() {
    this.#isConnected = false;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  /** The socket has no positions: what it receives cannot be compared with what the page has. */
  lose() {
    this.disconnect();
    for (const name of [...this.#channels.keys()]) {
      this.#forget(name);
      this.#perform(name, { type: "lost" });
    }
  }

  close() {
    this.disconnect();
    this.#save();
    globalThis.removeEventListener?.("pagehide", this.#save);
  }

  #heard(name) {
    const channel = this.#channels.get(name) ?? newChannel(name);
    this.#channels.delete(name);
    this.#add(name, channel);
    return channel;
  }

  #add(name, channel) {
    this.#channels.set(name, channel);
    if (this.#channels.size > MAX_CHANNELS) this.#forget(this.#channels.keys().next().value);
  }

  #forget(name) {
    this.#channels.delete(name);
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  /** Perform a channel's actions, and let it go on when it is due. */
  #run(name, actions) {
    for (const action of actions) this.#perform(name, action);
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
    const channel = this.#channels.get(name);
    if (!this.#isConnected || !channel || channel.dueAt === Infinity) return;
    const tick = () => this.#run(name, channel.tick(now()));
    this.#timers.set(name, setTimeout(tick, channel.dueAt - now()));
  }

  #saved() {
    try {
      const saved = this.#sessionKey ? JSON.parse(sessionStorage.getItem(this.#sessionKey)) : null;
      return Object.entries(saved ?? {}).map(([name, position]) => [name, checkPosition(position)]);
    } catch {
      return []; // the page may not store anything, or something else is stored there
    }
  }

  #save = () => {
    try {
      if (this.#sessionKey) sessionStorage.setItem(this.#sessionKey, JSON.stringify(this.positions));
    } catch {
      // the page may not store anything: the positions go with it
    }
  };
}

/** To the channel of a user the gateway subscribes a connection by itself, so that there is no `subscribed`. */
function newChannel(name, position = null) {
  return new Channel(position, { isAnnounced: !name.startsWith("$user:") });
}

/**
 * What the page has of one channel: hands out kept messages once and in order, and asks for those that are missing. It has
 * no clock and no socket: a method takes the time in milliseconds, and yields what is to be done, in order:
 *
 * - `{ type: "message", position, data }`: hand it to the page.
 * - `{ type: "lost", position }`: tell the page. It goes on from there.
 * - `{ type: "recover", position, isRepeated }`: send `recover` since there, by the newest socket. `isRepeated`: the last
 *   one had no response.
 *
 * Exported for its tests.
 */
export class Channel {
  #epoch = null; // of what the page has; null if nothing was heard yet
  #offset = null; // of the last message that it has; null until it is known where it begins
  #newest = 0; // the largest offset that is known in this epoch
  #formerEpoch = null; // its late frames are known as such
  #held = new Map(); // offset -> data, of messages behind a gap
  #heldLength = 0;
  #isAnnounced; // a new socket is sent `subscribed`, if the backend asks for it; otherwise the page asks
  #isGiven = false; // the position is the page's; no frame has shown yet that it is one of the gateway's
  #isSubscribed = false; // the backend asks for `subscribed`
  #isJoining = false; // this socket's `subscribed` has not come
  #patienceMs = GAP_MS; // how long a message that `subscribed` shows to be missing may be on its way
  #asked = 0; // how often `recover` was sent without a response
  #askedSince = null; // the position in the last one
  #gapAt = Infinity; // when what is missing is taken to be not on its way
  #answerAt = Infinity; // when `subscribed` is taken to be not on its way

  /** `position` is one that the page has already. */
  constructor(position = null, { isAnnounced = true } = {}) {
    this.#isAnnounced = isAnnounced;
    if (position === null) return;
    this.#epoch = position.epoch;
    this.#offset = position.offset;
    this.#isGiven = this.#isSubscribed = true;
  }

  /** The position up to which the page has everything, as text, or null. */
  get position() {
    return this.#offset === null ? null : `${this.#epoch}:${this.#offset}`;
  }

  /** When `tick` is to be called, while a socket is open. */
  get dueAt() {
    return Math.min(this.#gapAt, this.#answerAt);
  }

  /** A socket has opened. If it `replaces` one, that one still receives for a while. */
  *connect(replaces, now) {
    if (this.#epoch !== null && this.#offset === null) yield* this.#begin(this.#lowestHeld() - 1, now);
    this.#settle();
    if (!this.#isAnnounced) {
      if (this.#offset !== null) this.#gapAt = now;
      yield* this.tick(now);
      return;
    }
    this.#patienceMs = replaces ? GAP_MS : 0;
    this.#isJoining = this.#isSubscribed || this.#hasGap;
    if (this.#isJoining) this.#awaitAnswer(now);
  }

  /** A message has come, of a publish or of a recovery. */
  *message({ epoch, offset }, data, now) {
    this.#epoch ??= epoch;
    if (epoch !== this.#epoch) {
      if (epoch === this.#formerEpoch) {
        this.#suspectGap(now); // a late one, or the former epoch is the present one: the gateway knows
        return;
      }
      yield* this.#lose({ epoch, offset: offset - 1 }, now);
    }
    if (this.#offset !== null && offset <= this.#offset) return;
    this.#newest = Math.max(this.#newest, offset);
    this.#hold(offset, data);
    if (this.#offset === null) this.#suspectGap(now);
    else yield* this.#handOut(now);
    yield* this.tick(now);
  }

  /**
   * The gateway has named the newest position, after a SUBSCRIBE or in answer to `recover`. `recovered` says whether all
   * that came after `since` was sent; both are undefined where nobody asked for that.
   */
  *subscribed({ epoch, offset }, recovered, since, now) {
    this.#isSubscribed = true;
    this.#epoch ??= epoch;
    const isRefused = recovered === false;
    if (isRefused && (since === this.position || this.#offset === null)) {
      yield* this.#lose({ epoch, offset }, now);
    } else if (epoch !== this.#epoch) {
      if (epoch === this.#formerEpoch) this.#suspectGap(now);
      else yield* this.#lose({ epoch, offset }, now);
    } else {
      const isSurpassed = isRefused && this.#asked > 0 && since === this.#askedSince; // what was asked for came by itself
      if (isSurpassed) this.#asked = this.#patienceMs = 0;
      this.#isJoining = false;
      this.#newest = Math.max(this.#newest, offset);
      if (this.#offset === null) yield* this.#begin(Math.min(offset, this.#lowestHeld() - 1), now);
      if (this.#asked === 0) this.#answerAt = Infinity;
      if (this.#isGiven && offset < this.#offset) this.#suspectGap(now, 0);
      else if (this.#hasGap) this.#suspectGap(now, this.#patienceMs);
      else this.#settle();
      this.#isGiven &&= offset < this.#offset;
    }
    this.#patienceMs = GAP_MS;
    yield* this.tick(now);
  }

  /** The gateway has refused `recover`: the socket is not subscribed, or hears the channel by a pattern. */
  *refused(now) {
    if (this.#asked === 0) return;
    this.#isSubscribed = false;
    this.#formerEpoch = null;
    if (this.#hasGap) yield* this.#giveUp(now);
    else this.#settle();
  }

  /** The page has loaded a state of this position, in place of all that was handed out. */
  *moveTo({ epoch, offset }, now) {
    const isSameEpoch = epoch === this.#epoch;
    this.#setPosition(epoch, offset);
    this.#isGiven = true;
    yield* this.#handOut(now);
    if (this.#hasGap || !isSameEpoch) this.#gapAt = now;
    yield* this.tick(now);
  }

  /** Do what is due. */
  *tick(now) {
    if (now < this.dueAt) return;
    if (this.#offset === null) yield* this.#begin(this.#lowestHeld() - 1, now);
    else if (this.#asked === MAX_ASKED) yield* this.#giveUp(now);
    else {
      this.#asked++;
      this.#askedSince = this.position;
      this.#gapAt = Infinity;
      this.#awaitAnswer(now);
      yield { type: "recover", position: this.position, isRepeated: this.#asked > 1 };
    }
  }

  get #hasGap() {
    return this.#offset !== null && this.#newest > this.#offset;
  }

  *#begin(offset, now) {
    this.#setPosition(this.#epoch, offset);
    yield* this.#handOut(now);
  }

  *#giveUp(now) {
    yield* this.#lose({ epoch: this.#epoch, offset: Math.max(this.#offset, this.#newest) }, now);
  }

  *#lose({ epoch, offset }, now) {
    this.#setPosition(epoch, offset);
    this.#newest = Math.max(this.#newest, offset);
    this.#isGiven = false;
    this.#settle();
    yield { type: "lost", position: this.position };
    yield* this.#handOut(now);
  }

  /** Hand out held messages up to the next gap. */
  *#handOut(now) {
    const before = this.#offset;
    while (this.#held.has(this.#offset + 1)) {
      const data = this.#release(++this.#offset);
      yield { type: "message", position: this.position, data };
    }
    if (this.#offset !== before) {
      this.#isGiven = false;
      this.#gapAt = Infinity;
      if (this.#answerAt !== Infinity) this.#awaitAnswer(now); // a long recovery may be under way
    }
    if (this.#hasGap) this.#suspectGap(now);
    else if (!this.#isJoining) this.#settle();
  }

  #suspectGap(now, patienceMs = GAP_MS) {
    if (this.#asked === 0) this.#gapAt = Math.min(this.#gapAt, now + patienceMs);
  }

  #awaitAnswer(now) {
    this.#answerAt = now + ANSWER_MS * 2 ** Math.max(0, this.#asked - 1);
  }

  /** Wait for nothing any more. */
  #settle() {
    this.#gapAt = this.#answerAt = Infinity;
    this.#asked = 0;
    this.#isJoining = false;
  }

  #setPosition(epoch, offset) {
    if (epoch !== this.#epoch) {
      this.#formerEpoch = this.#epoch;
      this.#epoch = epoch;
      this.#newest = 0;
      this.#held.clear();
      this.#heldLength = 0;
    }
    this.#offset = offset;
    for (const old of this.#held.keys()) if (old <= offset) this.#release(old);
  }

  #hold(offset, data) {
    const isNext = this.#offset !== null && offset === this.#offset + 1;
    const isFull = this.#held.size >= MAX_HELD || this.#heldLength + data.length > MAX_HELD_LENGTH;
    if (this.#held.has(offset) || (isFull && !isNext)) return;
    this.#held.set(offset, data);
    this.#heldLength += data.length;
  }

  #release(offset) {
    const data = this.#held.get(offset);
    this.#held.delete(offset);
    this.#heldLength -= data.length;
    return data;
  }

  #lowestHeld() {
    return Math.min(...this.#held.keys()); // Infinity if nothing is held
  }
}

/**
 * Who is in a channel, up to date over reconnects. An EventTarget; its events:
 *
 * - `change`: somebody came or went, or the count alone changed. `event.joined`, `event.left` and `event.updated` are arrays
 *   of `{ user, info }`: the differences to what the page saw before, also after a reconnect. `updated` are members with
 *   another `info`. `event.count` and `event.members` are those of the Presence.
 * - `live`: the gateway has sent all members, and sends what changes.
 * - `stale`: it does so no longer, mostly because the socket is lost; the members are those that were known last.
 */
class Presence extends EventTarget {
  #members;

  constructor(members) {
    super();
    this.#members = members;
  }

  /** A frozen array of `{ user, info }`, in the order in which the page heard of them; each change makes another array.
   *  `info` is null if there is none. `members` is null if there are more than 200: then only `count` is known. */
  get members() {
    return this.#members.list;
  }

  get count() {
    return this.#members.count;
  }

  /** Whether `members` and `count` are kept up to date at present. */
  get isLive() {
    return this.#members.isLive;
  }
}

/** The members of each channel that was heard or asked for, and what the page listens to. */
class Presences {
  #channels = new Map(); // name -> { members, presence }; `presence` is null until the page asks for it. The last heard is last

  of(name) {
    const channel = this.#heard(name);
    channel.presence ??= new Presence(channel.members);
    return channel.presence;
  }

  receive(name, socket, isNewest, frame) {
    const channel = this.#heard(name);
    const wasLive = channel.members.isLive;
    const change = channel.members.receive(socket, isNewest, frame);
    if (channel.members.isLive && !wasLive) this.#emitLater(channel, "live");
    if (change) channel.presence?.dispatchEvent(Object.assign(new Event("change"), change));
  }

  /** These sockets receive nothing any more. */
  leave(...sockets) {
    for (const channel of this.#channels.values()) {
      if (sockets.some((socket) => channel.members.leave(socket))) this.#emitLater(channel, "stale");
    }
  }

  #heard(name) {
    const channel = this.#channels.get(name) ?? { members: new Members(), presence: null };
    this.#channels.delete(name);
    if (this.#channels.size >= MAX_CHANNELS) this.#forgetOne();
    this.#channels.set(name, channel);
    return channel;
  }

  #forgetOne() {
    const [name] = [...this.#channels].find(([, { presence }]) => presence === null) ?? [];
    this.#channels.delete(name);
  }

  /** Not at once: a listener may close the socket, which is in the middle of a change. */
  #emitLater({ presence }, type) {
    queueMicrotask(() => presence?.dispatchEvent(new Event(type)));
  }
}

/**
 * The members of one channel, from the frames of any number of sockets. Only frames of its source count: the socket that
 * sent all members last. So a frame of a socket that was replaced does not undo what its successor has sent.
 *
 * Exported for its tests.
 */
export class Members {
  #known = new Map(); // user -> { user, info }
  #source = null; // null if the last one is gone
  #list = Object.freeze([]);
  #count = 0;

  /** A frozen array of `{ user, info }`, or null if there are too many. */
  get list() {
    return this.#list;
  }

  get count() {
    return this.#count;
  }

  get isLive() {
    return this.#source !== null;
  }

  /** Take a frame. Return what it changes: `{ joined, updated, left, count, members }`, or null. */
  receive(socket, isNewest, frame) {
    const isWhole = Boolean(frame.all) || frame.count > MAX_LISTED;
    const isBySource = this.#source === null || socket === this.#source || (isNewest && isWhole);
    if (!isBySource) return null;
    if (isWhole) this.#source = socket;
    const isListed = frame.count <= MAX_LISTED && (isWhole || this.#list !== null);
    return isListed ? this.#takeNames(frame) : this.#takeCount(frame);
  }

  /** A socket receives nothing any more. Return whether it was the source. */
  leave(socket) {
    if (socket === null || socket !== this.#source) return false;
    this.#source = null;
    return true;
  }

  #takeNames({ all, joined = [], left = [] }) {
    const named = new Map(joined.map(({ user, info = null }) => [user, info]));
    const gone = [...this.#known.keys()].filter((user) => !named.has(user) && (all || left.includes(user)));
    const change = { joined: [], updated: [], left: gone.map((user) => this.#known.get(user)) };
    for (const user of gone) this.#known.delete(user);
    for (const [user, info] of named) {
      const known = this.#known.get(user);
      if (known && isEqual(known.info, info)) continue;
      const member = Object.freeze({ user, info });
      this.#known.set(user, member);
      change[known ? "updated" : "joined"].push(member);
    }
    const isSame = this.#list !== null && Object.values(change).every((members) => members.length === 0);
    if (isSame) return null;
    this.#list = Object.freeze([...this.#known.values()]);
    this.#count = this.#list.length; // the gateway's may be of a frame that came twice
    return { ...change, count: this.#count, members: this.#list };
  }

  #takeCount({ count }) {
    if (this.#list === null && count === this.#count) return null;
    this.#known.clear();
    this.#list = null;
    this.#count = count;
    return { joined: [], updated: [], left: [], count, members: null };
  }
}

/** Return a frame's members; none if the text is not a JSON object. */
function parseFrame(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}

/** Return `{ epoch, offset }`, or null if it is not a position. */
function parsePosition(position) {
  const [, epoch, offset] = /^([A-Za-z0-9]{1,32}):(\d{1,15})$/.exec(position) ?? [];
  return epoch === undefined ? null : { epoch, offset: Number(offset) };
}

/** Whether two values of JSON are equal, in whichever order objects have their members. */
function isEqual(one, other) {
  if (Object(one) !== one || Object(other) !== other) return one === other;
  const names = Object.keys(one);
  return (
    Array.isArray(one) === Array.isArray(other) &&
    names.length === Object.keys(other).length &&
    names.every((name) => Object.hasOwn(other, name) && isEqual(one[name], other[name]))
  );
}

function checkPosition(position) {
  const parsed = parsePosition(position);
  if (!parsed) throw new TypeError(`SlipSocket needs positions like k3J9:12, got ${position}`);
  return parsed;
}

/** Milliseconds, by a clock that is never set back. */
function now() {
  return performance.now();
}

function checkUrl(url) {
  const { protocol } = new URL(url); // throws a TypeError if it is not a URL
  if (protocol !== "ws:" && protocol !== "wss:") throw new TypeError(`SlipSocket needs a ws: or wss: URL, got ${protocol}//...`);
  return url;
}
