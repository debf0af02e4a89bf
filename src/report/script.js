"use strict";
// A convenience: without it the page says all the same.
(() => {
  const make = (name, properties) => Object.assign(document.createElement(name), properties);
  let fields = 0;

  // Light or dark by hand, whatever the system says.
  const theme = make("button", { type: "button", className: "theme" });
  const dark = () => document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { theme.textContent = dark() ? "Light colours" : "Dark colours"; };
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    name();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
  document.querySelector("nav").append(theme);

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort === undefined ? cell.textContent : Number(cell.dataset.sort);
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));

  const sortable = (table, body) => {
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      const button = make("button", { type: "button", textContent: header.textContent });
      button.addEventListener("click", () => {
        const down = header.getAttribute("aria-sort") === "ascending";
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows];
        rows.sort((a, b) => compare(value(a, column), value(b, column)) * (down ? -1 : 1));
        body.append(...rows);
      });
      header.replaceChildren(button);
    });
  };

  const filterable = (table, body) => {
    const id = `finder-${(fields += 1)}`;
    const label = make("label", { htmlFor: id, textContent: "Show only rows with" });
    const input = make("input", { id, type: "search", autocomplete: "off", spellcheck: false });
    const told = make("output", { htmlFor: id });
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      const rows = [...body.rows];
      rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
      const shown = rows.filter((row) => !row.hidden).length;
      told.textContent = wanted ? `${shown} of ${rows.length} rows` : "";
    });
    const finder = make("div", { className: "finder" });
    finder.append(label, input, told);
    table.before(finder);
  };

  for (const table of document.querySelectorAll("table.long")) {
    const body = table.tBodies[0];
    if (body.rows.length > 1) sortable(table, body);
    if (body.rows.length > 5) filterable(table, body);
  }
})();
