// The page of van-dense demo: asks once for a prediction, and draws it at any threshold by itself.

import { hit, paint, unpack, visible } from "./paint.js";

const $ = (id) => document.getElementById(id);
const token = document.querySelector("meta[name=token]").content;
const percent = (share) => `${share < 0.1 ? (share * 100).toFixed(1) : Math.round(share * 100)}%`;

// Of each kind of result: title of its list, what to do with it, and the name of its threshold.
const KINDS = {
  detection: ["Objects", "Choose one, here or in the picture, to see what spoke for it.", "Score from"],
  panoptic: ["Segments", "The largest first, with their scores. Choose one, here or in the picture, to see what spoke for it.", "Score from"],
  semantic: ["Classes", "Choose a class, or click on a region, to see what spoke for it.", null],
  pose: ["Joints", "Choose one, here or in the picture, to see what spoke for it.", "Score from"],
  saliency: ["Saliency", "Choose it, or click on the picture, to see what spoke for it.", "Salient from"],
  classification: ["Classes", "Choose one to see what spoke for it.", null],
};

let about = null;
let result = null;
let latest = 0; // number of the last request for a prediction
let asked = 0; // number of the last request for an explanation
let chosen = null; // position of what is explained
const view = { threshold: 0, opacity: 0.55, lit: null };

// -------------------------------------------------------------------------------------- asking

function tell(status, working = false) {
  $("status").textContent = status;
  $("status").classList.toggle("working", working);
}

function complain(sentence) {
  tell("");
  $("problem").textContent = sentence;
}

async function ask(path, body, headers = {}) {
  const options = body === undefined ? {} : { method: "POST", body, headers: { "X-Token": token, ...headers } };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The program does not answer. Is it still running in its terminal?");
  }
  const found = await answer.json().catch(() => ({ error: "The answer was cut off; try again." }));
  if (!answer.ok || found.error) throw new Error(found.error);
  return found;
}

async function predict(what, path, body, headers) {
  const mine = ++latest;
  $("problem").textContent = "";
  tell(`Predicting ${what} …`, true);
  try {
    const found = await ask(path, body, headers);
    found.picture = await picture(found.photo);
    if (found.map) found.values = await unpack(found.map);
    if (mine === latest) show(found);
  } catch (error) {
    if (mine === latest) complain(error.message);
  }
}

function upload(file) {
  if (!file) return;
  if (about && file.size > about.upload_bytes) {
    const size = `${(file.size / 1e6).toFixed(1)} MB`;
    latest++;
    complain(`${file.name} has ${size}; this page takes at most ${about.upload_bytes / 1e6} MB.`);
    return;
  }
  const name = file.name || "pasted image";
  predict(name, "/predict", file, { "X-Name": encodeURIComponent(name), "Content-Type": "application/octet-stream" });
}

function picture(address) {
  const image = new Image();
  image.src = address;
  return image.decode().then(() => image);
}

async function explain(clicked, name) {
  const mine = ++asked;
  $("problem").textContent = "";
  if (about.unexplained) {
    showEvidence("", about.unexplained);
    return;
  }
  tell(`Looking for what spoke for ${name} …`, true);
  $("found").setAttribute("aria-busy", "true");
  try {
    const found = await ask("/explain", JSON.stringify({ id: result.id, ...clicked }));
    if (mine === asked) {
      showEvidence(found.picture, `${found.title}: warm colours mark what raised the score.`);
      tell(`Here is what spoke for ${name}.`);
    }
  } catch (error) {
    if (mine === asked) {
      tell("");
      showEvidence("", error.message);
    }
  } finally {
    if (mine === asked) $("found").removeAttribute("aria-busy");
  }
}

// ------------------------------------------------------------------------------------- showing

function show(found) {
  result = found;
  asked++;
  chosen = view.lit = null;
  view.threshold = found.threshold ?? 0;
  const [title, hint, threshold] = KINDS[found.kind];
  $("input").classList.add("small");
  $("result").hidden = false;
  $("evidence").hidden = true;
  $("result-title").textContent = found.name;
  $("size").textContent = `${found.width} × ${found.height} pixels`;
  $("list-title").textContent = title;
  $("hint").textContent = hint;
  $("threshold-row").hidden = threshold === null;
  $("threshold-name").textContent = threshold ?? "";
  $("threshold").value = view.threshold;
  $("opacity-row").hidden = found.kind === "classification";
  $("save-results").href = `/results/${found.id}`;
  $("canvas").classList.toggle("pick", found.kind !== "classification");
  fill();
  draw();
  tell(`${found.name}: ${summary()}.`);
  $("result-title").focus({ preventScroll: true });
}

function summary() {
  const count = visible(result, view).length;
  const listed = (one, many) => `${count} ${count === 1 ? one : many}`;
  if (result.kind === "detection") return `${listed("object", "objects")} of ${result.objects.length} shown`;
  if (result.kind === "panoptic") return `${listed("segment", "segments")} of ${result.regions.length} shown`;
  if (result.kind === "pose") return `${listed("joint", "joints")} of ${result.joints.length} shown`;
  if (result.kind === "semantic") return listed("class", "classes");
  if (result.kind === "saliency") return `${percent(salient())} of the image is salient`;
  const [best] = result.classes;
  return `${best.name}, ${percent(best.score)}`;
}

function salient() {
  const level = view.threshold * 255;
  return result.values.reduce((sum, value) => sum + (value >= level && value > 0), 0) / result.values.length;
}

// Rows of the list: position, name, number, swatch, and what is asked of the server.
function rows() {
  const shown = visible(result, view);
  if (result.kind === "detection") {
    return shown
      .sort((a, b) => result.objects[b].score - result.objects[a].score)
      .map((i) => row(i, result.objects[i], result.objects[i].score, { object: i }));
  }
  if (result.kind === "pose") {
    const { points } = result.poses[0] ?? { points: [] };
    return shown.map((i) => row(i, result.joints[i], points[i][2], { joint: i }));
  }
  if (result.kind === "semantic") {
    return shown.map((i) => row(i, result.regions[i], result.regions[i].share, { label: result.regions[i].label }));
  }
  if (result.kind === "panoptic") {
    return shown.map((i) => row(i, result.regions[i], result.regions[i].score, place(i)));
  }
  if (result.kind === "saliency") return [row(0, { name: "the salient part" }, salient(), {})];
  return result.classes.map((one, i) => row(i, one, one.score, { label: one.label }));
}

function row(position, { name, color }, number, clicked) {
  return { position, name, color, number, clicked };
}

// A pixel of a segment, as near to the middle of its pixels in reading order as can be.
function place(region) {
  const { width, height } = result.map;
  const own = [];
  for (let i = 0; i < result.values.length; i++) if (result.values[i] === region + 1) own.push(i);
  const middle = own.length ? own[own.length >> 1] : 0;
  return original(((middle % width) + 0.5) / width, (Math.floor(middle / width) + 0.5) / height);
}

function original(x, y) {
  const inside = (share, side) => Math.max(0, Math.min(side - 1, Math.floor(share * side)));
  return { x: inside(x, result.width), y: inside(y, result.height) };
}

function fill() {
  const list = $("list");
  const focused = document.activeElement?.dataset?.position;
  list.classList.toggle("bars", result.kind === "classification" || result.kind === "saliency");
  list.replaceChildren(...rows().map(item));
  if (list.childElementCount === 0) {
    const none = document.createElement("li");
    none.textContent = "Nothing at this threshold.";
    list.append(none);
  }
  if (focused !== undefined) list.querySelector(`[data-position="${focused}"]`)?.focus();
}

function item(one) {
  const li = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.position = one.position;
  button.setAttribute("aria-pressed", String(chosen === one.position));
  const part = (name, text = "") => {
    const span = document.createElement("span");
    span.className = name;
    span.textContent = text;
    return span;
  };
  if (one.color && result.kind !== "classification") {
    const swatch = part("swatch");
    swatch.style.background = one.color;
    button.append(swatch);
  }
  button.append(part("name", one.name), part("number", percent(one.number)));
  if (result.kind === "classification" || result.kind === "saliency") {
    const bar = part("bar");
    const filled = document.createElement("i");
    filled.style.width = `${Math.max(0.5, one.number * 100)}%`;
    bar.append(filled);
    button.append(bar);
  }
  button.addEventListener("click", () => choose(one.position, one.clicked, one.name));
  for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => light(one.position));
  for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => light(chosen));
  li.append(button);
  return li;
}

function choose(position, clicked, name) {
  if (chosen === position && clicked.x === undefined) {
    chosen = null;
    asked++;
    $("evidence").hidden = true;
    tell(`${name} is no longer chosen.`);
  } else {
    chosen = position;
    explain(clicked, name);
  }
  for (const button of $("list").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.position) === chosen));
  }
  light(chosen);
}

function light(position) {
  if (view.lit === position) return;
  view.lit = position;
  for (const button of $("list").querySelectorAll("button")) {
    button.parentElement.classList.toggle("lit", Number(button.dataset.position) === position);
  }
  draw();
}

function showEvidence(address, text) {
  $("evidence").hidden = false;
  $("evidence-picture").hidden = !address;
  if (address) $("evidence-picture").src = address;
  $("evidence-picture").alt = address ? `Map of what spoke for it over the image. ${text}` : "";
  $("evidence-text").textContent = text;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  $("evidence").scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
}

function draw() {
  if (!result) return;
  const canvas = $("canvas");
  const room = $("picture").clientWidth;
  const wide = Math.min(room, (innerHeight * 0.72 * result.width) / result.height);
  const high = (wide * result.height) / result.width;
  const dense = Math.min(2, devicePixelRatio || 1);
  [canvas.style.width, canvas.style.height] = [`${wide}px`, `${high}px`];
  const size = [Math.max(1, Math.round(wide * dense)), Math.max(1, Math.round(high * dense))];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  paint(canvas, result, view);
  $("threshold-value").textContent = view.threshold.toFixed(2);
  $("opacity-value").textContent = percent(view.opacity);
  canvas.setAttribute("aria-label", `${result.name} with its prediction: ${summary()}`);
}

function savePicture() {
  const canvas = document.createElement("canvas");
  const scale = Math.max(800, Math.min(1600, Math.max(result.width, result.height))) / Math.max(result.width, result.height);
  canvas.width = Math.max(1, Math.round(result.width * scale));
  canvas.height = Math.max(1, Math.round(result.height * scale));
  paint(canvas, result, { ...view, lit: chosen });
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${result.name.replace(/\.[^.]*$/, "")}_prediction.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }, "image/png");
}

// -------------------------------------------------------------------------------------- events

$("file").addEventListener("change", () => {
  upload($("file").files[0]);
  $("file").value = "";
});
for (const event of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(event, (drag) => {
    drag.preventDefault();
    $("drop").classList.toggle("over", event === "dragover");
    if (event !== "drop") return;
    if (drag.dataTransfer.files.length) upload(drag.dataTransfer.files[0]);
    else complain("This is no file; drop an image file.");
  });
}
document.addEventListener("paste", (paste) => {
  const [file] = paste.clipboardData?.files ?? [];
  if (file) upload(file);
});
$("threshold").addEventListener("input", () => {
  view.threshold = Number($("threshold").value);
  if (chosen !== null && result.kind !== "saliency" && !visible(result, view).includes(chosen)) {
    chosen = view.lit = null;
    $("evidence").hidden = true;
  }
  fill();
  draw();
});
$("threshold").addEventListener("change", () => tell(`${summary()}.`));
$("opacity").addEventListener("input", () => {
  view.opacity = Number($("opacity").value);
  draw();
});
$("canvas").addEventListener("click", (click) => {
  if (!result) return;
  const frame = $("canvas").getBoundingClientRect();
  const [x, y] = [(click.clientX - frame.left) / frame.width, (click.clientY - frame.top) / frame.height];
  const reach = (24 / frame.width) * result.width;
  const position = hit($("canvas"), result, view, x * result.width, y * result.height, reach);
  if (position === null) {
    if (result.kind !== "classification") tell("Nothing was found at this place.");
    return;
  }
  const one = rows().find((row) => row.position === position);
  const isMap = result.kind === "semantic" || result.kind === "panoptic";
  choose(position, isMap ? original(x, y) : one.clicked, one.name);
});
$("save-picture").addEventListener("click", savePicture);
new ResizeObserver(() => draw()).observe($("picture"));

// --------------------------------------------------------------------------------------- start

async function start() {
  try {
    about = await ask("/about");
  } catch (error) {
    complain(error.message);
    return;
  }
  $("run").textContent = about.title;
  document.title = `${about.title} – van_dense demo`;
  const classes = about.num_classes === 1 ? "1 class" : `${about.num_classes} classes`;
  $("about").textContent = `${about.task} · ${about.backbone} · ${classes} of ${about.data}`;
  const person = about.one_person ? " It is taken for the crop of one instance: cut it tightly." : "";
  $("limits").textContent = `Up to ${about.upload_bytes / 1e6} MB; pasting works too.${person}`;
  const examples = await ask("/examples").catch(() => []);
  $("examples").hidden = examples.length === 0;
  $("example-list").replaceChildren(...examples.map((one, index) => {
    const li = document.createElement("li");
    const button = document.createElement("button");
    const image = document.createElement("img");
    button.type = "button";
    image.src = one.picture;
    image.alt = `Example ${one.name}`;
    button.append(image);
    button.addEventListener("click", () => predict(one.name, "/example", JSON.stringify({ index })));
    li.append(button);
    return li;
  }));
}

start();
