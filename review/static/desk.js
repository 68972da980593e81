// Ticks a whole page of the list, says how many are ticked, and decides by keys. Everything works without it.
"use strict";
for (const list of document.querySelectorAll("[data-list]")) {
  const boxes = [...list.querySelectorAll('td.tick input')];
  const head = list.querySelector("th.tick");
  const every = document.createElement("input");
  every.type = "checkbox";
  every.setAttribute("aria-label", head.textContent.trim());
  head.replaceChildren(every);
  const heading = list.querySelector(".decide h2");
  const text = heading.textContent;
  const count = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    every.checked = ticked === boxes.length;
    every.indeterminate = ticked > 0 && ticked < boxes.length;
    heading.textContent = ticked ? `${text} (${ticked})` : text;
  };
  every.addEventListener("change", () => {
    for (const box of boxes) box.checked = every.checked;
    count();
  });
  for (const box of boxes) box.addEventListener("change", count);
  count();
}

// Keys: j k o x a s w b t z u ?. On a list they are about the row that is marked; on a case, j and k go to its neighbours.
const list = document.querySelector("[data-list]");
const rows = list ? [...list.querySelectorAll("tbody tr")] : [];
const place = `row ${location.pathname}${location.search}`;
let at = -1;
const mark = (number) => {
  if (!rows.length) return;
  rows[at]?.classList.remove("current");
  at = Math.min(Math.max(number, 0), rows.length - 1);
  rows[at].classList.add("current");
  rows[at].scrollIntoView({ block: "nearest" });
  rows[at].querySelector("td.main-cell a, a")?.focus({ preventScroll: true });
  sessionStorage.setItem(place, String(at));
};
if (rows.length && sessionStorage.getItem(place) !== null && !location.hash) mark(Number(sessionStorage.getItem(place)));
const follow = (selector) => {
  const found = document.querySelector(selector);
  found?.click();
  return Boolean(found);
};
const tick = (change) => {
  const box = rows[at]?.querySelector("td.tick input");
  if (box) { box.checked = change(box.checked); box.dispatchEvent(new Event("change")); }
};
const chosen = () => {
  if (list && !list.querySelector("td.tick input:checked")) { if (at < 0) mark(0); tick(() => true); }
};
const keys = {
  j: () => (list ? mark(at + 1) : follow('a[rel="next"]')),
  k: () => (list ? mark(at - 1) : follow('a[rel="prev"]')),
  o: () => rows[at]?.querySelector("td.main-cell a")?.click(),
  x: () => { if (at < 0) mark(0); tick((was) => !was); },
  a: () => { chosen(); follow('button[data-key="a"]'); },
  s: () => { chosen(); document.querySelector('input[data-key="s"]')?.focus(); },
  w: () => { chosen(); document.querySelector('input[data-key="w"]')?.focus(); },
  t: () => follow('[data-key="t"]') || location.assign(document.querySelector("[data-safe]").dataset.safe),
  z: () => follow('main [data-key="z"]') || follow('[data-key="z"]'),
  b: () => document.querySelector("form[data-decide] button.first")?.click(),
  u: () => follow('button[data-key="u"]'),
  "?": () => document.querySelector("#keys")?.showModal(),
};
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.('input:not([type="checkbox"]):not([type="radio"]), textarea, select, dialog');
  if (event.key === "Escape" && typing && !typing.matches("dialog")) typing.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || typing || !Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]();
});
// Another value is ticked by typing it, and forgotten when something else is ticked.
for (const form of document.querySelectorAll("form[data-decide]")) {
  form.addEventListener("input", (event) => {
    const cell = event.target.closest("tr");
    const text = cell?.querySelector("td.other input:not([type])");
    const radio = cell?.querySelector('td.other input[type="radio"]');
    if (!text || !radio) return;
    if (event.target === text) (text.value ? radio : cell.querySelector('input[value="open"]')).checked = true;
    else if (event.target !== radio) text.value = "";
  });
}
// Enter in a field of a decision means that decision, not the first button of the form.
for (const field of document.querySelectorAll(".decisions fieldset input")) {
  field.addEventListener("keydown", (event) => {
    const button = field.closest("fieldset").querySelector("button");
    if (event.key === "Enter" && button) { event.preventDefault(); button.click(); }
  });
}
