// Sliders over a grid: points that lie in the page, or answers of the engine that served it.
(() => {
  const data = JSON.parse(document.getElementById("data-explore").textContent);
  const { axes, bounds } = data, at = axes.map((axis) => axis.start), answers = new Map();
  let focus = Math.max(0, axes.findIndex((axis) => axis.kind === "slide" && axis.values.length > 1)), turn = 0;
  const byId = (id) => document.getElementById(id);
  const short = (v, digits = 3) => v === null || v === undefined ? "–" : Number(v.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits });
  const times = (v) => v.toFixed(2) + " ×", us = (v) => v >= 1e4 ? short(v / 1e3) + " ms" : short(v) + " µs";

  function pointAt(place) {
    if (!data.live) {
      const row = data.rows[place.reduce((sum, value, k) => sum + value * data.strides[k], 0)];
      if (row < 0) return Promise.resolve({ refused: "not computed" });
      if (data.refused[row]) return Promise.resolve({ refused: data.refused[row] });
      return Promise.resolve(Object.fromEntries(Object.entries(data.columns).map(([name, column]) => [name, column[row]])));
    }
    const query = new URLSearchParams(axes.map((axis, k) => [axis.name, axis.values[place[k]]])).toString();
    if (!answers.has(query)) answers.set(query, fetch("answer?" + query).then((reply) => reply.ok ? reply.json()
      : reply.text().then((said) => ({ refused: said }))).catch(() => { answers.delete(query); return { refused: "the engine does not answer" }; }));
    return answers.get(query);
  }

  const knobs = byId("knobs");
  axes.forEach((axis, k) => {
    const label = document.createElement("label"), name = document.createElement("span"), value = document.createElement("output");
    name.textContent = axis.label;
    label.append(name);
    let knob;
    if (axis.kind === "slide") {
      knob = document.createElement("input");
      Object.assign(knob, { type: "range", min: 0, max: axis.values.length - 1, step: 1, value: at[k], disabled: axis.values.length < 2 });
      label.append(value);
    } else {
      knob = document.createElement("select");
      axis.values.forEach((said, place) => knob.add(new Option(said, place, place === at[k], place === at[k])));
    }
    knob.name = axis.name;
    const show = () => { value.textContent = axis.values[at[k]]; };
    knob.addEventListener("input", () => {
      at[k] = Number(knob.value);
      if (axis.values.length > 1) focus = k;
      show(); update();
    });
    show();
    label.append(knob);
    knobs.append(label);
  });
  const legend = byId("legend");
  legend.className = "legend";
  for (const bound in bounds) {
    const mark = document.createElement("span"), square = document.createElement("i");
    square.className = "b-" + bound;
    mark.append(square, bounds[bound]);
    legend.append(mark);
  }

  const SVG = "http://www.w3.org/2000/svg";
  const node = (parent, name, attributes, said) => {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (said !== undefined) made.textContent = said;
    parent.append(made);
    return made;
  };
  const canvas = (place, width, height, label) => {
    place.replaceChildren();
    const svg = node(place, "svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "img", "aria-label": label });
    svg.style.maxWidth = width + "px";
    return svg;
  };

  async function update() {
    const mine = ++turn, asked = [...at];
    const slow = setTimeout(() => { if (mine === turn) byId("verdict").classList.add("waiting"); }, 120);
    const point = await pointAt(asked);
    clearTimeout(slow);
    if (mine !== turn) return;
    byId("verdict").classList.remove("waiting");
    show(point);
    await curve(mine, asked);
  }

  function show(point) {
    const refused = point.refused !== undefined;
    byId("verdict").textContent = refused ? point.refused : point.gain > 1.005 ? `Speculation pays: ${times(point.gain)} plain decoding.`
      : point.gain < 0.995 ? `Speculation loses: ${times(point.gain)} plain decoding.` : "Speculation changes nothing.";
    const cards = refused ? [] : [
      [times(point.gain), "gain", point.low ? `${times(point.low)} to ${times(point.high)} (90 %)` : ""],
      [us(point.time), "per token", `plain ${us(point.plain)}`], [short(point.tps), "tokens/s", ""],
      [short(point.passes), "passes a token", ""], [short(point.rows), "tokens in flight", ""], [short(point.hbm) + " MB", "from HBM a token", ""],
    ];
    byId("figures").replaceChildren(...cards.map(([figure, name, beside]) => {
      const card = document.createElement("div");
      card.className = "card";
      for (const [tag, said] of [["b", figure], ["span", name], ["small", beside]]) {
        const part = document.createElement(tag);
        part.textContent = said; card.append(part);
      }
      return card;
    }));
    byId("command").textContent = point.command || "";
    const svg = canvas(byId("times"), 760, 112, "time per token by what it waits for");
    if (refused) return;
    const whole = Object.keys(bounds).reduce((sum, bound) => sum + (point["b_" + bound] || 0), 0), scale = 520 / (whole * Math.max(1, point.gain));
    [["this schedule", "b_", whole], ["plain decoding", "p_", whole * point.gain]].forEach(([name, prefix, total], row) => {
      const y = 10 + 50 * row;
      node(svg, "text", { x: 128, y: y + 22, "text-anchor": "end", class: "name" }, name);
      let x = 140;
      const parts = Object.keys(bounds).filter((bound) => point[prefix + bound]);
      for (const bound of parts) {
        const width = point[prefix + bound] * scale;
        const mark = node(svg, "rect", { x, y, width, height: 32, class: "seg b-" + bound });
        mark.dataset.t = `${bounds[bound]}: ${us(point[prefix + bound])} a token`;
        x += width;
      }
      if (!parts.length) { node(svg, "rect", { x, y, width: total * scale, height: 32, class: "seg total" }); x += total * scale; }
      node(svg, "text", { x: x + 8, y: y + 22, class: "value" }, us(total));
    });
  }

  async function curve(mine, asked) {
    const axis = axes[focus], width = 760, height = 270, left = 56, right = 20, top = 16, bottom = 222;
    byId("curve-title").textContent = `The gain along ${axis.label}`;
    const points = [];
    for (let value = 0; value < axis.values.length; value++) {
      const point = await pointAt(asked.map((own, k) => k === focus ? value : own));
      if (mine !== turn) return;
      points.push(point);
      if (!data.live || value === axis.values.length - 1 || value % 3 === 2) draw(points);
    }
    function draw(points) {
      const svg = canvas(byId("curve"), width, height, "gain along " + axis.label);
      const known = points.filter((p) => p.refused === undefined);
      const most = Math.max(1.3, ...known.map((p) => Math.max(p.gain, p.high || 0))) * 1.05;
      const x = (k) => left + (width - left - right) * (axis.values.length > 1 ? k / (axis.values.length - 1) : 0.5);
      const y = (gain) => bottom - (bottom - top) * gain / most;
      node(svg, "rect", { x: left, y: y(1), width: width - left - right, height: bottom - y(1), class: "loss" });
      const step = [0.25, 0.5, 1, 2, 5].find((s) => most / s <= 6) || 10;
      for (let gain = 0; gain <= most; gain += step) {
        node(svg, "line", { x1: left, x2: width - right, y1: y(gain), y2: y(gain), class: "grid" });
        node(svg, "text", { x: left - 8, y: y(gain) + 4, class: "tick", "text-anchor": "end" }, times(gain));
      }
      node(svg, "line", { x1: left, x2: width - right, y1: y(1), y2: y(1), class: "even" });
      const line = points.map((p, k) => [p, k]).filter(([p]) => p.refused === undefined);
      const band = line.filter(([p]) => p.low);
      if (band.length > 1) node(svg, "path", { class: "range", d: "M" + [...band.map(([p, k]) => `${x(k)} ${y(p.high)}`),
        ...band.slice().reverse().map(([p, k]) => `${x(k)} ${y(p.low)}`)].join("L") + "Z" });
      if (line.length > 1) node(svg, "path", { class: "curve", style: "stroke:var(--good)", d: "M" + line.map(([p, k]) => `${x(k)} ${y(p.gain)}`).join("L") });
      for (const [p, k] of line) {
        const mark = node(svg, "circle", { cx: x(k), cy: y(p.gain), r: k === asked[focus] ? 7 : 4.5, class: "dot " + (p.gain >= 1 ? "good" : "bad") });
        mark.dataset.t = `${axis.label} = ${axis.values[k]}\n${times(p.gain)}, ${us(p.time)} a token`;
      }
      const every = Math.max(1, Math.ceil(axis.values.length * Math.max(...axis.values.map((v) => v.length)) * 7 / (width - left)));
      axis.values.forEach((said, k) => { if (k % every === 0) node(svg, "text", { x: x(k), y: bottom + 18, class: "tick", "text-anchor": "middle" }, said); });
      node(svg, "text", { x: (left + width) / 2, y: bottom + 38, class: "name", "text-anchor": "middle" }, axis.label);
    }
  }
  update();
})();
