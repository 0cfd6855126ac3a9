// The charts of the explorer: rows for Vega-Lite, what stands below each chart, and the table behind it.

const LINES = 600;  // more runs are drawn as medians and ranges
const ARMS = 100;  // more arms are summed up by clip
const MARKS = 12000;  // more points of lines are thinned once more
const POINTS = 3000;  // more cells are drawn on a canvas

const drawn = new Map();  // place → the view in it, promised

// What is drawn there next begins anew, without a brush.
function forget(place) {
  drawn.get(place)?.then(view => view.finalize());
  drawn.delete(place);
}

// A chart with these rows in its place, or the reason why there is none.
async function draw(place, specification, data, {said, click, tell = row => row.told, renderer = "svg", brush, top}) {
  place.hidden = !Object.values(data).some(rows => rows.length);
  if (place.hidden) return;
  if (!drawn.has(place)) {
    // Expressions are interpreted, as the content security policy allows no eval. Errors alone are logged: an empty
    // band would be warned of.
    const options = {ast: true, actions: false, renderer, logLevel: 1};
    drawn.set(place, vegaEmbed(place, {...specification, datasets: data}, options).then(({view}) => {
      const tooltip = view.tooltip();
      view.addEventListener("mousemove", (event, item) =>
        tooltip(view, event, item, item?.datum ? tell(item.datum) : null));
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
    const told = `${models.labels[model]}, η = ${rates.labels[rate]}, ${kinds.labels[clip]}: ${what} ${written(mean)},` +
      ` the mean of ${count(n, "cell")}` + (failed ? `; ${failed} collapsed or diverged` : "");
    return {
      model, rate: rates.labels[rate], column: rate, clip: kinds.labels[clip], row: clip,
      share: mean === null ? null : high > low ? (scale(mean) - low) / (high - low) : 0.5,
      said: failed ? `${short}\n${failed}/${n}†` : short, told, n, failed, mean,
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
  const select = row => button("select", () => { toggle(row.key); one("#map summary").focus(); });
  table(["Net", "Learning rate", "Clipping", `Mean ${what}`, "Cells", "Collapsed or diverged", ""], rows, row =>
    [models.labels[row.model], row.rate, row.clip, written(row.mean), row.n, row.failed, select(row)]);
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
  const one_of = row => "cell" in row;  // and not the brush
  draw(place, specification, {rows}, {
    renderer, brush: brushed, click: row => one_of(row) && choose(names[row.cell]),
    tell: row => one_of(row) ? `${names[row.cell]}: ${y.label} ${written(row.y)}, ${x.label} ${written(row.x)}` : null,
    said: `${y.label} against ${x.label}: ${count(rows.length, "cell")}. The table of selected cells has the numbers.`,
  });
  const missing = cells.length - rows.length;
  note(missing ? `${count(missing, "selected cell")} of ${cells.length.toLocaleString("en")} ` +
    `${missing === 1 ? "has" : "have"} no value here (${y.label}, ${x.label}); the table of selected cells has all.`
    : !cells.length ? "No cell is selected." : "");
  one("#dots details").hidden = true;  // that table is the one of the selected cells
}

// ---- lines -----------------------------------------------------------------------------------

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

// By arm, or where these are too many by clip, the median and the range of many runs, at the steps of the longest.
function summed(lines) {
  const arms = Map.groupBy(lines, line => line.name.replace(/_seed.*$/, ""));
  const groups = arms.size > ARMS ? Map.groupBy(lines, line => kinds.labels[line.clip]) : arms;
  const found = [];
  for (const [name, mine] of groups) {
    const longest = mine.reduce((a, b) => a.points.at(-1)[0] < b.points.at(-1)[0] ? b : a);
    const next = mine.map(() => 0), points = [];
    for (const [step] of longest.points) {
      const values = [];
      mine.forEach(({points}, i) => {
        while (next[i] + 1 < points.length && points[next[i] + 1][0] <= step) next[i] += 1;
        const [here, y] = points[next[i]];
        if (here <= step && points.at(-1)[0] >= step) values.push(y);
      });
      values.sort((a, b) => a - b);
      if (values.length) points.push([step, median(values), values[0], values.at(-1)]);
    }
    found.push({name: `${name}, ${count(mine.length, "run")}`, clip: mine[0].clip, points});
  }
  return {found, over: arms.size > ARMS ? "the runs with one clip" : "the seeds of an arm"};
}

// The rows of a line, and of a bold one; of every so many of its points, counted from the last.
const along = ({name, clip, cell, points}, every = 1) => points
  .filter((_, i) => !i || (points.length - 1 - i) % every === 0)
  .map(([step, y]) => ({told: name, step, y, cell, colour: clips[clip].colour}));
const bold = ({name, clip, cell, points}) => points
  .map(([step, y, low = y, high = y]) => ({told: name, step, y, low, high, cell, colour: clips[clip].colour}));

// The top of a picture with a log scale in which a few runs, as they diverge, would make the others a flat line.
function ceiling(lines, log) {
  if (!log) return {above: 0, top: null};
  const highest = lines.map(line => Math.max(...line.points.map(([, y]) => y))).sort((a, b) => a - b);
  const usual = 10 * highest[Math.floor(0.95 * (highest.length - 1))];
  const above = highest.filter(y => y > 10 * usual).length;
  return {above, top: above ? usual : null};
}

const singled = new Map();  // chart → the lines in it that are runs

// The rows of the chosen cell's run.
const chosen = id => singled.get(id)
  .filter(({run}) => run === runs[names.indexOf(fields.cell.value)]).flatMap(bold);

function lines(id, selected, column, grid, log) {
  const each = selected.map(({run, T, clip, cell}) => ({
    name: trajectories[run], run, clip, cell,
    points: points(run, T, column, grid).filter(([, y]) => y !== null && !(log && y <= 0)),
  })).filter(line => line.points.length);
  const many = each.length > LINES;
  const {found, over} = many ? summed(each) : {found: each};
  singled.set(id, many ? [] : each);
  const every = many ? 1 : Math.ceil(each.reduce((n, line) => n + line.points.length, 0) / MARKS);
  const limits = id !== "norm" ? [] : [...new Set(each.map(line => line.clip))]
    .filter(clip => clips[clip].threshold !== null)
    .map(clip => ({limit: clips[clip].threshold, colour: clips[clip].colour, told: kinds.labels[clip]}));
  const {top, above} = ceiling(each, log);
  const {place, note, table} = figure(id);
  const data = {rows: singled.get(id).flatMap(line => along(line, every)), limits};
  data.bold = many ? found.flatMap(bold) : chosen(id);
  const title = one(`#${id} h2`).textContent;
  draw(place, {...charts[id], params: [{name: "top", value: top}]}, data, {
    top, click: row => row.cell !== undefined && choose(names[row.cell]),
    said: `${title} over steps: ${count(found.length, "line")}. The table below has the numbers.`,
  });
  const without = selected.length - each.length;
  note([
    !selected.length ? "No run is selected." : !each.length ? "The selected runs have no such value." : "",
    many ? `These are ${count(each.length, "run")}, too many to tell apart. A line is the median over ${over},` +
      " and a band goes from the lowest to the highest of those that have not ended. Select fewer runs to see each." : "",
    above ? `${count(above, "run")} ${above === 1 ? "goes" : "go"} beyond the top; the table says how far.` : "",
    every > 1 ? `Of so many lines one point in ${every} is drawn; the table is of all points.` : "",
    each.length && without ? `${count(without, "run")} without such a value ${without === 1 ? "is" : "are"} left out.` : "",
  ].join(" ").trim());
  table([many ? "Runs" : "Run", "First", "Lowest", "Highest", "Last", "At step"], found, ({name, cell, points}) => {
    const ys = points.map(([, y]) => y);
    const low = Math.min(...points.map(([, y, low = y]) => low)), high = Math.max(...points.map(([, y, , high = y]) => high));
    const first = cell === undefined ? name : button(name, () => choose(names[cell]));
    return [first, ...[ys[0], low, high, ys.at(-1)].map(y => written(y)), points.at(-1)[0]];
  });
}
