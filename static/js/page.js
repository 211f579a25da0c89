// What every page does: times in the viewer's zone, dialogs, copying, a part read again without a jolt.

const FORM_MS = 10000;
let pressed = false;

// A click or a selection under way would be lost with what it is on.
export function held(place) {
  if (pressed) return true;
  const selection = window.getSelection();
  return !selection.isCollapsed && place.contains(selection.anchorNode);
}

function localTimes(place) {
  for (const time of place.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) time.title = `${at.toLocaleString()} · ${time.dateTime}`;
  }
}

function open(dialog) {
  if (dialog instanceof HTMLDialogElement && !dialog.open) dialog.showModal();
}

async function copy(button) {
  const from = document.getElementById(button.dataset.copies);
  const words = button.textContent;
  try {
    await navigator.clipboard.writeText(from.value ?? from.textContent);
    button.textContent = "Copied";
  } catch {
    window.getSelection().selectAllChildren(from);
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => { button.textContent = words; }, 2000);
}

// A form that was sent is not sent again by a second click.
function sent(event) {
  const form = event.target;
  if (event.defaultPrevented || form.method === "dialog" || form.hasAttribute("hx-get")) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-opens], [data-copies]");
  if (!button) return;
  if (button.dataset.opens) open(document.getElementById(button.dataset.opens));
  else copy(button);
});
document.addEventListener("submit", sent);
for (const name of ["pointerdown", "pointerup", "pointercancel"]) {
  window.addEventListener(name, () => { pressed = name === "pointerdown"; });
}
window.addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// What is shown is not put away under the reader's hand; it is read again soon.
document.addEventListener("htmx:beforeSwap", (event) => {
  const place = event.detail.target;
  if (place.hasAttribute("data-live") && held(place)) event.detail.shouldSwap = false;
});
document.addEventListener("htmx:afterSettle", (event) => localTimes(event.detail.elt));

// Signed out meanwhile: to the door once, and back here after. A form under way leads on by itself.
let leaving = false;
export function leave() {
  if (leaving) return;
  leaving = true;
  const here = location.pathname + location.search;
  const door = here === "/admin" ? "/admin/login" : `/admin/login?to=${encodeURIComponent(here)}`;
  const wait = document.querySelector("form[data-sent]") ? FORM_MS : 0;
  setTimeout(() => { location.assign(door); }, wait);
}
document.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status === 401) leave();
});

localTimes(document);
for (const dialog of document.querySelectorAll("dialog[data-open]")) open(dialog);
