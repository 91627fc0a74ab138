"use strict";

/* Sorting: a button in each heading; the third click restores the order of the page. */

const compareTexts = new Intl.Collator("en", { numeric: true }).compare;

function sortKey(row, column) {
  const cell = row.cells[column];
  return "sort" in cell.dataset ? cell.dataset.sort : cell.textContent.trim();
}

function compareRows(first, second, column, sign) {
  const [a, b] = [sortKey(first, column), sortKey(second, column)];
  if (!a || !b) return Number(!a) - Number(!b); // empty cells are last in both orders
  const difference = Number(a) - Number(b);
  return sign * (Number.isNaN(difference) ? compareTexts(a, b) : difference);
}

function sortTable(table, heading) {
  const isNumber = heading.classList.contains("number");
  const orders = isNumber ? ["descending", "ascending"] : ["ascending", "descending"];
  const order = orders[orders.indexOf(heading.getAttribute("aria-sort")) + 1] ?? "none";
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", order);
  closePanels(table);
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((a, b) => a.dataset.position - b.dataset.position);
  if (order !== "none") {
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((a, b) => compareRows(a, b, heading.cellIndex, sign));
  }
  body.append(...rows);
}

for (const table of document.querySelectorAll(".sortable")) {
  [...table.tBodies[0].rows].forEach((row, position) => { row.dataset.position = position; });
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sortTable(table, heading));
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
  }
}

/* Filter: rows of the results that contain every word. */

const filter = document.getElementById("filter");
const resultTables = [...document.querySelectorAll(".results")];

function filterRows() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  resultTables.forEach(closePanels);
  const rows = resultTables.flatMap((table) => [...table.tBodies[0].rows]);
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
  const shown = rows.filter((row) => !row.hidden).length;
  document.getElementById("count").value = words.length ? `${shown} of ${rows.length} rows` : "";
}

document.querySelector(".tools").hidden = false;
filter.addEventListener("input", filterRows);
filterRows();

/* Panels: the runs of an entry open below its row; without this script, the links lead to them. */

function openPanel(link) {
  const row = link.closest("tr");
  closePanels(row.closest("table"));
  const body = document.getElementById(link.hash.slice(1));
  // The same runs may be open below another table.
  if (body.closest(".panel")) closePanels(body.closest(".results"));
  const panel = document.createElement("tr");
  panel.className = "panel";
  const cell = panel.insertCell();
  cell.colSpan = row.cells.length;
  panel.home = body.parentElement;
  panel.link = link;
  panel.home.hidden = true;
  cell.append(body);
  row.after(panel);
  link.setAttribute("aria-expanded", "true");
}

function closePanels(table) {
  for (const panel of table.querySelectorAll(".panel")) {
    panel.home.append(panel.querySelector(".body"));
    panel.home.hidden = false;
    panel.link.setAttribute("aria-expanded", "false");
    panel.remove();
  }
}

for (const link of document.querySelectorAll("a.open")) {
  link.setAttribute("aria-expanded", "false");
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const isOpen = link.getAttribute("aria-expanded") === "true";
    if (isOpen) closePanels(link.closest("table"));
    else openPanel(link);
  });
}

document.addEventListener("keydown", (event) => {
  const panel = event.target.closest?.(".panel");
  if (event.key !== "Escape" || !panel) return;
  const { link } = panel;
  closePanels(panel.closest("table"));
  link.focus();
});
