// The inspector's page. The server streams summaries ten times a second at most; a whole record is fetched when it is
// shown. Text from users becomes text nodes, never markup. One file, of more than 400 lines: its parts share one state.

const MAX_RECORDS = 500; // as on the server
const KINDS = ["OPEN", "TEXT", "CLOSE", "CONTROL", "DEFERRED"];
const MAX_LINES = 200; // of the test socket
const USER_CHANNEL = "$user:"; // the prefix of the channels of users

const $ = (id) => document.getElementById(id);

const connections = new Map(); // id -> { connection, row }
const records = new Map(); // number -> { record, row }
const shown = { kinds: new Set(KINDS), connection: null, words: "", failedOnly: false };
let chosen = null; // { record: number }, { connection: id } or { channel: name }
let isPaused = false;
let held = []; // messages of the stream while the page is paused
let isPinned = true; // whether the newest record is in sight, and has to stay there
let urls = {};

// ---- The stream

let stream = null;

function listen() {
  stream = new EventSource("/_inspector/stream");
  stream.onopen = () => forget(); // the first messages have everything
  stream.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (isPaused) hold(message);
    else take([message]);
  };
  stream.onerror = () => live("waiting", "Server away; trying again");
}

function forget() {
  held = [];
  for (const { row } of [...records.values(), ...connections.values()]) row.remove();
  records.clear();
  connections.clear();
  live(isPaused ? "paused" : "live", isPaused ? "Paused" : "Live");
}

function hold(message) {
  held.push(message);
  if (held.length > 600) held.splice(0, 100); // a minute; the server does not keep older ones either
}

function take(messages) {
  const parts = document.createDocumentFragment();
  let isTouched = false;
  for (const message of messages) {
    if (message.urls) showUrls(message.urls);
    if (message.metrics) showMetrics(message.metrics);
    if ("failing" in message) showFailing(message.failing);
    for (const id of message.gone ?? []) removeConnection(id);
    for (const connection of message.connections ?? []) setConnection(connection);
    for (const record of message.records ?? []) setRecord(record, parts);
    isTouched ||= Boolean(chosen?.connection && (message.connections ?? []).some(({ id }) => id === chosen.connection));
    isTouched ||= Boolean(chosen?.channel && (message.connections?.length || message.gone?.length));
    isTouched ||= Boolean(chosen?.record && (message.records ?? []).some(({ number }) => number === chosen.record));
  }
  $("records").append(parts);
  while (records.size > MAX_RECORDS) dropOldest();
  $("none").hidden = records.size > 0;
  $("count").textContent = String(connections.size);
  if (isPinned) toNewest();
  else if (messages.some(({ records }) => records?.length)) $("newest").hidden = false;
  if (isTouched) showDetails();
}

function dropOldest() {
  const [number, { row }] = records.entries().next().value;
  row.remove();
  records.delete(number);
}

function live(state, words) {
  $("live").dataset.state = state;
  $("live").lastElementChild.textContent = words;
}

function showUrls(current) {
  urls = current;
  $("stack").textContent = urls.stack;
  $("urls").replaceChildren(...pairs({ WebSockets: urls.webSocket, "Control API": urls.controlApi, Backend: urls.backend }));
}

/** Counts since the server's start, under the names that they have as metrics on AWS. */
function showMetrics({ BackendCalls, BackendFailures, BackendLatency: { p50, p95 }, Failures, Sent, Gone, Queued }) {
  const count = (number) => number.toLocaleString("en");
  const calls = BackendFailures ? `${count(BackendCalls)}, ${count(BackendFailures)} failed` : count(BackendCalls);
  const latencies = BackendCalls ? { Median: duration(p50), "95th percentile": duration(p95) } : {};
  const failures = Object.values(Failures).reduce((sum, number) => sum + number, 0);
  const counts = { Failures: count(failures), Sent: count(Sent), Gone: count(Gone), Queued: count(Queued) };
  $("metrics").replaceChildren(...pairs({ "Backend calls": calls, ...latencies, ...counts }));
}

function pairs(values) {
  return Object.entries(values).map(([name, value]) => element("div", "", element("dt", "", name), element("dd", "", value)));
}

function showFailing(failing) {
  $("failing").hidden = !failing;
  if (!failing) return;
  $("failing-problem").textContent = `${failing.problem}.`;
  $("failing-fix").textContent = `${failing.fix}.`;
  $("failing-show").onclick = () => choose({ record: failing.number });
}

// ---- Connections

function setConnection(connection) {
  const { id, connectedAt, user, metadata } = connection;
  const channels = connection.channels.filter((channel) => channel !== `${USER_CHANNEL}${user}`).map(named);
  const known = connections.get(id);
  const row = known?.row ?? element("li", "");
  row.id = `c-${id}`;
  row.dataset.id = id;
  row.setAttribute("role", "option");
  row.setAttribute("aria-selected", String(chosen?.connection === id));
  row.replaceChildren(
    element("div", "", element("code", "", id), element("b", "user", user ?? ""), element("small", "what", clock(connectedAt).slice(0, 8))),
    element("div", "what", element("span", "", channels.length ? channels.join(", ") : "no channel"), element("span", "mono", brief(metadata))),
  );
  connections.set(id, { connection, row });
  row.hidden = !isFound(connection);
  if (!known) $("connections").append(row);
}

function removeConnection(id) {
  connections.get(id)?.row.remove();
  connections.delete(id);
  if (chosen?.connection === id) showDetails();
}

/** The channel of a user is not shown as it is spelled. */
function named(channel) {
  return channel.startsWith(USER_CHANNEL) ? `user ${channel.slice(USER_CHANNEL.length)}` : channel;
}

function isFound({ id, user, channels, metadata }) {
  const words = $("find").value.trim().toLowerCase();
  return !words || `${id} ${user ?? ""} ${channels.join(" ")} ${metadata}`.toLowerCase().includes(words);
}

function brief(metadata) {
  return metadata && !metadata.startsWith('{"headers":') ? metadata.slice(0, 60) : "";
}

// ---- The timeline

function setRecord(record, parts) {
  const { number, kind, connectionId, subject, at, ms, isFailed } = record;
  const known = records.get(number);
  const row = known?.row ?? element("li", "");
  records.set(number, { record, row });
  row.id = `r-${number}`;
  row.dataset.number = number;
  row.setAttribute("role", "option");
  row.setAttribute("aria-selected", String(chosen?.record === number));
  row.className = isFailed ? "failed" : ms === null ? "pending" : "";
  row.replaceChildren(
    element("time", "", clock(at)),
    element("span", `kind ${kind}`, kind),
    element("code", "", connectionId?.slice(0, 6) ?? ""),
    element("span", "subject", subject),
    element("span", "status", outcome(record)),
    element("span", "ms", ms === null ? "…" : duration(ms)),
  );
  row.hidden = !isShown(record);
  if (!known) parts.append(row);
}

function outcome({ kind, status, ms, backendStatus, isFailed }) {
  if (ms === null) return "";
  if (status === null) return kind === "DEFERRED" ? "tried again" : "broken off";
  if (isFailed) return backendStatus === null || backendStatus < 300 ? `${status}` : `backend ${backendStatus}`;
  if (kind === "OPEN") return status < 300 ? "accepted" : `refused ${status}`;
  return status < 300 ? "" : String(status);
}

function isShown({ kind, connectionId, subject, isFailed }) {
  if (!shown.kinds.has(kind) || (shown.failedOnly && !isFailed)) return false;
  if (shown.connection && shown.connection !== connectionId) return false;
  return !shown.words || `${kind} ${connectionId} ${subject}`.toLowerCase().includes(shown.words);
}

function filter() {
  for (const { record, row } of records.values()) row.hidden = !isShown(record);
  $("of").hidden = !shown.connection;
  $("of").firstElementChild.textContent = `Only connection ${shown.connection}`;
  if (isPinned) toNewest();
}

function toNewest() {
  $("records").scrollTop = $("records").scrollHeight;
  $("newest").hidden = isPinned = true;
}

// ---- Details

function choose(what) {
  for (const row of document.querySelectorAll('[aria-selected="true"]')) row.setAttribute("aria-selected", "false");
  chosen = what;
  const row = what?.record ? records.get(what.record)?.row : connections.get(what?.connection)?.row;
  row?.setAttribute("aria-selected", "true");
  row?.scrollIntoView({ block: "nearest" });
  const list = what?.record ? $("records") : $("connections");
  if (row) list.setAttribute("aria-activedescendant", row.id);
  showDetails();
}

async function showDetails() {
  const what = chosen;
  if (!what) return $("details").replaceChildren(help());
  const url = what.record
    ? `/_inspector/records/${what.record}`
    : what.channel
      ? `/_inspector/channel?name=${encodeURIComponent(what.channel)}`
      : `/_inspector/connections/${encodeURIComponent(what.connection)}`;
  let found = null;
  try {
    found = await (await fetch(url)).json();
  } catch {
    return; // the stream shows that the server is away
  }
  if (what !== chosen) return;
  const parts = what.record
    ? recordDetails(found)
    : what.channel
      ? channelDetails(found, what.channel)
      : connectionDetails(found, what.connection);
  const { scrollTop } = $("details");
  const typed = $("details").querySelector("input")?.value;
  const hadFocus = $("details").querySelector("input") === document.activeElement;
  $("details").replaceChildren(...parts.filter(Boolean));
  $("details").scrollTop = what === showDetails.last ? scrollTop : 0;
  const field = $("details").querySelector("input");
  if (field && what === showDetails.last) {
    field.value = typed ?? "";
    if (hadFocus) field.focus();
  }
  showDetails.last = what;
}

function recordDetails(record) {
  if (!record) return [element("h2", "", "No longer kept")];
  const { kind, connectionId, at, ms, status, advice, exchanges, steps, lines, request, response } = record;
  return [
    element("h2", "", element("span", `kind ${kind}`, kind), connectionId && connectionLink(connectionId)),
    element("p", "facts", [clock(at), ms === null ? "under way" : duration(ms), status && `function returned ${status}`].filter(Boolean).join(" · ")),
    exchanges.length > 0 && ms !== null && bar(record),
    advice && element("div", "advice", element("b", "", `${advice.problem}.`), `${advice.fix}.`),
    ...(request.bytes ? titled(kind === "CONTROL" ? "Request" : "From the client", "", pretty(request, "received")) : []),
    ...exchanges.flatMap((exchange) => [
      ...titled("To your backend", `+${duration(exchange.atMs)}`, element("pre", "headers", headers(exchange)), bodyOf(exchange.body)),
      ...titled("Its response", duration(exchange.ms), ...responseParts(exchange)),
    ]),
    ...(steps.length ? titled("Actions", "", stepList(steps)) : ms !== null ? titled("Actions", "", element("p", "facts", "None.")) : []),
    ...(kind === "CONTROL" && response ? titled("Response", "", pretty(response)) : []),
    ...(lines.length ? titled("Log", "", element("div", "lines", ...lines.map(({ level, text }) => element("p", level, text)))) : []),
  ];
}

function bar({ ms, backendMs }) {
  const backend = element("i", "backend");
  const rest = element("i", "");
  backend.style.width = `${Math.min(100, (100 * backendMs) / (ms || 1))}%`;
  rest.style.width = `${Math.max(0, 100 - (100 * backendMs) / (ms || 1))}%`;
  const made = element("div", "", element("div", "bar", backend, rest));
  made.append(element("p", "facts", `${duration(backendMs)} your backend, ${duration(Math.max(0, ms - backendMs))} everything else`));
  return made;
}

function headers({ url, headers }) {
  const { pathname, search, host } = new URL(url);
  const named = { Host: host, ...headers };
  return [`POST ${pathname}${search} HTTP/1.1`, ...headerLines(named)].join("\n");
}

function headerLines(headers) {
  return Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
}

function responseParts({ status, responseHeaders, response, error }) {
  if (error) return [element("p", "lines", element("p", "ERROR", error))];
  const line = element("pre", "headers", [`HTTP/1.1 ${status}`, ...headerLines(responseHeaders)].join("\n"));
  return response.bytes ? [line, bodyOf(response, true)] : [line, element("p", "facts", "No body: no events.")];
}

function bodyOf(body, isReply = false) {
  return body.frames ? frameList(body, isReply) : pretty(body);
}

/** GRIP: a line for each frame, with its size in bytes, and what it has. */
function frameList({ frames, fault, more }, isReply) {
  const list = element("ol", "frames");
  for (const { type, bytes, text } of frames) {
    const size = element("small", "", bytes === null ? "" : bytes === 1 ? "1 byte" : `${bytes.toLocaleString("en")} bytes`);
    list.append(element("li", "", element("span", `kind ${type}`, type), size, text ? element("pre", "", ...(isReply && type === "TEXT" ? prefixed(text) : [text])) : ""));
  }
  if (fault) list.append(element("li", "bad", `Broken: ${fault}`));
  if (more > 0) list.append(element("li", "", `… ${more.toLocaleString("en")} bytes more`));
  return list;
}

/** The prefix of a text in a reply stands out, and a control message is indented. */
function prefixed(text) {
  const prefix = text.match(/^[cm]:/)?.[0] ?? "";
  const content = text.slice(prefix.length);
  return [element("b", "", prefix), prefix === "c:" ? indented(content) : content];
}

function stepList(steps) {
  const list = element("ol", "steps");
  for (const { text, data, error, atMs, ms } of steps) {
    const step = element("div", "", text, error ? element("span", "bad", ` failed: ${error}`) : "");
    if (data?.bytes) step.append(pretty(data));
    const when = element("time", "", `+${duration(atMs)}`);
    when.title = `took ${duration(ms)}`;
    list.append(element("li", "", when, step));
  }
  return list;
}

function connectionDetails(connection, id) {
  if (!connection) return [element("h2", "", element("code", "", id)), element("p", "facts", "No longer open."), historyButton(id)];
  const text = element("input", "");
  text.placeholder = "Text for the client";
  text.setAttribute("aria-label", "Text for the client");
  const send = element("form", "", text, element("button", "", "Send"));
  const result = element("output", "");
  send.onsubmit = (event) => {
    event.preventDefault();
    act([{ type: "TEXT", connectionId: id, data: text.value }], result, "Sent.");
    text.value = "";
  };
  const close = element("button", "", "Close");
  close.onclick = () => act([{ type: "CLOSE", connectionId: id }], result, "Closed.");
  const channels = connection.channels.map((channel) => {
    const button = element("button", "", named(channel));
    const isOfUser = channel.startsWith(USER_CHANNEL);
    button.title = isOfUser ? "Publish to all connections of this user" : "Who is in this channel";
    button.onclick = () => (isOfUser ? publishTo(channel) : choose({ channel }));
    return button;
  });
  return [
    element("h2", "", element("code", "", id)),
    element("p", "facts", [connection.user && `user ${connection.user}`, `since ${clock(connection.connectedAt)}`, connection.ip, connection.userAgent].filter(Boolean).join(" · ")),
    element("div", "actions", send, close, historyButton(id)),
    result,
    ...titled("Channels", String(channels.length), channels.length ? element("div", "channels", ...channels) : element("p", "facts", "None.")),
    ...titled("Metadata", "", pretty({ text: connection.metadata ?? "null", bytes: 0 })),
  ];
}

/** Who is in a channel, and who listens to it. */
function channelDetails({ count, members, more }, channel) {
  const publish = element("button", "", "Publish");
  publish.onclick = () => publishTo(channel);
  const listening = [...connections.values()].filter(({ connection }) => connection.channels.includes(channel));
  const list = element("ol", "members");
  for (const { user, info, connections: number, since } of members) {
    const facts = [`since ${clock(since / 1000).slice(0, 8)}`, number > 1 && `${number} connections`].filter(Boolean).join(" · ");
    list.append(element("li", "", element("code", "", user), element("small", "", facts), info !== null && element("pre", "", indented(JSON.stringify(info)))));
  }
  if (more) list.append(element("li", "", `… ${(count - members.length).toLocaleString("en")} more`));
  return [
    element("h2", "", element("code", "", channel)),
    element("div", "actions", publish),
    ...titled("Members", count.toLocaleString("en"), count ? list : element("p", "facts", "None. Those are members who are subscribed with presence.")),
    ...titled("Connections", listening.length.toLocaleString("en"), element("div", "channels", ...listening.slice(0, 200).map(({ connection }) => connectionLink(connection.id)))),
  ];
}

function historyButton(id) {
  const button = element("button", "", shown.connection === id ? "All events" : "Its events");
  button.onclick = () => {
    shown.connection = shown.connection === id ? null : id;
    filter();
    showDetails();
  };
  return button;
}

function connectionLink(id) {
  const button = element("button", "mono", id);
  button.onclick = () => choose({ connection: id });
  return button;
}

function titled(title, note, ...content) {
  return [element("h3", "", title, element("small", "", note)), ...content];
}

/** JSON is shown indented, other text as it is. */
function pretty({ text, bytes }, className = "") {
  const more = bytes - new TextEncoder().encode(text).length;
  return element("pre", className, indented(text), more > 0 ? `\n… ${more.toLocaleString("en")} bytes more` : "");
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // not JSON, or cut
  }
}

function help() {
  const keys = { "/": "filter the timeline", "↑ ↓": "move in a list", p: "pause", "Esc": "leave", Enter: "on a connection: show its events alone" };
  const rows = Object.entries(keys).map(([key, what]) => element("div", "", element("kbd", "", key), ` ${what}`));
  return element("div", "", element("p", "facts", "Choose an event to see the request to your backend, its response, and the actions that followed. Choose a connection to send to it, or to close it."), element("div", "keys", ...rows));
}

// ---- Acting

async function act(events, output, done) {
  output.className = "";
  output.textContent = "…";
  try {
    const response = await fetch("/_inspector/control", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ events }),
    });
    const body = await response.json();
    if (!response.ok) throw new Error(body.error ?? body.message);
    const [report] = body.events;
    output.textContent = report && "matched" in report ? described(report) : done;
  } catch (error) {
    output.className = "bad";
    output.textContent = error.message;
  }
}

function described({ matched, sent, gone, queued }) {
  if (!matched) return "The channel has no subscribers.";
  return `${matched} matched: ${sent} sent, ${gone} gone, ${queued} queued.`;
}

function publishTo(channel) {
  $("publisher").open = true;
  $("publish-channel").value = channel;
  $("publish-text").focus();
}

$("publish").onsubmit = (event) => {
  event.preventDefault();
  act([{ type: "PUBLISH_TEXT", channelId: $("publish-channel").value, data: $("publish-text").value }], $("publish-result"), "");
};

// ---- The test socket

let socket = null;

$("test-open").onsubmit = (event) => {
  event.preventDefault();
  if (socket) return socket.close(1000);
  const query = $("test-query").value.trim().replace(/^\?/, "");
  const protocols = $("test-protocols").value.split(",").map((name) => name.trim()).filter(Boolean);
  try {
    socket = new WebSocket(urls.webSocket + (query && `?${query}`), protocols);
  } catch (error) {
    return log("note", error.message);
  }
  const opened = socket;
  $("test-button").textContent = "Close";
  socket.onopen = () => {
    log("note", `Open${opened.protocol && `, with ${opened.protocol}`}`);
    $("test-send").hidden = false;
    $("test-text").focus();
  };
  socket.onmessage = ({ data }) => log("in", data);
  socket.onclose = ({ code, reason, wasClean }) => {
    log("note", wasClean ? `Closed: ${code} ${reason}` : "Refused, or cut: see the timeline");
    socket = null;
    $("test-button").textContent = "Open";
    $("test-send").hidden = true;
  };
};

$("test-send").onsubmit = (event) => {
  event.preventDefault();
  if (!socket) return;
  socket.send($("test-text").value);
  log("out", $("test-text").value);
  $("test-text").value = "";
};

function log(kind, text) {
  $("test-log").append(element("p", kind, text));
  if ($("test-log").childElementCount > MAX_LINES) $("test-log").firstElementChild.remove();
  $("test-log").scrollTop = $("test-log").scrollHeight;
}

// ---- The page's controls

for (const kind of KINDS) {
  const button = element("button", `kind ${kind}`, kind);
  button.type = "button";
  button.setAttribute("aria-pressed", "true");
  button.onclick = () => {
    const isOn = shown.kinds.delete(kind) ? false : Boolean(shown.kinds.add(kind));
    button.setAttribute("aria-pressed", String(isOn));
    filter();
  };
  $("kinds").append(button);
}
$("failed-only").onchange = () => {
  shown.failedOnly = $("failed-only").checked;
  filter();
};
$("filter").oninput = () => {
  shown.words = $("filter").value.trim().toLowerCase();
  filter();
};
$("find").oninput = () => {
  for (const { connection, row } of connections.values()) row.hidden = !isFound(connection);
};
$("of-all").onclick = () => {
  shown.connection = null;
  filter();
};
$("pause").onclick = () => {
  isPaused = !isPaused;
  $("pause").setAttribute("aria-pressed", String(isPaused));
  $("pause").textContent = isPaused ? "Resume" : "Pause";
  live(isPaused ? "paused" : "live", isPaused ? "Paused" : "Live");
  if (!isPaused) take(held.splice(0));
};
$("clear").onclick = async () => {
  await fetch("/_inspector/records", { method: "DELETE" });
  for (const { row } of records.values()) row.remove();
  records.clear();
  $("none").hidden = false;
  if (chosen?.record) choose(null);
};
$("newest").onclick = toNewest;
$("records").onscroll = () => {
  const list = $("records");
  isPinned = list.scrollHeight - list.scrollTop - list.clientHeight < 30;
  if (isPinned) $("newest").hidden = true;
};
$("records").onclick = ({ target }) => {
  const row = target.closest("li");
  if (row) choose({ record: Number(row.dataset.number) });
};
$("connections").onclick = ({ target }) => {
  const row = target.closest("li");
  if (row) choose({ connection: row.dataset.id });
};

function walk(list, pick) {
  list.onkeydown = (event) => {
    const rows = [...list.children].filter((row) => !row.hidden);
    const at = rows.findIndex((row) => row.getAttribute("aria-selected") === "true");
    const to = { ArrowDown: at + 1, ArrowUp: at < 0 ? rows.length - 1 : at - 1, Home: 0, End: rows.length - 1, PageDown: at + 15, PageUp: at - 15 }[event.key];
    if (to === undefined || !rows.length) return;
    event.preventDefault();
    pick(rows[Math.max(0, Math.min(to, rows.length - 1))]);
  };
}
walk($("records"), (row) => choose({ record: Number(row.dataset.number) }));
walk($("connections"), (row) => choose({ connection: row.dataset.id }));

document.onkeydown = (event) => {
  const isTyping = event.target.closest("input, textarea");
  if (event.key === "Escape") {
    if (isTyping) event.target.blur();
    else choose(null);
  } else if (isTyping || event.ctrlKey || event.metaKey || event.altKey) {
    return;
  } else if (event.key === "/") {
    event.preventDefault();
    $("filter").focus();
  } else if (event.key === "p") {
    $("pause").click();
  } else if (event.key === "Enter" && chosen?.connection && event.target === $("connections")) {
    shown.connection = chosen.connection;
    filter();
  }
};

// ---- Helpers

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== false && child !== undefined));
  return made;
}

function clock(unixS) {
  const at = new Date(unixS * 1000);
  const two = (value) => String(value).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

function duration(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

showDetails();
listen();
