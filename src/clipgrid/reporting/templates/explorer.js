"use strict";
// The form is the state, and the address is the form: #models=alexnet&clips=1 filters.

const one = (selector, of = document) => of.querySelector(selector);
const all = (selector, of = document) => [...of.querySelectorAll(selector)];
const element = (name, ...children) => {
  const made = document.createElement(name);
  made.append(...children);
  return made;
};
const button = (text, act) => {
  const made = element("button", text);
  made.type = "button";
  made.onclick = () => act(made);
  return made;
};
const count = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
const digits = Object.fromEntries([3, 4].map(n => [n, new Intl.NumberFormat("en", {maximumSignificantDigits: n})]));
const written = (value, n = 4) => value === null ? "–" : digits[n].format(value);

const {axes, measures, names, commands, trajectories, runs, curves, grids, clips, claims, charts} =
  JSON.parse(one("#data").textContent);
const axis = Object.fromEntries(axes.map(axis => [axis.name, axis]));
const {models, learning_rates: rates, clips: kinds, iterations, status} = axis;
const label = (axis, cell) => axis.labels[axis.at[cell]];
const form = one("form"), fields = form.elements;
const LINES = 600;  // more are drawn as medians and ranges
const MARKS = 12000;  // more points of lines are thinned once more
const POINTS = 3000;  // more cells are drawn on a canvas

// ---- what is selected ------------------------------------------------------------------------

const measure = which => measures.find(each => each.name === fields[which].value);

function filtered() {
  const state = new FormData(form);
  const claim = claims.find(claim => claim.id === state.get("claim"));
  const wanted = axes
    .map(({name, words, at}) => [at, new Set(state.getAll(name).map(word => words.indexOf(word)))])
    .filter(([, some]) => some.size);
  const cells = claim ? claim.cells : names.map((_, cell) => cell);
  return cells.filter(cell => wanted.every(([at, some]) => some.has(at[cell])));
}

// Whether a cell is in the box that the brush or the fields name.
function box() {
  const sides = ["x", "y"].map(which => {
    const [from, to] = ["from", "to"].map(end => fields[`${which}-${end}`].value);
    return [measure(which).values, from === "" ? -Infinity : Number(from), to === "" ? Infinity : Number(to)];
  }).filter(([, from, to]) => from > -Infinity || to < Infinity);
  return cell => sides.every(([values, from, to]) =>
    values[cell] !== null && from <= values[cell] && values[cell] <= to);
}

// ---- charts ----------------------------------------------------------------------------------

const drawn = new Map();  // place → the view in it, promised

// What is drawn there next begins anew, without a brush.
function forget(place) {
  drawn.get(place)?.then(view => view.finalize());
  drawn.delete(place);
}

// A chart with these rows in its place, or the reason why there is none.
async function draw(place, specification, data, {said, click, tell = row => row.told, renderer = "svg", brush, top}) {
  place.hidden = !Object.values(data).flat().length;
  if (place.hidden) return;
  if (!drawn.has(place)) {
    // Without eval, so that the content security policy needs none. Errors alone are logged: of an empty band there would be warnings.
    const options = {ast: true, actions: false, renderer, logLevel: 1};
    drawn.set(place, vegaEmbed(place, {...specification, datasets: data}, options).then(({view}) => {
      const tooltip = view.tooltip();
      view.addEventListener("mousemove", (event, item) => tooltip(view, event, item, item?.datum ? tell(item.datum) : null));
      view.addEventListener("mouseout", (event, item) => tooltip(view, event, item, null));
      view.addEventListener("click", (event, item) => item?.datum && click(item.datum));
      if (brush) view.addSignalListener("brush", (name, value) => brush(value));
      return view;
    }));
  } else {
    const view = await drawn.get(place);
    for (const [name, rows] of Object.entries(data)) view.data(name, rows);
    if (top !== undefined) view.signal("top", top);
    await view.runAsync();
  }
  await drawn.get(place);
  [place.role, place.ariaLabel, place.ariaRoleDescription] = ["img", said, null];
}

// Its one place, a note below it, and the table behind it.
function figure(id) {
  const whole = one("#" + id);
  const views = one(".views", whole);
  if (id !== "map" && !views.firstChild) views.append(Object.assign(element("div"), {className: "view"}));
  return {
    place: views.firstChild, views,
    note: text => { one("p.note", whole).textContent = text; },
    table: (...args) => {
      const details = one("details", whole), place = one("div", details);
      details.hidden = !args[1].length;
      details.ontoggle = () => details.open && table(place, ...args);
      details.ontoggle();
    },
  };
}

function map(cells) {
  const {values, label: what, log, name} = measure("y");
  const squares = new Map();
  for (const cell of cells) {
    const at = [models, rates, kinds].map(axis => axis.at[cell]), key = at.join();
    if (!squares.has(key)) squares.set(key, {at, n: 0, failed: 0, values: []});
    const square = squares.get(key);
    square.n += 1;
    square.failed += label(status, cell) !== "finished";
    if (values[cell] !== null) square.values.push(values[cell]);
  }
  const found = [...squares.values()].sort((a, b) => a.at.reduce((d, x, i) => d || x - b.at[i], 0));
  for (const square of found) square.mean = square.values.length
    ? square.values.reduce((a, b) => a + b) / square.values.length : null;
  const means = found.map(square => square.mean).filter(mean => mean !== null);
  const scale = value => log ? Math.log(value) : value;
  const whole = name.endsWith("_accuracy") ? [0, 100] : [Math.min(...means), Math.max(...means)];
  const [low, high] = whole.map(scale);
  const rows = found.map(({at: [model, rate, clip], n, failed, mean}) => {
    const short = written(mean, 3);
    const said = `${models.labels[model]}, η = ${rates.labels[rate]}, ${kinds.labels[clip]}: ${what} ${written(mean)}, the mean of ${count(n, "cell")}` +
      (failed ? `; ${failed} collapsed or diverged` : "");
    return {
      model, rate: rates.labels[rate], column: rate, clip: kinds.labels[clip], row: clip,
      share: mean === null ? null : high > low ? (scale(mean) - low) / (high - low) : 0.5,
      said: failed ? `${short}\n${failed}/${n}†` : short, told: said, n, failed, mean,
      key: {models: models.words[model], learning_rates: rates.words[rate], clips: kinds.words[clip]},
    };
  });

  const {views, note, table} = figure("map");
  models.labels.forEach((name, model) => {
    if (!views.children[model]) {
      const view = Object.assign(element("div"), {className: "view"});
      views.append(element("div", element("h3", name), view));
    }
    const panel = views.children[model], mine = rows.filter(row => row.model === model);
    panel.hidden = !mine.length;
    const high = new Set(mine.map(row => row.clip)).size;
    const sized = {...charts.squares, height: 45 + 38 * high};
    const place = one(".view", panel);
    if (place.dataset.high !== String(high)) forget(place);
    place.dataset.high = high;
    draw(place, sized, {rows: mine}, {
      click: row => toggle(row.key),
      said: `${name}: mean ${what} by clip and learning rate. The table below has the numbers.`,
    });
  });
  note(!rows.length ? "No cell is selected."
    : !means.length ? `None of the selected cells has a value: ${what}.`
    : name.endsWith("_accuracy") ? "Dark is 0%, light is 100%."
    : `Dark is ${written(whole[0])}, light is ${written(whole[1])}${log ? ", on a log scale" : ""}.`);
  table(["Net", "Learning rate", "Clipping", `Mean ${what}`, "Cells", "Collapsed or diverged", ""], rows, row =>
    [models.labels[row.model], row.rate, row.clip, written(row.mean), row.n, row.failed, button("select", () => { toggle(row.key); one("#map summary").focus(); })]);
}

function dots(cells, inside) {
  const x = measure("x"), y = measure("y");
  const shown = cells.filter(cell => x.values[cell] !== null && y.values[cell] !== null);
  const rows = shown.map(cell => ({
    x: x.values[cell], y: y.values[cell], colour: clips[kinds.at[cell]].colour, cell,
    failed: label(status, cell) !== "finished", inside: inside(cell),
  }));
  const {place, note} = figure("dots");
  const renderer = rows.length > POINTS ? "canvas" : "svg";
  const key = [x.name, y.name, renderer].join();
  if (place.dataset.key !== key) forget(place);
  place.dataset.key = key;
  const specification = structuredClone(charts.dots);
  [["x", x], ["y", y]].forEach(([which, {label, log, values}]) => {
    const positive = log && values.every(value => value === null || value > 0);
    Object.assign(specification.encoding[which], {title: label, scale: positive ? {type: "log"} : {zero: false}});
  });
  draw(place, specification, {rows}, {
    renderer, brush: brushed, click: row => "cell" in row && choose(names[row.cell]),
    tell: row => "cell" in row ? `${names[row.cell]}: ${y.label} ${written(row.y)}, ${x.label} ${written(row.x)}` : null,
    said: `${y.label} against ${x.label}: ${count(rows.length, "cell")}. The table of selected cells below has the numbers.`,
  });
  const missing = cells.length - rows.length;
  note(missing ? `${count(missing, "selected cell")} of ${cells.length.toLocaleString("en")} ${missing === 1 ? "has" : "have"} no value here` +
    ` (${y.label}, ${x.label}); the table below has ${missing === 1 ? "it" : "them"}.` : "");
  one("#dots details").hidden = true;  // that table is the one of the selected cells
}

// Of each run the largest T that is selected.
function ends(cells) {
  const found = new Map();
  for (const cell of cells) {
    const run = runs[cell], T = Number(iterations.words[iterations.at[cell]]);
    if (!(found.get(run)?.T >= T)) found.set(run, {run, T, clip: kinds.at[cell], cell});
  }
  return [...found.values()];
}

// Of a run the points (step, value) up to a step.
function points(run, T, column, grid) {
  const steps = grids[curves[run][grid]];
  return curves[run][column].map((y, i) => [steps[i], y]).filter(([step]) => step <= T);
}

function median(sorted) {
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// By clip the median and the range of many runs at steps that are common to them.
function summed(lines) {
  const found = [];
  for (const [clip, mine] of Map.groupBy(lines, line => line.clip)) {
    const last = Math.max(...mine.map(line => line.points.at(-1)[0]));
    const next = mine.map(() => 0);
    const at = [...new Set(Array.from({length: 40}, (_, k) => Math.ceil(last * ((k + 1) / 40) ** 2)))];
    const points = [];
    for (const step of at) {
      const values = [];
      mine.forEach(({points}, i) => {
        while (next[i] + 1 < points.length && points[next[i] + 1][0] <= step) next[i] += 1;
        const [here, y] = points[next[i]];
        if (here <= step && points.at(-1)[0] >= step) values.push(y);
      });
      values.sort((a, b) => a - b);
      if (values.length) points.push([step, median(values), values[0], values.at(-1)]);
    }
    if (points.length) found.push({name: `${kinds.labels[clip]}, ${count(mine.length, "run")}`, clip, points});
  }
  return found;
}

// The rows of a line, and of a bold one; of every so many of its points, counted from the last.
const along = ({name, clip, cell, points}, every = 1) => points
  .filter((_, i) => !i || (points.length - 1 - i) % every === 0)
  .map(([step, y]) => ({told: name, step, y, cell, colour: clips[clip].colour}));
const bold = ({name, clip, cell, points}) => points
  .map(([step, y, low = y, high = y]) => ({told: name, step, y, low, high, cell, colour: clips[clip].colour}));

// The top of a picture in which a few runs, as they diverge, would make the others a flat line.
function ceiling(lines) {
  const highest = lines.map(line => Math.max(...line.points.map(([, y]) => y))).sort((a, b) => a - b);
  const usual = 10 * highest[Math.floor(0.95 * (highest.length - 1))];
  const above = highest.filter(y => y > 10 * usual).length;
  return {above, top: above ? usual : null};
}

const singled = new Map();  // chart → the lines in it that are runs

// The rows of the chosen cell's run.
const chosen = id => singled.get(id).filter(({run}) => run === runs[names.indexOf(fields.cell.value)]).flatMap(bold);

function lines(id, selected, column, grid, log) {
  const each = selected.map(({run, T, clip, cell}) => ({
    name: trajectories[run], run, clip, cell,
    points: points(run, T, column, grid).filter(([, y]) => y !== null && !(log && y <= 0)),
  })).filter(line => line.points.length);
  const many = each.length > LINES;
  const found = many ? summed(each) : each;
  singled.set(id, many ? [] : each);
  const every = many ? 1 : Math.ceil(each.reduce((n, line) => n + line.points.length, 0) / MARKS);
  const limits = id !== "norm" ? [] : [...new Set(each.map(line => line.clip))]
    .filter(clip => clips[clip].threshold !== null)
    .map(clip => ({limit: clips[clip].threshold, colour: clips[clip].colour, told: kinds.labels[clip]}));
  const {top, above} = ceiling(each);
  const {place, note, table} = figure(id);
  draw(place, {...charts[id], params: [{name: "top", value: top}]}, {
    rows: singled.get(id).flatMap(line => along(line, every)), bold: many ? found.flatMap(bold) : chosen(id), limits,
  }, {
    top, click: row => row.cell !== undefined && choose(names[row.cell]),
    said: `${one("h2", one("#" + id)).textContent} over steps: ${count(found.length, "line")}. The table below has the numbers.`,
  });
  const without = selected.length - each.length;
  note([
    !selected.length ? "No run is selected." : !each.length ? "The selected runs have no such value." : "",
    many ? `These are ${count(each.length, "run")}, too many to tell apart. A line is the median over the runs with one clip, and a band goes` +
      " from the lowest to the highest of those that have not ended. Select fewer runs to see each of them." : "",
    above ? `${count(above, "run")} ${above === 1 ? "goes" : "go"} beyond the top of the picture; the table says how far.` : "",
    every > 1 ? `Of so many lines one point in ${every} is drawn; the table is of all points.` : "",
    each.length && without ? `${count(without, "run")} without such a value ${without === 1 ? "is" : "are"} left out.` : "",
  ].join(" ").trim());
  table([many ? "Clip" : "Run", "First", "Lowest", "Highest", "Last", "At step"], found, ({name, cell, points}) => {
    const ys = points.map(([, y]) => y);
    return [cell === undefined ? name : button(name, () => choose(names[cell])), written(ys[0]),
      written(Math.min(...points.map(([, y, low = y]) => low))), written(Math.max(...points.map(([, y, , high = y]) => high))),
      written(ys.at(-1)), points.at(-1)[0]];
  });
}

// ---- tables ----------------------------------------------------------------------------------

// Fifty rows at a time.
function table(place, columns, some, row) {
  const body = element("tbody"), paper = element("p");
  const head = columns.map(text => Object.assign(element("th", text), {scope: "col"}));
  let shown = 0;
  const more = button("", () => {
    for (const each of some.slice(shown, shown += 50))
      body.append(element("tr", ...row(each).map(text => element("td", text))));
    const left = some.length - shown;
    more.hidden = left <= 0;
    more.textContent = `50 more of the ${left.toLocaleString("en")} that are not shown`;
    paper.textContent = left > 0 ? `${left.toLocaleString("en")} more are not printed.` : "";
  });
  more.click();
  paper.className = "paper";
  const wide = element("div", element("table", element("thead", element("tr", ...head)), body));
  wide.className = "wide";
  place.replaceChildren(wide, more, paper);
}

async function copy(text, made) {
  try {
    await navigator.clipboard.writeText(text);
    made.textContent = "copied";
  } catch {  // not allowed: the reader copies what is selected
    getSelection().selectAllChildren(one("#cell code") ?? made);
    made.textContent = "press Ctrl+C";
  }
}

function rows(cells) {
  const shown = ["test_accuracy", "test_loss", "clip_fraction", "norm_max"]
    .map(name => measures.find(each => each.name === name)).filter(Boolean);
  if (!cells.length) return one("#rows").replaceChildren(element("p", "No cell is selected."));
  table(one("#rows"), ["Cell", "Status", ...shown.map(each => each.label), "Command"], cells, cell => [
    button(names[cell], () => choose(names[cell])), label(status, cell),
    ...shown.map(({values}) => written(values[cell])),
    Object.assign(button("copy", made => copy(commands[cell], made)), {className: "copy", ariaLabel: `Copy the command of ${names[cell]}`}),
  ]);
}

// ---- a cell ----------------------------------------------------------------------------------

let opener = null;  // what had the focus

function choose(name) {
  opener = name ? document.activeElement : opener;
  fields.cell.value = name;
  remember();
  detail();
  const heading = one("#cell h2");
  (heading ?? opener)?.focus({preventScroll: true});
}

function detail() {
  const place = one("#cell"), cell = names.indexOf(fields.cell.value);
  for (const [id, lines] of singled)
    if (lines.length) drawn.get(figure(id).place).then(view => view.data("bold", chosen(id)).runAsync());
  place.hidden = cell < 0;
  if (place.hidden) return place.replaceChildren();
  const pair = (term, text) => element("div", element("dt", term), element("dd", text));
  const link = (to, text) => Object.assign(element("a", text), {href: `report.html#${to}`});
  const behind = claims.filter(claim => claim.cells.includes(cell));
  place.replaceChildren(
    Object.assign(element("h2", names[cell]), {tabIndex: -1}),
    element("dl", ...axes.map(axis => pair(axis.heading, label(axis, cell))),
      ...measures.map(({label, values}) => pair(label, written(values[cell])))),
    element("p", "This command trains it again, to the same bits:"),
    element("code", commands[cell]),
    element("p", button("Copy the command", made => copy(commands[cell], made)), " ", button("Close", () => choose(""))),
    element("p", link("find=" + encodeURIComponent(names[cell]), "In the report"),
      ...(behind.length ? [". Compared by the claims "] : []),
      ...behind.flatMap((claim, i) => [i ? ", " : "", link(claim.id, claim.id)])));
}

// ---- the address -----------------------------------------------------------------------------

function show() {
  const cells = filtered(), inside = box(), some = cells.filter(inside), selected = ends(some);
  const ended = status.labels.filter(each => each !== "finished")
    .map(each => [each, some.filter(cell => label(status, cell) === each).length]).filter(([, n]) => n);
  one("#count").textContent = `${some.length.toLocaleString("en")} of ${count(names.length, "cell")}, of ${count(selected.length, "run")}` +
    ended.map(([each, n]) => `; ${n.toLocaleString("en")} ${each}`).join("");
  const claim = claims.find(claim => claim.id === fields.claim?.value);
  one("#compared").textContent = claim ? `Compared by ${claim.id}: ${claim.statement}` : "";
  one("#filters").textContent = all("fieldset", form).map(set => [one("legend", set).textContent,
    all("label:has(:checked)", set).map(each => each.textContent.trim()).concat(all("option:checked", set).map(each => each.textContent)).join(", ")])
    .filter(([, some]) => some).map(each => each.join(": ")).join("; ");
  map(some);
  dots(cells, inside);
  lines("accuracy", selected, "accuracy", "looks");
  lines("loss", selected, "loss", "steps", true);
  lines("norm", selected, fields.norm.value, "steps", true);
  lines("clipped", selected, "clipped", "steps");
  rows(some);
  detail();
}

// What differs from the form's defaults, and the ticks; `all` where nothing is ticked.
function state() {
  const usual = ([name, value]) => value === "" || all(`label select[name=${name}] option`, form).some(o => o.defaultSelected && o.value === value);
  return String(new URLSearchParams([...new FormData(form)].filter(field => !usual(field)))) || "all";
}

function remember(replace) {
  const now = state();
  history[replace ? "replaceState" : "pushState"](null, "", now === first ? location.pathname : "#" + now);
}

function follow(replace) {
  remember(replace);
  show();
}

// The form as an address says.
function go() {
  const address = location.hash.slice(1);
  form.reset();
  fields.cell.value = "";
  if (address) {
    const named = new URLSearchParams(address);
    for (const box of all("input[type=checkbox]", form)) box.checked = named.getAll(box.name).includes(box.value);
    for (const option of all("fieldset option", form))
      option.selected = named.getAll(option.parentNode.name).includes(option.value);
    for (const field of all("input:not([type=checkbox]), label select", form))
      if (named.has(field.name)) field.value = named.get(field.name);
    for (const field of all("label select", form)) if (!field.value) field.selectedIndex = 0;
  }
  forget(figure("dots").place);
  show();
}

// A click on a square ticks its place alone, or all again.
function toggle(key) {
  const boxes = Object.entries(key).flatMap(([name, word]) => [
    ...all(`input[name=${name}]`, form).map(box => [box, "checked", box.value === word]),
    ...all(`select[name=${name}] option`, form).map(option => [option, "selected", option.value === word]),
  ]);
  const already = boxes.every(([box, ticked, mine]) => box[ticked] === mine);
  for (const [box, ticked, mine] of boxes) box[ticked] = mine && !already;
  follow();
}

let waiting;
function brushed(sides) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    for (const which of ["x", "y"]) {
      const ends = sides[which] ? [...sides[which]].sort((a, b) => a - b) : [null, null];
      ["from", "to"].forEach((end, i) => {
        fields[`${which}-${end}`].value = ends[i] === null ? "" : Number(ends[i].toPrecision(4));
      });
    }
    follow(true);
  }, 150);
}

one("#start").onclick = () => { history.pushState(null, "", location.pathname); go(); };
one("#every").onclick = () => { history.pushState(null, "", "#all"); go(); };
form.addEventListener("submit", event => event.preventDefault());
form.addEventListener("change", event => {
  if (!event.target.closest("fieldset")) forget(figure("dots").place);
  follow();
});
window.addEventListener("popstate", go);
document.addEventListener("keydown", event => event.key === "Escape" && fields.cell.value && choose(""));

all(".swatch").forEach((swatch, clip) => { swatch.style.background = clips[clip].colour; });
one("#filter").open = matchMedia("(min-width: 801px)").matches;
const first = state();
go();
