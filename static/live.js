// Reads the live part of a page again every two seconds, and says when it cannot.
"use strict";

const EVERY_MS = 2000;
const SLOWEST_MS = 15000;

const place = document.querySelector("[data-partial]");
const lamp = document.querySelector("[data-live]");
let wait = EVERY_MS;

function say(words, ok) {
  if (!lamp) return;
  if (lamp.textContent !== words) lamp.textContent = words;
  lamp.classList.toggle("off", !ok);
}

function busy() {
  const selected = String(window.getSelection() || "");
  return document.hidden || selected.length > 0 || place.contains(document.activeElement);
}

async function read() {
  const answer = await fetch(place.dataset.partial, { cache: "no-store" });
  if (answer.status === 401) {
    window.location.assign("/admin/login");
    return;
  }
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!busy()) place.replaceChildren(...fresh.body.childNodes);
  localTimes();
}

async function beat() {
  if (!document.hidden) {
    try {
      await read();
      wait = EVERY_MS;
      say("live", true);
    } catch {
      wait = Math.min(wait * 2, SLOWEST_MS);
      say("reconnecting …", false);
    }
  }
  setTimeout(beat, wait);
}

function localTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    time.title = `${at.toLocaleString()} · ${time.dateTime}`;
  }
}

localTimes();
if (place) setTimeout(beat, EVERY_MS);
else say("", true);
