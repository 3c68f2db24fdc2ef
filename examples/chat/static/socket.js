// A WebSocket that comes back: when it is lost it tries again, after pauses that grow.

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
const STEADY_MS = 10_000; // a connection that has lasted this long starts the pauses anew
const KEEP_ALIVE_MS = 9 * 60_000; // API Gateway closes what has been silent for 10 minutes

export class LastingSocket {
  #socket = null;
  #timer = 0;
  #keepAlive = 0;
  #failures = 0;

  /**
   * `url` is asked for before each attempt. `onState` hears "connecting", "connected", or "reconnecting" with the
   * milliseconds until the next attempt, 0 while one is under way. `onFrame` gets each frame that is JSON.
   */
  constructor(url, { onState, onFrame }) {
    this.url = url;
    this.onState = onState;
    this.onFrame = onFrame;
    this.#open();
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  send(frame) {
    if (this.isOpen) this.#socket.send(JSON.stringify(frame));
  }

  /** Try now, if it is waiting for the next attempt. */
  hurry() {
    if (this.#timer) this.#open();
  }

  /** For good. */
  close() {
    this.#stop();
    this.#socket?.close(1000);
    this.#socket = null;
  }

  #open() {
    this.#stop();
    this.onState(this.#failures ? "reconnecting" : "connecting", 0);
    const socket = (this.#socket = new WebSocket(this.url()));
    let openedAt = Infinity;
    socket.onopen = () => {
      openedAt = performance.now();
      this.#keepAlive = setInterval(() => this.send({ type: "still here" }), KEEP_ALIVE_MS);
      this.onState("connected", 0);
    };
    socket.onmessage = (event) => {
      if (socket !== this.#socket) return;
      const frame = parse(event.data);
      if (frame) this.onFrame(frame);
    };
    socket.onclose = () => {
      if (socket !== this.#socket) return; // closed by us
      if (performance.now() - openedAt > STEADY_MS) this.#failures = 0;
      this.#stop();
      const pause = Math.min(FIRST_PAUSE_MS * 2 ** this.#failures++, LONGEST_PAUSE_MS) * (0.75 + Math.random() / 2);
      this.#timer = setTimeout(() => this.#open(), pause);
      this.onState("reconnecting", pause);
    };
  }

  #stop() {
    clearTimeout(this.#timer);
    clearInterval(this.#keepAlive);
    this.#timer = this.#keepAlive = 0;
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
