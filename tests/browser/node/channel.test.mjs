// What a channel of slip-sockets.js does, frame by frame: `node --test tests/browser/node/channel.test.mjs`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Channel } from "./module.mjs";

/** A channel with a clock, and what it yields as short texts: "m 12" hands out e1:12, "lost e2:4" and "recover e1:12". */
class Scene {
  now = 0;

  constructor(position, options) {
    this.channel = new Channel(position && at(position), options);
    this.connect();
  }

  connect(replaces = false) {
    return texts(this.channel.connect(replaces, this.now));
  }

  message(...positions) {
    return positions.flatMap((each) => texts(this.channel.message(at(each), `data of ${each}`, this.now)));
  }

  subscribed(position, recovered, since) {
    return texts(this.channel.subscribed(at(position), recovered, since, this.now));
  }

  refused() {
    return texts(this.channel.refused(this.now));
  }

  moveTo(position) {
    return texts(this.channel.moveTo(at(position), this.now));
  }

  /** Let time pass, with a tick whenever one is due. */
  pass(ms) {
    const end = this.now + ms;
    const done = [];
    while (this.channel.dueAt <= end) {
      this.now = Math.max(this.now, this.channel.dueAt);
      done.push(...texts(this.channel.tick(this.now)));
    }
    this.now = end;
    return done;
  }
}

function at(position) {
  const [epoch, offset] = position.split(":");
  return { epoch, offset: Number(offset) };
}

function texts(actions) {
  return [...actions].map(({ type, position, data }) => {
    if (type !== "message") return `${type} ${position}`;
    assert.equal(data, `data of ${position}`);
    return position;
  });
}

/** A page that has everything up to e1:12, on a socket that is subscribed. */
function joined() {
  const scene = new Scene("e1:12");
  assert.deepEqual(scene.subscribed("e1:12"), []);
  return scene;
}

const FOREVER = 10 * 60_000;

test("a reconnect that missed nothing asks for nothing", () => {
  const scene = joined();
  scene.connect();
  assert.deepEqual(scene.subscribed("e1:12"), []);
  assert.deepEqual(scene.pass(FOREVER), []);
});

test("a reconnect that missed messages asks for them at once", () => {
  const scene = joined();
  scene.connect();
  assert.deepEqual(scene.subscribed("e1:14"), ["recover e1:12"]);
  assert.deepEqual(scene.message("e1:13", "e1:14"), ["e1:13", "e1:14"]);
  assert.deepEqual(scene.subscribed("e1:14", true, "e1:12"), []);
  assert.deepEqual(scene.pass(FOREVER), []);
});

test("a live message before `subscribed` waits for those that were missed", () => {
  const scene = joined();
  scene.connect();
  assert.deepEqual(scene.message("e1:15"), []);
  assert.deepEqual(scene.subscribed("e1:14"), ["recover e1:12"]);
  assert.deepEqual(scene.message("e1:13", "e1:14", "e1:15"), ["e1:13", "e1:14", "e1:15"]);
});

test("what the page has is not handed out again", () => {
  assert.deepEqual(joined().message("e1:11", "e1:12", "e1:13", "e1:13"), ["e1:13"]);
});

test("messages in the wrong order are put in order", () => {
  const scene = joined();
  assert.deepEqual(scene.message("e1:14", "e1:15"), []);
  assert.deepEqual(scene.pass(249), []);
  assert.deepEqual(scene.message("e1:13"), ["e1:13", "e1:14", "e1:15"]);
  assert.deepEqual(scene.pass(FOREVER), []);
});

test("a gap is asked for after 250 ms, from the last message before it", () => {
  const scene = joined();
  scene.message("e1:13", "e1:15", "e1:18");
  assert.deepEqual(scene.pass(250), ["recover e1:13"]);
  assert.deepEqual(scene.message("e1:14", "e1:15", "e1:16", "e1:17"), ["e1:14", "e1:15", "e1:16", "e1:17", "e1:18"]);
});

test("a gap behind a gap has 250 ms too", () => {
  const scene = joined();
  scene.message("e1:14", "e1:16");
  scene.pass(200);
  assert.deepEqual(scene.message("e1:13"), ["e1:13", "e1:14"]);
  assert.deepEqual(scene.pass(249), []);
  assert.deepEqual(scene.pass(1), ["recover e1:14"]);
});

test("`recover` without a response is repeated after 5, 10 and 20 s, and after 40 s more the messages are lost", () => {
  const scene = joined();
  scene.message("e1:15");
  assert.deepEqual(scene.pass(250), ["recover e1:12"]);
  for (const ms of [5_000, 10_000, 20_000]) {
    assert.deepEqual(scene.pass(ms - 1), []);
    assert.deepEqual(scene.pass(1), ["recover e1:12"]);
  }
  assert.deepEqual(scene.pass(40_000), ["lost e1:15"]);
  assert.deepEqual(scene.message("e1:16"), ["e1:16"]);
});

test("a recovery that takes long is not asked for again", () => {
  const scene = joined();
  scene.connect();
  assert.deepEqual(scene.subscribed("e1:112"), ["recover e1:12"]);
  for (let offset = 13; offset <= 112; offset++) {
    assert.deepEqual(scene.pass(200), []);
    assert.deepEqual(scene.message(`e1:${offset}`), [`e1:${offset}`]);
  }
});

test("a message that the recovery left out is asked for again", () => {
  const scene = joined();
  scene.connect();
  scene.subscribed("e1:14");
  assert.deepEqual(scene.message("e1:14"), []);
  assert.deepEqual(scene.subscribed("e1:14", true, "e1:12"), []);
  assert.deepEqual(scene.pass(5_000), ["recover e1:12"]);
});

test("what cannot be recovered is lost, once, and the page goes on from the newest", () => {
  const scene = joined();
  scene.connect();
  assert.deepEqual(scene.message("e1:41"), []);
  assert.deepEqual(scene.subscribed("e1:40"), ["recover e1:12"]);
  assert.deepEqual(scene.subscribed("e1:40", false, "e1:12"), ["lost e1:40", "e1:41"]);
  assert.deepEqual(scene.subscribed("e1:41", false, "e1:12"), []); // answers a `recover` that was repeated
  assert.deepEqual(scene.message("e1:39", "e1:42"), ["e1:42"]);
});

test("if what was asked for came by itself, what is missing now is asked for", () => {
  const scene = joined();
  scene.message("e1:16");
  assert.deepEqual(scene.pass(250), ["recover e1:12"]);
  assert.deepEqual(scene.message("e1:13"), ["e1:13"]);
  assert.deepEqual(scene.subscribed("e1:16", false, "e1:12"), ["recover e1:13"]);
});

test("the response to an older question is none to the present one", () => {
  const scene = joined();
  scene.connect();
  assert.deepEqual(scene.pass(15_000), ["recover e1:12", "recover e1:12"]);
  assert.deepEqual(scene.message("e1:13"), ["e1:13"]);
  assert.deepEqual(scene.subscribed("e1:15", false, "e1:12"), ["recover e1:13"]);
  assert.deepEqual(scene.subscribed("e1:15", false, "e1:12"), []);
  assert.deepEqual(scene.message("e1:14", "e1:15"), ["e1:14", "e1:15"]);
  assert.deepEqual(scene.subscribed("e1:15", true, "e1:13"), []);
});

test("the backend's `since` asks for the page, if it is the page's position", () => {
  const scene = joined();
  scene.connect();
  assert.deepEqual(scene.subscribed("e1:40", false, "e1:12"), ["lost e1:40"]);
});

test("another epoch is a loss, once, wherever it shows", () => {
  const bySubscribed = joined();
  bySubscribed.connect();
  assert.deepEqual(bySubscribed.subscribed("e2:3"), ["lost e2:3"]);
  assert.deepEqual(bySubscribed.message("e2:4"), ["e2:4"]);
  const byMessage = joined();
  assert.deepEqual(byMessage.message("e2:1"), ["lost e2:0", "e2:1"]);
  assert.deepEqual(byMessage.subscribed("e2:1"), []);
});

test("a late message of the former epoch does not lead back to it", () => {
  const scene = joined();
  scene.message("e2:1");
  assert.deepEqual(scene.message("e1:13"), []);
  assert.deepEqual(scene.pass(250), ["recover e2:1"]);
  assert.deepEqual(scene.subscribed("e2:1", true, "e2:1"), []);
  assert.deepEqual(scene.message("e2:2"), ["e2:2"]);
});

test("if the former epoch is the present one, the gateway's response leads back to it", () => {
  const scene = joined();
  scene.moveTo("e9:4"); // the page has an old state
  assert.deepEqual(scene.subscribed("e1:13", false, "e9:4"), ["lost e1:13"]);
  assert.deepEqual(scene.message("e1:14"), ["e1:14"]);
});

test("a channel that no `subscribed` is sent of is asked for on each new socket", () => {
  const scene = new Scene(undefined, { isAnnounced: false });
  assert.deepEqual(scene.message("e1:4"), []);
  assert.deepEqual(scene.pass(FOREVER), ["e1:4"]);
  assert.deepEqual(scene.connect(), ["recover e1:4"]);
  assert.deepEqual(scene.message("e1:5"), ["e1:5"]);
  assert.deepEqual(scene.subscribed("e1:5", true, "e1:4"), []);
  assert.deepEqual(scene.pass(FOREVER), []);
});

test("if no `subscribed` comes on a new socket, the page asks", () => {
  const scene = joined();
  scene.connect();
  assert.deepEqual(scene.pass(4_999), []);
  assert.deepEqual(scene.pass(1), ["recover e1:12"]);
  assert.deepEqual(scene.subscribed("e1:12", true, "e1:12"), []);
  assert.deepEqual(scene.pass(FOREVER), []);
});

test("a channel that the page is not subscribed to any more is asked for once, and goes on if it comes back", () => {
  const scene = joined();
  scene.connect();
  assert.deepEqual(scene.pass(5_000), ["recover e1:12"]);
  assert.deepEqual(scene.refused(), []);
  scene.connect();
  assert.deepEqual(scene.pass(FOREVER), []);
  assert.deepEqual(scene.subscribed("e1:13"), ["recover e1:12"]);
});

test("a gap in a channel that is heard by a pattern is a loss", () => {
  const scene = new Scene();
  assert.deepEqual(scene.message("e1:4"), []);
  assert.deepEqual(scene.pass(250), ["e1:4"]);
  scene.message("e1:7");
  assert.deepEqual(scene.pass(250), ["recover e1:4"]);
  assert.deepEqual(scene.refused(), ["lost e1:7"]);
  assert.deepEqual(scene.message("e1:8"), ["e1:8"]);
});

test("while the old socket still receives, what its successor has not may be on its way", () => {
  const scene = joined();
  scene.connect(true);
  assert.deepEqual(scene.subscribed("e1:14"), []);
  assert.deepEqual(scene.pass(249), []);
  assert.deepEqual(scene.message("e1:13", "e1:14"), ["e1:13", "e1:14"]);
  assert.deepEqual(scene.pass(FOREVER), []);
});

test("a late look may show a message that was not sent", () => {
  const scene = joined();
  assert.deepEqual(scene.message("e1:13"), ["e1:13"]);
  assert.deepEqual(scene.subscribed("e1:13"), []);
  assert.deepEqual(scene.subscribed("e1:15"), []);
  assert.deepEqual(scene.pass(250), ["recover e1:13"]);
});

test("a page without a position begins with `subscribed`, or with what came before it", () => {
  const quiet = new Scene();
  assert.deepEqual(quiet.subscribed("e1:0"), []);
  assert.deepEqual(quiet.message("e1:1"), ["e1:1"]);
  const busy = new Scene();
  assert.deepEqual(busy.message("e1:7", "e1:6"), []);
  assert.deepEqual(busy.subscribed("e1:6"), ["e1:6", "e1:7"]);
});

test("what came before a socket was lost is handed out when the next one opens", () => {
  const scene = new Scene();
  scene.message("e1:7");
  assert.deepEqual(scene.connect(), ["e1:7"]);
  assert.deepEqual(scene.subscribed("e1:8"), ["recover e1:7"]);
});

test("a page without a position is told if its backend's `since` cannot be served", () => {
  const scene = new Scene();
  assert.deepEqual(scene.subscribed("e1:40", false, "e1:2"), ["lost e1:40"]);
});

test("the backend's `since` may be older than what the page has", () => {
  const scene = joined();
  scene.connect();
  assert.deepEqual(scene.message("e1:11", "e1:12", "e1:13"), ["e1:13"]);
  assert.deepEqual(scene.subscribed("e1:13", true, "e1:10"), []);
  scene.connect();
  assert.deepEqual(scene.subscribed("e1:13", false, "e1:10"), []);
  scene.connect();
  assert.deepEqual(scene.subscribed("e1:14", false, "e1:10"), ["recover e1:13"]);
});

test("a position of the page that is ahead of the gateway's is checked", () => {
  const scene = new Scene("e1:99");
  assert.deepEqual(scene.subscribed("e1:12"), ["recover e1:99"]);
  assert.deepEqual(scene.subscribed("e1:12", false, "e1:99"), ["lost e1:12"]);
  assert.deepEqual(scene.message("e1:13"), ["e1:13"]);
});

test("a page that has loaded its state goes on from there", () => {
  const scene = joined();
  assert.deepEqual(scene.message("e1:13", "e1:14", "e1:16"), ["e1:13", "e1:14"]);
  assert.deepEqual(scene.moveTo("e1:15"), ["e1:16"]);
  assert.deepEqual(scene.message("e1:17"), ["e1:17"]);
  assert.deepEqual(scene.moveTo("e1:16"), ["recover e1:16"]);
  assert.deepEqual(scene.message("e1:17"), ["e1:17"]);
  assert.equal(scene.channel.position, "e1:17");
});

test("more than a thousand messages behind a gap are not held, but recovered", () => {
  const scene = joined();
  for (let offset = 14; offset <= 1_113; offset++) scene.message(`e1:${offset}`);
  assert.deepEqual(scene.pass(250), ["recover e1:12"]);
  const handedOut = scene.message("e1:13");
  assert.equal(handedOut.length, 1_001);
  assert.equal(handedOut.at(-1), "e1:1013");
  assert.deepEqual(scene.pass(5_000), ["recover e1:1013"]);
});

test("messages that are repeated take no room from those that are held", () => {
  const scene = new Scene("e1:1200");
  for (let offset = 1; offset <= 1_200; offset++) scene.message(`e1:${offset}`);
  scene.message("e1:1202");
  assert.deepEqual(scene.message("e1:1201"), ["e1:1201", "e1:1202"]);
});

test("a page that moves on while it is handed something goes on from there", () => {
  const scene = joined();
  scene.message("e1:14", "e1:15");
  const actions = scene.channel.message(at("e1:13"), "data of e1:13", scene.now);
  assert.equal(actions.next().value.position, "e1:13");
  assert.deepEqual(scene.moveTo("e1:14"), ["e1:15"]);
  assert.deepEqual([...actions], []);
});
