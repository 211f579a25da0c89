// An export with its progress: the file is read as it comes, counted, and can be cancelled.

const files = document.getElementById("files");
const place = document.getElementById("exporting");
const words = document.getElementById("export-words");
const progress = document.getElementById("export-progress");
const cancel = document.getElementById("export-cancel");
const total = Number(files?.dataset.total ?? 0);

// Signals in what came so far: a line each; in CSV a row each time the id at its beginning changes.
function counter(format) {
  const decoder = new TextDecoder();
  let rest = "", last = "", count = 0;
  return (bytes) => {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (format === "jsonl") count += 1;
      else if (/^"[0-9a-f]{8}-[0-9a-f-]{27}",/.test(line) && line.slice(0, 38) !== last) {
        last = line.slice(0, 38);
        count += 1;
      }
    }
    return count;
  };
}

function show(count, bytes) {
  const size = `${(bytes / 1e6).toFixed(1)} MB`;
  words.textContent = total ? `${count.toLocaleString()} of ${total.toLocaleString()} signals, ${size}` : `${count.toLocaleString()} signals, ${size}`;
  if (total) {
    progress.max = total;
    progress.value = count;
  }
}

function save(chunks, answer) {
  const name = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") ?? "");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(chunks, { type: answer.headers.get("content-type") }));
  link.download = name ? name[1] : "signals";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function download(link) {
  const stop = new AbortController();
  const chunks = [];
  const count = counter(link.dataset.export);
  let bytes = 0, signals = 0;
  cancel.onclick = () => stop.abort();
  cancel.hidden = false;
  progress.hidden = false;
  progress.removeAttribute("value");
  place.hidden = false;
  words.textContent = "It begins…";
  try {
    const answer = await fetch(link.href, { signal: stop.signal });
    if (!answer.ok) throw new Error(`the relay answered ${answer.status}`);
    const reader = answer.body.getReader();
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      chunks.push(read.value);
      bytes += read.value.length;
      signals = count(read.value);
      show(signals, bytes);
    }
    save(chunks, answer);
    words.textContent = `Done: ${signals.toLocaleString()} signals, ${(bytes / 1e6).toFixed(1)} MB.`;
  } catch (error) {
    words.textContent = stop.signal.aborted
      ? `Cancelled after ${signals.toLocaleString()} signals; nothing was saved.`
      : `It broke off after ${signals.toLocaleString()} signals (${error.message}); nothing was saved.`;
  } finally {
    cancel.hidden = true;
    progress.hidden = true;
  }
}

files?.addEventListener("click", (event) => {
  const link = event.target.closest("[data-export]");
  if (!link) return;
  event.preventDefault();
  if (cancel.hidden || place.hidden) download(link);
});
