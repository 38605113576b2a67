// The demo page: draws and picks pictures, asks the engine about the latest one, and shows what it says.

const PACE = 60; // milliseconds from question to question, at least
const PATIENCE = 90000; // milliseconds for an answer; the server gives its engine less
const SQUARE = 16; // pixels of a code's square on its canvas
const NAMED = 16; // codes of a legend, at most

const $ = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en").replace("-", "−");
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

let network;
let samples = [];
let pixels; // 8 bits each, row by row; 0 is paper
let truth = null; // class of the sample that is shown
let last = null; // the engine's last answer

// Colours ----------------------------------------------------------------------------------------------------------

let colors = {};

function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["paper", "ink", "low", "high", "below", "bad", "card"]) {
    const hex = style.getPropertyValue(`--${name}`).trim();
    colors[name] = [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
  }
}

const mix = (from, to, share) => from.map((value, index) => Math.round(value + (to[index] - value) * share));
const rgb = (color) => `rgb(${color.join(" ")})`;

// Codes from low to high; sums of a raw layer from below zero, over low, to above.
function codeColor(value, bits, extent) {
  if (bits !== null) return mix(colors.low, colors.high, value / (2 ** bits - 1));
  return mix(colors.low, value < 0 ? colors.below : colors.high, Math.abs(value) / extent);
}

// Picture ----------------------------------------------------------------------------------------------------------

function paint(canvas, values) {
  canvas.width = network.width;
  canvas.height = network.height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(network.width, network.height);
  values.forEach((value, index) => image.data.set([...mix(colors.paper, colors.ink, value / 255), 255], 4 * index));
  context.putImageData(image, 0, 0);
}

const cursor = { x: 14, y: 14, shown: false };

function showPicture() {
  paint($("picture"), pixels);
  if (cursor.shown) {
    const context = $("picture").getContext("2d");
    context.fillStyle = rgb(colors.bad);
    context.fillRect(Math.floor(cursor.x), Math.floor(cursor.y), 1, 1);
  }
}

// A disc of the brush's radius whose edge fades over one and a half pixels.
function stamp(x, y) {
  const radius = Number($("brush").value);
  const erase = $("erase").getAttribute("aria-pressed") === "true";
  for (let row = 0; row < network.height; row++) {
    for (let column = 0; column < network.width; column++) {
      const distance = Math.hypot(column + 0.5 - x, row + 0.5 - y);
      const ink = Math.max(0, Math.min(1, (radius + 0.75 - distance) / 1.5));
      const index = row * network.width + column;
      const limit = Math.round(255 * (erase ? 1 - ink : ink));
      pixels[index] = erase ? Math.min(pixels[index], limit) : Math.max(pixels[index], limit);
    }
  }
}

function stroke(from, to) {
  const steps = Math.max(1, Math.ceil(2 * Math.hypot(to.x - from.x, to.y - from.y)));
  for (let step = 0; step <= steps; step++) {
    stamp(from.x + ((to.x - from.x) * step) / steps, from.y + ((to.y - from.y) * step) / steps);
  }
  changed(null);
}

// The picture is another one; `label` is its class, where that is known.
function changed(label) {
  truth = label;
  if (label === null) {
    for (const button of $("samples").children) button.setAttribute("aria-pressed", "false");
  }
  showPicture();
  ask();
}

function listenToPicture() {
  const canvas = $("picture");
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * network.width,
      y: ((event.clientY - box.top) / box.height) * network.height,
    };
  };
  let before = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    cursor.shown = false;
    before = { id: event.pointerId, ...place(event) };
    stroke(before, before);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (before?.id !== event.pointerId) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const part of events.length ? events : [event]) {
      const to = place(part);
      stroke(before, to);
      Object.assign(before, to);
    }
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => {
      if (before?.id === event.pointerId) before = null;
    });
  }
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault();
    cursor.shown = true;
    if (move) {
      cursor.x = Math.max(0.5, Math.min(network.width - 0.5, cursor.x + move[0]));
      cursor.y = Math.max(0.5, Math.min(network.height - 0.5, cursor.y + move[1]));
      showPicture();
    } else {
      stroke(cursor, cursor);
    }
  });
  canvas.addEventListener("blur", () => {
    cursor.shown = false;
    showPicture();
  });
  $("erase").addEventListener("click", () => {
    $("erase").setAttribute("aria-pressed", String($("erase").getAttribute("aria-pressed") !== "true"));
  });
  $("clear").addEventListener("click", () => {
    pixels.fill(0);
    changed(null);
  });
}

// Samples ----------------------------------------------------------------------------------------------------------

function pick(index) {
  [...$("samples").children].forEach((button, place) => button.setAttribute("aria-pressed", String(place === index)));
  pixels = Uint8Array.from(samples[index].pixels);
  changed(samples[index].label);
}

function listSamples() {
  const buttons = samples.map((sample, index) => {
    const name = `Sample ${index + 1}: ${network.labels[sample.label]}`;
    const button = make("button", { type: "button", title: name, onclick: () => pick(index) }, make("canvas"));
    button.setAttribute("aria-label", name);
    button.setAttribute("aria-pressed", "false");
    return button;
  });
  $("samples").replaceChildren(...buttons);
  $("samples-card").hidden = !samples.length;
}

const paintSamples = () =>
  samples.forEach((sample, index) => paint($("samples").children[index].firstChild, sample.pixels));

// Questions --------------------------------------------------------------------------------------------------------

async function request(path, options = {}) {
  let answer;
  let body;
  try {
    answer = await fetch(path, { ...options, signal: AbortSignal.timeout(PATIENCE) });
    body = await answer.json();
  } catch {
    throw new Error("The demo's server does not answer: check that evenstep demo --web still runs");
  }
  if (!answer.ok) throw new Error(body.error);
  return body;
}

let asking = false;
let stale = false;

// One question at a time; what changes meanwhile is asked about in one next question, the latest picture alone.
async function ask() {
  stale = true;
  document.body.dataset.state = "asking";
  if (asking) return;
  asking = true;
  while (stale) {
    stale = false;
    const asked = { truth, start: performance.now() };
    try {
      const options = {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ pixels: [...pixels] }),
      };
      show(await request("api/classify", options), asked.truth);
      $("alert").hidden = true;
      if (!stale) document.body.dataset.state = last.equal ? "equal" : "different";
    } catch (error) {
      fail(error);
      if (!stale) document.body.dataset.state = "failed";
    }
    if (stale) await new Promise((wake) => setTimeout(wake, asked.start + PACE - performance.now()));
  }
  asking = false;
}

function fail(error) {
  $("alert-text").textContent = error.message;
  $("alert").hidden = false;
  $("agreement").className = "notice";
  $("agreement").textContent = "No answer for this picture: what is shown belongs to an earlier one.";
}

// Answers ----------------------------------------------------------------------------------------------------------

function show(result, label) {
  last = result;
  $("prediction").textContent = network.labels[result.prediction];
  $("truth").textContent = describeTruth(result.prediction, label);
  $("cycles").textContent = number(result.cycles);
  $("time").textContent = `${number(result.milliseconds)} ms`;
  showClasses(result);
  showAgreement(result);
  showLayers(result);
}

function describeTruth(prediction, label) {
  if (label === null) return "";
  return label === prediction ? "✓ right" : `✗ is labelled ${network.labels[label]}`;
}

function showClasses(result) {
  const low = Math.min(0, ...result.logits);
  const span = Math.max(0, ...result.logits) - low || 1;
  const percent = (value) => `${(100 * value) / span}%`;
  [...$("classes").children].forEach((row, index) => {
    const value = result.logits[index];
    row.classList.toggle("top", index === result.prediction);
    const [fill, zero] = row.querySelector(".bar").children;
    fill.style.left = percent(Math.min(0, value) - low);
    fill.style.width = percent(Math.abs(value));
    zero.style.left = percent(-low);
    row.querySelector(".value").textContent = number(value);
  });
}

const describeDifference = ({ channel, expected, got }) => `channel ${channel} is ${got}, should be ${expected}`;

function showAgreement(result) {
  const hidden = network.layers.length - result.layers.length;
  const wrong = result.layers.find((layer) => layer.differences.length);
  const box = $("agreement");
  box.className = `notice ${wrong ? "bad" : "good"}`;
  if (wrong) {
    const differing = result.layers.filter((layer) => layer.differences.length).length;
    const others = differing > 1 ? `, and ${differing - 1} later` : "";
    const where = `${wrong.name}, ${describeDifference(wrong.differences[0])}${others}`;
    box.textContent = `✗ Differs from the integer reference: ${where}`;
  } else if (hidden) {
    const share = `${result.layers.length} of ${network.layers.length} layers can be read`;
    box.textContent = `✓ ${share}, all equal to the integer reference`;
  } else {
    box.textContent = `✓ All ${result.layers.length} layers equal to the integer reference`;
  }
}

function prepareLayers() {
  const figures = network.layers.map((layer) => {
    const kind = layer.bits === null ? "sums" : `codes of ${layer.bits} bit${layer.bits > 1 ? "s" : ""}`;
    const canvas = make("canvas");
    canvas.setAttribute("role", "img");
    const figure = make(
      "figure",
      {},
      make(
        "figcaption",
        {},
        make("strong", { textContent: layer.name }),
        make("span", { className: "what", textContent: `${layer.outputs} ${kind}` }),
        make("span", { className: "verdict none", textContent: layer.readable ? "–" : "overwritten by later layers" }),
      ),
    );
    figure.dataset.layer = layer.name;
    if (layer.readable) {
      const summary = make("summary", { textContent: "As numbers" });
      const numbers = make("details", {}, summary, make("pre", { tabIndex: 0 }));
      numbers.addEventListener("toggle", () => last && showNumbers(figure, layerResult(layer.name)));
      canvas.addEventListener("pointermove", (event) => point(figure, layer, event));
      canvas.addEventListener("pointerleave", () => last && showLegend(figure, layer, layerResult(layer.name)));
      figure.append(canvas, make("p", { className: "legend" }), numbers);
    }
    return figure;
  });
  $("layers").replaceChildren(...figures);
}

const layerResult = (name) => last.layers.find((layer) => layer.name === name);
const across = (count) => (count <= 16 ? count : Math.ceil(Math.sqrt(count)));
const extentOf = (codes) => Math.max(1, ...codes.map(Math.abs));

function showLayers(result) {
  for (const figure of $("layers").children) {
    const layer = network.layers.find(({ name }) => name === figure.dataset.layer);
    const found = layerResult(layer.name);
    if (!found) continue;
    const verdict = figure.querySelector(".verdict");
    const [first, ...more] = found.differences;
    verdict.className = `verdict${first ? " bad" : ""}`;
    verdict.textContent = first
      ? `✗ ${describeDifference(first)}${more.length ? ` (and ${more.length} more)` : ""}`
      : "✓ equal to the reference";
    paintCodes(figure.querySelector("canvas"), layer, found);
    showLegend(figure, layer, found);
    showNumbers(figure, found);
  }
}

function paintCodes(canvas, layer, { codes, differences }) {
  const columns = across(codes.length);
  canvas.width = columns * SQUARE;
  canvas.height = Math.ceil(codes.length / columns) * SQUARE;
  const context = canvas.getContext("2d");
  const extent = extentOf(codes);
  codes.forEach((code, index) => {
    context.fillStyle = rgb(codeColor(code, layer.bits, extent));
    context.fillRect((index % columns) * SQUARE, Math.floor(index / columns) * SQUARE, SQUARE - 1, SQUARE - 1);
  });
  context.strokeStyle = rgb(colors.bad);
  context.lineWidth = 4;
  for (const { channel } of differences) {
    const [x, y] = [(channel % columns) * SQUARE, Math.floor(channel / columns) * SQUARE];
    context.strokeRect(x + 1.5, y + 1.5, SQUARE - 4, SQUARE - 4);
  }
}

function showLegend(figure, layer, { codes }) {
  const entry = (value, text) => {
    const swatch = make("b");
    swatch.style.background = rgb(codeColor(value, layer.bits, extentOf(codes)));
    return make("span", {}, swatch, text);
  };
  const [low, high] = [Math.min(...codes), Math.max(...codes)];
  let entries;
  if (layer.bits !== null && 2 ** layer.bits <= NAMED) {
    const counts = new Array(2 ** layer.bits).fill(0);
    for (const code of codes) counts[code] += 1;
    entries = counts.map((count, code) => entry(code, `${code}: ${count}`));
  } else {
    entries = [entry(low, `lowest ${number(low)}`), entry(high, `highest ${number(high)}`)];
  }
  figure.querySelector(".legend").replaceChildren(...entries);
  const summary = entries.map((one) => one.textContent).join(", ");
  figure.querySelector("canvas").setAttribute("aria-label", `Codes of ${layer.name}: ${summary}`);
}

function showNumbers(figure, found) {
  const details = figure.querySelector("details");
  if (details.open) details.querySelector("pre").textContent = found.codes.join(" ");
}

function point(figure, layer, event) {
  if (!last) return;
  const { codes, differences } = layerResult(layer.name);
  const canvas = figure.querySelector("canvas");
  const box = canvas.getBoundingClientRect();
  const columns = across(codes.length);
  const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
  const row = Math.floor(((event.clientY - box.top) / box.height) * (canvas.height / SQUARE));
  const channel = row * columns + column;
  if (column < 0 || column >= columns || channel < 0 || channel >= codes.length) return;
  const wrong = differences.find((difference) => difference.channel === channel);
  const text = wrong ? describeDifference(wrong) : `channel ${channel} is ${number(codes[channel])}`;
  figure.querySelector(".legend").replaceChildren(text);
}

// Start ------------------------------------------------------------------------------------------------------------

function describe() {
  const { engine } = network;
  document.title = `${network.name} – Evenstep demo`;
  $("about").textContent = `${network.name}, live on ${engine.name}`;
  $("engine").textContent =
    `${number(network.multiply_accumulates)} multiply-accumulates in ${network.layers.length} layers; engine of ` +
    `${engine.rows} × ${engine.columns} × ${engine.lanes} lanes, ${engine.weight_bits}-bit weights, ` +
    `${engine.act_bits}-bit activations; configuration ${engine.hash}`;
  $("predicted").textContent = number(network.cycles);
  $("useful").textContent = `${(100 * network.useful).toFixed(1)} %`;
  $("classes").replaceChildren(
    ...network.labels.map((label) => {
      const bar = make("span", { className: "bar" }, make("i"), make("span", { className: "zero" }));
      const value = make("span", { className: "value", textContent: "–" });
      return make("li", {}, make("span", { textContent: label }), bar, value);
    }),
  );
}

async function start() {
  try {
    network = await request("api/network");
    ({ samples } = await request("api/samples"));
  } catch (error) {
    document.body.dataset.state = "failed";
    fail(error);
    return;
  }
  $("alert").hidden = true;
  readColors();
  describe();
  prepareLayers();
  listSamples();
  paintSamples();
  listenToPicture();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readColors();
    showPicture();
    paintSamples();
    if (last) showLayers(last);
  });
  pixels = new Uint8Array(network.width * network.height);
  if (samples.length) pick(0);
  else changed(null);
}

$("again").addEventListener("click", () => (network ? ask() : start()));
start();
