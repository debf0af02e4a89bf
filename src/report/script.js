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
  document.querySelector("#live, nav").append(theme);

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort === undefined ? cell.textContent : Number(cell.dataset.sort);
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number"
    ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });

  // How a table was sorted and filtered, by its place: it may be told anew.
  const wishes = new Map();
  const wish = (table) => {
    const section = table.closest("section");
    const place = [...section.querySelectorAll("table.long")].indexOf(table);
    const called = `${section.id} ${place}`;
    if (!wishes.has(called)) wishes.set(called, {});
    return wishes.get(called);
  };

  const sortable = (table, body) => {
    const headers = [...table.tHead.rows[0].cells];
    const wanted = wish(table);
    const sort = () => {
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      headers[wanted.column].setAttribute("aria-sort", wanted.down ? "descending" : "ascending");
      const rows = [...body.rows];
      const way = wanted.down ? -1 : 1;
      rows.sort((a, b) => compare(value(a, wanted.column), value(b, wanted.column)) * way);
      body.append(...rows);
    };
    headers.forEach((header, column) => {
      const button = make("button", { type: "button", textContent: header.textContent });
      button.addEventListener("click", () => {
        wanted.down = header.getAttribute("aria-sort") === "ascending";
        wanted.column = column;
        sort();
      });
      header.replaceChildren(button);
    });
    if (wanted.column !== undefined) sort();
  };

  const filterable = (table, body) => {
    const id = `finder-${(fields += 1)}`;
    const label = make("label", { htmlFor: id, textContent: "Show only rows with" });
    const input = make("input", { id, type: "search", autocomplete: "off", spellcheck: false });
    const told = make("output", { htmlFor: id });
    const wanted = wish(table);
    const filter = () => {
      const text = (wanted.text = input.value.trim().toLowerCase());
      const rows = [...body.rows];
      rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(text); });
      const shown = rows.filter((row) => !row.hidden).length;
      told.textContent = text ? `${shown} of ${rows.length} rows` : "";
    };
    input.addEventListener("input", filter);
    const finder = make("div", { className: "finder" });
    finder.append(label, input, told);
    table.before(finder);
    if (wanted.text) {
      input.value = wanted.text;
      filter();
    }
  };

  const enhance = (root) => {
    for (const table of root.querySelectorAll("table.long")) {
      const body = table.tBodies[0];
      if (body.rows.length > 1) sortable(table, body);
      if (body.rows.length > 5) filterable(table, body);
    }
  };
  enhance(document);
  document.addEventListener("renewed", (event) => enhance(event.target));
})();
