// The page on which a digit is drawn and read.

import { DrawingPad, showPicture } from "./drawing.js";
import { Model, largestAt, showError, softmax } from "./model.js";

const element = (id) => document.getElementById(id);

async function main() {
  const model = await Model.load();
  const { about } = model;
  const [height, width] = about.shape;
  element("network").textContent = about.network;
  if (!about.draws) {
    element("status").textContent =
      `The network takes ${about.shape.join("×")} numbers, which cannot be drawn; it can be verified.`;
    return;
  }
  const bars = about.names.map(addBar);
  const pad = new DrawingPad(element("pad"), refresh);
  let isReading = false;
  let isChanged = false;

  /** Read the drawing, again and again while it changes, but once in each frame at most. */
  async function refresh() {
    isChanged = true;
    if (isReading) return;
    isReading = true;
    while (isChanged) {
      isChanged = false;
      await new Promise(requestAnimationFrame);
      await read().catch(showError);
    }
    isReading = false;
  }

  async function read() {
    const picture = pad.picture(height, width, about.box);
    showPicture(element("picture"), picture, height, width);
    if (pad.isEmpty) {
      element("prediction").textContent = "–";
      bars.forEach((show) => show(0));
      return;
    }
    const probabilities = softmax(await model.logits(picture));
    element("prediction").textContent = about.names[largestAt(probabilities)];
    bars.forEach((show, i) => show(probabilities[i]));
  }

  element("box").textContent = `${about.box}×${about.box}`;
  element("clear").addEventListener("click", () => pad.clear());
  element("status").textContent = "";
  element("draw").hidden = false;
  await refresh();
}

/** Add a row for a class; return a function that shows its probability. */
function addBar(name) {
  const row = element("probabilities").tBodies[0].insertRow();
  const heading = document.createElement("th");
  heading.scope = "row";
  heading.textContent = name;
  heading.title = name;
  row.append(heading);
  const bar = document.createElement("div");
  bar.className = "bar";
  row.insertCell().append(bar);
  const number = row.insertCell();
  return (probability) => {
    bar.style.width = `${(100 * probability).toFixed(1)}%`;
    number.textContent = `${(100 * probability).toFixed(1)} %`;
  };
}

main().catch(showError);
