// Draws the report of a conversion from the data in the page.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const finite = (x) => typeof x === "number" && Number.isFinite(x);

// Every text reaches the page through textContent, so that no name is taken for markup.
function make(tag, text, attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
function bytesText(bytes) {
  if (!finite(bytes)) return "–";
  const units = ["bytes", "kB", "MB", "GB", "TB", "PB", "EB"];
  let unit = 0;
  while (bytes >= 1000 && unit + 1 < units.length) { bytes /= 1000; unit += 1; }
  return unit === 0 ? `${bytes} bytes` : `${bytes.toFixed(1)} ${units[unit]}`;
}
function klText(kl) {
  if (!finite(kl)) return "–";
  if (kl === 0) return "0";
  return Math.abs(kl) < 0.01 || Math.abs(kl) >= 1000 ? kl.toExponential(1) : kl.toPrecision(3);
}
const fixed = (x, digits) => finite(x) ? x.toFixed(digits) : "–";
const bitsText = (layer) => layer.kept ? "kept" : String(layer.bits);

const unit = data.kl_unit;  // " nats a token", or nothing
const widths = [...new Set(data.layers.flatMap((layer) => Object.keys(layer.kl).map(Number)))].sort((a, b) => a - b);

function showHeader() {
  $("model").textContent = data.model;
  $("output").textContent = data.output;
  $("output").hidden = !data.output;
  $("made-by").textContent = data.made_by;
  const references = {bf16: "full weights", uniform_4bit: "4-bit copy", structural_rules: "none: by rules"};
  const fact = (name, value, note) => {
    const dd = make("dd", value);
    if (note) dd.append(make("small", note));
    $("facts").append(make("div", null, {}, make("dt", name), dd));
  };
  fact("Size", bytesText(data.bytes), `from ${bytesText(data.source_bytes)}` +
    (data.bytes > 0 ? `, ${fixed(data.source_bytes / data.bytes, 2)} times smaller` : ""));
  fact("True bits a weight", fixed(data.bpw_true, 3), `target ${fixed(data.target_bpw, 2)}; ${fixed(data.bpw_linear, 3)} of codes`);
  fact("Reference", references[data.reference] ?? data.reference);
  fact("KL measured", klText(data.kl_measured), data.kl_measured === null ? "not measured" : `${unit.trim()}${unit && ", "}the whole model`);
  fact("KL predicted", klText(data.kl_predicted), data.kl_predicted === null ? "not measured" : "sum over the layers");
  if (finite(data.perplexity) || finite(data.source_perplexity)) {
    fact("Perplexity", fixed(data.perplexity, 3), `source ${fixed(data.source_perplexity, 3)}`);
  }
  if (data.swaps_tried > 0) fact("Measured swaps", `${data.swaps_kept} kept`, `of ${data.swaps_tried} tried`);
  fact("Time", finite(data.seconds) && data.seconds >= 120 ? `${fixed(data.seconds / 60, 1)} min` : `${fixed(data.seconds, 0)} s`);
  $("heat-unit").textContent = unit && `, in${unit},`;
  $("warnings").hidden = data.warnings.length === 0;
  for (const warning of data.warnings) $("warnings").append(make("li", warning));
}

function headRow(titles, mayBreak) {
  return make("thead", null, {}, make("tr", null, {}, ...titles.map(([title, kind]) => {
    const head = make("th", null, {scope: "col", class: kind ?? ""});
    for (const part of mayBreak ? title.split(/(?<=[._])/) : [title]) head.append(part, make("wbr"));
    return head;
  })));
}

function shape(name, attributes, text) {
  const element = $("shapes").querySelector(name).cloneNode();
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}
function niceSteps(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough);
  const steps = [];
  for (let x = Math.ceil(low / step) * step; x <= high; x += step) steps.push(x);
  return steps;
}
function drawPlot(points) {
  const plot = $("plot");
  const left = 64, right = 680, top = 44, bottom = 280;
  const sizes = points.map((p) => p.bytes), kls = points.map((p) => Math.log10(p.kl));
  const spanX = Math.max(...sizes) - Math.min(...sizes) || Math.max(...sizes) || 1;
  const lowX = Math.min(...sizes) - spanX * .08, highX = Math.max(...sizes) + spanX * .18;
  const lowY = Math.floor(Math.min(...kls)), highY = Math.max(Math.ceil(Math.max(...kls)), lowY + 1);
  const x = (bytes) => left + (bytes - lowX) / (highX - lowX) * (right - left);
  const y = (log) => bottom - (log - lowY) / (highY - lowY) * (bottom - top);
  for (let log = lowY; log <= highY; log += 1) {
    plot.append(shape("line", {x1: left, x2: right, y1: y(log), y2: y(log)}));
    plot.append(shape("text", {x: left - 8, y: y(log) + 4, "text-anchor": "end", class: "muted"}, klText(10 ** log)));
  }
  for (const bytes of niceSteps(lowX, highX, 6)) {
    plot.append(shape("text", {x: x(bytes), y: bottom + 18, "text-anchor": "middle", class: "muted"}, bytesText(bytes)));
  }
  plot.append(shape("text", {x: right, y: bottom + 38, "text-anchor": "end", class: "muted"}, "size of all tensors"));
  plot.append(shape("text", {x: left, y: 14, class: "muted"}, `KL${unit && ","}${unit}`));
  const rivals = points.filter((p) => !p.ours).sort((a, b) => a.bytes - b.bytes);
  plot.append(shape("polyline", {points: rivals.map((p) => `${x(p.bytes)},${y(Math.log10(p.kl))}`).join(" ")}));
  for (const p of [...rivals, ...points.filter((q) => q.ours)]) {
    const at = {cx: x(p.bytes), cy: y(Math.log10(p.kl))};
    plot.append(shape("circle", {...at, r: p.ours ? 8 : 5, class: p.ours ? "ours" : "rival"}));
    // Ours is named below its point, since it should lie below the line of the others.
    plot.append(shape("text", p.ours
      ? {x: at.cx - 10, y: at.cy + 22, "text-anchor": "end", class: "ours"}
      : {x: at.cx + 10, y: at.cy - 8}, p.label));
  }
}
function showComparison() {
  if (data.rivals.length === 0) return;
  $("comparison").hidden = false;
  const ours = {label: "this conversion", bytes: data.bytes, bpw: data.bpw_true, kl: data.kl_measured, perplexity: data.perplexity, ours: true};
  const rows = [...data.rivals, ours].sort((a, b) => a.bytes - b.bytes);
  const plotted = rows.filter((row) => finite(row.kl) && row.kl > 0);
  $("comparison-figure").hidden = plotted.length < 2;
  if (plotted.length >= 2) drawPlot(plotted);
  const hasPerplexity = rows.some((row) => finite(row.perplexity));
  const body = make("tbody");
  for (const row of rows) {
    body.append(make("tr", null, row.ours ? {class: "ours"} : {}, make("th", row.label, {scope: "row"}),
      make("td", bytesText(row.bytes), {class: "number"}), make("td", fixed(row.bpw, 3), {class: "number"}),
      make("td", klText(row.kl), {class: "number"}), ...(hasPerplexity ? [make("td", fixed(row.perplexity, 3), {class: "number"})] : [])));
  }
  $("comparison-table").append(headRow([["Model"], ["Size", "number"], ["Bits a weight", "number"], ["KL", "number"], ...(hasPerplexity ? [["Perplexity", "number"]] : [])]), body);
}

// The scale of a width: logarithms, of which those far below the largest are all the same.
const decades = 4;
function scaleOf(width) {
  const kls = data.layers.map((layer) => layer.kl[width]).filter((kl) => finite(kl) && kl > 0);
  if (kls.length === 0) return {low: 0, high: 0};
  const high = Math.log10(kls.reduce((a, b) => Math.max(a, b)));
  return {low: Math.max(high - decades, Math.log10(kls.reduce((a, b) => Math.min(a, b)))), high};
}
function paint(cell, share) {
  cell.style.background = `color-mix(in oklab, var(--high) ${(share * 100).toFixed(1)}%, var(--low))`;
  cell.style.color = share > .58 ? "var(--on-high)" : "var(--on-low)";
}
function heatCell(layers, width, scale) {
  if (layers.length === 0) return make("td", null, {"aria-label": "no layer"});
  // Layers that share a place, such as experts: the one that loses most.
  const layer = layers.reduce((a, b) => (b.kl[width] ?? -1) > (a.kl[width] ?? -1) ? b : a);
  const kl = layer.kl[width];
  const isChosen = layer.bits === width;
  const cell = make("td", klText(kl), {title: `${layer.name}: ${klText(kl)} at ${width} bits; chosen: ${bitsText(layer)}`});
  if (finite(kl)) paint(cell, kl <= 0 || scale.high === scale.low ? 0 : Math.max(0, (Math.log10(kl) - scale.low) / (scale.high - scale.low)));
  if (isChosen) {
    cell.classList.add("chosen");
    cell.append(make("span", " chosen", {class: "hidden-text"}));
  }
  return cell;
}
function heatTable(table, layers, rowTitle, rowName, width) {
  const scale = scaleOf(width);
  const columns = [...new Set(layers.map((layer) => layer.module))];
  const blocks = [...new Set(layers.map((layer) => layer.block))].sort((a, b) => a - b);
  const body = make("tbody");
  for (const block of blocks) {
    const row = make("tr", null, {}, make("th", rowName(block), {scope: "row"}));
    for (const column of columns) {
      row.append(heatCell(layers.filter((layer) => layer.block === block && layer.module === column), width, scale));
    }
    body.append(row);
  }
  table.replaceChildren(make("caption", `KL at ${width} bits`, {class: "hidden-text"}), headRow([[rowTitle], ...columns.map((c) => [c])], true), body);
}
function showHeat(width) {
  const inside = data.layers.filter((layer) => layer.block >= 0), outside = data.layers.filter((layer) => layer.block < 0);
  $("heat").parentElement.hidden = inside.length === 0;
  $("heat-outside-region").hidden = outside.length === 0;
  heatTable($("heat"), inside, "Block", String, width);
  heatTable($("heat-outside"), outside, "", () => "Outside", width);
  const scale = scaleOf(width);
  $("heat-legend").replaceChildren(klText(10 ** scale.low), make("span", null, {class: "ramp", "aria-hidden": "true"}), klText(10 ** scale.high),
    " (logarithmic) ", make("span", null, {class: "swatch", "aria-hidden": "true"}), " the width that was chosen");
}
function showLosses() {
  const first = widths.find((width) => data.layers.some((layer) => layer.kl[width] > 0));
  if (first === undefined) {
    $("widths").closest("section").hidden = true;
    return;
  }
  for (const width of widths) {
    const input = make("input", null, {type: "radio", name: "width", value: width});
    input.checked = width === first;
    input.addEventListener("change", () => showHeat(width));
    $("widths").append(make("label", null, {}, input, width === 16 ? " kept" : ` ${width} bits`));
  }
  showHeat(first);
}

const parameters = (layer) => layer.rows * layer.columns;
const total = (layers, value) => layers.reduce((sum, layer) => sum + value(layer), 0);
const meanBits = (layers) => total(layers, (layer) => layer.bits * parameters(layer)) / total(layers, parameters);
const roles = [...new Set(data.layers.map((layer) => layer.role))];
const roleTitle = (role) => role.replaceAll("_", " ");
function showBits() {
  const parts = roles.map((role) => {
    const own = data.layers.filter((layer) => layer.role === role);
    const blocks = [...new Set(own.map((layer) => layer.block))].sort((a, b) => a - b);
    return {role, own, blocks: blocks.map((block) => own.filter((layer) => layer.block === block))};
  });
  const most = Math.max(8, ...parts.flatMap(({blocks}) => blocks.map(meanBits)));
  const short = (bits) => Number.isInteger(bits) ? String(bits) : bits.toFixed(1);
  for (const {role, own, blocks} of parts) {
    const bars = make("div", null, {class: "bars", role: "img"});
    const words = [];
    for (const layers of blocks) {
      const bits = meanBits(layers), block = layers[0].block, place = block < 0 ? "–" : String(block);
      const bar = make("div", null, {class: "bar"});
      bar.style.height = `${bits / most * 85}%`;
      bars.append(make("div", null, {title: layers.map((layer) => `${layer.name}: ${bitsText(layer)}`).join("\n")},
        make("div", null, {class: "room"}, make("span", short(bits)), bar), make("div", place, {class: "block"})));
      words.push(`${block < 0 ? "outside the blocks" : `block ${block}`}: ${short(bits)}`);
    }
    bars.setAttribute("aria-label", `Bits of ${roleTitle(role)}. ${words.join(", ")}`);
    $("bits").append(make("h3", `${roleTitle(role)}: ${meanBits(own).toFixed(2)} bits`),
      make("div", null, {class: "scroll", tabindex: "0", role: "region", "aria-label": `Bits of ${roleTitle(role)}`}, bars));
  }
}
function showRoles() {
  const rows = roles.map((role) => {
    const own = data.layers.filter((layer) => layer.role === role);
    return {name: roleTitle(role), count: own.length, weights: total(own, parameters), bytes: total(own, (layer) => layer.bytes), bits: meanBits(own)};
  });
  const rest = data.bytes - total(rows, (row) => row.bytes);
  if (rest > 0) rows.push({name: "all other tensors", count: null, weights: null, bytes: rest, bits: null});
  rows.sort((a, b) => b.bytes - a.bytes);
  const whole = total(rows, (row) => row.bytes), largest = Math.max(...rows.map((row) => row.bytes), 1);
  const body = make("tbody");
  for (const row of rows) {
    const bar = make("div");
    bar.style.width = `${row.bytes / largest * 100}%`;
    body.append(make("tr", null, {}, make("th", row.name, {scope: "row"}), make("td", bytesText(row.bytes), {class: "number"}),
      make("td", `${fixed(row.bytes / whole * 100, 1)} %`, {class: "number"}), make("td", null, {class: "share", "aria-hidden": "true"}, bar),
      make("td", row.count ?? "–", {class: "number"}), make("td", row.weights === null ? "–" : row.weights.toLocaleString("en"), {class: "number"}),
      make("td", fixed(row.bits, 2), {class: "number"})));
  }
  const head = headRow([["Role"], ["Bytes", "number"], ["Share", "number"], ["", "share"], ["Layers", "number"], ["Weights", "number"], ["Mean bits", "number"]]);
  head.querySelector(".share").setAttribute("aria-hidden", "true");
  $("roles").append(head, body);
}

function showLayers() {
  const columns = [
    {title: "Name", value: (l) => l.name, text: (l) => l.name},
    {title: "Role", value: (l) => l.role, text: (l) => roleTitle(l.role)},
    {title: "Block", value: (l) => l.block, text: (l) => l.block < 0 ? "–" : l.block, kind: "number"},
    {title: "Shape", value: parameters, text: (l) => `${l.rows} × ${l.columns}`, kind: "number"},
    ...widths.map((w) => ({title: w === 16 ? "KL kept" : `KL at ${w}`, value: (l) => l.kl[w] ?? null, text: (l) => klText(l.kl[w]), kind: "number"})),
    {title: "Bits", value: (l) => l.bits, text: bitsText, kind: "number"},
    {title: "Group", value: (l) => l.group_size, text: (l) => l.group_size || "–", kind: "number"},
    {title: "Bytes", value: (l) => l.bytes, text: (l) => bytesText(l.bytes), kind: "number"},
  ];
  let sorting = null, isDown = false;
  const body = make("tbody"), heads = [];
  const rows = data.layers.map((layer) => ({layer, row: make("tr", null, {}, ...columns.map((column, i) =>
    make(i === 0 ? "th" : "td", column.text(layer), i === 0 ? {scope: "row"} : {class: column.kind ?? ""})))}));
  const show = () => {
    const wanted = $("filter").value.trim().toLowerCase();
    const shown = rows.filter(({layer}) => `${layer.name} ${roleTitle(layer.role)}`.toLowerCase().includes(wanted));
    if (sorting !== null) {
      const value = columns[sorting].value;
      shown.sort((a, b) => {
        const x = value(a.layer), y = value(b.layer);
        if (x === null || y === null) return (x === null) - (y === null);  // unknown ones come last
        const order = typeof x === "string" ? x.localeCompare(y, "en", {numeric: true}) : x - y;
        return isDown ? -order : order;
      });
    }
    body.replaceChildren(...shown.map(({row}) => row));
    return shown.length;
  };
  columns.forEach((column, i) => {
    const button = make("button", column.title, {type: "button"});
    const head = make("th", null, {scope: "col", class: column.kind ?? ""}, button);
    button.addEventListener("click", () => {
      isDown = sorting === i ? !isDown : column.kind === "number";
      sorting = i;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      show();
      $("sorted").textContent = `Sorted by ${column.title}, ${isDown ? "descending" : "ascending"}`;
    });
    heads.push(head);
  });
  $("filter").addEventListener("input", () => { $("sorted").textContent = `${show()} layers`; });
  $("layers").append(make("thead", null, {}, make("tr", null, {}, ...heads)), body);
  show();
}

showHeader();
showComparison();
showLosses();
showBits();
showRoles();
showLayers();
