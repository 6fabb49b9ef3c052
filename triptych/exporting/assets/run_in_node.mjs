// Runs a model in onnxruntime-web, in Node.js: node run_in_node.mjs RUNTIME MODEL INPUT OUTPUT
//
// It prints a line with the version. Then it reads batches from its standard input: four numbers of
// 32 bits, which are the shape, and the values as float32; it answers each with its logits.

import { readFileSync, readSync, writeSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [runtime, modelFile, input, output] = process.argv.slice(2);
const folder = pathToFileURL(`${runtime}/`).href;
const ort = await import(`${folder}ort.wasm.min.mjs`);
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = folder;
const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(modelFile)), {
  executionProviders: ["wasm"],
});
writeAll(Buffer.from(`${ort.env.versions.web} (WebAssembly in Node.js ${process.versions.node})\n`));

for (;;) {
  const header = readAll(16);
  if (header === null) break;
  const shape = [...new Uint32Array(header)];
  const values = new Float32Array(readAll(4 * shape.reduce((product, size) => product * size, 1)));
  const results = await session.run({ [input]: new ort.Tensor("float32", values, shape) });
  const logits = results[output].data;
  writeAll(Buffer.from(logits.buffer, logits.byteOffset, logits.byteLength));
}

/** Return so many bytes of the standard input, or null at its end. */
function readAll(length) {
  const buffer = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const count = readSync(0, buffer, done, length - done);
    if (count === 0) return null;
    done += count;
  }
  return buffer.buffer;
}

function writeAll(buffer) {
  let done = 0;
  while (done < buffer.length) done += writeSync(1, buffer, done);
}
