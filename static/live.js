// Reads the live part of a page again every two seconds, and says when it cannot.
"use strict";

const EVERY_MS = 2000;
const SLOWEST_MS = 15000;
const PATIENCE_MS = 5000;

const place = document.querySelector("[data-partial]");
const lamp = document.querySelector("[data-live]");
let wait = EVERY_MS;
let pressed = false;

function say(words, ok) {
  if (!lamp) return;
  if (lamp.textContent !== words) lamp.textContent = words;
  lamp.classList.toggle("off", !ok);
}

// A click or a selection under way would be lost with what it is on.
function held() {
  const selection = window.getSelection();
  return pressed || (!selection.isCollapsed && place.contains(selection.anchorNode));
}

function nameOf(element) {
  return element.getAttribute("href") || element.getAttribute("aria-label");
}

// What had the keyboard's focus, or was scrolled, has it and is so afterwards.
function replace(nodes) {
  const focused = place.contains(document.activeElement) && nameOf(document.activeElement);
  const scrolled = new Map();
  for (const one of place.querySelectorAll(".scroll")) scrolled.set(nameOf(one), one.scrollLeft);
  place.replaceChildren(...nodes);
  for (const one of place.querySelectorAll(".scroll")) one.scrollLeft = scrolled.get(nameOf(one)) || 0;
  if (!focused) return;
  const again = [...place.querySelectorAll("a, [tabindex]")].find((one) => nameOf(one) === focused);
  if (again) again.focus({ preventScroll: true });
}

async function read() {
  const answer = await fetch(place.dataset.partial, {
    cache: "no-store",
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (answer.status === 401) {
    window.location.assign("/admin/login");
    return;
  }
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (held()) return;
  replace(fresh.body.childNodes);
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
if (place) {
  for (const name of ["pointerdown", "pointerup", "pointercancel"]) {
    window.addEventListener(name, () => { pressed = name === "pointerdown"; });
  }
  say("live", true);
  setTimeout(beat, EVERY_MS);
}
