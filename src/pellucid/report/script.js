// What the reader can switch: the class, the scale, the sign, what lies under a map, one map large.
// The page is whole without this; every choice stands in the address, so that a link restores it.

const DEFAULTS = {
  sample: "", class: "", method: "", scale: page.dataset.scale, sign: "all",
  under: page.dataset.under, opacity: "", zoom: "", at: "",
};
const controls = one(".controls");
const sections = all("main > section[id]");
const dialog = one("dialog.zoom");
const stage = one(".stage", dialog);
const darkPage = matchMedia("(prefers-color-scheme: dark)");
let state = { ...DEFAULTS };
let printing = false;

// ---- Panels -----------------------------------------------------------------------------------

const photoOf = (panel) =>
  panel.classList.contains("image") ? one(".photo img", panel.closest("section")) : null;

/** How strongly a map covers its picture; null where it is drawn alone. */
function opacityOf(panel) {
  if (state.under === "none" || !photoOf(panel)) return null;
  const given = one(".frame", panel).dataset.opacity;
  const chosen = Number(state.opacity || page.dataset.opacity) / 100;
  if (state.under === "all") return chosen;
  if (given === "") return null;
  return state.opacity ? chosen : Number(given);
}

/** With what a panel is drawn now. */
const lookOf = (panel) => ({
  limit: Number(panel.dataset[state.scale]),
  opacity: opacityOf(panel),
  sign: state.sign,
  dark: darkPage.matches && !printing,
});

async function draw(panel) {
  const look = lookOf(panel);
  all(".mark", panel).forEach((mark) => color(mark, look));
  all("[data-scale]", panel).forEach((each) => { each.hidden = each.dataset.scale !== state.scale; });
  const frame = one(".frame", panel);
  if (!frame) return;
  const note = one(".under-note", panel);
  if (note) note.hidden = look.opacity === null;
  if (look.opacity !== null) one(".under", frame).src = photoOf(panel).src;
  one(".under", frame).hidden = look.opacity === null;
  // Nothing is waited for where the values are there: a page is printed at once.
  const map = unpacked.get(frame) ?? (await valuesOf(frame));
  paint(one("canvas", frame), map, lookOf(panel));
  frame.classList.add("drawn");
}

/** Give a map its canvas, what lies beneath it, and a button that opens it large. */
function prepare(panel) {
  const frame = one(".frame", panel);
  if (!frame) return;
  const picture = one("img.map", frame);
  const canvas = document.createElement("canvas");
  canvas.className = picture.className;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", picture.alt);
  const under = new Image();
  under.className = "under";
  under.alt = "";
  under.hidden = true;
  const open = document.createElement("button");
  open.type = "button";
  open.className = "open";
  open.setAttribute("aria-label", `Enlarge ${one("h3, h4", panel).textContent}`);
  open.addEventListener("click", () => change({ zoom: panel.id, at: "" }));
  one("picture", frame).after(under, canvas);
  frame.append(open);
}

// ---- State ------------------------------------------------------------------------------------

/** Read the address; whatever it says that this page does not have is left out. */
function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  const found = { ...DEFAULTS };
  if (/^#[\w-]+$/.test(location.hash)) {  // a link of the page itself
    const sample = /^#sample-(\d+)$/.exec(location.hash)?.[1] ?? "";
    return { ...state, sample: possible("sample", sample) ? sample : "" };
  }
  for (const name of Object.keys(DEFAULTS)) {
    const value = given.get(name);
    if (value !== null && possible(name, value)) found[name] = value;
  }
  return found;
}

function possible(name, value) {
  const control = controls.querySelector(`select[name="${name}"]`);
  if (control) return [...control.options].some((option) => option.value === value);
  if (name === "sample") return one(`section[id="sample-${CSS.escape(value)}"]`) !== null;
  if (name === "zoom") return Boolean(document.getElementById(value)?.matches(".panel"));
  if (name === "class") return /^\d+(\.\d+)*$/.test(value);
  if (name === "opacity") return /^\d{1,3}$/.test(value) && Number(value) <= 100;
  return name === "at" && /^\d+(\.\d+)?(,-?\d+(\.\d+)?){2}$/.test(value);
}

function write() {
  const said = Object.entries(state).filter(([name, value]) => value !== DEFAULTS[name]);
  const hash = said.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

function change(changes) {
  state = { ...state, ...changes };
  write();
  return apply();
}

/** The number of the class that a sample shows, from 1. */
function classOf(index) {
  const groups = all(".group", sections[index]).length;
  return clamp(Number(state.class.split(".")[index] || 1), 1, groups);
}

function apply() {
  sections.forEach((section, index) => {
    all(".group", section).forEach((group, i) => { group.hidden = i + 1 !== classOf(index); });
    all(".classes input", section).forEach((radio) => {
      radio.checked = Number(radio.value) === classOf(index);
    });
  });
  for (const name of ["method", "scale", "sign", "under"]) {
    const control = one(`[name="${name}"]`, controls);
    if (control) control.value = state[name];
  }
  const opacity = one("[name=opacity]", controls);
  if (opacity) {
    opacity.value = state.opacity || page.dataset.opacity;
    opacity.disabled = state.under === "none";
    one(".percent", controls).textContent = `${opacity.value} %`;
  }
  const panels = all(".panel");
  panels.forEach((panel) => {
    panel.hidden = state.method !== "" && panel.dataset.method !== state.method;
  });
  return Promise.all([...panels.filter(shown).map(draw), zoom()]);
}

const shown = (panel) => printing || panel.id === state.zoom ||
  (!panel.hidden && !panel.closest(".group").hidden);

// ---- Texts ------------------------------------------------------------------------------------

/** One stop of the Tab key for each text or strip; the arrow keys go from part to part. */
function listenToText(text) {
  const tokens = all(".token, .push", text);
  const go = (from, to) => {
    tokens[from].tabIndex = -1;
    tokens[to].tabIndex = 0;
    tokens[to].focus();
  };
  const readout = one(".readout", text.parentElement);
  readout.hidden = false;
  tokens.forEach((token, i) => {
    token.tabIndex = i ? -1 : 0;
    for (const kind of ["focus", "pointerenter"]) {
      token.addEventListener(kind, () => { readout.textContent = token.title; });
    }
  });
  text.addEventListener("keydown", (event) => {
    const at = tokens.indexOf(event.target);
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -at, End: tokens.length - 1 - at };
    if (at < 0 || !(event.key in steps)) return;
    event.preventDefault();
    go(at, clamp(at + steps[event.key], 0, tokens.length - 1));
  });
}

// ---- The page ---------------------------------------------------------------------------------

async function copy() {
  const near = sections.filter((each) => each.getBoundingClientRect().top < innerHeight / 2).pop();
  if (sections.length > 1 && near) change({ sample: near.id.slice("sample-".length) });
  const status = one("[role=status]", controls);
  try {
    await navigator.clipboard.writeText(location.href);
    status.textContent = "Copied.";
  } catch {
    status.textContent = "The link stands in the address bar.";
  }
}

function jump() {
  state = read();
  write();
  apply();
  if (state.sample) document.getElementById(`sample-${state.sample}`)?.scrollIntoView();
}

/** The values of classes that are not shown yet, so that they are there when they are wanted. */
async function unpackRest() {
  for (const frame of all("main .frame")) await valuesOf(frame);
}

/** Paper is light, and shows all classes. */
function onPaper(starts) {
  printing = starts;
  apply();
}

function start() {
  controls.hidden = false;
  all(".classes").forEach((each) => { each.hidden = false; });
  page.classList.add("live");
  all(".panel").forEach(prepare);
  all(".tokens, .force").forEach(listenToText);
  listenToZoom();
  all("select", controls).forEach((each) =>
    each.addEventListener("change", () => change({ [each.name]: each.value })));
  one("[name=opacity]", controls)?.addEventListener("input", (event) =>
    change({ opacity: event.target.value }));
  all(".classes input").forEach((radio) => radio.addEventListener("change", () => {
    const chosen = sections.map((_, index) => classOf(index));
    chosen[Number(radio.name.slice("class-".length)) - 1] = Number(radio.value);
    change({ class: chosen.some((number) => number > 1) ? chosen.join(".") : "" });
  }));
  one("[name=reset]", controls).addEventListener("click", () => change({ ...DEFAULTS }));
  one("[name=copy]", controls).addEventListener("click", copy);
  addEventListener("hashchange", jump);
  addEventListener("beforeprint", () => onPaper(true));
  addEventListener("afterprint", () => onPaper(false));
  darkPage.addEventListener("change", apply);
  jump();
  unpackRest();
}

start();
