// Runs in the audio thread: gathers the microphone's samples into hops and hands them over, nothing else.
class Microphone extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.hop = new Float32Array(processorOptions.hop);
    this.filled = 0;
  }

  process([channels]) {
    const heard = channels[0];
    if (!heard) return true;
    for (let at = 0; at < heard.length; ) {
      const n = Math.min(heard.length - at, this.hop.length - this.filled);
      this.hop.set(heard.subarray(at, at + n), this.filled);
      this.filled += n;
      at += n;
      if (this.filled === this.hop.length) {
        this.port.postMessage(this.hop.slice());
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
