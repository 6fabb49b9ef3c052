// Charts for the report and the lab: SVG, no library. Lines are drawn thick to thin, so that equal curves are seen to
// coincide: the thin one runs inside the thick one. Colours come from the page's CSS variables.
//
//   lines(element, {series: [{name, color, x, y, dash, faint}], x: "step", y: "loss", log: false})
//   intervals(element, {rows: [{name, color, low, median, high, values, text}], x: "ms per step", fit: whether the axis
//     begins at the smallest value, and not at 0})
//   scatter(element, {points: [{text, color, x, y, low, high, best}], legend: [{name, color}], x: "seconds",
//     y: "accuracy"}): the x axis is logarithmic; the best points are larger and joined by steps
//   confusion(element, {classes, labels: what is left of long names that are similar, samples: "image", counts, changed: [[i, j], …]})

const NS = "http://www.w3.org/2000/svg";

function svg(parent, tag, attributes = {}, text = "") {
  const node = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return parent.appendChild(node);
}

function html(parent, tag, className, text = "") {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return parent.appendChild(node);
}

export function format(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return Number(value.toPrecision(2)).toExponential().replace("e-", "e−").replace("e+", "e");
  return size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}

export function linearTicks(low, high, count = 5) {
  if (!(high > low)) return [low];
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((m) => m * power >= raw) * power;
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(i * step);
  return ticks;
}

export function logTicks(low, high) {
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const every = Math.max(1, Math.ceil((last - first) / 6));
  return Array.from({ length: Math.floor((last - first) / every) + 1 }, (_, i) => 10 ** (first + i * every));
}

// A scale maps data to pixels; on a log axis values of zero and below have no place and are left out.
function scale(low, high, from, to, log) {
  const f = log ? Math.log10 : (v) => v;
  const span = f(high) - f(low) || 1;
  return (v) => from + ((f(v) - f(low)) / span) * (to - from);
}

function extent(series, key, log) {
  const values = series.flatMap((s) => s[key]).filter((v) => Number.isFinite(v) && (!log || v > 0));
  return values.length ? [Math.min(...values), Math.max(...values)] : [log ? 1e-9 : 0, 1];
}

// Redraw when the size changes, so that text keeps its size on a phone and on paper. The height is that of the
// content, or more where the element grows with its card, so that two cards of a pair end at the same line.
function responsive(element, content, draw) {
  let drawn = "";
  const redraw = () => {
    const width = Math.round(element.clientWidth);
    if (!width) return;
    const least = content(width);
    element.style.minHeight = `${least}px`;
    const grows = getComputedStyle(element).flexGrow === "1";
    const height = grows ? Math.max(least, Math.floor(element.clientHeight)) : least;
    if (`${width} ${height}` === drawn) return;
    drawn = `${width} ${height}`;
    draw(width, height);
  };
  new ResizeObserver(redraw).observe(element);
  redraw();
}

export function lines(element, spec) {
  const hidden = new Set();
  const legend = html(element, "div", "legend");
  const area = html(element, "div", "plot");
  const tip = html(area, "div", "tip");
  tip.hidden = true;
  let redraw = () => {};
  for (const s of spec.series) {
    const button = html(legend, "button", "key", s.name);
    button.type = "button";
    button.style.setProperty("--key", s.color);
    if (s.dash) button.classList.add("dashed");
    button.setAttribute("aria-pressed", "true");
    button.title = "show or hide";
    button.onclick = () => {
      hidden.has(s.name) ? hidden.delete(s.name) : hidden.add(s.name);
      button.setAttribute("aria-pressed", String(!hidden.has(s.name)));
      redraw();
    };
  }
  responsive(area, (width) => Math.max(200, Math.min(300, width * 0.5)), (width, height) => {
    redraw = () => drawLines(area, tip, spec, spec.series.filter((s) => !hidden.has(s.name)), width, height);
    redraw();
  });
}

function drawLines(area, tip, spec, series, width, height) {
  area.querySelector("svg")?.remove();
  const box = { left: 56, right: width - 12, top: 10, bottom: height - 38 };
  const root = svg(area, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${spec.y} over ${spec.x}` });
  const [x0, x1] = extent(spec.series, "x");
  let [y0, y1] = extent(spec.series, "y", spec.log);
  const ticks = spec.log ? logTicks(y0, y1) : linearTicks(Math.min(y0, spec.from ?? y0), y1);
  y0 = Math.min(y0, ticks[0]);
  y1 = Math.max(y1, ticks[ticks.length - 1]);
  const px = scale(x0, x1, box.left, box.right);
  const py = scale(y0, y1, box.bottom, box.top, spec.log);
  for (const v of ticks) {
    svg(root, "line", { class: "grid", x1: box.left, x2: box.right, y1: py(v), y2: py(v) });
    svg(root, "text", { class: "tick", x: box.left - 8, y: py(v) + 4, "text-anchor": "end" }, format(v));
  }
  for (const v of linearTicks(x0, x1, width < 420 ? 4 : 6)) {
    svg(root, "text", { class: "tick", x: px(v), y: box.bottom + 18, "text-anchor": "middle" }, format(v));
  }
  svg(root, "text", { class: "axis", x: (box.left + box.right) / 2, y: height - 4, "text-anchor": "middle" }, spec.x);
  const solid = series.filter((s) => !s.faint);
  for (const s of series) {
    let pen = false;
    const path = s.x.map((x, i) => {
      if (!Number.isFinite(s.y[i]) || (spec.log && s.y[i] <= 0)) return (pen = false) || "";
      const command = `${pen ? "L" : "M"}${px(x).toFixed(1)} ${py(s.y[i]).toFixed(1)}`;
      pen = true;
      return command;
    });
    const rank = solid.indexOf(s);
    const thickness = s.faint ? 1.2 : 1.6 + Math.min(3.2, 9 / solid.length) * (solid.length - 1 - rank);
    const seen = path.filter(Boolean);
    if (seen.length === 1) seen.push("h0.01"); // a single point is drawn, too: round caps make it a dot
    const stretched = (dash) => dash.split(" ").map((length) => length * Math.max(1, thickness / 3)).join(" ");
    const dashed = s.dash ? { "stroke-dasharray": stretched(s.dash), "stroke-linecap": "butt" } : {};
    svg(root, "path", { class: "line", d: seen.join(""), style: `stroke:${s.color}`, "stroke-width": thickness, ...dashed });
  }
  const cursor = svg(root, "line", { class: "cursor", y1: box.top, y2: box.bottom, x1: -9, x2: -9 });
  const leave = () => {
    tip.hidden = true;
    cursor.setAttribute("x1", -9);
    cursor.setAttribute("x2", -9);
  };
  root.onpointerleave = leave;
  root.onpointermove = (event) => {
    if (!series.length) return leave();
    const at = ((event.clientX - root.getBoundingClientRect().left) / root.getBoundingClientRect().width) * width;
    const nearest = (xs) => xs.reduce((best, x, i) => (Math.abs(px(x) - at) < Math.abs(px(xs[best]) - at) ? i : best), 0);
    const here = px(series[0].x[nearest(series[0].x)]);
    cursor.setAttribute("x1", here);
    cursor.setAttribute("x2", here);
    tip.replaceChildren();
    html(tip, "b", "", `${spec.x} ${format(series[0].x[nearest(series[0].x)])}`);
    for (const s of series) {
      const row = html(tip, "div", "key");
      row.style.setProperty("--key", s.color);
      row.textContent = `${s.name}  ${s.y[nearest(s.x)]?.toPrecision(6) ?? "–"}`;
    }
    tip.hidden = false;
    const room = width - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(0, Math.min(room, here + 12))}px`;
  };
}

export function intervals(element, spec) {
  const area = html(element, "div", "plot");
  const figures = (row) => row.text ?? `${format(row.median)} ms (${format(row.low)}–${format(row.high)})`;
  const longest = Math.max(...spec.rows.map((row) => row.name.length + figures(row).length + 2));
  const isBroken = (width) => longest > lettersIn(width); // then the figures have a line of their own
  responsive(area, (width) => spec.rows.length * (isBroken(width) ? 69 : 52) + 44, (width, height) => {
    area.querySelector("svg")?.remove();
    const broken = isBroken(width);
    const each = Math.min(130, (height - 44) / spec.rows.length);
    const root = svg(area, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spec.x });
    const [least, most] = axisOf(spec);
    const px = scale(least, most, 10, width - 16);
    for (const v of linearTicks(least, most, width < 420 ? 4 : 8)) {
      svg(root, "line", { class: "grid", x1: px(v), x2: px(v), y1: 4, y2: height - 38 });
      svg(root, "text", { class: "tick", x: px(v), y: height - 22, "text-anchor": "middle" }, format(v));
    }
    svg(root, "text", { class: "axis", x: width / 2, y: height - 4, "text-anchor": "middle" }, spec.x);
    spec.rows.forEach((row, i) => {
      const y = i * each + each / 2 + (broken ? 12 : 4);
      const label = broken ? shortened(row.name, lettersIn(width)) : `${row.name}: ${figures(row)}`;
      svg(svg(root, "text", { class: "name", x: 12, y: y - (broken ? 33 : 16) }, label), "title", {}, row.name);
      if (broken) svg(root, "text", { class: "name", x: 12, y: y - 16 }, figures(row));
      for (const v of row.values) svg(root, "circle", { class: "dot", cx: px(v), cy: y, r: 4, style: `fill:${row.color}` });
      const below = y + 11; // below the dots, which would hide a short interval
      const draw = (name, x1, x2, y1, y2) => svg(root, "line", { class: name, x1, x2, y1, y2, style: `stroke:${row.color}` });
      draw("interval", px(row.low), px(row.high), below, below);
      for (const end of [row.low, row.high]) draw("end", px(end), px(end), below - 4, below + 4);
      draw("median", px(row.median), px(row.median), below - 6, below + 6);
    });
  });
}

function lettersIn(width) {
  return Math.floor((width - 24) / LETTER_OF_A_NAME);
}

function axisOf(spec) {
  const values = spec.rows.flatMap((r) => [r.low, r.high, ...r.values]);
  const most = Math.max(...values);
  if (!spec.fit) return [0, most * 1.04];
  const least = Math.min(...values);
  const margin = (most - least || 1) * 0.04;
  return [least - margin, most + margin];
}

// Points with a vertical interval each. The cursor names the nearest one.
export function scatter(element, spec) {
  const legend = html(element, "div", "legend");
  for (const { name, color } of spec.legend) html(legend, "span", "key", name).style.setProperty("--key", color);
  const area = html(element, "div", "plot");
  const tip = html(area, "div", "tip");
  tip.hidden = true;
  responsive(area, (width) => Math.max(260, Math.min(420, width * 0.45)), (width, height) => drawScatter(area, tip, spec, width, height));
}

function drawScatter(area, tip, spec, width, height) {
  area.querySelector("svg")?.remove();
  const box = { left: 56, right: width - 16, top: 14, bottom: height - 38 };
  const root = svg(area, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${spec.y} over ${spec.x}` });
  const xs = spec.points.map((p) => p.x);
  const [x0, x1] = [Math.min(...xs) / 1.15, Math.max(...xs) * 1.15];
  const [y0, y1] = axisOf({ fit: true, rows: spec.points.map((p) => ({ low: p.low ?? p.y, high: p.high ?? p.y, values: [p.y] })) });
  const px = scale(x0, x1, box.left, box.right, true);
  const py = scale(y0, y1, box.bottom, box.top);
  for (const v of linearTicks(y0, y1)) {
    svg(root, "line", { class: "grid", x1: box.left, x2: box.right, y1: py(v), y2: py(v) });
    svg(root, "text", { class: "tick", x: box.left - 8, y: py(v) + 4, "text-anchor": "end" }, format(v));
  }
  let last = -Infinity;
  for (const v of timeTicks(x0, x1)) {
    if (px(v) - last < 44) continue; // their labels would touch
    last = px(v);
    svg(root, "line", { class: "grid", x1: px(v), x2: px(v), y1: box.top, y2: box.bottom });
    svg(root, "text", { class: "tick", x: px(v), y: box.bottom + 18, "text-anchor": "middle" }, format(v));
  }
  svg(root, "text", { class: "axis", x: (box.left + box.right) / 2, y: height - 4, "text-anchor": "middle" }, spec.x);
  svg(root, "text", { class: "axis", x: 4, y: 10 }, spec.y);
  const best = spec.points.filter((p) => p.best).sort((a, b) => a.x - b.x);
  const steps = best.map((p, i) => `${i ? `H${px(p.x).toFixed(1)}V` : `M${px(p.x).toFixed(1)} `}${py(p.y).toFixed(1)}`);
  if (best.length) svg(root, "path", { class: "front", d: `${steps.join("")}H${box.right}` });
  for (const p of spec.points) {
    const style = `stroke:${p.color}`;
    if (p.low !== null) svg(root, "line", { class: "whisker", x1: px(p.x), x2: px(p.x), y1: py(p.low), y2: py(p.high), style });
    svg(root, "circle", { class: "point", cx: px(p.x), cy: py(p.y), r: p.best ? 6 : 4, style: `fill:${p.color}` });
  }
  root.onpointerleave = () => (tip.hidden = true);
  root.onpointermove = (event) => {
    const frame = root.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    const away = (p) => Math.hypot(px(p.x) - x, py(p.y) - y);
    const nearest = spec.points.reduce((one, other) => (away(other) < away(one) ? other : one));
    tip.hidden = away(nearest) > 40;
    tip.textContent = nearest.text;
    tip.style.left = `${Math.max(0, Math.min(width - tip.offsetWidth - 8, px(nearest.x) + 12))}px`;
    tip.style.top = `${Math.max(0, Math.min(height - tip.offsetHeight, py(nearest.y) + 12))}px`;
  };
}

function timeTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const m of [1, 2, 5]) if (m * 10 ** power >= low && m * 10 ** power <= high) ticks.push(m * 10 ** power);
  }
  return ticks;
}

const FEW_MISTAKES = 5; // in a cell: where no cell has more, none is coloured as the worst
const LETTER_OF_A_NAME = 7.2; // pixels, the mean width of a letter in the names of intervals
const LETTER = 6.6; // pixels, the mean width of a letter in the labels of a matrix

// Both ends are kept: names in a folder often begin with the same words and end in a number.
function shortened(name, letters) {
  if (name.length <= letters) return name;
  const end = Math.floor((letters - 1) / 2);
  return `${name.slice(0, letters - 1 - end)}…${name.slice(name.length - end)}`;
}

// Counts by true class (down) and predicted class (across). Long names are cut and turned; the tip has them whole.
export function confusion(element, spec) {
  const area = html(element, "div", "plot");
  const tip = html(area, "div", "tip");
  tip.hidden = true;
  responsive(area, (width) => matrixBox(spec, width).bottom + 4, (width) => drawConfusion(area, tip, spec, width));
}

function matrixBox(spec, width) {
  const count = spec.classes.length;
  const longest = Math.max(...spec.labels.map((name) => name.length + name.split("…").length - 1)); // … is as wide as two letters
  const letters = Math.min(longest, Math.max(4, Math.floor((width * 0.25) / LETTER)), 18);
  const left = letters * LETTER + 12;
  const cell = (width - left - 4) / count;
  const high = Math.min(cell, 28);
  const turned = letters * LETTER > cell - 4;
  const top = turned ? letters * LETTER + 12 : 24;
  return { left, top, cell, high, turned, letters, right: left + count * cell, bottom: top + count * high };
}

function drawConfusion(area, tip, spec, width) {
  area.querySelector("svg")?.remove();
  const { left, top, cell, high, turned, letters, right, bottom } = matrixBox(spec, width);
  const height = bottom + 4;
  const root = svg(area, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "confusion matrix" });
  svg(root, "rect", { class: "matrix", x: left, y: top, width: right - left, height: bottom - top });
  const label = (i, size, attributes) => {
    const text = svg(root, "text", { class: "tick", style: `font-size:${Math.min(11, Math.max(9, size))}px`, ...attributes }, shortened(spec.labels[i], letters));
    svg(text, "title", {}, spec.classes[i]);
  };
  const every = (size) => Math.max(1, Math.ceil(9 / size)); // of very many classes only some have room for their names
  spec.classes.forEach((_, i) => {
    const x = left + (i + 0.5) * cell;
    const y = top + (i + 0.5) * high;
    if (i % every(high) === 0) label(i, high, { x: left - 6, y: y + 4, "text-anchor": "end" });
    if (i % every(cell) !== 0) return;
    if (turned) label(i, cell, { transform: `translate(${x + 4} ${top - 6}) rotate(-90)` });
    else label(i, cell, { x, y: top - 8, "text-anchor": "middle" });
  });
  const mistaken = spec.counts.flatMap((line, i) => line.filter((_, j) => i !== j));
  const most = Math.max(FEW_MISTAKES, ...mistaken);
  const changed = new Set(spec.changed.map(([i, j]) => `${i} ${j}`));
  spec.counts.forEach((line, i) => {
    const total = Math.max(1, line.reduce((sum, n) => sum + n, 0));
    line.forEach((n, j) => {
      const place = { x: left + j * cell, y: top + i * high, width: cell - (cell > 8 ? 1 : 0), height: high - (high > 8 ? 1 : 0) };
      if (n) {
        const right = i === j;
        const opacity = right ? 0.1 + (0.6 * n) / total : 0.15 + (0.65 * n) / most;
        svg(root, "rect", { ...place, class: "cell", style: `fill:var(${right ? "--right" : "--wrong"})`, "fill-opacity": opacity });
      }
      if (changed.has(`${i} ${j}`)) svg(root, "rect", { ...place, class: "changed" });
      const fits = high >= 14 && String(n).length * 7.5 <= cell - 2;
      if (n && fits) svg(root, "text", { class: "count", x: place.x + cell / 2, y: place.y + high / 2 + 4, "text-anchor": "middle" }, String(n));
    });
  });
  root.onpointerleave = () => (tip.hidden = true);
  root.onpointermove = (event) => {
    const frame = root.getBoundingClientRect();
    const j = Math.floor((((event.clientX - frame.left) * width) / frame.width - left) / cell);
    const i = Math.floor((((event.clientY - frame.top) * height) / frame.height - top) / high);
    const n = spec.counts[i]?.[j];
    tip.hidden = n === undefined;
    if (n === undefined) return;
    tip.textContent = `true: ${spec.classes[i]}\npredicted: ${spec.classes[j]}\n${n} test ${spec.samples}${n === 1 ? "" : "s"}`;
    tip.style.left = `${Math.max(0, Math.min(width - tip.offsetWidth - 8, left + (j + 1) * cell + 8))}px`;
    tip.style.top = `${Math.max(0, Math.min(height - tip.offsetHeight, top + (i + 1) * high + 4))}px`;
  };
}
