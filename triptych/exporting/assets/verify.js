// The page that runs the test set in the browser and judges the logits as the export does.

import { Model, fetchFile, largestAt, showError } from "./model.js";

const MILLISECONDS_BETWEEN_FRAMES = 50;
const element = (id) => document.getElementById(id);

async function main() {
  const model = await Model.load();
  const { about } = model;
  element("network").textContent = about.network;
  const test = await loadTest(about);
  element("status").textContent = `Running ${about.samples.toLocaleString("en")} samples …`;
  const started = performance.now();
  const rounds = [];
  for (const [round, size] of about.batch_sizes.entries()) {
    const report = (share) => {
      element("progress").value = (round + share) / about.batch_sizes.length;
    };
    rounds.push(judge(await runAll(model, test.images, size, report), test, about));
  }
  const seconds = (performance.now() - started) / 1000;
  const worst = rounds.reduce((a, b) => (b.largest > a.largest ? b : a));
  const passed = rounds.every((round) => round.largest <= about.bound && !round.wrong);
  const exported = await (await fetchFile("export.json")).json();
  show({ ...worst, verdict: passed ? "rounding" : "formula", seconds }, exported, about);
}

/** Return images, labels and the logits in float64. */
async function loadTest(about) {
  const [images, labels, logits] = await Promise.all(
    ["images", "labels", "logits"].map(async (name) =>
      (await fetchFile(`test/${name}.bin`)).arrayBuffer(),
    ),
  );
  const pixels =
    about.pixels === "uint8"
      ? Float32Array.from(new Uint8Array(images), (pixel) => pixel / 255)
      : new Float32Array(images);
  return { images: pixels, labels: new Int32Array(labels), logits: new Float64Array(logits) };
}

/** Return the logits of all images, which the model gets in batches. */
async function runAll(model, images, size, report) {
  const { samples, classes } = model.about;
  const logits = new Float32Array(samples * classes);
  let shown = performance.now();
  for (let first = 0; first < samples; first += size) {
    const last = Math.min(first + size, samples);
    const batch = images.slice(first * model.sampleSize, last * model.sampleSize);
    logits.set(await model.logits(batch), first * classes);
    if (performance.now() - shown > MILLISECONDS_BETWEEN_FRAMES) {
      report(last / samples);
      await new Promise((resolve) => setTimeout(resolve)); // the browser can draw
      shown = performance.now();
    }
  }
  report(1);
  return logits;
}

/** Compare logits with the reference. */
function judge(logits, test, about) {
  let [largest, differing, wrong, right] = [0, 0, 0, 0];
  for (let i = 0; i < about.samples; i++) {
    const row = logits.subarray(i * about.classes, (i + 1) * about.classes);
    const exact = test.logits.subarray(i * about.classes, (i + 1) * about.classes);
    row.forEach((logit, k) => {
      const difference = Math.abs(logit - exact[k]);
      if (!(difference <= largest)) largest = Number.isNaN(difference) ? Infinity : difference;
    });
    const predicted = largestAt(row);
    const expected = largestAt(exact);
    if (predicted === test.labels[i]) right++;
    if (predicted === expected) continue;
    differing++;
    const [best, second] = Array.from(exact).sort((a, b) => b - a);
    if (best - second > about.bound) wrong++;
  }
  return { largest, differing, wrong, accuracy: right / about.samples, samples: about.samples };
}

/** Show the figures next to those of the export. */
function show(browser, exported, about) {
  const rows = [
    ["verdict", (result) => result.verdict],
    ["largest difference", (result) => scientific(result.largest)],
    ["bound", () => scientific(about.bound)],
    ["predictions that differ", (result) => result.differing],
    ["samples", (result) => result.samples.toLocaleString("en")],
    ["accuracy", (result) => `${(100 * result.accuracy).toFixed(2)} %`],
    ["seconds", (result) => result.seconds.toFixed(1)],
  ];
  for (const [name, text] of rows) {
    const row = element("figures").insertRow();
    const heading = document.createElement("th");
    heading.scope = "row";
    heading.textContent = name;
    row.append(heading);
    for (const result of [browser, exported]) row.insertCell().textContent = text(result);
  }
  const passed = browser.verdict === "rounding";
  element("verdict").textContent = browser.verdict;
  element("verdict").className = passed ? "good" : "bad";
  element("meaning").textContent = passed
    ? "Every logit differs from the one in float64 by at most the bound: the model computes in this browser what the network computes."
    : "The model computes something else in this browser than the network. Do not use it here.";
  element("status").textContent = "";
  element("progress").hidden = true;
  element("result").hidden = false;
}

/** Return a number as 1.2e-6; null, which JSON has for infinity, as “not finite”. */
function scientific(number) {
  return Number.isFinite(number) ? number.toExponential(1) : "not finite";
}

main().catch(showError);
