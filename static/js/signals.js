// The search of signals: rows unfold, and nothing moves under the eyes of who reads.

const fresh = document.getElementById("fresh");
const results = document.getElementById("results");
const came = new Set();
let behind = false;

function unfolded() {
  return results.querySelector(".unfolded, .unfold.htmx-request") !== null;
}

function reading() {
  return window.scrollY > 80 || unfolded() || !window.getSelection().isCollapsed;
}

// Only the top of the first page follows what happens; a deeper page stays as it was asked for.
function follows() {
  return document.querySelector("#found[data-live]") !== null;
}

function tell() {
  fresh.replaceChildren();
  if (came.size === 0) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = `${came.size} new ${came.size === 1 ? "signal" : "signals"}: go to the top`;
  button.addEventListener("click", toTheTop);
  fresh.append(button);
}

function toTheTop() {
  came.clear();
  tell();
  if (!follows()) {
    const first = new URL(location.href);
    for (const name of ["before", "after"]) first.searchParams.delete(name);
    location.assign(first);
    return;
  }
  behind = true;
  for (const row of results.querySelectorAll(".unfolded")) fold(row);
  window.getSelection().removeAllRanges();
  window.scrollTo(0, 0);
  catchUp();
}

function fold(row) {
  const button = document.getElementById(row.id.replace("unfolded-", "unfold-"));
  row.remove();
  button?.setAttribute("aria-expanded", "false");
}

document.addEventListener("relay:events", (event) => {
  const ids = event.detail.filter((one) => one.event === "signal.received").map((one) => one.signal_id);
  if (ids.length === 0 || (follows() && !reading())) return;
  for (const id of ids) came.add(id);
  tell();
});

// What is typed replaces the address; what is chosen is a step that one can go back from.
document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.triggeringEvent?.type === "input") event.detail.headers["X-Typing"] = "yes";
});

// What was typed was searched as it was typed; to leave the field changes nothing more.
document.getElementById("search").addEventListener("change", (event) => {
  if (event.target.matches("#search-q, #search-ticker")) event.stopImmediatePropagation();
}, true);

// A reread that would move what is read waits until it would not.
window.addEventListener("reread", (event) => {
  if (event.target.id !== "found" || !reading()) return;
  event.stopImmediatePropagation();
  behind = true;
}, true);

document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target.id !== "found" || !reading()) return;
  event.detail.shouldSwap = false;
  behind = true;
});

function catchUp() {
  if (!behind || reading() || !follows()) return;
  behind = false;
  window.htmx.trigger("#found", "reread");
}

document.addEventListener("scroll", catchUp, { passive: true });
document.addEventListener("selectionchange", catchUp);

document.addEventListener("htmx:afterSwap", (event) => {
  const button = event.detail.requestConfig?.elt;
  if (button?.classList.contains("unfold")) button.setAttribute("aria-expanded", "true");
  if (["found", "results"].includes(event.detail.target.id)) {
    came.clear();
    tell();
  }
});

results.addEventListener("click", (event) => {
  const button = event.target.closest(".unfold");
  if (!button) return;
  const row = document.getElementById(button.id.replace("unfold-", "unfolded-"));
  if (row) {
    fold(row);
    catchUp();
  } else window.htmx.trigger(button, "unfold");
});
