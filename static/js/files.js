// Sends a file to be imported, with its progress; reads a configuration file into its field.

const EVERY_MS = 1000;

const form = document.getElementById("import");
const part = document.getElementById("import-progress");
const refused = document.getElementById("import-refused");

// Only what names it; nothing is kept secret by it.
function freshId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (one) => one.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

function show(id) {
  return window.htmx.ajax("GET", form.dataset.progress + id, { target: part, swap: "innerHTML" });
}

function say(words) {
  refused.textContent = words;
  refused.hidden = !words;
}

function problemOf(request) {
  if (request.status === 200) return "";
  try {
    return JSON.parse(request.responseText).detail;
  } catch {
    return "The file could not be sent: is the relay there?";
  }
}

function enable(on) {
  for (const button of form.querySelectorAll("button")) button.disabled = !on;
}

function send(file, dry) {
  const id = freshId();
  const request = new XMLHttpRequest();
  request.open("POST", `${form.dataset.to}?dry_run=${dry}&job=${id}`);
  request.setRequestHeader("content-type", "application/octet-stream");
  const timer = setInterval(() => show(id), EVERY_MS);
  request.addEventListener("loadend", () => {
    clearInterval(timer);
    enable(true);
    const words = problemOf(request);
    say(words);
    if (request.status === 200 || request.status === 0) show(id);
  });
  say("");
  enable(false);
  request.send(file);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const file = document.getElementById("import-file").files[0];
  if (file) send(file, event.submitter ? event.submitter.value : "true");
});

const picker = document.querySelector("[data-fills]");
picker.addEventListener("change", async () => {
  const [file] = picker.files;
  if (file) document.getElementById(picker.dataset.fills).value = await file.text();
});
