// All runs as a figure, drawn from their table: axes to choose, points to point at or to walk through by the arrow keys.
const explore = (part) => {
  const place = part.querySelector(".drawn"), table = part.querySelector("table.runs");
  const columns = [...table.tHead.rows[0].cells].map((head) => ({name: head.textContent, kind: head.dataset.kind}));
  const read = (text, kind) => (kind === "number" ? (text ? Number(text) : NaN) : text);
  const runs = [...table.tBodies[0].rows].map((row) =>
    Object.fromEntries(columns.map(({name, kind}, at) => [name, read(row.cells[at].textContent, kind)])));
  const of = (kind) => columns.filter((column) => column.kind === kind).map((column) => column.name);
  const numbers = of("number"), groups = of("group"), folder = columns.at(-2).name;
  const values = (name) => [...new Set(runs.map((run) => run[name]))];
  // Colours by Okabe and Ito, which colour-blind readers tell apart; shapes repeat in another period.
  const colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a6d00"];
  const shapes = ["circle", "triangle", "square", "diamond", "star", "cross", "wye"];

  const element = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const select = (label, names, chosen) => {
    const made = element("select", {}, ...names.map((name) => element("option", {value: name, selected: name === chosen}, name)));
    made.addEventListener("change", () => draw());
    controls.append(element("label", {}, `${label} `, made));
    return made;
  };
  const controls = element("form", {className: "controls"}), chart = element("div", {className: "chart"});
  const said = element("p", {className: "said-of-run"}), count = element("p", {className: "counted"});
  said.setAttribute("aria-live", "polite");
  controls.addEventListener("submit", (event) => event.preventDefault());
  const own = numbers.slice(0, numbers.indexOf("MB sent")).sort((a, b) => values(b).length - values(a).length);
  const across = select("Across", [...numbers, ...groups], own[0] ?? "MB sent");
  const up = select("Up", [...numbers, ...groups], "validation AUROC");
  const by = select("Shape and colour", groups, groups[0]);
  const picked = Object.fromEntries(groups.map((name) => [name, new Set(values(name))]));
  for (const name of groups) {
    const boxes = values(name).map((value) => {
      const box = element("input", {type: "checkbox", checked: true});
      box.addEventListener("change", () => {
        picked[name][box.checked ? "add" : "delete"](value);
        draw();
      });
      return element("label", {}, box, ` ${value || "none"}`);
    });
    controls.append(element("details", {}, element("summary", {}, `Which ${name}`), ...boxes));
  }

  // The scale of a column, and where its axis has ticks: at its values if these are few.
  const scale = (name) => {
    if (!numbers.includes(name)) return {type: "point"};
    const found = values(name).filter(Number.isFinite).sort((a, b) => a - b), [least, most] = [found[0], found.at(-1)];
    const powers = Array.from({length: 40}, (_, at) => 10 ** (at - 20)).filter((tick) => tick >= least && tick <= most);
    const isLog = least > 0 && most / least > 20;
    return {type: isLog ? "log" : "linear", nice: !isLog, inset: 8, ticks: found.length < 8 ? found : isLog ? powers : undefined};
  };
  const lines = (name, axis, grid) => {
    const {ticks, type} = scale(name), said = (tick) => (type === "point" ? tick : String(Number(tick.toPrecision(6))));
    if (ticks) return [grid(ticks), axis(ticks, {text: said, label: name})];
    return [grid(), axis({label: name, ...(type === "point" ? {} : {tickFormat: said})})];
  };
  const text = (run) => [
    ...columns.slice(0, -2).filter(({name}) => run[name] !== "" && !Number.isNaN(run[name])).map(({name}) => `${name} ${run[name]}`),
    `${place.dataset.runs}${run[folder]}`,
  ].join(", ");
  const draw = () => {
    const [x, y, group] = [across.value, up.value, by.value], kinds = values(group);
    const wanted = runs.filter((run) => groups.every((name) => picked[name].has(run[name])));
    const shown = wanted.filter((run) => [x, y].every((name) => !Number.isNaN(run[name])));
    const looks = {no: {stroke: group, fill: "white"}, yes: {stroke: "black", fill: group}};
    const parts = Object.entries(looks).map(([kind, look]) => [shown.filter((run) => run.chosen === kind), look])
      .filter(([some]) => some.length);
    const color = {domain: kinds, range: kinds.map((_, at) => colours[at % colours.length])};
    const symbol = {domain: kinds, range: kinds.map((_, at) => shapes[at % shapes.length])};
    const legend = Plot.legend({color, symbol, fill: "color", stroke: "color", swatchSize: 14, style: {fontSize: "13px"}});
    const drawn = Plot.plot({
      width: chart.clientWidth, height: 400, marginLeft: numbers.includes(y) ? 56 : 130, marginBottom: 44,
      style: {fontSize: "12px", overflow: "visible"},
      x: scale(x), y: scale(y), color, symbol,
      marks: [
        ...lines(x, Plot.axisX, Plot.gridX), ...lines(y, Plot.axisY, Plot.gridY),
        ...parts.map(([some, look]) => Plot.dot(some, {x, y, symbol: group, r: 5, ...look})),
      ],
    });
    chart.replaceChildren(legend, drawn);
    count.textContent = `${place.dataset.note ?? ""}${shown.length} of ${runs.length} runs are shown; ` +
      `${wanted.length - shown.length} of those that you picked have no such value.`;
    const dots = [...drawn.querySelectorAll('[aria-label="dot"]')].flatMap((marks, at) =>
      [...marks.children].map((dot) => [dot, parts[at][0][dot.__data__], dot.getBoundingClientRect()]));
    const order = dots.sort(([, , a], [, , b]) => a.x - b.x || a.y - b.y);
    order.forEach(([dot, run], at) => {
      const say = () => (said.textContent = text(run));
      dot.setAttribute("tabindex", at ? -1 : 0);
      dot.setAttribute("role", "img");
      dot.setAttribute("aria-label", text(run));
      dot.addEventListener("mouseenter", say);
      dot.addEventListener("focus", say);
      dot.addEventListener("keydown", (event) => {
        const to = {ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: order.length - 1};
        const next = order[to[event.key]];
        if (!next) return;
        event.preventDefault();
        dot.setAttribute("tabindex", -1);
        next[0].setAttribute("tabindex", 0);
        next[0].focus();
      });
    });
    said.textContent = "Point at a run, or go to one by the Tab key and on by the arrow keys: what it is stands here.";
  };
  place.append(controls, chart, said, count);
  part.classList.add("live");
  let width = chart.clientWidth; // a telephone that scrolls changes its height
  addEventListener("resize", () => width !== chart.clientWidth && ((width = chart.clientWidth), draw()));
  draw();
};
for (const part of document.querySelectorAll("#explore")) explore(part);
