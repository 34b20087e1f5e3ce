// The pipeline: positions against passes, drawn for the passes in view.
(() => {
  const place = document.getElementById("pipeline-plot"), packed = document.getElementById("data-pipeline");
  if (place && packed) pipeline(place, JSON.parse(packed.textContent));

  function pipeline(place, data) {
    const SVG = "http://www.w3.org/2000/svg", LEFT = 64, TOP = 26, STRIP = 46, WIDTH = 1080;
    const G = data.repetitions, total = data.passes.length;
    const lives = data.lives.map(([sequence, position, passes, reps, read, fate, token, parent, why, settled]) =>
      ({ sequence, position, passes, reps, read, committed: fate === 1, token, parent, why: data.causes[why], settled }));
    const byToken = new Map(lives.map((life) => [life.token, life]));
    const at = Array.from({ length: total }, () => []);
    for (const life of lives) life.passes.forEach((pass, k) => at[pass].push([life, k]));
    let shown = Math.min(36, total), first = 0;

    const node = (name, attributes, parent) => {
      const made = document.createElementNS(SVG, name);
      for (const key in attributes) if (attributes[key] !== undefined) made.setAttribute(key, attributes[key]);
      if (parent) parent.appendChild(made);
      return made;
    };
    const word = (parent, x, y, said, more) => { node("text", { x, y, ...more }, parent).textContent = said; };
    const controls = document.createElement("div");
    controls.className = "controls";
    const button = (said, deed, name) => {
      const made = document.createElement("button");
      made.type = "button"; made.textContent = said; made.setAttribute("aria-label", name);
      made.addEventListener("click", () => { deed(); draw(); });
      controls.appendChild(made);
    };
    button("←", () => { first -= Math.ceil(shown * 0.8); }, "earlier passes");
    button("→", () => { first += Math.ceil(shown * 0.8); }, "later passes");
    button("−", () => { shown *= 1.5; }, "more passes");
    button("+", () => { shown /= 1.5; }, "fewer passes");
    const squashes = lives.filter((life) => !life.committed).map((life) => life.passes[life.passes.length - 1]).sort((a, b) => a - b);
    if (squashes.length) button("next discard", () => {
      const next = squashes.find((pass) => pass > first + shown * 0.6) ?? squashes[0];
      first = next - Math.floor(shown / 2);
    }, "next discarded token");
    const told = document.createElement("span");
    controls.appendChild(told);
    place.appendChild(controls);
    const svg = node("svg", { class: "plot", role: "img", "aria-label": "positions against passes" });
    svg.style.maxWidth = WIDTH + "px";
    place.appendChild(svg);

    const us = (ns) => (ns / 1000).toLocaleString("en", { maximumFractionDigits: 1 }) + " µs";
    const story = (life, k) => {
      const pass = life.passes[k], span = data.passes[pass];
      const lines = [`position ${life.position}, repetition ${life.reps[k]} of ${G}` + (life.read[k] ? ", head read" : "")];
      const parent = byToken.get(life.parent);
      if (parent) lines.push(`its input is the prediction of position ${parent.position}` +
        (life.settled >= 0 ? (life.committed ? `, verified in pass ${life.settled + 1}` : `, found wrong in pass ${life.settled + 1}`) : ""));
      lines.push(life.committed ? "became text" : `discarded: ${life.why}`);
      lines.push(`pass ${pass + 1} at ${us(span[0])}, ${us(span[1])} long · sequence ${life.sequence} · token ${life.token}`);
      return lines.join("\n");
    };
    const shade = (r) => `color-mix(in oklab, var(--r1) ${G > 1 ? Math.round(100 * (r - 1) / (G - 1)) : 60}%, var(--r0))`;

    function draw() {
      shown = Math.max(6, Math.min(Math.round(shown), total, 160));
      first = Math.max(0, Math.min(Math.round(first), total - shown));
      const inside = [];
      for (let pass = first; pass < first + shown; pass++) inside.push(...at[pass].map(([life, k]) => [pass, life, k]));
      const keys = [...new Map(inside.map(([, life]) => [`${life.sequence}:${life.position}`, life])).values()]
        .sort((a, b) => a.passes[0] - b.passes[0] || a.sequence - b.sequence || a.position - b.position)
        .map((life) => `${life.sequence}:${life.position}`);
      const rowOf = new Map([...new Set(keys)].map((key, row) => [key, row]));
      const cell = (WIDTH - LEFT - 8) / shown, tall = Math.max(11, Math.min(24, cell, 560 / rowOf.size));
      const height = TOP + tall * rowOf.size + 14 + STRIP + 22;
      svg.replaceChildren();
      svg.setAttribute("viewBox", `0 0 ${WIDTH} ${height}`);
      const hatch = node("pattern", { id: "hatch", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
        node("defs", {}, svg));
      node("line", { x1: 0, y1: 0, x2: 0, y2: 5, style: "stroke:var(--bad);stroke-width:2.4" }, hatch);
      const every = Math.max(1, Math.ceil(34 / cell));
      for (let pass = first; pass < first + shown; pass++) if ((pass - first) % every === 0)
        word(svg, LEFT + cell * (pass - first + 0.5), TOP - 9, pass + 1, { class: "tick", "text-anchor": "middle" });
      word(svg, LEFT - 8, TOP - 9, "pass", { class: "tick", "text-anchor": "end" });
      const skip = Math.max(1, Math.ceil(12 / tall));
      for (const [key, row] of rowOf) if (row % skip === 0)
        word(svg, LEFT - 8, TOP + tall * (row + 0.5) + 4, key.split(":")[1], { class: "tick", "text-anchor": "end" });
      for (const [pass, life, k] of inside) {
        const x = LEFT + cell * (pass - first), y = TOP + tall * rowOf.get(`${life.sequence}:${life.position}`);
        const w = Math.max(2, cell - 2), h = tall - 2, last = life.committed && k === life.passes.length - 1;
        const mark = node("rect", { x: x + 1, y: y + 1, width: w, height: h, rx: Math.min(4, w / 4), class: "cell" }, svg);
        mark.style.fill = life.committed ? shade(life.reps[k]) : "url(#hatch)";
        if (!life.committed) mark.style.stroke = "var(--bad)";
        if (last) { mark.style.stroke = "var(--ink)"; mark.style.strokeWidth = 2; }
        mark.dataset.t = story(life, k);
        if (cell > 17 && tall > 13) {
          const light = (life.reps[k] - 1) / Math.max(1, G - 1) > 0.45;
          word(svg, x + 1 + w / 2, y + tall / 2 + 4.5, life.reps[k], { "text-anchor": "middle", "pointer-events": "none",
            style: life.committed ? `font-size:11px;fill:${light ? "var(--on-dark)" : "var(--ink)"}`
              : "font-size:11px;fill:var(--bad);font-weight:700;paint-order:stroke;stroke:var(--card);stroke-width:3px" });
        }
      }
      strip(height - STRIP - 16);
      told.textContent = `passes ${first + 1} to ${first + shown} of ${total.toLocaleString("en")}` +
        (data.left_out ? ` (${data.left_out.toLocaleString("en")} more are not on this page)` : "");
    }

    const columns = Math.min(total, 540);
    const load = Array.from({ length: columns }, (_, c) => {
      const from = Math.floor(c * total / columns), to = Math.max(from + 1, Math.floor((c + 1) * total / columns));
      let rows = 0, lost = 0;
      for (let pass = from; pass < to; pass++) for (const [life] of at[pass]) { rows++; lost += life.committed ? 0 : 1; }
      return [rows / (to - from), lost / (to - from)];
    });
    const most = Math.max(1, ...load.map(([rows]) => rows));
    function strip(y) {
      const w = (WIDTH - LEFT - 8) / columns, group = node("g", { class: "strip" }, svg);
      load.forEach(([rows, lost], c) => {
        const h = STRIP * rows / most, bad = STRIP * lost / most;
        node("rect", { x: LEFT + w * c, y: y + STRIP - h, width: w + 0.3, height: h - bad, style: "fill:var(--good);opacity:.55" }, group);
        node("rect", { x: LEFT + w * c, y: y + STRIP - bad, width: w + 0.3, height: bad, style: "fill:var(--bad);opacity:.75" }, group);
      });
      const scale = (WIDTH - LEFT - 8) / total;
      node("rect", { x: LEFT + scale * first, y: y - 2, width: Math.max(4, scale * shown), height: STRIP + 4, rx: 3,
        style: "fill:var(--ink);fill-opacity:.10;stroke:var(--ink);stroke-width:1.5" }, group);
      word(group, LEFT - 8, y + STRIP / 2 + 4, "in flight", { class: "tick", "text-anchor": "end" });
      node("rect", { x: LEFT, y: y - 2, width: WIDTH - LEFT - 8, height: STRIP + 4, style: "fill:transparent" }, group);
      const go = (event) => {
        const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) * WIDTH / box.width - LEFT;
        first = x / scale - shown / 2; draw();
      };
      group.addEventListener("pointerdown", (event) => {
        go(event);
        const stop = () => { removeEventListener("pointermove", go); removeEventListener("pointerup", stop); };
        addEventListener("pointermove", go); addEventListener("pointerup", stop);
      });
    }
    draw();
  }
})();
