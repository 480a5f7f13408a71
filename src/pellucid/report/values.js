"use strict";
// Values and colors: the maps of the page are unpacked here, and drawn in the colors of the table.

const page = document.body;
const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

const NO_NUMBER = -32768;
const MIDDLE = 127;
const bytesOf = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
const TABLES = { light: bytesOf(page.dataset.light), dark: bytesOf(page.dataset.dark) };
const hex = (table, row) =>
  "#" + [0, 1, 2].map((i) => table[3 * row + i].toString(16).padStart(2, "0")).join("");
const numbers = (text) => text.split("x").map(Number);

/** The row of the color table of a value; the last row is that of what is not a number. */
function rowOf(value, limit) {
  return Number.isNaN(value) ? 255 : MIDDLE + Math.round(MIDDLE * clamp(value / limit, -1, 1));
}

/** A value of the other sign counts as zero. */
function kept(value, sign) {
  return (sign === "positive" && value < 0) || (sign === "negative" && value > 0) ? 0 : value;
}

const unpacked = new Map();

/** The values of a map, {height, width, values}, as it is drawn: unpacked and enlarged once. */
async function valuesOf(frame) {
  if (!unpacked.has(frame)) unpacked.set(frame, await unpack(frame.dataset));
  return unpacked.get(frame);
}

async function unpack(data) {
  const packed = Uint8Array.from(atob(data.values), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const count = bytes.length / 2;
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const steps = ((bytes[i] << 24) >> 16) | bytes[count + i];
    values[i] = steps === NO_NUMBER ? NaN : steps * data.step;
  }
  const [height, width] = numbers(data.shape);
  return enlarge({ height, width, values }, ...numbers(data.size));
}

/** Interpolate values, not colors: halfway between cold and warm is zero. */
function enlarge(map, height, width) {
  if (map.height === height && map.width === width) return map;
  const values = new Float32Array(height * width);
  const axis = (count, from) =>
    Array.from({ length: count }, (_, i) => {
      const at = clamp(((i + 0.5) * from) / count - 0.5, 0, from - 1);
      return [Math.floor(at), Math.min(Math.floor(at) + 1, from - 1), at % 1];
    });
  const across = axis(width, map.width);
  axis(height, map.height).forEach(([top, bottom, down], y) =>
    across.forEach(([left, right, along], x) => {
      const at = (row, column) => map.values[row * map.width + column];
      const above = at(top, left) + along * (at(top, right) - at(top, left));
      const below = at(bottom, left) + along * (at(bottom, right) - at(bottom, left));
      values[y * width + x] = above + down * (below - above);
    }));
  return { height, width, values };
}

/** Draw a map: with an opacity it lets through what lies beneath where it says nothing. */
function paint(canvas, map, { limit, opacity, sign, dark }) {
  const table = TABLES[dark ? "dark" : "light"];
  const context = canvas.getContext("2d");
  canvas.height = map.height;
  canvas.width = map.width;
  const image = context.createImageData(map.width, map.height);
  map.values.forEach((value, i) => {
    const shown = kept(value, sign);
    const row = 3 * rowOf(shown, limit);
    const cover = opacity === null || Number.isNaN(shown)
      ? 1 : opacity * Math.sqrt(clamp(Math.abs(shown) / limit, 0, 1));
    image.data[4 * i] = table[row];
    image.data[4 * i + 1] = table[row + 1];
    image.data[4 * i + 2] = table[row + 2];
    image.data[4 * i + 3] = Math.round(255 * cover);
  });
  context.putImageData(image, 0, 0);
}

/** The ground of a token or a bar, with ink that can be read on it. */
function color(mark, { limit, sign }) {
  const value = mark.dataset.value === "" ? NaN : Number(mark.dataset.value);
  const row = rowOf(kept(value, sign), limit);
  for (const [theme, letter] of [["light", "l"], ["dark", "d"]]) {
    mark.style.setProperty(`--${letter}`, hex(TABLES[theme], row));
    mark.style.setProperty(`--${letter}i`, inkOn(TABLES[theme].subarray(3 * row, 3 * row + 3)));
  }
  mark.classList.toggle("left-out", kept(value, sign) !== value && !Number.isNaN(value));
}

/** Black or white, by the contrast of the Web Content Accessibility Guidelines. */
function inkOn(rgb) {
  const [r, g, b] = [...rgb].map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return (0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05) ** 2 > 1.05 * 0.05 ? "#000000" : "#ffffff";
}
