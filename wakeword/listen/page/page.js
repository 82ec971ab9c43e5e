"use strict";
// The live page. /api/state gives all of it once, /api/events what happens from then on.

const KEEP_S = 65;
const FLOOR_DBFS = -80;
const $ = (id) => document.getElementById(id);

let state = null;      // the newest /api/state
let stream = null;     // the stream that is shown
let minutes = {};      // stream -> pulses
let offset = 0;        // our clock minus the server's, in seconds
let rows = {};         // phrase -> its row

async function load() {
  const answer = await fetch("api/state");
  if (!answer.ok) throw new Error(await answer.text());
  state = await answer.json();
  for (const [name, pulses] of Object.entries(state.history)) {
    if (!minutes[name]) minutes[name] = pulses;
  }
  for (const name of Object.keys(minutes)) {
    if (!state.sources[name] && !state.history[name]) delete minutes[name];
  }
  showStatus();
  showStreams();
  showPhrases();
  showDetections();
}

function follow() {
  const events = new EventSource("api/events");
  events.onopen = () => load().catch(() => badge("no connection", "bad"));
  events.onerror = () => badge("no connection", "bad");
  events.onmessage = (message) => take(JSON.parse(message.data));
}

function take(event) {
  if (state === null) return;
  if (event.kind === "pulse") takePulse(event);
  else if (event.kind === "heard") {
    state.detections.push(event);
    state.detections = state.detections.slice(-50);
    showDetections(event.number);
  } else if (event.kind === "clip") {
    for (const heard of state.detections) if (heard.number === event.number) heard.has_clip = true;
    showDetections();
  } else if (event.kind === "changed") load().catch(() => {});
}

function takePulse(pulse) {
  offset = Date.now() / 1000 - pulse.at;
  const pulses = (minutes[pulse.stream] ||= []);
  pulses.push(pulse);
  while (pulses.length && pulse.at - pulses[0].at > KEEP_S) pulses.shift();
  if (stream === null || !(stream in state.sources)) showStreams();
  if (pulse.stream === stream) showLevel(pulse);
}

function badge(text, kind) {
  $("status").textContent = text;
  $("status").className = `badge ${kind}`;
}

function showStatus() {
  const lost = Object.values(state.sources).find((source) => source.state === "lost");
  if (lost) badge("microphone lost", "bad");
  else if (Object.keys(state.sources).length) badge("listening", "good");
  else badge("no sound yet", "");
  $("saving").hidden = !state.saving;
  const problems = Object.entries(state.problems).map(([where, what]) => {
    const line = document.createElement("p");
    line.textContent = `${where}: ${what}`;
    return line;
  });
  $("problems").replaceChildren(...problems);
  $("problems").hidden = !problems.length;
  const models = state.models.map((model) => `${model.name} (${model.mode})`).join(", ");
  $("about").textContent = `wakeword ${state.version} · ${models}`;
}

function showStreams() {
  const names = Object.keys({ ...state.sources, ...minutes });
  if (!names.includes(stream)) stream = names.includes("microphone") ? "microphone" : names[0] ?? null;
  $("stream-choice").hidden = names.length < 2;
  $("stream").replaceChildren(...names.map((name) => new Option(name, name, false, name === stream)));
  const source = state.sources[stream];
  $("source").textContent = source ? `${stream}: ${source.what}` : "";
}

function showLevel(pulse) {
  const share = (dbfs) => Math.min(Math.max(1 - dbfs / FLOOR_DBFS, 0), 1);
  $("level").style.transform = `scaleX(${share(pulse.level)})`;
  $("level").classList.toggle("hot", pulse.peak > -0.1);
  $("peak").style.transform = `translateX(${share(pulse.peak) * $("meter").clientWidth}px)`;
  $("level-text").textContent = `${pulse.level.toFixed(0)} dBFS`;
  $("meter").setAttribute("aria-valuenow", pulse.level.toFixed(0));
  for (const [phrase, score] of Object.entries(pulse.scores)) {
    const row = rows[phrase];
    if (!row) continue;
    row.score.textContent = score.toFixed(2);
    row.score.classList.toggle("over", score >= row.threshold);
  }
}

function showPhrases() {
  const list = $("phrases");
  const same = list.children.length === state.phrases.length && state.phrases.every((one) => one.phrase in rows);
  if (!same) {
    rows = {};
    list.replaceChildren(...state.phrases.map((one) => makeRow(one)));
  }
  for (const one of state.phrases) fillRow(rows[one.phrase], one);
  $("writes-back").textContent = state.writes_back
    ? "Sliders change the listener at once and are written to its settings file."
    : "Sliders change the listener at once; it has no settings file, so they are lost when it ends.";
}

function makeRow(one) {
  const part = $("phrase-row").content.cloneNode(true).firstElementChild;
  const row = {
    canvas: part.querySelector("canvas"), score: part.querySelector(".score"),
    slider: part.querySelector("input"), text: part.querySelector(".rate-text"), threshold: one.threshold,
  };
  part.dataset.phrase = one.phrase;
  part.querySelector("strong").textContent = one.phrase;
  row.slider.setAttribute("aria-label", `False accepts per hour of ${one.phrase}`);
  row.slider.addEventListener("input", () => {
    row.text.textContent = rateText(row.rates[row.slider.value]);
  });
  row.slider.addEventListener("change", () => tune(one.phrase, row));
  rows[one.phrase] = row;
  return part;
}

function fillRow(row, one) {
  row.threshold = one.threshold;
  row.rates = one.rates;
  row.slider.max = one.rates.length - 1;
  const at = one.rates.indexOf(one.fa_per_hour);
  row.slider.value = at < 0 ? Math.floor(one.rates.length / 2) : at;
  row.text.textContent = at < 0 ? `fires at ${one.threshold.toFixed(3)}` : rateText(one.fa_per_hour);
  row.canvas.setAttribute("aria-label", `Score of ${one.phrase} over the last minute`);
}

function rateText(rate) {
  return `${rate} false alarms per hour`;
}

async function tune(phrase, row) {
  row.slider.disabled = true;
  try {
    const answer = await fetch("api/tune", {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ phrase, fa_per_hour: row.rates[row.slider.value] }),
    });
    if (!answer.ok) throw new Error(await answer.text());
    state.phrases = await answer.json();
    showPhrases();
  } catch (error) {
    row.text.textContent = error.message;
  } finally {
    row.slider.disabled = false;
  }
}

function showDetections(newest) {
  const items = state.detections.slice().reverse().map((heard) => {
    const item = $("detection-row").content.cloneNode(true).firstElementChild;
    const at = new Date(heard.at * 1000);
    item.querySelector("time").textContent = at.toLocaleTimeString([], { hour12: false });
    item.querySelector("time").dateTime = at.toISOString();
    item.querySelector("strong").textContent = heard.phrase;
    item.querySelector(".from").textContent = [
      heard.speaker ? `by ${heard.speaker}` : "", heard.stream === "microphone" ? "" : heard.stream,
    ].filter(Boolean).join(", ");
    item.querySelector(".score").textContent = heard.score.toFixed(2);
    item.classList.toggle("new", heard.number === newest);
    const play = item.querySelector(".play");
    play.hidden = !heard.has_clip;
    play.addEventListener("click", () => new Audio(`api/clip/${heard.number}.wav`).play());
    return item;
  });
  $("detections").replaceChildren(...items);
  $("nothing").hidden = items.length > 0;
}

function draw() {
  const now = Date.now() / 1000 - offset;
  const pulses = minutes[stream] ?? [];
  for (const [phrase, row] of Object.entries(rows)) {
    const points = pulses.filter((p) => phrase in p.scores).map((p) => ({ at: p.at, score: p.scores[phrase] }));
    drawScores(row.canvas, points, row.threshold, now);
  }
}

$("stream").addEventListener("change", () => { stream = $("stream").value; showStreams(); });
follow();
setInterval(draw, 250);
