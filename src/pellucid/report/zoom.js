// One map, large: by mouse, finger and keys; what is seen of it stands in the address.

const MOST = 40;

/** How far a map is enlarged, and which point of it (from 0 to 1) lies in the middle. */
function view() {
  const [scale, x, y] = (state.at || "1,0.5,0.5").split(",").map(Number);
  return { scale: clamp(scale || 1, 1, MOST), x: clamp(x, 0, 1), y: clamp(y, 0, 1) };
}

function look({ scale, x, y }) {
  const wide = clamp(scale, 1, MOST);
  const inside = (at) => clamp(at, 0.5 / wide, 1 - 0.5 / wide);
  const at = [wide, inside(x), inside(y)].map((number) => Number(number.toFixed(4)));
  state = { ...state, at: wide === 1 ? "" : at.join(",") };
  write();
  place();
}

function place() {
  const { scale, x, y } = view();
  const shift = (at) => 100 * (0.5 - at * scale);
  one(".view", stage).style.transform =
    `translate(${shift(x)}%, ${shift(y)}%) scale(${scale})`;
}

async function zoom() {
  const panel = state.zoom && document.getElementById(state.zoom);
  if (!panel) {
    if (dialog.open) dialog.close();
    return;
  }
  const frame = one(".frame", panel);
  if (!frame) return;
  const map = await valuesOf(frame);
  if (state.zoom !== panel.id) return;
  const opacity = opacityOf(panel);
  const group = one(".group > h3", panel.closest(".group"));
  one("h2", dialog).textContent =
    [one("h3, h4", panel).textContent, group?.textContent].filter(Boolean).join(": ");
  const content = one(".view", stage);
  const canvas = one("canvas", frame).cloneNode();
  paint(canvas, map, lookOf(panel));
  const below = opacity === null ? [] : [one(".under", frame).cloneNode()];
  if (below.length) Object.assign(below[0], { src: photoOf(panel).src, hidden: false });
  const lines = all("svg", frame).map((svg) => svg.cloneNode(true));
  content.replaceChildren(...below, canvas, ...lines);
  const ratio = panel.classList.contains("signal") ? 2.5 : map.width / map.height;
  content.style.setProperty("--ratio", ratio);
  one(".key", dialog).replaceChildren(...one("figcaption", panel).cloneNode(true).childNodes);
  place();
  if (!dialog.open) dialog.showModal();
}

/** The value under the pointer. */
async function point(event) {
  const panel = document.getElementById(state.zoom);
  if (!panel) return;
  const { height, width, values } = await valuesOf(one(".frame", panel));
  const box = one(".view", stage).getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * height);
  const inside = x >= 0 && y >= 0 && x < width && y < height;
  const value = inside ? values[y * width + x] : NaN;
  const number = Number.isNaN(value) ? "not finite"
    : String(Number(value.toPrecision(3))).replaceAll("-", "−");
  one(".readout", dialog).textContent = inside ? `${spot(panel, x, y)}: ${number}` : "";
}

/** Where a value lies: a pixel of a map, or a time and channel of a signal. */
function spot(panel, x, y) {
  if (!panel.matches(".signal")) return `column ${x}, row ${y}`;
  const name = all(".names > div > span:first-child", panel)[y]?.textContent ?? y;
  const rate = Number(one(".frame", panel).dataset.rate);
  return `channel ${name}, ${rate ? `${Number((x / rate).toPrecision(4))} s` : `position ${x}`}`;
}

function zoomAt(factor, event) {
  const now = view();
  const scale = clamp(now.scale * factor, 1, MOST);
  const box = one(".view", stage).getBoundingClientRect();
  const at = event ? [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
    : [now.x, now.y];
  const hold = now.scale / scale;  // what is under the pointer stays there
  look({ scale, x: at[0] + (now.x - at[0]) * hold, y: at[1] + (now.y - at[1]) * hold });
}

function pan(dx, dy) {
  const { scale, x, y } = view();
  look({ scale, x: x + dx / scale, y: y + dy / scale });
}

const KEYS = {
  "+": () => zoomAt(1.5), "=": () => zoomAt(1.5), "-": () => zoomAt(1 / 1.5),
  0: () => look({ scale: 1, x: 0.5, y: 0.5 }),
  ArrowLeft: () => pan(-0.15, 0), ArrowRight: () => pan(0.15, 0),
  ArrowUp: () => pan(0, -0.15), ArrowDown: () => pan(0, 0.15),
};

function listenToZoom() {
  const press = (name, act) => one(`[name="${name}"]`, dialog).addEventListener("click", act);
  press("in", KEYS["+"]);
  press("out", KEYS["-"]);
  press("fit", KEYS[0]);
  press("close", () => dialog.close());
  dialog.addEventListener("close", () => { if (state.zoom) change({ zoom: "", at: "" }); });
  stage.addEventListener("keydown", (event) => {
    if (!KEYS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomAt(Math.exp(-event.deltaY / 400), event);
  }, { passive: false });
  stage.addEventListener("dblclick", (event) => zoomAt(2, event));
  stage.addEventListener("pointerdown", (event) => stage.setPointerCapture(event.pointerId));
  stage.addEventListener("pointermove", (event) => {
    const box = one(".view", stage).getBoundingClientRect();
    const { scale } = view();
    const moved = [event.movementX / box.width, event.movementY / box.height];
    if (event.buttons) pan(-moved[0] * scale, -moved[1] * scale);
    point(event);
  });
}
