// Draws <figure class="chart" data-chart="/api/charts/…" data-kind="stack|bars|lines|steps|rank"
// data-live-on="signal delivery" data-scale="log">: a picture of numbers, and a table of them under it.
// Figures stand outside of what is read again (data-live); this script reads their numbers itself.

import { held } from "./page.js";

const SOONEST_MS = 5000;
const ANYWAY_MS = 30000;
const DAY_SEC = 86400;

const COUNTS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000];
const SPANS = [1, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400, 172800];

const tokens = getComputedStyle(document.documentElement);
const color = (tone) => tokens.getPropertyValue(`--${tone}`).trim();

function made(name, className, words) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (words !== undefined) element.textContent = words;
  return element;
}

function clock(seconds, span) {
  const shown = span > 1.5 * DAY_SEC
    ? { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" }
    : { hour: "2-digit", minute: "2-digit" };
  return new Date(seconds * 1000).toLocaleString(undefined, shown);
}

const short = (number) => Number(number.toPrecision(3)).toLocaleString();

function spoken(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "ms") return value < 1000 ? `${short(value)} ms` : spoken(value / 1000, "s");
  if (unit === "s") {
    if (value < 120) return `${short(value)} s`;
    return value < 7200 ? `${short(value / 60)} min` : `${short(value / 3600)} h`;
  }
  return unit === "%" ? `${short(value)} %` : value.toLocaleString();
}

// A stack is drawn from its whole height down, so that each part covers what is above it.
function stacked(series) {
  const heights = [];
  let below = null;
  for (const one of series) {
    below = one.values.map((value, place) => (value ?? 0) + (below ? below[place] : 0));
    heights.unshift(below);
  }
  return heights;
}

function tens(low, high) {
  const found = [];
  for (let value = low; value <= high * 1.01; value *= 10) found.push(value);
  return found;
}

function isAlone(values, place) {
  return values[place] != null && values[place - 1] == null && values[place + 1] == null;
}

class Picture {
  constructor(figure) {
    this.figure = figure;
    this.kind = figure.dataset.kind;
    this.topics = new Set((figure.dataset.liveOn ?? "").split(/\s+/));
    this.read = { from: "", at: 0, busy: false };
    this.dirty = false;
    this.caption = figure.querySelector("figcaption");
    this.plot = made("div", "plot");
    this.plot.tabIndex = 0;
    this.plot.setAttribute("role", "group");
    this.plot.setAttribute("aria-label", `${this.caption.textContent.trim()} Arrow keys read its values.`);
    this.keys = made("ul", "keys");
    this.note = made("p", "hint");
    this.details = made("details", "numbers");
    this.table = made("table");
    this.tip = made("div", "tip");
    this.tip.setAttribute("role", "status");
    this.tip.hidden = true;
    this.furnish();
  }

  furnish() {
    const scroll = made("div", "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", `Numbers of: ${this.caption.textContent.trim()}`);
    scroll.append(this.table);
    this.details.append(made("summary", "", "As a table"), scroll);
    this.details.addEventListener("toggle", () => this.list());
    for (const old of this.figure.querySelectorAll(":scope > :not(figcaption)")) old.remove();
    this.figure.append(this.plot, this.keys, this.note, this.details);
    this.plot.addEventListener("keydown", (event) => this.step(event));
    this.plot.addEventListener("blur", () => this.leave());
    this.sizes = new ResizeObserver(() => this.fit());
    this.sizes.observe(this.plot);
  }

  // ── Reading ──

  get isShown() { return this.figure.isConnected && this.plot.clientWidth > 0; }

  isDue(now) {
    if (this.read.busy || !this.isShown || held(this.figure)) return false;
    const waited = now - this.read.at;
    return this.read.from !== this.figure.dataset.chart || waited >= ANYWAY_MS
      || (this.dirty && waited >= Math.min(ANYWAY_MS, Math.max(SOONEST_MS, this.pace)));
  }

  // Long steps do not move every five seconds.
  get pace() {
    const x = this.chart?.x ?? [];
    return x.length > 1 ? (x[1] - x[0]) * 1000 / 30 : 0;
  }

  async again() {
    const from = this.figure.dataset.chart;
    this.read.busy = true;
    this.dirty = false;
    try {
      const answer = await fetch(from, { headers: { accept: "application/json" }, signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(String(answer.status));
      this.chart = await answer.json();
      this.show();
    } catch {
      this.note.textContent = this.chart ? `As of ${clock(this.read.at / 1000, 0)}: it cannot be read now.` : "It cannot be read now.";
    } finally {
      this.read = { from, at: Date.now(), busy: false };
    }
  }

  // ── Drawing ──

  show() {
    const { series, note } = this.chart;
    const form = JSON.stringify([this.kind, series.map((one) => [one.name, one.unit, one.tone])]);
    if (form !== this.form) this.forget();
    this.form = form;
    this.plot.hidden = series.length === 0 || this.chart.x.length === 0;
    this.note.textContent = this.plot.hidden ? note ?? "Nothing to draw yet." : note ?? "";
    this.name();
    this.list();
    this.fit();
    if (this.picture) this.picture.setData(this.data);
  }

  get data() {
    const values = this.kind === "stack" ? stacked(this.chart.series) : this.chart.series.map((one) => one.values);
    return [this.chart.x, ...values];
  }

  fit() {
    const [width, height] = [this.plot.clientWidth, this.plot.clientHeight];
    if (!this.chart || width === 0 || height === 0) return;
    if (!this.picture) this.picture = new window.uPlot(this.options(width, height), this.data, this.plot);
    else if (this.picture.width !== width || this.picture.height !== height) this.picture.setSize({ width, height });
  }

  forget() {
    this.picture?.destroy();
    this.picture = null;
  }

  options(width, height) {
    const line = this.kind === "lines" || this.kind === "steps" || this.kind === "rank";
    return {
      width,
      height,
      padding: [8, 24, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false, setScale: false }, points: { show: line } },
      scales: { x: { time: true, range: (_, from, to) => this.across(from, to) }, y: this.upright() },
      axes: [this.foot(), this.side()],
      series: [{}, ...this.lines()],
      hooks: { draw: [(picture) => this.dot(picture)], setCursor: [(picture) => this.tell(picture)] },
    };
  }

  lines() {
    const { bars, stepped, linear } = window.uPlot.paths;
    const isFilled = this.kind === "stack" || this.kind === "bars";
    const paths = isFilled ? bars({ size: [0.88, 40], align: 1 })
      : this.kind === "lines" ? linear() : stepped({ align: 1 });
    const order = this.kind === "stack" ? [...this.chart.series].reverse() : this.chart.series;
    return order.map(({ name, tone }) => ({
      label: name,
      stroke: () => color(tone),
      fill: isFilled ? () => color(tone) : undefined,
      width: isFilled ? 0 : 2,
      paths,
      points: { show: false },
      spanGaps: false,
    }));
  }

  // Columns begin at their x, and need the room of one step more.
  across(from, to) {
    const x = this.chart.x;
    const isFilled = this.kind === "stack" || this.kind === "bars";
    const more = x.length > 1 ? x[1] - x[0] : 60;
    return isFilled ? [from, to + more] : from === to ? [from - more, to + more] : [from, to];
  }

  upright() {
    if (this.figure.dataset.scale === "log") {
      return { distr: 3, range: (_, low, high) => low == null ? [1, 1000] : [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high) + 1e-9)] };
    }
    if (this.kind === "rank") {
      return { dir: -1, range: (_, low, high) => [0, Math.max(5, high ?? 0) + 1] };
    }
    const top = Number(this.figure.dataset.top ?? 0);
    return { range: (_, low, high) => [0, Math.max(top, high > 0 ? high : 1) * 1.08] };
  }

  foot() {
    return {
      stroke: () => color("soft"),
      grid: { show: false },
      ticks: { stroke: () => color("line"), size: 4 },
      font: "11px system-ui",
      size: 26,
      space: 64,
      values: (_, splits) => splits.map((at) => clock(at, this.span)),
    };
  }

  side() {
    const unit = this.chart.series[0]?.unit;
    const isLog = this.figure.dataset.scale === "log";
    const steps = unit === "s" ? SPANS : unit === "ms" || unit === "%" ? null : COUNTS;
    return {
      stroke: () => color("soft"),
      grid: { stroke: () => color("line"), width: 1 },
      ticks: { show: false },
      font: "11px system-ui",
      size: 52,
      space: 28,
      ...(steps ? { incrs: steps } : {}),
      ...(isLog ? { splits: (_, axis, low, high) => tens(low, high) } : {}),
      values: (_, splits) => splits.map((value) => (value === null || (this.kind === "rank" && value < 1) ? "" : spoken(value, unit))),
    };
  }

  get span() {
    const x = this.chart.x;
    return x.length ? x[x.length - 1] - x[0] : 0;
  }

  // A value between two gaps is no line, and marks are points: both are dots.
  dot(picture) {
    const ratio = window.devicePixelRatio || 1;
    for (const { values, tone, marks } of this.chart.series) {
      if (this.kind === "lines") {
        values.forEach((value, place) => {
          if (isAlone(values, place)) this.point(picture, this.chart.x[place], value, tone, 2 * ratio);
        });
      }
      for (const mark of marks ?? []) this.point(picture, mark.x, mark.y, mark.tone, 4.5 * ratio);
    }
  }

  point(picture, x, y, tone, radius) {
    const { ctx, bbox } = picture;
    const left = picture.valToPos(x, "x", true);
    const top = y == null ? bbox.top + bbox.height - radius : picture.valToPos(y, "y", true);
    if (left < bbox.left - 1 || left > bbox.left + bbox.width + 1) return;
    ctx.save();
    ctx.beginPath();
    ctx.arc(left, top, radius, 0, 2 * Math.PI);
    ctx.fillStyle = color(tone);
    ctx.fill();
    ctx.lineWidth = radius / 3;
    ctx.strokeStyle = color("card");
    ctx.stroke();
    ctx.restore();
  }

  // ── Telling ──

  name() {
    const items = this.chart.series.map(({ name, unit, tone, values }) => {
      const known = values.filter((value) => value !== null);
      const isSum = this.kind === "stack" || this.kind === "bars";
      const value = isSum ? known.reduce((sum, one) => sum + one, 0)
        : this.kind === "lines" ? known.at(-1) : values.at(-1);
      const item = made("li");
      item.append(made("span", `key ${tone}`), `${name} `, made("b", "", spoken(value, unit)));
      return item;
    });
    this.keys.replaceChildren(...items);
  }

  list() {
    if (!this.details.open || !this.chart) return;
    const { x, series } = this.chart;
    const head = made("tr");
    head.append(...["Time", ...series.map((one) => one.name)].map((words, place) => {
      const cell = made("th", place ? "number" : "", words);
      cell.scope = "col";
      return cell;
    }));
    const rows = x.map((at, place) => this.row(at, series.map((one) => spoken(one.values[place], one.unit))));
    const marks = series.flatMap((one) => one.marks ?? []).map((mark) => this.row(mark.x, [mark.label]));
    const [top, body] = [made("thead"), made("tbody")];
    top.append(head);
    body.append(...marks.reverse(), ...rows.reverse());
    this.table.replaceChildren(top, body);
  }

  row(at, words) {
    const row = made("tr");
    const when = made("th", "", clock(at, this.span));
    when.scope = "row";
    const width = this.chart.series.length;
    row.append(when, ...words.map((one) => made("td", "number", one)));
    if (words.length < width) row.lastChild.colSpan = width;
    return row;
  }

  tell(picture) {
    const { idx, left } = picture.cursor;
    if (idx == null || left < 0) {
      this.tip.hidden = true;
      return;
    }
    const { x, series } = this.chart;
    const lines = series.map((one) => `${one.name}: ${spoken(one.values[idx], one.unit)}`);
    for (const mark of series.flatMap((one) => one.marks ?? [])) {
      if (Math.abs(picture.valToPos(mark.x, "x") - left) < 8) lines.push(`${clock(mark.x, this.span)} ${mark.label}`);
    }
    this.tip.replaceChildren(made("b", "", clock(x[idx], this.span)), ...lines.map((words) => made("span", "", words)));
    if (this.tip.parentNode !== picture.over) picture.over.append(this.tip);
    this.tip.hidden = false;
    const isLeft = left > picture.over.clientWidth / 2;
    this.tip.style.left = isLeft ? "auto" : `${left + 10}px`;
    this.tip.style.right = isLeft ? `${picture.over.clientWidth - left + 10}px` : "auto";
  }

  step(event) {
    const last = (this.chart?.x.length ?? 0) - 1;
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") this.leave();
    if (!(event.key in steps) || !this.picture || last < 0) return;
    event.preventDefault();
    const from = this.picture.cursor.idx ?? (steps[event.key] < 0 ? last + 1 : -1);
    const place = Math.min(last, Math.max(0, from + steps[event.key]));
    const left = this.picture.valToPos(this.chart.x[place], "x");
    this.picture.setCursor({ left: Math.max(0, left), top: 0 });
  }

  leave() {
    this.picture?.setCursor({ left: -10, top: -10 });
  }

  repaint() { this.picture?.redraw(true, true); }

  end() {
    this.sizes.disconnect();
    this.forget();
  }
}

const pictures = new Map();

function gather() {
  for (const [figure, picture] of pictures) {
    if (figure.isConnected) continue;
    picture.end();
    pictures.delete(figure);
  }
  for (const figure of document.querySelectorAll("figure.chart[data-chart]")) {
    if (!pictures.has(figure)) pictures.set(figure, new Picture(figure));
  }
  look();
}

function look() {
  if (document.hidden) return;
  const now = Date.now();
  for (const picture of pictures.values()) {
    if (picture.isDue(now)) picture.again();
  }
}

document.addEventListener("relay:events", (event) => {
  const topics = (event.detail ?? []).map((one) => String(one.event ?? one).split(".")[0]);
  for (const picture of pictures.values()) {
    if (topics.some((topic) => picture.topics.has(topic))) picture.dirty = true;
  }
});
document.addEventListener("visibilitychange", look);
document.addEventListener("htmx:afterSettle", gather);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const picture of pictures.values()) picture.repaint();
});
gather();
setInterval(look, 1000);
