// Ticks a whole page of the list, and says how many are ticked. Everything works without it.
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
