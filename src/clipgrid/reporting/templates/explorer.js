// The form is the state, and the address is the form: #models=alexnet&clips=1 filters.

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
const varied = axes.filter(({name, words}) => words.length > 1 || name === "status");
const label = (axis, cell) => axis.labels[axis.at[cell]];
const form = one("form"), fields = form.elements;

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
    Object.assign(button("copy", made => copy(commands[cell], made)),
      {className: "copy", ariaLabel: `Copy the command of ${names[cell]}`}),
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
    element("p", "This command trains it again, to the same bits:"),
    element("code", commands[cell]),
    element("p", button("Copy the command", made => copy(commands[cell], made)), " ",
      button("Close", () => choose(""))),
    element("p", link("find=" + encodeURIComponent(names[cell]), "In the report"),
      ...(behind.length ? [". Compared by the claims "] : []),
      ...behind.flatMap((claim, i) => [i ? ", " : "", link(claim.id, claim.id)])),
    element("dl", ...varied.map(axis => pair(axis.heading, label(axis, cell))),
      ...measures.map(({label, values}) => pair(label, written(values[cell])))));
}

// ---- the address -----------------------------------------------------------------------------

function show() {
  const cells = filtered(), inside = box(), some = cells.filter(inside), selected = ends(some);
  const ended = status.labels.filter(each => each !== "finished")
    .map(each => [each, some.filter(cell => label(status, cell) === each).length]).filter(([, n]) => n);
  one("#count").textContent = `${some.length.toLocaleString("en")} of ${count(names.length, "cell")},` +
    ` of ${count(selected.length, "run")}` + ended.map(([each, n]) => `; ${n.toLocaleString("en")} ${each}`).join("");
  one("#legend").replaceChildren(...[...new Set(cells.map(cell => kinds.at[cell]))].sort((a, b) => a - b).map(clip => {
    const swatch = Object.assign(element("span"), {className: "swatch"});
    swatch.style.background = clips[clip].colour;
    return element("span", swatch, kinds.labels[clip]);
  }));
  const claim = claims.find(claim => claim.id === fields.claim?.value);
  one("#compared").textContent = claim ? `Compared by ${claim.id}: ${claim.statement}` : "";
  const ticked = all("fieldset", form).filter(set => one(":checked", set)).map(set => `${one("legend", set).textContent}: ` +
    all(":checked", set).map(each => (each.closest("label") ?? each).textContent.trim()).join(", "));
  one("#filters").textContent = ticked.length ? `Selected: ${ticked.join("; ")}` : "";
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
  const usual = new Set(all("label option", form).filter(o => o.defaultSelected).map(o => o.parentNode.name + "=" + o.value));
  const said = [...new FormData(form)].filter(([name, value]) => value !== "" && !usual.has(`${name}=${value}`));
  return String(new URLSearchParams(said)) || "all";
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
    const before = state();
    for (const which of ["x", "y"]) {
      const ends = sides[which] ? [...sides[which]].sort((a, b) => a - b) : [];
      ["from", "to"].forEach((end, i) => {
        fields[`${which}-${end}`].value = ends.length ? Number(ends[i].toPrecision(4)) : "";
      });
    }
    if (state() !== before) follow(true);
  }, 150);
}

one("#start").onclick = () => { history.pushState(null, "", location.pathname); go(); };
one("#every").onclick = () => { history.pushState(null, "", "#all"); go(); };
form.addEventListener("submit", event => event.preventDefault());
form.addEventListener("change", ({target}) => {
  if (!target.closest("fieldset")) forget(figure("dots").place);
  if (["x", "y"].includes(target.name)) for (const end of ["from", "to"]) fields[`${target.name}-${end}`].value = "";
  follow();
});
window.addEventListener("popstate", go);
document.addEventListener("keydown", event => event.key === "Escape" && fields.cell.value && choose(""));

all(".swatch", form).forEach((swatch, clip) => { swatch.style.background = clips[clip].colour; });
one("#filter").open = matchMedia("(min-width: 801px)").matches;
const first = state();
go();
