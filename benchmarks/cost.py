"""What listening costs, beside the peers, in the same run on the same audio.

    python benchmarks/cost.py out/demo/demo.wakeword ../shared/corpus/index.csv

Makes an environment of its own in out/bench-venv (`uv`, the locked group `bench`), where all systems run
with the same numpy and onnxruntime. About four minutes; --quick for a look. Writes benchmarks/out/cost.json
and its section of benchmarks/RESULTS.md.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from cost_inputs import SPEECH, Corpus, make_inputs
from cost_report import profile, section, streams, summary
from cost_run import (
    ROUND_HOPS,
    WARM_UP_HOPS,
    Answers,
    after_an_hour,
    interleaved,
    make_environment,
    start_times,
)
from cost_systems import SYSTEMS
from results import provenance, update_section, write_json

from wakeword.audio import HOP_S
from wakeword.detector import choose_thresholds, load_models
from wakeword.evaluate.plan import MixConfig, build_mixed_streams
from wakeword.evaluate.run import pick_clips
from wakeword.evaluate.score import events, latencies, match
from wakeword.evaluate.trace import trace

OURS = "wakeword cascade"
COMPARED = [name for name in SYSTEMS if name not in ("profile", "streams")]
ROUNDS = 15
STARTS = 3
CLIPS_PER_PHRASE = 8
SNRS = (None, 10.0)


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("corpus", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--quick", is_flag=True, help="Two rounds, nothing written to RESULTS.md.")
def main(model: Path, corpus: Path, quick: bool) -> None:
    """Measure MODEL and the peers on the test split of CORPUS, a manifest."""
    figures = measure(model, corpus, rounds=2 if quick else ROUNDS)
    body = section(figures, OURS)
    print(body)
    print(f"\n{write_json('cost', figures)}")
    if not quick:
        update_section("cost", body)


def measure(model: Path, manifest: Path, rounds: int) -> dict[str, Any]:
    """All figures, as they go to JSON."""
    begun, python = provenance(), make_environment()
    phrases = load_models(model).manifest.phrases
    corpus = Corpus(manifest, phrases)
    plan = {"rounds": rounds, "seconds": rounds * ROUND_HOPS * HOP_S, "phrases": len(phrases)}
    late = {mode: latency(model, corpus, mode) for mode in ("cascade", "student")}
    with tempfile.TemporaryDirectory() as folder:
        inputs = make_inputs(corpus, WARM_UP_HOPS + rounds * ROUND_HOPS, Path(folder))
        starts = start_times(python, model, COMPARED, STARTS)
        answers = interleaved(python, model, inputs, COMPARED, rounds)
        ours = interleaved(python, model, inputs, ["profile", "streams"], rounds)
        hour = after_an_hour(python, model, inputs[SPEECH])
    return {
        "provenance": begun,
        "model": model.name,
        "plan": plan,
        "hops": {i: {s: asdict(summary(answers[s, i])) for s in COMPARED} for i in inputs},
        "systems": {s: facts(answers, s) | {"start_s": float(np.median(starts[s]))} for s in COMPARED},
        "profile": {i: profile(ours["profile", i]) for i in inputs},
        "streams": {i: streams(ours["streams", i]) for i in inputs},
        "hour": hour,
        "latency": late,
    }


def facts(answers: Answers, system: str) -> dict[str, int]:
    """Size of a system's models, and the most memory it had after any round."""
    heard = [a for (s, _), rounds in answers.items() if s == system for a in rounds]
    return {"bytes": heard[-1]["bytes"], "resident_bytes": max(a["resident_bytes"] for a in heard)}


def latency(model: Path, corpus: Corpus, mode: Any) -> dict[str, dict[str, float]]:
    """Time to detection at the default operating point, judged as `wakeword evaluate` does."""
    models = load_models(model, mode)
    manifest, scorer = models.manifest, models.scorer()
    decision = manifest.decision_of(mode)
    thresholds = dict(zip(manifest.phrases, choose_thresholds(manifest, mode=mode), strict=True))
    clips = pick_clips(corpus.clips, manifest.phrases, CLIPS_PER_PHRASE, seed=1)
    found = {}
    for snr in SNRS:
        late, spoken = list[float](), 0
        config = MixConfig(snr_db=snr, gap_s=(5.0, 10.0))
        for stream in build_mixed_streams(clips, corpus.speech, corpus.noise, config, seed=1):
            heard = trace(scorer, stream.blocks())
            spoken += len(stream.spoken)
            for phrase, threshold in thresholds.items():
                matched = match(events(heard, phrase, threshold, decision), stream.spoken, phrase)
                late += latencies(matched, stream.spoken)
        median, p95 = np.percentile(late, [50, 95]) if late else (np.nan, np.nan)
        name = "clean" if snr is None else f"{snr:g} dB"
        found[name] = {"median": float(median), "p95": float(p95), "heard": len(late), "spoken": spoken}
    return found


if __name__ == "__main__":
    main()
