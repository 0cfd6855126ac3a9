// The address is the state: #C8 opens a claim, #verdict=refuted&find=vgg11&group=yes filters.

const {columns, cells, compared} = JSON.parse(one("#data").textContent);
const claims = all("details.claim"), homes = claims.map(claim => claim.parentNode);
const find = one("#find"), found = one("#found"), list = one("#list"), group = one("#group");
const chips = all("[data-verdict]", one(".tools") ?? found);
const words = new Map(claims.map(claim => [claim, claim.textContent.toLowerCase()]));
const exhibits = all(".exhibit");
let opened = null;  // the claim that the address names

// ---- cells, a hundred at a time --------------------------------------------------------------

// A button that shows a row below with the command, and hides it.
function command(text) {
  const button = element("button", "command");
  button.ariaExpanded = "false";
  button.onclick = () => {
    const row = button.closest("tr");
    button.ariaExpanded = String(button.ariaExpanded === "false");
    if (button.ariaExpanded === "false") return row.nextSibling.remove();
    const copy = element("button", "copy");
    copy.onclick = async () => {
      await navigator.clipboard.writeText(text);
      copy.textContent = "copied";
    };
    const cell = element("td", element("code", text), " ", copy);
    cell.colSpan = columns.length;
    row.after(element("tr", cell));
  };
  return button;
}

// A cell's name, with a link to its curves.
function explored(name) {
  const link = element("a", name);
  link.href = "explorer.html#cell=" + encodeURIComponent(name);
  return link;
}

function show(place, some) {
  const body = element("tbody"), more = element("button");
  const table = element("table", element("thead", element("tr", ...columns.map(c => element("th", c)))), body);
  let shown = 0;
  more.onclick = () => {
    for (const cell of some.slice(shown, shown += 100))
      body.append(element("tr", ...cell.map((text, i) =>
        element("td", columns[i] === "Command" ? command(text) : columns[i] === "Cell" ? explored(text) : text))));
    more.hidden = shown >= some.length;
    more.textContent = `100 more of the ${some.length - shown} that are not shown`;
  };
  more.onclick();
  const wide = element("div", table);
  wide.className = "wide";
  place.replaceChildren(...(some.length ? [wide, more] : [element("p", "No cell matches.")]));
}

// ---- a claim opens ---------------------------------------------------------------------------

function fill(claim) {
  const exhibit = one(".see a", claim);
  const image = exhibit && one("img", document.getElementById(exhibit.hash.slice(1)));
  if (image && !one(".body img", claim)) one(".body", claim).append(image.cloneNode());
}

for (const claim of claims) {
  claim.addEventListener("toggle", () => claim.open && !printing && fill(claim));
  one("summary", claim).addEventListener("click", event => {
    if (event.target.closest("a") || claim.open) return;
    opened = claim;
    history.pushState(null, "", "#" + claim.id);
  });
  for (const side of all(".compared", claim)) {
    const at = compared[claim.id][side.dataset.rule][side.dataset.side];
    side.addEventListener("toggle", () => {
      if (!side.open || one("div", side)) return;
      const place = side.appendChild(element("div"));
      show(place, at.map(i => cells[i]));
    });
  }
}

// ---- the address -----------------------------------------------------------------------------

function filtered() {
  const state = new URLSearchParams();
  const verdicts = chips.filter(chip => chip.ariaPressed === "true").map(chip => chip.dataset.verdict);
  for (const verdict of verdicts) state.append("verdict", verdict);
  if (find.value.trim()) state.set("find", find.value.trim());
  if (group?.ariaPressed === "true") state.set("group", "yes");
  return state;
}

function apply(state) {
  const verdicts = state.getAll("verdict"), text = state.get("find") ?? "";
  const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
  const has = content => wanted.every(word => content.includes(word));
  for (const chip of chips) chip.ariaPressed = String(verdicts.includes(chip.dataset.verdict));
  if (group) group.ariaPressed = String(state.get("group") === "yes");
  if (find.value.trim() !== text) find.value = text;

  for (const claim of claims)
    claim.hidden = !has(words.get(claim)) || verdicts.length && !verdicts.includes(claim.dataset.verdict);
  regroup(state.get("group") === "yes");
  for (const section of all(".group")) section.hidden = !all("details.claim", section).some(claim => !claim.hidden);
  const left = claims.filter(claim => !claim.hidden);
  if (list) one("#none").hidden = left.some(claim => list.contains(claim));

  const rows = cells.filter(cell => has(cell.join(" ").toLowerCase()));
  show(one("#rows"), rows);
  found.replaceChildren();
  if (!wanted.length) return;
  const link = (to, label) => {
    const made = element("a", label);
    made.href = "#" + to;
    made.onclick = event => { event.preventDefault(); document.getElementById(to).scrollIntoView(); };
    return element("li", made);
  };
  const ofExhibits = exhibits.filter(one => has(one.textContent.toLowerCase()));
  found.append(element("ul",
    link(left[0]?.closest("#facts, #claims")?.id ?? "top", `${left.length} of ${claims.length} claims`),
    link("cells", `${rows.length} of ${cells.length} cells`),
    ...ofExhibits.map(exhibit => link(exhibit.id, one("h2, h3, h4", exhibit).textContent))));
}

function regroup(byVerdict) {
  if (byVerdict === Boolean(one(".made"))) return;
  for (const made of all(".group.made")) made.remove();
  claims.forEach((claim, i) => homes[i].append(claim));
  if (!byVerdict) return;
  for (const chip of chips) {
    const mine = claims.filter(claim => list.contains(claim) && claim.dataset.verdict === chip.dataset.verdict);
    const made = element("section", element("h3", chip.dataset.verdict), ...mine);
    made.className = "group made";
    list.append(made);
  }
}

function go() {
  const address = location.hash.slice(1);
  const target = address && document.getElementById(address);
  if (opened && opened !== target) opened.open = false;
  opened = null;
  apply(address.includes("=") ? new URLSearchParams(address) : new URLSearchParams());
  if (address.includes("=") && !address.includes("find=")) one("#claims")?.scrollIntoView();
  if (!target) return;
  if (target.matches("details.claim")) {
    opened = target;
    target.open = true;
  }
  target.closest("details")?.setAttribute("open", "");
  target.scrollIntoView();
}

function follow(replace) {
  const state = filtered();
  history[replace ? "replaceState" : "pushState"](null, "", state.size ? "#" + state : "#claims");
  apply(state);
}

for (const chip of [...chips, ...(group ? [group] : [])])
  chip.addEventListener("click", () => {
    chip.ariaPressed = String(chip.ariaPressed !== "true");
    follow(false);
  });
find.addEventListener("input", () => follow(location.hash.includes("find=")));
window.addEventListener("hashchange", go);

// ---- paper -----------------------------------------------------------------------------------

let printing = null;  // what was closed or hidden before
window.addEventListener("beforeprint", () => {
  printing = all("main details:not([open]), main [hidden]:not(button, p)")
    .filter(each => !each.matches(".compared"))
    .map(each => [each, each.open, each.hidden]);
  for (const [each] of printing) [each.open, each.hidden] = [true, false];
});
window.addEventListener("afterprint", () => {
  for (const [each, open, hidden] of printing ?? []) [each.open, each.hidden] = [open, hidden];
  printing = null;
});

// The menu of a narrow window is closed at first.
one("#menu").open = matchMedia("(min-width: 801px)").matches;
go();
