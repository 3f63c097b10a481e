"use strict";

const body = document.querySelector("#rows tbody");
const headings = [...document.querySelectorAll("#rows thead th")];

/** Numbers before words, both ascending; what is missing comes last in either direction. */
function order(a, b, sign) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const numbers = [Number(a), Number(b)];
  return sign * (numbers.some(Number.isNaN) ? a.localeCompare(b, "en", { numeric: true }) : numbers[0] - numbers[1]);
}

function sort(heading) {
  const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const key = (row) => row.cells[headings.indexOf(heading)].dataset.sort;
  const rows = [...body.rows].sort((a, b) => order(key(a), key(b), sign) || order(a.cells[0].dataset.sort, b.cells[0].dataset.sort, 1));
  headings.forEach((other) => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
  body.append(...rows);
}

for (const heading of headings) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = heading.textContent;
  button.addEventListener("click", () => sort(heading));
  heading.replaceChildren(button);
}

const form = document.querySelector("#filter");
const choices = ["status", "evidence", "coverage", "text"].map((name) => form.elements[name]);

function filter() {
  const words = form.elements.find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let visible = 0;
  for (const row of body.rows) {
    const text = row.dataset.words.toLowerCase();
    const fits = words.every((word) => text.includes(word)) && choices.every(({ id, value }) => !value || row.dataset[id] === value);
    row.hidden = !fits;
    visible += fits;
  }
  document.querySelector("#count").textContent = `${visible} of ${body.rows.length} statements shown`;
}

form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
filter();

addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => (details.open = true)));
