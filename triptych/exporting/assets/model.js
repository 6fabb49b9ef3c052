// The model of this folder, in onnxruntime-web: no file comes from anywhere else.

import * as ort from "./runtime/ort.wasm.min.mjs";

/** A model that is loaded. */
export class Model {
  /** Load the model and what is known of it. */
  static async load() {
    const about = await (await fetchFile("page.json")).json();
    ort.env.wasm.numThreads = 1; // several need HTTP headers that a static server does not send
    ort.env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;
    const bytes = await (await fetchFile("model.onnx")).arrayBuffer();
    const session = await ort.InferenceSession.create(new Uint8Array(bytes), {
      executionProviders: ["wasm"],
    });
    return new Model(about, session);
  }

  constructor(about, session) {
    this.about = about;
    this.session = session;
    this.sampleSize = about.shape.reduce((product, size) => product * size, 1);
  }

  /** Return the logits of a batch, one row after the other. */
  async logits(values) {
    const count = values.length / this.sampleSize;
    const tensor = new ort.Tensor("float32", values, [count, ...this.about.shape]);
    const outputs = await this.session.run({ [this.about.input]: tensor });
    return outputs[this.about.output].data;
  }
}

/** Return a file of this folder; an error names it. */
export async function fetchFile(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name}: the server answers with status ${response.status}`);
  return response;
}

/** Return the place of the largest number; the first one of several. */
export function largestAt(numbers) {
  let best = 0;
  for (let i = 1; i < numbers.length; i++) if (numbers[i] > numbers[best]) best = i;
  return best;
}

/** Return probabilities. */
export function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

/** Show an error in the element with the id `status`. */
export function showError(error) {
  const status = document.getElementById("status");
  status.textContent = `The model cannot be run: ${error.message ?? error}`;
  status.classList.add("bad");
}
