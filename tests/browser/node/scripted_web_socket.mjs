// A WebSocket that does what a test says.

export class ScriptedWebSocket {
  static OPEN = 1;
  static made = [];
  readyState = 0;
  sent = [];

  constructor(url, protocols) {
    this.offered = protocols;
    ScriptedWebSocket.made.push(this);
  }

  open(protocol = "slip.v1") {
    this.protocol = protocol;
    this.readyState = 1;
    this.onopen();
  }

  send(text) {
    this.sent.push(text);
  }

  get(frame) {
    this.onmessage({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }

  close() {
    this.readyState = 3;
  }

  /** The network has gone. */
  end() {
    this.readyState = 3;
    this.onclose({ code: 1006, reason: "" });
  }
}
