// Runs an exported folder in node: `node run.mjs FOLDER SAMPLES MODE FA_PER_HOUR` with SAMPLES float32, mono, 16 kHz.
// Prints one JSON object: posteriors of every hop, events, and the mean time of a verifier window in ms.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { Detector } from "../web/detector.js";

const ort = createRequire(import.meta.url)("onnxruntime-node"); // found by NODE_PATH too
const [folder, samplesFile, mode, faPerHour] = process.argv.slice(2);
const description = JSON.parse(await readFile(join(folder, "detector.json"), "utf8"));
const read = (file) => readFile(join(folder, file));
const session = { logSeverityLevel: 3 };
const options = { mode, faPerHour, precision: process.argv[6], session };
const detector = await Detector.load(ort, description, read, options);

const bytes = await readFile(samplesFile);
const samples = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
const hop = description.hop_samples;
const events = [];
const posteriors = [];
for (let at = 0; at + hop <= samples.length; at += hop) {
  events.push(...(await detector.feed(samples.subarray(at, at + hop))));
  if (detector.hops >= description.warm_up_hops) posteriors.push(detector.posteriors);
}

const silence = new Float32Array(description.window.samples);
const runs = 20;
const start = performance.now();
for (let i = 0; i < runs; i += 1) await detector.verifier.run(silence);
const ms = (performance.now() - start) / runs;
console.log(JSON.stringify({ events, posteriors, ms }));
