// The page: microphone or file in, scores and events on show. ?mode=verifier, ?fa_per_hour=2, ?file=stream.wav
import * as ort from "./vendor/ort.wasm.min.mjs";
import { Detector } from "./detector.js";

const $ = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);
const state = { events: [], recorded: [], behind: 0, done: false, error: null };
window.wakeword = state; // for whoever drives the page by a program

ort.env.wasm.wasmPaths = new URL("vendor/", location.href).href;
ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send

async function bytes(file) {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function start() {
  const description = await (await fetch("detector.json")).json();
  $("name").textContent = description.name;
  fill($("mode"), Object.keys(description.thresholds).filter((m) => m !== "student"), description.mode);
  fill($("rate"), Object.keys(description.thresholds[description.mode]), description.default_fa_per_hour);
  if (asked.get("mode")) $("mode").value = asked.get("mode");
  if (asked.get("fa_per_hour")) $("rate").value = asked.get("fa_per_hour");
  const load = async () => {
    say("loading the networks…");
    const options = { mode: $("mode").value, faPerHour: $("rate").value };
    const detector = await Detector.load(ort, description, bytes, options);
    show(detector);
    say("ready");
    return detector;
  };
  state.detector = await load();
  const again = () => guard(async () => void (state.detector = await load()));
  $("mode").onchange = $("rate").onchange = again;
  $("listen").onclick = () => guard(() => listen(description));
  $("listen").disabled = false;
  $("file").onchange = ({ target }) => guard(async () => play(await target.files[0].arrayBuffer()));
  if (asked.get("file")) await play((await bytes(asked.get("file"))).buffer);
}

function fill(select, values, chosen) {
  select.replaceChildren(...values.map((value) => new Option(value, value, value === chosen, value === chosen)));
}

function show({ description, decision }) {
  const rows = description.phrases.map((phrase, k) => {
    const row = document.createElement("div");
    row.className = "phrase";
    row.innerHTML = '<span></span><div class="bar"><i></i><b></b></div><output>0.00</output>';
    row.querySelector("span").textContent = phrase;
    row.querySelector("b").style.left = `${100 * decision.thresholds[k]}%`;
    return row;
  });
  $("phrases").replaceChildren(...rows);
}

function draw(detector, events) {
  [...$("phrases").children].forEach((row, k) => {
    const score = detector.decision.smoothed[k];
    row.querySelector("i").style.width = `${100 * score}%`;
    row.querySelector("output").textContent = score.toFixed(2);
  });
  for (const event of events) {
    state.events.push(event);
    const item = document.createElement("li");
    item.textContent = `${event.time_s.toFixed(2)} s  ${event.phrase}  ${event.score.toFixed(2)}`;
    $("events").prepend(item);
  }
}

/** Hops one after the other, however late the networks are. */
function queue() {
  let last = Promise.resolve();
  return (samples) => {
    state.behind += 1;
    last = last.then(async () => {
      draw(state.detector, await state.detector.feed(samples));
      state.behind -= 1;
      $("behind").textContent = state.behind > 6 ? `${state.behind} hops behind` : "";
    });
    return last;
  };
}

async function listen(description) {
  $("listen").disabled = true;
  const quiet = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...quiet } });
  const context = new AudioContext({ sampleRate: description.sample_rate });
  await context.audioWorklet.addModule("microphone.js");
  const options = { processorOptions: { hop: description.hop_samples }, numberOfOutputs: 0 };
  const node = new AudioWorkletNode(context, "microphone", options);
  const feed = queue();
  state.detector.reset();
  node.port.onmessage = ({ data }) => {
    if (asked.has("record")) state.recorded.push(data);
    feed(data).catch(fail);
  };
  context.createMediaStreamSource(stream).connect(node);
  say("listening");
}

/** A recording, decoded and resampled by the browser unless it is 16 kHz already. */
async function play(buffer) {
  const { sample_rate } = state.detector.description;
  const audio = await new OfflineAudioContext(1, 1, sample_rate).decodeAudioData(buffer);
  state.detector.reset();
  state.done = false;
  const samples = audio.getChannelData(0);
  const feed = queue();
  for (let at = 0; at < samples.length; at += sample_rate) await feed(samples.subarray(at, at + sample_rate));
  state.done = true;
  say(`heard ${(samples.length / sample_rate).toFixed(1)} s`);
}

function say(text) {
  $("status").textContent = text;
}

function fail(error) {
  const denied = { NotAllowedError: "the microphone is not allowed here: use https or localhost, and allow it",
    NotFoundError: "no microphone found",
    NotSupportedError: "this browser cannot take the microphone at 16 kHz; Chromium can" };
  state.error = denied[error.name] ?? error.message;
  say(`error: ${state.error}`);
  $("listen").disabled = false;
}

const guard = (action) => action().catch(fail);
guard(start);
