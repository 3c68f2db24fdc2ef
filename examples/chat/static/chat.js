// The chat's page. One file, of more than 400 lines: its parts share the state of one page, and nothing builds it.

import { SlipSocket } from "../slip-sockets.js";

const MOST_CHARACTERS = 40; // of a name or a room, as in the backend
const PATIENCE_MS = 8_000; // for an echo of my message; then the page offers to send it again
const TOGETHER_MS = 5 * 60_000; // messages of one person within this time are shown as one group
const AGAIN_MS = 2_000; // after a history that could not be loaded
const MOST_LINES = 1_000;
const NAMES = ["Avocet", "Curlew", "Dipper", "Dunlin", "Heron", "Kestrel", "Linnet", "Merlin", "Osprey", "Plover", "Robin", "Siskin", "Teal", "Wren"];

const $ = (id) => document.getElementById(id);
const { websocketUrl } = await (await fetch("settings.json")).json();

const me = userOfTab();
let name = sessionStorage.getItem("name") ?? "";
let room = "";
let socket = null;
let presence = null; // who is in the room, as the gateway knows it
let isIn = false; // from the backend's WELCOME until the socket is lost
let lostAt = 0;
let unread = 0;
let pinned = true; // whether to scroll to the newest line
const heard = new Set(); // ids of messages; one that comes again, by whatever way, is shown once
const unsent = new Map(); // my messages without an echo: message id -> { room, text, element, timer }
const logs = new Map(); // room -> its lines, kept while this tab lives
const reached = new Map(); // room that was left -> position up to which its lines go, by channel
let isLoading = false; // the room's history

// ---- Messages of the backend

const hear = {
  welcome({ at }) {
    if (isIn) return; // there was no gap: nothing was missed
    isIn = true;
    if (lostAt) note(at, `Back after ${seconds(at - lostAt)}.`);
    else if (reached.has(room)) note(at, "You are back.");
    else note(at, "You are in ", isolated(room), ". Open this page in a second tab, or send somebody its link.");
    lostAt = 0;
    for (const [message, { room: where }] of unsent) if (where === room) sayAgain(message);
  },
  said(frame) {
    if (heard.has(frame.message)) return;
    heard.add(frame.message);
    const mine = unsent.get(frame.message);
    if (mine) settle(frame.message, mine);
    else show(messageElement(frame));
    if (document.hidden && isIn) title(unread + 1);
  },
  announced({ text, at, message }) {
    if (heard.has(message)) return;
    heard.add(message);
    show(element("div", "announced", element("b", "", "Announcement"), clock(at), element("p", "", text)));
  },
};

function onText(text) {
  const frame = JSON.parse(text);
  if (Object.hasOwn(hear, frame.type)) hear[frame.type](frame);
}

/** Show what is kept of the room, and go on from there. What comes meanwhile comes again. */
async function load() {
  const [mine, where] = [socket, room];
  isLoading = true;
  const response = await fetch(`history.json?room=${encodeURIComponent(where)}`, { cache: "no-store" });
  if (!response.ok) throw new Error(`history.json: status ${response.status}`);
  const { channel, position, messages } = await response.json();
  if (mine !== socket) return;
  messages.forEach(onText);
  isLoading = false;
  mine.setPosition(channel, position);
}

/** More was missed than is kept. */
function loadAgain() {
  const mine = socket;
  load().catch(() => setTimeout(() => mine === socket && loadAgain(), AGAIN_MS));
}

// ---- My messages

function say(text) {
  const message = randomId();
  const line = messageElement({ user: me, name, text, at: Date.now() });
  unsent.set(message, { room, text, element: line, timer: 0 });
  show(line, true);
  sayAgain(message);
}

/** Send a message, now or once connected, and wait for its echo, which shows that it has been published. */
function sayAgain(message) {
  const mine = unsent.get(message);
  clearTimeout(mine.timer);
  mine.element.classList.add("pending");
  mine.element.querySelector(".again")?.remove();
  transmit({ type: "say", text: mine.text, message });
  mine.timer = setTimeout(() => {
    if (!isIn) return; // sent at the next WELCOME
    const again = element("button", "again", "Not sent. Try again");
    again.onclick = () => sayAgain(message);
    mine.element.querySelector(".body").append(again);
    if (pinned) scrollDown();
  }, PATIENCE_MS);
}

function transmit(frame) {
  socket.send(JSON.stringify(frame));
}

function settle(message, mine) {
  clearTimeout(mine.timer);
  unsent.delete(message);
  mine.element.classList.remove("pending");
  mine.element.querySelector(".again")?.remove();
}

// ---- Rooms: the one in the URL's hash is the one we are in

function enter() {
  if (socket) reached.set(room, socket.positions);
  room = roomInUrl();
  socket?.close();
  isIn = false;
  lostAt = 0;
  if (!logs.has(room)) logs.set(room, element("div", "lines"));
  $("log").replaceChildren(logs.get(room));
  $("room").textContent = room;
  $("text").placeholder = `Message ${room}`;
  $("curl").textContent = `curl --data-urlencode ${quoted(`room=${room}`)} -d text=Hello ${new URL("announce", location.href.split("#")[0])}`;
  title(0);
  scrollDown();
  showRooms();
  showMenu(false);
  isLoading = false;
  socket = new SlipSocket(socketUrl, { recover: true, positions: reached.get(room) ?? {} });
  watchPeople(socket.presence(`room:${room}`));
  onState("connecting");
  socket.addEventListener("open", () => onState("connected"));
  socket.addEventListener("waiting", ({ pauseMs }) => onState("reconnecting", pauseMs));
  socket.addEventListener("connecting", () => $("state").dataset.state === "reconnecting" && onState("reconnecting"));
  socket.addEventListener("message", ({ data, position }) => (isLoading && position) || onText(data));
  socket.addEventListener("lost", () => {
    note(Date.now(), "Something that was said meanwhile may be missing here.");
    loadAgain();
  });
}

/** Called for each attempt; the first one needs a position to go on from. */
async function socketUrl() {
  if (!Object.keys(socket.positions).length) await load();
  const url = new URL(websocketUrl);
  url.searchParams.set("user", me);
  url.searchParams.set("name", name);
  url.searchParams.set("room", room);
  return url;
}

function roomInUrl() {
  try {
    return tidy(decodeURIComponent(location.hash.slice(1))) || "lobby";
  } catch {
    return "lobby"; // an invalid % encoding
  }
}

function showRooms() {
  const visited = stored("rooms", ["lobby"]).filter((other) => typeof other === "string");
  const all = visited.includes(room) ? visited : [...visited, room].slice(-12);
  localStorage.setItem("rooms", JSON.stringify(all));
  $("rooms").replaceChildren(
    ...all.map((other) => {
      const link = element("a", "", isolated(other));
      link.href = `#${encodeURIComponent(other)}`;
      if (other === room) link.setAttribute("aria-current", "page");
      return element("li", "", link);
    }),
  );
}

// ---- State of the connection

let countdown = 0;

function onState(state, pauseMs = 0) {
  if (state === "reconnecting" && isIn) {
    lostAt = Date.now();
    isIn = false;
  }
  const due = performance.now() + pauseMs;
  const words = { connecting: "Connecting", connected: "Connected", reconnecting: "Reconnecting" };
  const update = () => {
    const left = Math.ceil((due - performance.now()) / 1000);
    $("pause").textContent = pauseMs && left > 0 ? ` in ${left} s` : state === "connected" ? "" : " …";
  };
  clearInterval(countdown);
  if (pauseMs) countdown = setInterval(update, 200);
  $("state").dataset.state = state;
  $("state-text").textContent = words[state];
  $("now").hidden = !(pauseMs > 1500);
  document.body.classList.toggle("away", state !== "connected");
  update();
}

// ---- Showing. User text becomes text nodes, never markup; <bdi> keeps right-to-left names from reordering a line

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function isolated(text) {
  return element("bdi", "", text);
}

function avatar(name) {
  const made = element("span", "avatar", [...name][0].toUpperCase());
  let hash = 7;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 3600;
  made.style.setProperty("--hue", String(hash % 360));
  made.setAttribute("aria-hidden", "true");
  return made;
}

function clock(at) {
  const date = new Date(at);
  const made = element("time", "", date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  made.dateTime = date.toISOString();
  made.title = date.toLocaleString();
  return made;
}

function note(at, ...words) {
  show(element("div", "note", element("span", "", ...words), " ", clock(at)));
}

function messageElement({ user, name: author, text, at }) {
  const words = element("p", "", text);
  words.dir = "auto";
  const head = element("div", "head", element("b", "", isolated(author)), clock(at));
  const made = element("article", "message", avatar(author), element("div", "body", head, words));
  made.dataset.from = `${user}, ${author}`; // two people may have one name, and one may change it
  made.dataset.at = String(at);
  made.classList.toggle("mine", user === me);
  const before = logs.get(room).lastElementChild;
  const together = before?.dataset.from === made.dataset.from && at - Number(before.dataset.at) < TOGETHER_MS;
  made.classList.toggle("more", together);
  return made;
}

function show(line, always = false) {
  const lines = logs.get(room);
  lines.append(line);
  if (lines.childElementCount > MOST_LINES) lines.firstElementChild.remove();
  if (pinned || always) scrollDown();
  else if (!line.classList.contains("note")) $("newest").hidden = false;
}

/** Keep the list of the room's people, and say who comes and goes once the page knows who was there. */
function watchPeople(those) {
  presence = those;
  let isKnown = false;
  those.addEventListener("live", () => (isKnown = true));
  those.addEventListener("change", ({ joined, left }) => {
    if (those !== presence) return;
    if (isKnown) {
      for (const who of joined) note(Date.now(), isolated(nameOf(who)), " joined");
      for (const who of left) note(Date.now(), isolated(nameOf(who)), " left");
    }
    showPeople();
  });
  showPeople();
}

function nameOf({ info }) {
  return info.name;
}

function showPeople() {
  const people = presence.members ?? []; // more than can be listed
  const others = people.filter(({ user }) => user !== me).sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
  const mine = people.filter(({ user }) => user === me);
  $("count").textContent = presence.count ? String(presence.count) : "";
  $("people").replaceChildren(
    ...[...mine, ...others].map((one) => element("li", "", avatar(nameOf(one)), isolated(nameOf(one)), ...(one.user === me ? [element("small", "", "you")] : []))),
  );
  $("me").replaceChildren(avatar(name), isolated(name), element("small", "", "change"));
}

function scrollDown() {
  $("log").scrollTop = $("log").scrollHeight;
  $("newest").hidden = pinned = true;
}

function title(count) {
  unread = count;
  document.title = `${count ? `(${count}) ` : ""}${room}`;
}

function showMenu(open) {
  document.body.classList.toggle("side-open", open);
  $("menu").setAttribute("aria-expanded", String(open));
}

// ---- Helpers

function tidy(text) {
  return [...text.trim().replace(/\s+/g, " ")].slice(0, MOST_CHARACTERS).join("").trim();
}

function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The id of this tab's user, who stays the same when the tab is reloaded. */
function userOfTab() {
  const id = sessionStorage.getItem("user") ?? randomId();
  sessionStorage.setItem("user", id);
  return id;
}

function seconds(ms) {
  return ms < 90_000 ? `${Math.max(1, Math.round(ms / 1000))} s` : `${Math.round(ms / 60_000)} min`;
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function stored(key, otherwise) {
  try {
    const value = JSON.parse(localStorage.getItem(key));
    return Array.isArray(value) ? value : otherwise;
  } catch {
    return otherwise;
  }
}

// ---- The page's controls

function askName() {
  showMenu(false);
  $("who-title").textContent = name ? "Change your name" : `Join ${roomInUrl()}`;
  $("name").value = name || NAMES[Math.floor(Math.random() * NAMES.length)];
  $("who").showModal();
  $("name").select();
}

$("who-form").onsubmit = (event) => {
  const chosen = tidy($("name").value);
  if (!chosen) return event.preventDefault();
  if (chosen === name) return;
  name = chosen;
  sessionStorage.setItem("name", name);
  enter();
};
$("who").onclose = () => $("text").focus();
$("who").oncancel = (event) => {
  if (!name) event.preventDefault();
};
$("me").onclick = askName;

$("enter-room").onsubmit = (event) => {
  event.preventDefault();
  const wanted = tidy($("room-field").value);
  if (!wanted) return;
  location.hash = encodeURIComponent(wanted);
  $("room-field").value = "";
  showMenu(false);
  $("text").focus();
};

$("say").onsubmit = (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  say(text);
  $("text").value = "";
  fit();
  $("text").focus();
};
$("text").onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("say").requestSubmit();
};
$("text").oninput = fit;

function fit() {
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight + 2}px`; // and its border
}

$("share").hidden = !navigator.clipboard;
$("share").onclick = async () => {
  await navigator.clipboard.writeText(location.href.split("#")[0] + "#" + encodeURIComponent(room));
  $("share").textContent = "Copied";
  setTimeout(() => ($("share").textContent = "Copy link"), 2000);
};
$("log").onscroll = () => {
  pinned = $("log").scrollHeight - $("log").scrollTop - $("log").clientHeight < 40;
  if (pinned) $("newest").hidden = true;
};
new ResizeObserver(() => pinned && scrollDown()).observe($("log"));
$("newest").onclick = scrollDown;
$("now").onclick = () => socket.hurry();
$("menu").onclick = () => showMenu(!document.body.classList.contains("side-open"));
$("shade").onclick = () => showMenu(false);

document.onkeydown = (event) => {
  if (event.key === "Escape" && document.body.classList.contains("side-open")) {
    showMenu(false);
    $("menu").focus();
  } else if (event.key === "/" && !event.target.closest("input, textarea, dialog")) {
    event.preventDefault();
    $("text").focus();
  }
};
document.onvisibilitychange = () => document.hidden || title(0);
addEventListener("resize", fit);
addEventListener("hashchange", () => name && roomInUrl() !== room && enter());

if (name) {
  enter();
  $("text").focus();
} else askName();
