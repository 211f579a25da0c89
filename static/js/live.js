// The live connection: parts of a page are read again when something of theirs happens, and the lamp
// says how current they are. Every page works without it: then they are read every few seconds.

import { leave } from "./page.js";

const LEAST_MS = 1000;          // between two reads of a part
const REGULAR_MS = 15_000;      // so that ages stay true
const WITHOUT_MS = 5000;        // between reads while there is no connection
const SILENCE_MS = 40_000;      // the server says something every 15 s
const PATIENCE_MS = 4000;       // without a connection, until pages are read without it
const FIRST_MS = 500, SOON_MS = 2000, SELDOM_MS = 10_000;
const LONG_MS = 120_000;        // lost for so long: try more seldom
const SIGNED_OUT = 4401, TRY_LATER = 1013;

const lamp = document.getElementById("lamp");

// ── Parts: read again at once, then at most once a second, never twice at the same time ─────

const states = new WeakMap();
let missed = false;             // something happened while nobody looked

function stateOf(part) {
  if (!states.has(part)) states.set(part, { at: -LEAST_MS, timer: 0, flying: false, again: false });
  return states.get(part);
}

function want(part) {
  const state = stateOf(part);
  if (document.hidden) missed = true;
  else if (state.flying) state.again = true;
  else if (!state.timer) {
    const wait = Math.max(0, state.at + LEAST_MS - performance.now());
    state.timer = setTimeout(read, wait, part, state);
  }
}

function read(part, state) {
  state.timer = 0;
  state.again = false;
  if (!part.isConnected) return;
  if (document.hidden) { missed = true; return; }
  state.at = performance.now();
  window.htmx.trigger(part, "reread");
}

function wantAll() {
  for (const part of document.querySelectorAll("[data-live]")) want(part);
}

function wantOf(events) {
  const happened = new Set(events.map((one) => one.event.split(".", 1)[0]));
  for (const part of document.querySelectorAll("[data-live]")) {
    if (part.dataset.live.split(" ").some((topic) => happened.has(topic))) want(part);
  }
}

function isLive(part) {
  return part instanceof Element && part.hasAttribute("data-live");
}

document.addEventListener("htmx:beforeRequest", (event) => {
  if (isLive(event.detail.elt)) stateOf(event.detail.elt).flying = true;
});
document.addEventListener("htmx:beforeSwap", (event) => {
  const { elt, xhr, shouldSwap } = event.detail;  // held under the reader's hand (page.js): later
  if (isLive(elt) && !shouldSwap && xhr.status < 400) stateOf(elt).again = true;
});
document.addEventListener("htmx:afterRequest", (event) => {
  const part = event.detail.elt;
  if (!isLive(part)) return;
  const state = stateOf(part);
  state.flying = false;
  if (state.again) want(part);
});

// ── The lamp ─────────────────────────────────────────────────────────────────────────────────

function say(words, tone) {
  if (lamp.textContent !== words) lamp.textContent = words;
  lamp.className = tone ? `lamp ${tone}` : "lamp";
}

function reconnecting() { say("reconnecting …", "off"); }

// ── The socket ───────────────────────────────────────────────────────────────────────────────

let socket = null;
let cursor = null;
let lostAt = performance.now(); // 0 while connected
let wait = FIRST_MS;
let retry = 0, deaf = 0, without = 0;

function address() {
  const here = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/live`;
  return cursor === null ? here : `${here}?cursor=${encodeURIComponent(cursor)}`;
}

function connect() {
  clearTimeout(retry);
  retry = 0;
  if (socket !== null) return;
  const mine = new WebSocket(address());
  socket = mine;
  listen();
  mine.addEventListener("message", (event) => { if (socket === mine) hear(JSON.parse(event.data)); });
  mine.addEventListener("close", (event) => { if (socket === mine) lost(event.code); });
}

// A connection may die without a word.
function listen() {
  clearTimeout(deaf);
  deaf = setTimeout(() => { drop(); lost(0); }, SILENCE_MS);
}

function hear(frame) {
  listen();
  if (frame.type === "hello") connected();
  if (frame.type === "reread") {
    wantAll();
    document.dispatchEvent(new CustomEvent("relay:reread"));
  }
  if (frame.type === "events") {
    wantOf(frame.events);
    document.dispatchEvent(new CustomEvent("relay:events", { detail: frame.events }));
  }
  if (frame.cursor) cursor = frame.cursor;
}

// What happened between the drawing of the page and now is on it after this.
function connected() {
  clearInterval(without);
  without = 0;
  lostAt = 0;
  wait = FIRST_MS;
  say("live", "");
  wantAll();
}

function lost(code) {
  socket = null;
  clearTimeout(deaf);
  if (code === SIGNED_OUT) { clearInterval(without); leave(); return; }
  if (!lostAt) lostAt = performance.now();
  if (!without) {
    reconnecting();
    without = setInterval(withoutIt, WITHOUT_MS);
    setTimeout(withoutIt, PATIENCE_MS);
  }
  const longest = performance.now() - lostAt > LONG_MS || code === TRY_LATER ? SELDOM_MS : SOON_MS;
  wait = code === TRY_LATER ? SELDOM_MS : Math.min(wait, longest);
  retry = setTimeout(connect, wait * (0.5 + Math.random() / 2));
  wait = Math.min(wait * 2, longest);
}

function drop() {
  const old = socket;
  socket = null;
  if (old !== null) old.close();
}

// ── Without a connection ─────────────────────────────────────────────────────────────────────

function isLong(at) {
  return lostAt && at - lostAt >= PATIENCE_MS - 100;
}

function withoutIt() {
  if (isLong(performance.now())) wantAll();
}

document.addEventListener("htmx:afterOnLoad", (event) => {
  const { elt, xhr } = event.detail;
  if (isLive(elt) && isLong(stateOf(elt).at) && xhr.status < 400) say("reading every 5 s", "slow");
});
for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
  document.addEventListener(name, (event) => { if (lostAt && isLive(event.detail.elt)) reconnecting(); });
}

// ── Pages that are put away and looked at again ──────────────────────────────────────────────

function hurry() {
  if (retry) connect();
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  hurry();
  if (missed) { missed = false; wantAll(); }
});
window.addEventListener("online", hurry);
window.addEventListener("pagehide", () => { clearTimeout(retry); clearTimeout(deaf); drop(); });
window.addEventListener("pageshow", (event) => { if (event.persisted) connect(); });

say("connecting …", "slow");
setInterval(wantAll, REGULAR_MS);
connect();
