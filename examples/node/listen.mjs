// A wake word in node: `node listen.mjs FOLDER < audio.s16le` with FOLDER from `wakeword export --target onnx`
// (or web), audio mono 16-bit 16 kHz. Prints an event a line. Needs: npm install onnxruntime-node
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";

const ort = createRequire(import.meta.url)("onnxruntime-node");
const folder = process.argv[2];
const about = JSON.parse(await readFile(join(folder, "detector.json"), "utf8"));
const { hop_samples: hop, sample_rate, phrases, decision, student: cascade } = about;
const mode = cascade ? "cascade" : "verifier";
const thresholds = about.thresholds[mode][about.default_fa_per_hour];

const open = async (role) => {
  const files = about.files.filter((f) => f.role === role && f.input === "audio");
  const file = files.find((f) => f.precision === (role === "student" ? "fp32" : "int8")) ?? files[0];
  return ort.InferenceSession.create(join(folder, file.file), { intraOpNumThreads: 1, logSeverityLevel: 3 });
};
const tensor = (values, shape) => new ort.Tensor("float32", values, shape);
const verifier = await open("verifier");
const student = cascade && (await open("student"));

// The student's memory: zeros at the start, then whatever it returned.
const memory = {};
for (const { name, shape } of student?.inputMetadata ?? []) {
  if (name !== "audio") memory[name] = tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape);
}
const heard = [];
async function suspicious(samples) {
  const out = await student.run({ audio: tensor(samples, [1, hop]), ...memory });
  for (const name of Object.keys(memory)) memory[name] = out[`new_${name}`];
  if (heard.push(out.score.data) > cascade.evidence_hops) heard.shift();
  return out.score.data.some((score, k) => score >= cascade.gate[k]);
}

// Verifier and student together: their log-odds add up.
const logOdds = (p) => Math.log(Math.max(p, 1e-7) / Math.max(1 - p, 1e-7));
const withEvidence = (posterior, k) => {
  const highest = Math.max(...heard.map((scores) => scores[k]));
  return 1 / (1 + Math.exp(-logOdds(posterior) - cascade.evidence * (logOdds(highest) - logOdds(cascade.gate[k]))));
};

const window = new Float32Array(about.window.samples);
const recent = [];
const armed = phrases.map(() => true);
const silentUntil = phrases.map(() => 0);
let [hops, asking, resting] = [0, 0, 0];
let said = phrases.map(() => 0);

async function hear(samples) {
  window.copyWithin(0, hop);
  window.set(samples, window.length - hop);
  const time = ++hops * (hop / sample_rate);
  if (student && (await suspicious(samples))) asking = cascade.hangover_hops + 1;
  const ask = !student || asking-- > 0;
  if (hops < about.warm_up_hops) return;
  resting -= 1;
  if (ask && resting <= 0) {
    said = [...(await verifier.run({ audio: tensor(window, [1, window.length]) })).posterior.data];
    if (student && Math.max(...said) < cascade.promising) asking = 0;
    if (student) said = said.map(withEvidence);
    resting = cascade?.stride_hops ?? 1;
  }
  const posteriors = ask ? said : phrases.map(() => 0);
  if (recent.push(posteriors) > decision.smoothing_hops) recent.shift();
  phrases.forEach((phrase, k) => {
    const score = recent.reduce((sum, row) => sum + row[k], 0) / recent.length;
    if (!armed[k]) armed[k] = score < decision.rearm_ratio * thresholds[k];
    else if (score >= thresholds[k] && time >= silentUntil[k]) {
      armed[k] = false;
      silentUntil[k] = time + decision.refractory_s;
      console.log(`${time.toFixed(2)} s  ${phrase}  ${score.toFixed(2)}`);
    }
  });
}

let waiting = Buffer.alloc(0);
for await (const chunk of process.stdin) {
  waiting = Buffer.concat([waiting, chunk]);
  for (; waiting.length >= 2 * hop; waiting = waiting.subarray(2 * hop)) {
    await hear(Float32Array.from({ length: hop }, (_, i) => waiting.readInt16LE(2 * i) / 32768));
  }
}
