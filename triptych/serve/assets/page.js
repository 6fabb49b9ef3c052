// The page of triptych serve: the models, and a digit to draw.

import { DrawingPad, showPicture } from "./drawing.js";

const byId = (id) => document.getElementById(id);
let token = null; // kept as long as the page is open
let drawable = []; // the versions that classify grey images
let isAsking = false; // whether the server is classifying an earlier state of the drawing
let hasChanged = false; // whether the drawing has changed since then

async function ask(path, content) {
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  const options = { headers };
  if (content !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(content);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer.");
  }
  if (response.status === 401) {
    byId("access").hidden = false;
    byId("token").focus();
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function report(error) {
  byId("problem").hidden = error === null;
  byId("problem").textContent = error === null ? "" : error.message;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function isDrawable(version) {
  const shape = version.input_shape;
  return shape.length === 3 && shape[2] === 1 && shape[0] >= 8 && shape[1] >= 8;
}

async function listModels() {
  const { models } = await ask("/v1/models");
  byId("access").hidden = true;
  const rows = byId("models");
  rows.replaceChildren();
  drawable = [];
  for (const { name, versions } of models) {
    for (const version of versions) {
      rows.append(row(name, version));
      if (isDrawable(version)) drawable.push({ name, ...version });
    }
  }
  byId("model").replaceChildren(
    ...drawable.map(({ name, version }) => element("option", `${name}, version ${version}`)),
  );
  const first = drawable.filter(({ name }) => name === drawable[0].name);
  byId("model").selectedIndex = first.length - 1; // its latest version
  byId("drawing").hidden = drawable.length === 0;
  showExample(models[0].name, models[0].versions.at(-1));
}

function row(name, version) {
  const made = document.createElement("tr");
  const cells = [
    name,
    version.version,
    version.network,
    version.input_shape.join("×"),
    version.parameters.toLocaleString("en"),
    version.run,
    version.problem ? `${version.runtime}; ${version.problem}` : version.runtime,
  ];
  made.append(...cells.map((text) => element("td", text)));
  return made;
}

function showExample(name, version) {
  const sample = version.standardised ? '{"rows": [NUMBERS]}' : "IMAGE";
  const header = token === null ? "" : " -H 'Authorization: Bearer TOKEN'";
  byId("example").textContent = [
    `curl${header} ${location.origin}/v1/models/${name}`,
    `curl${header} -d '{"instances": [${sample}]}' ${location.origin}/v1/models/${name}:predict`,
  ].join("\n");
}

function chosen() {
  return drawable[byId("model").selectedIndex];
}

// Classify the drawing, and again if it has changed meanwhile.
async function classify() {
  hasChanged = true;
  if (isAsking) return;
  isAsking = true;
  try {
    while (hasChanged) {
      hasChanged = false;
      await classifyOnce();
    }
  } finally {
    isAsking = false;
  }
}

async function classifyOnce() {
  const { name, version, input_shape: shape, classes, box } = chosen();
  const picture = pad.picture(shape[0], shape[1], box); // that of MNIST if none is recorded
  showPicture(byId("seen"), picture, shape[0], shape[1]);
  if (pad.isEmpty) {
    byId("result").textContent = "Nothing is drawn yet.";
    byId("bars").replaceChildren();
    return;
  }
  const answer = await ask(`/v2/models/${name}/versions/${version}/infer`, {
    inputs: [{ name: "images", datatype: "FP32", shape: [1, ...shape], data: [...picture] }],
    outputs: [{ name: "probabilities" }],
  });
  showProbabilities(answer.outputs[0].data, classes);
}

function showProbabilities(probabilities, names) {
  const best = probabilities.indexOf(Math.max(...probabilities));
  byId("result").textContent = `${names[best]}, ${percent(probabilities[best])}`;
  byId("bars").className = names.some((name) => name.length > 2) ? "words" : "";
  byId("bars").replaceChildren(
    ...probabilities.map((probability, index) => {
      const line = document.createElement("li");
      const bar = document.createElement("meter");
      bar.value = probability;
      line.append(element("span", names[index]), bar, element("span", percent(probability)));
      line.className = index === best ? "best" : "";
      return line;
    }),
  );
}

function percent(probability) {
  return `${(100 * probability).toFixed(1)} %`;
}

// Run a task of the page; what goes wrong is shown.
async function attempt(task) {
  try {
    await task();
    report(null);
  } catch (error) {
    report(error);
  }
}

const pad = new DrawingPad(byId("pad"), () => attempt(classify));
byId("clear").addEventListener("click", () => pad.clear());
byId("model").addEventListener("change", () => attempt(classify));
byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value;
  attempt(listModels);
});
showPicture(byId("seen"), [0], 1, 1);
attempt(listModels);
