// What the list's pages do: spans that go on by the second, and times in the viewer's own zone.

const begun = new WeakMap();
const LATE = 1.5;               // seconds that a look takes

// As the server words a span.
function words(seconds) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${unit}`;
  }
  return `${Math.round(seconds)} s`;
}

// From the seconds that were drawn, not from this machine's clock, which may be wrong.
function tick() {
  const now = performance.now() / 1000;
  for (const one of document.querySelectorAll("[data-ticks]")) {
    const drawn = one.dataset.seconds;
    let from = begun.get(one);
    if (!from || from.drawn !== drawn) {
      from = { drawn, at: now };
      begun.set(one, from);
    }
    const by = one.dataset.ticks === "down" ? from.at - now : now - from.at;
    const left = Number(drawn) + by;
    const text = words(Math.max(0, left));
    if (one.textContent !== text) one.textContent = text;
    if ("rereads" in one.dataset && left < -LATE && !from.read) over(one, from);
  }
}

// What was waited for is there: other ranks of the same tickers are no event of their own.
function over(one, from) {
  from.read = true;
  const part = one.closest("[data-live]");
  if (part && !document.hidden) window.htmx.trigger(part, "reread");
}

const two = (number) => String(number).padStart(2, "0");

function local(at) {
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${date}T${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

// Without scripts these fields are in UTC; with them in the viewer's zone, and sent as UTC.
function zoned(input) {
  const at = new Date(`${input.value}Z`);
  if (!Number.isNaN(at.getTime())) input.value = input.defaultValue = local(at);
  const label = document.querySelector(`[data-zone-of="${input.id}"]`);
  label.textContent = `(${Intl.DateTimeFormat().resolvedOptions().timeZone || "your zone"})`;
  input.form.addEventListener("formdata", (event) => {
    if (!input.value) return;
    event.formData.set(input.name, new Date(input.value).toISOString());
  });
}

for (const input of document.querySelectorAll("input[data-zoned]")) zoned(input);
document.addEventListener("htmx:afterSettle", tick);
tick();
setInterval(tick, 1000);
