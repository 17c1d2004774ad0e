"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const { prefix, places, rows } = JSON.parse(byId("rows").textContent);
  const VERDICTS = ["ERROR", "NG", "CHECK", "OK"]; // worst first
  const [N, NAME, VERDICT, SCORE, P, AREA, REGIONS, PART, REASON, WRITTEN, STEM] = Array(11).keys();
  const PRINTED_PICTURES = 24, PRINTED_ROWS = 400, OVERSCAN = 8;

  const grid = byId("grid"), body = byId("body"), head = grid.querySelector(".head"), stage = byId("stage");
  const wipe = byId("wipe"), search = byId("search");
  let shown = rows, chosen = null, view = "overlay", order = "worst", reversed = false;
  const hidden = new Set(); // verdicts, by number

  // Text from outside is only ever set as text.
  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined && text !== null) element.textContent = text;
    return element;
  }
  const number = (value, digits = 4) => (value === null || value === undefined ? "\u2013" : value.toPrecision(digits).includes("e") ? String(Number(value.toPrecision(digits))) : value.toPrecision(digits));
  const haystacks = rows.map((row) => [row[NAME], row[PART], row[REASON]].filter(Boolean).join("\n").toLowerCase());
  const place = new Map(rows.map((row, index) => [row[N], index]));

  const above = (row) => (row[SCORE] === null ? Infinity : row[SCORE]);
  const text = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const ORDERS = {
    order: (a, b) => a[N] - b[N],
    worst: (a, b) => a[VERDICT] - b[VERDICT] || (above(b) > above(a) ? 1 : above(b) < above(a) ? -1 : 0) || a[N] - b[N],
    score: (a, b) => (b[SCORE] ?? -Infinity) - (a[SCORE] ?? -Infinity) || a[N] - b[N],
    area: (a, b) => b[AREA] - a[AREA] || a[N] - b[N],
    name: (a, b) => text(a[NAME], b[NAME]) || a[N] - b[N],
  };
  const COLUMNS = [["order", "#", "n"], ["worst", "verdict", ""], ["score", "score", "number"], ["area", "area px", "number"], ["name", "image", ""], [null, "", "links"]];

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = rows.filter((row) => !hidden.has(row[VERDICT]) && words.every((word) => haystacks[place.get(row[N])].includes(word)));
    shown.sort(ORDERS[order]);
    if (reversed) shown.reverse();
    byId("shown").textContent = shown.length === rows.length ? `${rows.length.toLocaleString("en")} images` : `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} images`;
    grid.setAttribute("aria-rowcount", shown.length + 1);
    body.style.height = `${shown.length * rowHeight()}px`;
    grid.scrollTop = 0;
    const still = chosen && shown.includes(chosen) ? chosen : shown.find((row) => byId(`p${row[N]}`)) ?? shown[0] ?? null;
    choose(still, true);
  }

  const rowHeight = () => head.offsetHeight;
  const pageOf = () => Math.max(1, Math.floor((grid.clientHeight - rowHeight()) / rowHeight()));

  function drawRows() {
    const height = rowHeight();
    const first = Math.max(0, Math.floor(grid.scrollTop / height) - OVERSCAN);
    const last = Math.min(shown.length, first + pageOf() + 2 * OVERSCAN + 2);
    body.replaceChildren(...shown.slice(first, last).map((row, index) => drawRow(row, first + index, height)));
    if (chosen && byId(`r${chosen[N]}`)) grid.setAttribute("aria-activedescendant", `r${chosen[N]}`);
    else grid.removeAttribute("aria-activedescendant");
  }

  function drawRow(row, index, height) {
    const line = make("div", "row");
    line.id = `r${row[N]}`;
    line.setAttribute("role", "row");
    line.setAttribute("aria-rowindex", index + 2);
    line.setAttribute("aria-selected", row === chosen);
    line.style.transform = `translateY(${index * height}px)`;
    const verdict = VERDICTS[row[VERDICT]];
    const name = make("span", "name"); // cut at its beginning, where names are alike
    const letters = make("bdi", "", row[NAME]);
    letters.dir = "ltr";
    name.append(letters);
    name.title = row[NAME] + (row[REASON] ? `\n${row[REASON]}` : "");
    const links = make("span", "links");
    links.append(...linksOf(row, -1));
    const cells = [make("span", "n", row[N]), make("span", `mark ${verdict.toLowerCase()}`, verdict), make("span", "number", number(row[SCORE])), make("span", "number", row[AREA] || "\u2013"), name, links];
    for (const cell of cells) cell.setAttribute("role", "gridcell");
    line.append(...cells);
    line.addEventListener("click", (event) => { if (event.target.tagName !== "A") choose(row, false); });
    return line;
  }

  const addressOf = (row, bit) => places[bit][1] + row[STEM] + places[bit][2];
  function linksOf(row, tabIndex) {
    return [1, 0, 2].filter((bit) => row[WRITTEN] & (1 << bit)).map((bit) => {
      const link = make("a", "", places[bit][0]);
      link.href = addressOf(row, bit);
      link.tabIndex = tabIndex;
      return link;
    });
  }

  function choose(row, bringIntoView) {
    chosen = row;
    if (row && bringIntoView) {
      const height = rowHeight(), top = shown.indexOf(row) * height, room = grid.clientHeight - height;
      if (top < grid.scrollTop) grid.scrollTop = top;
      else if (top + height > grid.scrollTop + room) grid.scrollTop = top + height - room;
    }
    drawRows();
    drawViewer();
    remember();
  }

  function move(by) {
    if (!shown.length) return;
    const at = chosen ? shown.indexOf(chosen) : 0;
    choose(shown[Math.min(shown.length - 1, Math.max(0, at + by))], true);
  }

  function pictured(row) {
    const block = row && byId(`p${row[N]}`);
    return block ? JSON.parse(block.textContent) : null;
  }

  function drawViewer() {
    const about = byId("about"), empty = byId("empty"), row = chosen, block = pictured(row);
    about.replaceChildren();
    const written = row && row[WRITTEN] & 2;
    stage.hidden = !block && !written;
    empty.hidden = !stage.hidden;
    stage.classList.toggle("alone", !block);
    byId("controls").classList.toggle("alone", !block);
    for (const control of [wipe, ...byId("views").children]) control.disabled = !block;
    for (const index of [0, 1, 2]) byId(`v${index}`).removeAttribute("src");
    if (!row) { empty.textContent = "No image matches."; return; }
    empty.textContent = row[REASON] ?? (VERDICTS[row[VERDICT]] === "OK" ? "OK: no picture was drawn." : "No picture of this image is in the page.");
    const said = `${VERDICTS[row[VERDICT]]}, ${row[NAME]}`;
    if (block) {
      block.views.forEach((source, index) => { const image = byId(`v${index}`); image.src = source; image.alt = `${["image", "overlay", "map"][index]}: ${said}`; });
      stage.style.setProperty("--ratio", block.size[0] / block.size[1]);
    } else if (written) { // one of too many for the page: the overlay from the folder beside it
      const image = byId("v1");
      image.src = addressOf(row, 1);
      image.alt = `overlay: ${said}`;
      image.onerror = () => { stage.hidden = true; empty.hidden = false; empty.textContent = "The overlay is not beside this page."; };
    }
    drawView();
    const title = make("h3", `mark ${VERDICTS[row[VERDICT]].toLowerCase()}`, `${VERDICTS[row[VERDICT]]} ${row[SCORE] === null ? "" : number(row[SCORE])}`);
    about.append(title, make("p", "", row[NAME]));
    const facts = [`image ${row[N].toLocaleString("en")}`];
    if (row[PART] !== null) facts.push(`part ${row[PART]}`);
    if (block) facts.push(`${block.size[0]} \u00d7 ${block.size[1]} px`, `regions count from ${block.min_area_px} px`);
    if (row[P] !== null) facts.push(`p = ${number(row[P], 2)}`);
    about.append(make("p", "soft", facts.join("  \u00b7  ")));
    if (row[REASON] && !stage.hidden) about.append(make("p", "", row[REASON]));
    const links = linksOf(row, 0);
    if (links.length) { const line = make("p", "soft", "Open the "); links.forEach((link, index) => line.append(index ? ", " : "", link)); about.append(line); }
    if (block && block.regions.length) about.append(regionTable(block.regions, row[REGIONS]));
  }

  function regionTable(regions, total) {
    const millimetres = regions.some((region) => region[1] !== null);
    const table = make("table"), first = make("tr");
    for (const name of [total === 1 ? "region" : `${total} regions`, "area px", ...(millimetres ? ["area mm\u00b2"] : []), "x, y", "width \u00d7 height", "highest"]) first.append(make("th", "", name));
    table.append(first);
    regions.forEach(([area, square, box, most], index) => {
      const line = make("tr");
      for (const cell of [index + 1, area, ...(millimetres ? [number(square)] : []), `${box[0]}, ${box[1]}`, `${box[2]} \u00d7 ${box[3]}`, number(most)]) line.append(make("td", "", cell));
      table.append(line);
    });
    return table;
  }

  function drawView() {
    const alone = stage.classList.contains("alone"), map = view === "map" && !alone, share = alone ? 100 : Number(wipe.value);
    stage.style.setProperty("--wipe", `${share}%`);
    byId("v0").hidden = map || alone;
    byId("v1").hidden = map;
    byId("v2").hidden = !map;
    byId("divider").hidden = map || alone || share === 0 || share === 100;
    for (const button of byId("views").children) {
      const name = button.dataset.view;
      button.setAttribute("aria-pressed", !alone && (map ? name === "map" : (name === "image" && share === 0) || (name === "overlay" && share === 100)));
    }
  }

  function show(name) {
    view = name;
    if (name !== "map") wipe.value = name === "image" ? 0 : 100;
    drawView();
  }

  // The address holds what is shown, so that an image or a search can be linked to.
  function remember() {
    const state = new URLSearchParams();
    if (search.value) state.set("q", search.value);
    if (hidden.size) state.set("hide", [...hidden].sort().map((one) => VERDICTS[one]).join(","));
    if (order !== "worst" || reversed) state.set("by", (reversed ? "-" : "") + order);
    if (chosen) state.set("n", chosen[N]);
    try { history.replaceState(null, "", `#${state}`); } catch { /* a viewer without addresses */ }
  }

  function recall() {
    const state = new URLSearchParams(location.hash.slice(1));
    search.value = state.get("q") ?? "";
    for (const name of (state.get("hide") ?? "").split(",")) if (VERDICTS.includes(name)) hidden.add(VERDICTS.indexOf(name));
    const by = state.get("by") ?? "worst";
    reversed = by.startsWith("-");
    order = Object.hasOwn(ORDERS, by.replace("-", "")) ? by.replace("-", "") : "worst";
    const at = place.get(Number(state.get("n")));
    chosen = at === undefined ? null : rows[at];
  }

  function drawHead() {
    for (const [key, name, className] of COLUMNS) {
      const cell = make("span", className);
      cell.setAttribute("role", "columnheader");
      if (key) {
        const button = make("button", "", name);
        button.addEventListener("click", () => { reversed = order === key && !reversed; order = key; drawSorted(); filter(); });
        cell.append(button);
        cell.dataset.key = key;
      } else cell.setAttribute("aria-label", "pictures");
      head.append(cell);
    }
    drawSorted();
  }
  function drawSorted() {
    const rising = (order === "order" || order === "name") !== reversed;
    for (const cell of head.children) {
      if (cell.dataset.key === order) cell.setAttribute("aria-sort", rising ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    }
  }

  function drawVerdicts() {
    VERDICTS.forEach((name, verdict) => {
      const count = rows.reduce((sum, row) => sum + (row[VERDICT] === verdict), 0);
      const button = make("button", `mark ${name.toLowerCase()}`, `${name} ${count.toLocaleString("en")}`);
      button.disabled = count === 0;
      button.setAttribute("aria-pressed", count > 0 && !hidden.has(verdict));
      button.addEventListener("click", () => {
        if (!hidden.delete(verdict)) hidden.add(verdict);
        button.setAttribute("aria-pressed", !hidden.has(verdict));
        filter();
      });
      byId("verdicts").append(button);
    });
  }

  // On paper: the pictures and rows of what is shown now, as far as paper goes.
  function drawPrint() {
    const print = byId("print"), sheet = make("div", "sheet"), table = make("table");
    const withPictures = shown.filter((row) => byId(`p${row[N]}`)).slice(0, PRINTED_PICTURES);
    for (const row of withPictures) {
      const figure = make("figure"), pair = make("div");
      for (const source of pictured(row).views.slice(0, 2)) { const image = make("img"); image.src = source; image.alt = ""; pair.append(image); }
      figure.append(pair, make("figcaption", "", `${row[N]}  ${VERDICTS[row[VERDICT]]}  ${number(row[SCORE])}  ${row[NAME]}`));
      sheet.append(figure);
    }
    const first = make("tr"), lines = shown.slice(0, PRINTED_ROWS);
    for (const name of ["#", "verdict", "score", "area px", "image"]) first.append(make("th", "", name));
    const top = make("thead");
    top.append(first);
    table.append(top);
    for (const row of lines) {
      const line = make("tr");
      for (const cell of [row[N], VERDICTS[row[VERDICT]], number(row[SCORE]), row[AREA] || "", row[NAME] + (row[REASON] ? ` (${row[REASON]})` : "")]) line.append(make("td", "", cell));
      table.append(line);
    }
    print.replaceChildren(make("h2", "", withPictures.length ? "The worst images" : "Images"), sheet, table);
    if (lines.length < shown.length) print.append(make("p", "note", `${lines.length} of ${shown.length} rows; results.csv has all.`));
  }

  byId("review").hidden = false;
  byId("prefix").textContent = prefix && `in ${prefix}`;
  recall();
  drawHead();
  drawVerdicts();
  filter();
  search.addEventListener("input", filter);
  grid.addEventListener("scroll", drawRows, { passive: true });
  addEventListener("resize", () => { body.style.height = `${shown.length * rowHeight()}px`; drawRows(); });
  wipe.addEventListener("input", () => { view = "overlay"; drawView(); });
  for (const button of byId("views").children) button.addEventListener("click", () => show(button.dataset.view));
  byId("previous").addEventListener("click", () => move(-1));
  byId("next").addEventListener("click", () => move(1));
  const drag = (event) => {
    if (stage.classList.contains("alone") || !(event.buttons & 1)) return;
    const box = stage.getBoundingClientRect();
    wipe.value = Math.round((100 * (event.clientX - box.left)) / box.width);
    view = "overlay";
    drawView();
  };
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); drag(event); });
  stage.addEventListener("pointermove", drag);
  grid.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: pageOf(), PageUp: -pageOf(), Home: -Infinity, End: Infinity };
    if (event.target !== grid || !(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const by = steps[event.key];
    move(Number.isFinite(by) ? by : Math.sign(by) * shown.length);
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target === search) return;
    const keys = { j: () => move(1), k: () => move(-1), 1: () => show("image"), 2: () => show("overlay"), 3: () => show("map"), "/": () => search.focus() };
    if (!Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
  addEventListener("beforeprint", drawPrint);
})();
