// A square on which a digit is drawn, and its picture as MNIST prepares its digits.
//
// The page of an exported model and the page of the server use this file.

export const MNIST_BOX = 20; // pixels of the box into which MNIST scales a digit, of 28
const LINE_WIDTH = 1 / 11; // of the side of the square

/** A canvas on which the user draws with a mouse, a pen or a finger. */
export class DrawingPad {
  /**
   * @param {HTMLCanvasElement} canvas  A square; its style has `touch-action: none`.
   * @param {() => void} onChange  Called after each part of a line, and after `clear`.
   */
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.onChange = onChange;
    this.last = null; // where the line ends that is being drawn
    this.isEmpty = true;
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => (this.last = null));
    }
  }

  /** Delete the drawing. */
  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.last = null;
    this.isEmpty = true;
    this.onChange();
  }

  /**
   * Return the drawing as MNIST prepares it.
   * @param {number} height  Rows of the picture.
   * @param {number} width  Columns of the picture.
   * @param {number} box  Pixels of the box into which the drawing is scaled.
   * @returns {Float32Array}  0 (no ink) to 1, row after row.
   */
  picture(height, width, box = MNIST_BOX) {
    const side = this.canvas.width;
    const { data } = this.context.getImageData(0, 0, side, side);
    const ink = new Float32Array(side * side);
    for (let i = 0; i < ink.length; i++) ink[i] = data[4 * i + 3] / 255; // the opacity
    return normalise(ink, side, height, width, box);
  }

  #begin(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.last = this.#place(event);
    this.#lineTo(this.last); // a touch without a movement draws a dot
  }

  #move(event) {
    if (!this.last) return;
    const parts = event.getCoalescedEvents?.() ?? [];
    for (const part of parts.length ? parts : [event]) this.#lineTo(this.#place(part));
  }

  /** Return the place of an event in pixels of the canvas. */
  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * this.canvas.width,
      y: ((event.clientY - box.top) / box.height) * this.canvas.height,
    };
  }

  #lineTo(place) {
    const { context } = this;
    context.lineWidth = this.canvas.width * LINE_WIDTH;
    context.lineCap = "round";
    context.lineJoin = "round";
    context.strokeStyle = getComputedStyle(this.canvas).color;
    context.beginPath();
    context.moveTo(this.last.x, this.last.y);
    context.lineTo(place.x, place.y);
    context.stroke();
    this.last = place;
    this.isEmpty = false;
    this.onChange();
  }
}

/**
 * Scale a drawing into a box, without changing its proportions, and put its centre of mass
 * into the centre of the picture.
 * @param {Float32Array} ink  0 to 1, of a square, row after row.
 * @param {number} side  Rows and columns of the square.
 * @param {number} height  Rows of the picture.
 * @param {number} width  Columns of the picture.
 * @param {number} box  Pixels of the box.
 * @returns {Float32Array}  0 to 1, row after row.
 */
export function normalise(ink, side, height, width, box) {
  const drawn = boundingBox(ink, side);
  if (!drawn) return new Float32Array(height * width);
  const scale = Math.min(box, height, width) / Math.max(drawn.rows, drawn.columns);
  const rows = Math.max(1, Math.round(drawn.rows * scale));
  const columns = Math.max(1, Math.round(drawn.columns * scale));
  return centred(resized(ink, side, drawn, rows, columns), rows, columns, height, width);
}

/** Show a picture on a canvas, one pixel for each number. */
export function showPicture(canvas, picture, height, width) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const image = context.createImageData(width, height);
  for (let i = 0; i < picture.length; i++) {
    image.data.fill(Math.round(255 * picture[i]), 4 * i, 4 * i + 3);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** Return the smallest box with all the ink, or null if there is none. */
function boundingBox(ink, side) {
  let [top, left, bottom, right] = [side, side, -1, -1];
  for (let i = 0; i < ink.length; i++) {
    if (ink[i] === 0) continue;
    const row = Math.floor(i / side);
    const column = i % side;
    top = Math.min(top, row);
    bottom = Math.max(bottom, row);
    left = Math.min(left, column);
    right = Math.max(right, column);
  }
  if (bottom < 0) return null;
  return { top, left, rows: bottom - top + 1, columns: right - left + 1 };
}

/** Return the ink of a box in another size: each number is the mean of the area that it covers. */
function resized(ink, side, box, rows, columns) {
  const result = new Float32Array(rows * columns);
  const across = covered(box.left, box.columns, columns);
  covered(box.top, box.rows, rows).forEach((vertical, row) => {
    across.forEach((horizontal, column) => {
      let sum = 0;
      for (const [y, height] of vertical) {
        for (const [x, width] of horizontal) sum += ink[y * side + x] * height * width;
      }
      result[row * columns + column] = sum;
    });
  });
  return result;
}

/** Return for each of `count` equal parts of a range the pixels in it, with their shares of it. */
function covered(start, length, count) {
  return Array.from({ length: count }, (_, part) => {
    const begin = (part * length) / count;
    const end = ((part + 1) * length) / count;
    const pixels = [];
    for (let pixel = Math.floor(begin); pixel < end; pixel++) {
      const share = Math.min(pixel + 1, end) - Math.max(pixel, begin);
      if (share > 0 && pixel < length) pixels.push([start + pixel, share / (end - begin)]);
    }
    return pixels;
  });
}

/** Return a larger picture, in the centre of which is the centre of mass of a smaller one. */
function centred(small, rows, columns, height, width) {
  let [mass, momentY, momentX] = [0, 0, 0];
  for (let i = 0; i < small.length; i++) {
    mass += small[i];
    momentY += small[i] * (Math.floor(i / columns) + 0.5);
    momentX += small[i] * ((i % columns) + 0.5);
  }
  const top = within(Math.round(height / 2 - momentY / mass), height - rows);
  const left = within(Math.round(width / 2 - momentX / mass), width - columns);
  const picture = new Float32Array(height * width);
  for (let row = 0; row < rows; row++) {
    const line = small.subarray(row * columns, (row + 1) * columns);
    picture.set(line, (top + row) * width + left);
  }
  return picture;
}

/** Return the number from 0 to `largest` that is closest to another one. */
function within(number, largest) {
  return Math.max(0, Math.min(number, largest));
}
