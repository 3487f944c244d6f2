"use strict";
// A report of van_dense: tables that sort, long lists that unfold, pictures that enlarge, and the
// button of the theme. Without scripts the page shows everything, and nothing of these.

// Before anything is painted: long lists are short, since thousands of rows take seconds, and the
// theme is the one that was chosen last. Files may have no storage.
const root = document.documentElement;
root.classList.add("folds");
const storage = { get: () => null, set: () => {} };
try {
  const kept = window.localStorage;
  storage.get = () => kept.getItem("van_dense-theme");
  storage.set = (theme) => kept.setItem("van_dense-theme", theme);
} catch { /* a browser that forbids it */ }
if (["light", "dark"].includes(storage.get())) root.dataset.theme = storage.get();

// The key of a cell: a number, a text, or null for nothing, which is last in both directions.
function keyOf(cell) {
  if (cell.querySelector(".nothing")) return null;
  if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
  const text = cell.textContent;
  if (!cell.classList.contains("number")) return text;
  return Number(text.replaceAll("\u202f", ""));
}

const inOrder = new Intl.Collator("en", { numeric: true });

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number") return 1; // numbers before text where the largest is first
  return typeof b === "number" ? -1 : inOrder.compare(a, b);
}

function sort(head) {
  const table = head.closest("table");
  const column = head.cellIndex;
  const first = head.classList.contains("number") ? "descending" : "ascending";
  const second = first === "ascending" ? "descending" : "ascending";
  const direction = head.getAttribute("aria-sort") === first ? second : first;
  const sign = direction === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, key: keyOf(row.cells[column]) }));
  const full = rows.filter(({ key }) => key !== null);
  full.sort((a, b) => sign * compare(a.key, b.key));
  body.replaceChildren(...full.concat(rows.filter(({ key }) => key === null)).map((r) => r.row));
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
}

function unfolds(list) {
  const number = list.children.length;
  const what = list.tagName === "TBODY" ? "rows" : "pictures";
  if (number <= Number(list.dataset.short)) return;
  const button = document.createElement("button");
  button.className = "more";
  button.type = "button";
  const show = (isShort) => {
    list.classList.toggle("unfolded", !isShort);
    const grouped = String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
    button.textContent = isShort ? `Show all ${grouped} ${what}` : `Show fewer ${what}`;
    button.setAttribute("aria-expanded", String(!isShort));
  };
  button.addEventListener("click", () => {
    const isShort = list.classList.contains("unfolded");
    show(isShort);
    if (isShort) button.scrollIntoView({ block: "nearest" });
  });
  show(true);
  (list.closest(".table") ?? list.parentElement).append(button);
}

function enlarges(viewer) {
  const shown = viewer.querySelector("img");
  const caption = viewer.querySelector("p");
  const steps = viewer.querySelectorAll("[data-step]");
  let buttons = [];
  let place = 0;
  const show = (index) => {
    place = Math.max(0, Math.min(index, buttons.length - 1));
    const image = buttons[place].querySelector("img");
    shown.src = image.src;
    shown.alt = image.alt;
    const text = buttons[place].parentElement.querySelector("figcaption").textContent;
    caption.textContent = `${place + 1} of ${buttons.length}${text ? ": " : ""}${text}`;
    steps[0].setAttribute("aria-disabled", String(place === 0)); // disabled, it would lose the focus
    steps[1].setAttribute("aria-disabled", String(place === buttons.length - 1));
  };
  for (const gallery of document.querySelectorAll(".pictures")) {
    gallery.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      buttons = Array.from(gallery.querySelectorAll("button"));
      show(buttons.indexOf(button));
      viewer.showModal(); // the browser gives the focus back when it closes
    });
  }
  viewer.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) show(place + step);
  });
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer) viewer.close(); // beside the picture
    const step = event.target.dataset.step;
    if (step === "0") viewer.close();
    else if (step) show(place + Number(step));
  });
}

function themes(button) {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const show = () => button.setAttribute("aria-pressed", String(isDark()));
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    storage.set(root.dataset.theme);
    show();
  });
  dark.addEventListener("change", show);
  button.hidden = false;
  show();
}

// Boxes that scroll are reached by keyboard; the others are no stop.
function stops() {
  for (const box of document.querySelectorAll(".scroll")) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[data-short]").forEach(unfolds);
  document.addEventListener("click", (event) => {
    const head = event.target.closest("thead th");
    if (head && event.target.closest("button")) sort(head);
  });
  enlarges(document.getElementById("viewer"));
  themes(document.getElementById("theme"));
  stops();
  window.addEventListener("resize", stops);
});
