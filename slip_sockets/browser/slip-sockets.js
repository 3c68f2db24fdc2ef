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
  /** An attempt that takes longer is abandoned. A backend has 25 s to accept a client. */
  openTimeoutMs: 30_000,
};

/**
 * A WebSocket that is kept alive while it is silent, replaced without a gap before it gets too old, and opened again if
 * it is lost. An EventTarget; its events:
 *
 * - `open`: `send` works from now on. If `event.replaces` is true, the socket before it is still open and no text was
 *   missed. Otherwise, except for the first `open`, texts since the last `waiting` were missed.
 * - `message`: a text, in `event.data`.
 * - `waiting`: the socket is lost, or could not be opened; the next attempt begins `event.pauseMs` from now.
 *   `event.code` and `event.reason` are the WebSocket's; `event.error` is the error that `url` threw.
 * - `connecting`: an attempt begins while no socket is open.
 * - `close`: `close` was called. It is the last event.
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
    globalThis.addEventListener?.("online", this.#whenOnline);
    queueMicrotask(() => this.#connect()); // by then the caller has added listeners
  }

  /** "connecting", "open", "waiting" or "closed". */
  get state() {
    return this.#state;
  }

  /** The subprotocol that the backend has chosen; "" if it chose none, or no socket is open. */
  get protocol() {
    return this.#current?.protocol ?? "";
  }

  /**
   * Send a text, of 32 KB at most, and return true. Return false if no socket is open: the text was not sent.
   * The browser does not report whether a text has arrived; if that matters, let your backend confirm it.
   */
  send(text) {
    if (typeof text !== "string") throw new TypeError(`SlipSocket sends text, got ${typeof text}; JSON.stringify it`);
    const prefix = this.#options.numberTexts ? `\u0001${this.#number + 1}\u0001` : "";
    if ((prefix.length + text.length) * 3 > MAX_TEXT_BYTES) {
      const bytes = prefix.length + new TextEncoder().encode(text).length;
      if (bytes > MAX_TEXT_BYTES) throw new RangeError(`API Gateway takes ${MAX_TEXT_BYTES} bytes of a browser, got ${bytes}`);
    }
    if (this.#current?.readyState !== WebSocket.OPEN) return false;
    this.#current.send(prefix + text);
    this.#number++;
    this.#activeAt = Date.now();
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
    this.#forget();
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
      socket = new WebSocket(checkUrl(url), this.#options.protocols);
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
    };
  }

  #promote(socket) {
    if (socket !== this.#opening) return;
    clearTimeout(this.#timers.connect);
    this.#old?.close(); // one that has been replaced twice within an overlap
    const replaced = (this.#old = this.#current);
    this.#opening = null;
    this.#current = socket;
    this.#openedAt = this.#activeAt = Date.now();
    this.#number = 0;
    const { maxAgeMs, overlapMs } = this.#options;
    this.#later("age", maxAgeMs * (1 - AGE_JITTER * Math.random()), () => this.#connect());
    this.#watch();
    if (replaced) {
      clearTimeout(this.#timers.overlap);
      this.#timers.overlap = setTimeout(() => this.#leaveOld(), overlapMs);
    }
    this.#change("open", { replaces: Boolean(replaced) });
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
    if (Date.now() - this.#openedAt >= this.#options.steadyMs) this.#failures = 0;
    this.#current = null;
    clearTimeout(this.#timers.age);
    clearTimeout(this.#timers.keepAlive);
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
    if (socket === this.#current) this.#activeAt = Date.now();
    if (this.#overlap?.isRepeated(socket, text)) return;
    this.dispatchEvent(new MessageEvent("message", { data: text }));
  }

  /** Send the keep-alive text if it is due, and check again when it may be due next. */
  #watch() {
    const { keepAliveMs, keepAliveText } = this.#options;
    if (Date.now() - this.#activeAt >= keepAliveMs) this.send(keepAliveText);
    this.#later("keepAlive", this.#activeAt + keepAliveMs - Date.now(), () => this.#watch());
  }

  /** Call `act` after a pause. If the machine slept meanwhile, the socket is dead, and the browser has not noticed. */
  #later(name, pauseMs, act) {
    const dueAt = Date.now() + pauseMs;
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(() => {
      if (Date.now() - dueAt < ASLEEP_MS) act();
      else this.#abandon();
    }, pauseMs);
  }

  #abandon() {
    const socket = this.#current;
    this.#lose({ reason: "the machine was asleep" });
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

  #whenOnline = () => this.hurry();

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

function checkUrl(url) {
  const { protocol } = new URL(url); // throws a TypeError if it is not a URL
  if (protocol !== "ws:" && protocol !== "wss:") throw new TypeError(`SlipSocket needs a ws: or wss: URL, got ${protocol}//...`);
  return url;
}
