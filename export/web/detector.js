// The detector in JavaScript, for browsers and node: audio in, events out, as wakeword/cascade.py and
// wakeword/decision.py have it. The networks take audio, so there is no signal processing here.
//
//   const detector = await Detector.load(ort, description, fetchBytes);
//   for (const event of await detector.feed(float32Samples)) console.log(event.phrase, event.time_s);

class Network {
  constructor(ort, session) {
    this.ort = ort;
    this.session = session;
    this.shapes = Object.fromEntries(session.inputMetadata.map((input) => [input.name, input.shape]));
    this.reset();
  }

  reset() {
    const states = this.session.inputNames.filter((name) => name.startsWith("state_"));
    const size = (name) => this.shapes[name].reduce((product, n) => product * n, 1);
    this.states = states.map((name) => [name, this.tensor(name, new Float32Array(size(name)))]);
  }

  tensor(name, values) {
    const shape = this.shapes[name].map((n) => (typeof n === "number" && n > 0 ? n : 1));
    return new this.ort.Tensor("float32", values, shape);
  }

  /** Scores [K] of some audio; the states move on. */
  async run(audio) {
    const feeds = { audio: this.tensor("audio", audio), ...Object.fromEntries(this.states) };
    const results = await this.session.run(feeds);
    this.states = this.states.map(([name]) => [name, results[`new_${name}`]]);
    return Array.from((results.score ?? results.posterior).data);
  }
}

/** p / (1 - p), finite and above 0 also at 0 and 1. */
function odds(probability) {
  const p = Math.min(Math.max(probability, 1e-7), 1 - 1e-7);
  return p / (1 - p);
}

/** From posteriors to events; see wakeword/decision.py. */
export class Decision {
  constructor(phrases, thresholds, config) {
    Object.assign(this, { phrases, thresholds, config });
    this.reset();
  }

  reset() {
    this.recent = [];
    this.smoothed = this.phrases.map(() => 0);
    this.armed = this.phrases.map(() => true);
    this.silentUntil = this.phrases.map(() => -Infinity);
  }

  update(posteriors, time_s) {
    this.recent.push(posteriors);
    if (this.recent.length > this.config.smoothing_hops) this.recent.shift();
    this.smoothed = this.phrases.map(
      (_, k) => this.recent.reduce((sum, row) => sum + row[k], 0) / this.recent.length,
    );
    return this.phrases
      .map((phrase, k) => ({ phrase, time_s, score: this.smoothed[k], threshold: this.thresholds[k], k }))
      .filter(({ k, score }) => this.fires(k, score, time_s))
      .map(({ k, ...event }) => event);
  }

  fires(k, score, time_s) {
    const threshold = this.thresholds[k];
    if (!this.armed[k]) {
      this.armed[k] = score < this.config.rearm_ratio * threshold;
      return false;
    }
    if (score < threshold || time_s < this.silentUntil[k]) return false;
    this.armed[k] = false;
    this.silentUntil[k] = time_s + this.config.refractory_s;
    return true;
  }
}

export class Detector {
  /**
   * @param ort onnxruntime-web or onnxruntime-node
   * @param description detector.json of an exported folder
   * @param read async function from a file's name to its bytes
   * @param options mode ("cascade" or "verifier"), faPerHour, precision
   */
  static async load(ort, description, read, options = {}) {
    const mode = options.mode ?? description.mode;
    const points = description.thresholds[mode];
    const rate = options.faPerHour ?? description.default_fa_per_hour;
    if (!points?.[rate]) throw new Error(`no thresholds for mode ${mode} at ${rate} false accepts per hour`);
    const open = async (role) => {
      const known = description.files.filter((f) => f.role === role && f.input === "audio");
      const file = known.find((f) => f.precision === options.precision) ?? known[0];
      const settings = { intraOpNumThreads: 1, interOpNumThreads: 1, ...options.session };
      const session = await ort.InferenceSession.create(await read(file.file), settings);
      return new Network(ort, session);
    };
    const verifier = await open("verifier");
    return new Detector(description, points[rate], verifier, mode === "cascade" ? await open("student") : null);
  }

  constructor(description, thresholds, verifier, student) {
    Object.assign(this, { description, verifier, student });
    this.hop = description.hop_samples;
    this.decision = new Decision(description.phrases, thresholds, description.decision);
    this.window = new Float32Array(description.window.samples);
    this.reset();
  }

  reset() {
    this.decision.reset();
    this.student?.reset();
    this.window.fill(0);
    this.pending = new Float32Array(0);
    this.heard = [];
    this.hops = this.asking = this.resting = this.verified = 0;
    this.posteriors = this.said = this.description.phrases.map(() => 0);
  }

  /** Take any number of mono 16 kHz samples in [-1, 1]; return the events in them. */
  async feed(samples) {
    const waiting = new Float32Array(this.pending.length + samples.length);
    waiting.set(this.pending);
    waiting.set(samples, this.pending.length);
    const events = [];
    let at = 0;
    for (; at + this.hop <= waiting.length; at += this.hop) {
      events.push(...(await this.feedHop(waiting.subarray(at, at + this.hop))));
    }
    this.pending = waiting.slice(at);
    return events;
  }

  async feedHop(hop) {
    this.window.copyWithin(0, this.hop);
    this.window.set(hop, this.window.length - this.hop);
    this.hops += 1;
    const asked = await this.suspects(hop);
    if (this.hops < this.description.warm_up_hops) return [];
    this.resting = Math.max(0, this.resting - 1);
    if (asked && !this.resting) this.said = await this.ask();
    this.posteriors = asked ? this.said : this.description.phrases.map(() => 0);
    const { sample_rate } = this.description;
    return this.decision.update(this.posteriors, this.hops * (this.hop / sample_rate));
  }

  /** Whether the verifier is to hear this hop: always, or where the student suspects something. */
  async suspects(hop) {
    if (!this.student) return true;
    const { gate, hangover_hops, evidence_hops } = this.description.student;
    const scores = await this.student.run(hop.slice());
    this.heard.push(scores);
    if (this.heard.length > evidence_hops) this.heard.shift();
    if (scores.some((score, k) => score >= gate[k])) this.asking = hangover_hops + 1;
    const asked = this.asking > 0;
    this.asking = Math.max(0, this.asking - 1);
    return asked;
  }

  async ask() {
    this.verified += 1;
    const posteriors = await this.verifier.run(this.window.slice());
    if (!this.student) return posteriors;
    const { gate, promising, evidence, stride_hops } = this.description.student;
    this.resting = stride_hops ?? 1;
    if (Math.max(...posteriors) < promising) this.asking = 0;
    return posteriors.map((posterior, k) => {
      const highest = Math.max(...this.heard.map((scores) => scores[k]));
      const joined = odds(posterior) * (odds(highest) / odds(gate[k])) ** evidence;
      return joined / (1 + joined);
    });
  }
}
