// Who is in a channel, frame by frame: `node --test tests/browser/node/members.test.mjs`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Members } from "./module.mjs";

/** Members with short texts: "ann" is a user, "ann:1" one whose info is 1. A socket is any value. */
class Scene {
  members = new Members();

  /** Return the change as { joined, updated, left } without what is empty, or null. */
  get(socket, isNewest, { joined, left, ...frame }) {
    const change = this.members.receive(socket, isNewest, { ...frame, left, joined: joined?.map(memberOf) });
    if (change === null) return null;
    const { count, members, ...differences } = change;
    assert.equal(count, this.members.count);
    assert.equal(members, this.members.list);
    const named = Object.entries(differences).map(([name, each]) => [name, each.map(textOf)]);
    return Object.fromEntries(named.filter(([, texts]) => texts.length > 0));
  }

  snapshot(socket, ...joined) {
    return this.get(socket, true, { all: true, count: joined.length, ...(joined.length ? { joined } : {}) });
  }

  joined(socket, ...joined) {
    return this.get(socket, true, { joined, count: this.members.count + joined.length });
  }

  left(socket, ...left) {
    return this.get(socket, true, { left, count: this.members.count - left.length });
  }

  count(socket, count) {
    return this.get(socket, true, { count });
  }

  get list() {
    return this.members.list?.map(textOf);
  }
}

function memberOf(text) {
  const [user, info] = text.split(":");
  return { user, info: info === undefined ? null : JSON.parse(info) };
}

function textOf({ user, info }) {
  return info === null ? user : `${user}:${JSON.stringify(info)}`;
}

function withSnapshot(...joined) {
  const scene = new Scene();
  scene.snapshot("s1", ...joined);
  return scene;
}

const crowd = (count) => Array.from({ length: count }, (_, index) => `user ${index}`);

test("nobody is there before a frame has come", () => {
  const { members } = new Scene();
  assert.deepEqual([members.list, members.count, members.isLive], [[], 0, false]);
});

test("a page gets all, and then what changes, in order of joining", () => {
  const scene = new Scene();
  assert.deepEqual(scene.snapshot("s1", "bob", "ann:1"), { joined: ["bob", "ann:1"] });
  assert.equal(scene.members.isLive, true);
  assert.deepEqual(scene.joined("s1", "aaron"), { joined: ["aaron"] });
  assert.deepEqual(scene.get("s1", true, { joined: ["zoe"], left: ["bob"], count: 3 }), { joined: ["zoe"], left: ["bob"] });
  assert.deepEqual(scene.list, ["ann:1", "aaron", "zoe"]);
  assert.equal(scene.members.count, 3);
});

test("an empty channel is live, and no change", () => {
  const scene = new Scene();
  assert.equal(scene.snapshot("s1"), null);
  assert.equal(scene.members.isLive, true);
});

test("a frame that comes twice changes nothing", () => {
  const scene = withSnapshot("ann", "bob");
  const list = scene.members.list;
  assert.equal(scene.get("s1", true, { joined: ["bob"], count: 2 }), null);
  assert.equal(scene.get("s1", true, { left: ["carol"], count: 2 }), null);
  assert.equal(scene.snapshot("s1", "ann", "bob"), null);
  assert.equal(scene.members.list, list);
});

test("the count is that of the list, if a frame of before comes again", () => {
  const scene = withSnapshot("ann");
  scene.joined("s1", "bob");
  scene.joined("s1", "carol");
  assert.equal(scene.get("s1", true, { joined: ["bob"], count: 2 }), null);
  assert.equal(scene.members.count, 3);
});

test("a user who joins again with another info is updated, and keeps the place", () => {
  const scene = withSnapshot("ann:1", "bob");
  assert.deepEqual(scene.joined("s1", "ann:2"), { updated: ["ann:2"] });
  assert.deepEqual(scene.list, ["ann:2", "bob"]);
  assert.deepEqual(scene.joined("s1", "ann"), { updated: ["ann"] });
});

test("an info is the same in whichever order it is written", () => {
  const scene = withSnapshot("ann");
  const infos = [
    [{ a: [1, { b: null }], c: "x" }, true],
    [{ c: "x", a: [1, { b: null }] }, false],
    [{ c: "x", a: [1, { b: 0 }] }, true],
    [{ c: "x", a: { 0: 1, 1: { b: 0 } } }, true],
    [{ c: "x", d: { 0: 1, 1: { b: 0 } } }, true],
    [{ c: "x" }, true],
    [null, true],
    [undefined, false],
    ["", true],
  ];
  for (const [info, isChanged] of infos) {
    const change = scene.members.receive("s1", true, { joined: [{ user: "ann", info }], count: 1 });
    assert.equal(change !== null, isChanged, JSON.stringify(info));
  }
});

test("a user who has left and joined in one frame is there", () => {
  const scene = withSnapshot("ann:1", "bob");
  assert.deepEqual(scene.get("s1", true, { joined: ["ann:2", "carol"], left: ["ann", "carol"], count: 3 }), {
    joined: ["carol"],
    updated: ["ann:2"],
  });
});

test("who has left is named with the last info", () => {
  assert.deepEqual(withSnapshot("ann:1").left("s1", "ann"), { left: ["ann:1"] });
});

test("all of a later socket replace the list, and only the differences are a change", () => {
  const scene = withSnapshot("ann", "bob:1", "carol");
  scene.members.leave("s1");
  assert.deepEqual(scene.snapshot("s2", "dora", "carol", "bob:2"), { joined: ["dora"], updated: ["bob:2"], left: ["ann"] });
  assert.deepEqual(scene.list, ["bob:2", "carol", "dora"]);
  scene.members.leave("s2");
  assert.equal(scene.snapshot("s3", "carol", "dora", "bob:2"), null);
  assert.deepEqual(scene.snapshot("s3"), { left: ["bob:2", "carol", "dora"] });
});

test("while the socket is away the list stays, and is not live", () => {
  const scene = withSnapshot("ann");
  assert.equal(scene.members.leave("another"), false);
  assert.equal(scene.members.isLive, true);
  assert.equal(scene.members.leave("s1"), true);
  assert.equal(scene.members.isLive, false);
  assert.equal(scene.members.leave(null), false);
  assert.deepEqual(scene.list, ["ann"]);
});

test("a socket that has not sent all brings what changes, but is not live", () => {
  const scene = withSnapshot("ann");
  scene.members.leave("s1");
  assert.deepEqual(scene.joined("s2", "bob"), { joined: ["bob"] });
  assert.equal(scene.members.isLive, false);
});

test("the older socket counts until the newer one has sent all, and not after that", () => {
  const scene = withSnapshot("ann");
  const older = (frame) => scene.get("s1", false, frame);
  assert.equal(scene.get("s2", true, { left: ["ann"], count: 0 }), null);
  assert.deepEqual(older({ joined: ["bob"], count: 2 }), { joined: ["bob"] });
  assert.deepEqual(scene.snapshot("s2", "ann", "carol"), { joined: ["carol"], left: ["bob"] });
  assert.equal(older({ joined: ["bob"], count: 2 }), null);
  assert.equal(older({ left: ["ann"], count: 1 }), null);
  assert.equal(older({ joined: ["bob"], count: 1, all: true }), null);
  assert.equal(older({ count: 201 }), null);
  assert.equal(scene.members.leave("s1"), false);
  assert.equal(scene.members.isLive, true);
  assert.deepEqual(scene.list, ["ann", "carol"]);
});

test("above 200 the count alone is known, until all are sent again", () => {
  const scene = withSnapshot(...crowd(200));
  assert.equal(scene.members.list.length, 200);
  assert.deepEqual(scene.count("s1", 201), {});
  assert.deepEqual([scene.members.list, scene.members.count, scene.members.isLive], [null, 201, true]);
  assert.equal(scene.count("s1", 201), null);
  assert.deepEqual(scene.count("s1", 300), {});
  assert.deepEqual(scene.count("s1", 199), {});
  assert.deepEqual(scene.get("s1", true, { left: ["user 3"], count: 198 }), {});
  assert.equal(scene.members.list, null);
  assert.deepEqual(scene.snapshot("s1", ...crowd(198)), { joined: crowd(198) });
  assert.deepEqual(scene.list, crowd(198));
});

test("if nobody is left of more than 200, there is a list again", () => {
  const scene = withSnapshot("ann");
  scene.count("s1", 201);
  assert.deepEqual(scene.snapshot("s1"), {});
  assert.deepEqual([scene.members.list, scene.members.count], [[], 0]);
});

test("a count above 200 is all that a newer socket has to send", () => {
  const scene = withSnapshot("ann");
  assert.deepEqual(scene.count("s2", 201), {});
  assert.equal(scene.get("s1", false, { joined: ["bob"], count: 2 }), null);
  scene.members.leave("s2");
  assert.deepEqual(scene.get("s3", true, { all: true, count: 202 }), {});
  assert.deepEqual([scene.members.list, scene.members.count, scene.members.isLive], [null, 202, true]);
});

test("a count of 200 or less without names is no change of a list", () => {
  const scene = withSnapshot("ann");
  assert.equal(scene.count("s1", 1), null);
  assert.deepEqual(scene.list, ["ann"]);
});

test("users may be called anything", () => {
  const scene = withSnapshot("__proto__", "constructor");
  assert.deepEqual(scene.left("s1", "__proto__", "toString"), { left: ["__proto__"] });
  assert.deepEqual(scene.list, ["constructor"]);
});

test("the page cannot change the list, and a list that it has stays as it was", () => {
  const scene = withSnapshot("ann");
  const { list } = scene.members;
  assert.throws(() => list.push("bob"), TypeError);
  assert.throws(() => (list[0].user = "bob"), TypeError);
  scene.joined("s1", "bob");
  assert.equal(list.length, 1);
});
