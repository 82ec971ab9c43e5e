"""One evaluation from a bundle and recordings to a result: build streams, listen once, judge."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wakeword.bundle import load_bundle
from wakeword.clips.confusable_clips import ConfusableClip
from wakeword.clips.dataset import Clip
from wakeword.cluster import Cluster
from wakeword.detector import load_models
from wakeword.errors import DataError
from wakeword.evaluate.confusable import count_confusables, hear_confusables
from wakeword.evaluate.judge import Heard, judge
from wakeword.evaluate.plan import MixConfig, build_mixed_streams, build_negative_streams
from wakeword.evaluate.report import write_report
from wakeword.evaluate.result import EvaluationResult
from wakeword.evaluate.streams import MixedStream, NegativeStream
from wakeword.evaluate.trace import ScoresAudio, Trace, trace_all
from wakeword.manifest import Manifest, Mode
from wakeword.scorer import HopScorer


def bundle_scorer(path: Path, mode: Mode | None = None) -> HopScorer:
    """A scorer of a bundle, made where it runs: sessions do not travel between processes."""
    return load_models(path, mode).scorer()


def evaluate(
    bundle_path: str | os.PathLike[str],
    clips: Sequence[Clip],
    background: Sequence[Clip],
    noise: Sequence[Clip],
    out_dir: str | os.PathLike[str],
    snrs: Sequence[float | None] = (None, 10.0),
    processes: int | None = None,
    seed: int = 1,
    max_phrases: int | None = None,
    progress: bool = True,
    mode: Mode | None = None,
    confusables: Sequence[ConfusableClip] = (),
    cluster: Cluster | None = None,
) -> EvaluationResult:
    """Judge a bundle on mixed and negative streams and write `report.html` and `report.json`.

    Args:
        bundle_path: the `.wakeword` file.
        clips: phrase clips; those of phrases the bundle does not know are left out.
        background: recordings without the phrases. Those of kind "speech" run behind the phrases.
        noise: what is laid over everything at an SNR; also judged as background.
        out_dir: where the report goes.
        snrs: one mixed condition each, in dB; None = clean.
        processes: None = one per processor.
        seed: of the streams.
        max_phrases: clips per phrase, chosen by the seed; None = all.
        progress: show a bar on stderr.
        mode: who listens; None = as `wakeword.load` has it.
        confusables: recordings that must not be taken for a phrase, each played once in background speech.
        cluster: whose workers listen, instead of processes of this machine.

    Raises DataError where there is nothing to judge on, BundleError for a bad bundle.
    """
    path = Path(bundle_path)
    manifest = load_bundle(path).manifest
    mode = mode or manifest.mode
    manifest = in_mode(manifest, mode)
    heard = listen(
        partial(bundle_scorer, path, mode),
        pick_clips(clips, manifest.phrases, max_phrases, seed),
        background,
        noise,
        snrs,
        processes,
        seed,
        progress,
        cluster,
    )
    result = judge_mode(heard, manifest, mode, {"seed": seed, "model_bytes": path.stat().st_size})
    if confusables:
        scorer = partial(bundle_scorer, path, mode)
        outcomes = hear_confusables(
            scorer, confusables, background or noise, manifest, seed, processes, progress, cluster
        )
        result = replace(result, confusables=count_confusables(outcomes))
    write_report(result, out_dir)
    return result


def judge_mode(heard: Heard, manifest: Manifest, mode: Mode, facts: Mapping[str, Any]) -> EvaluationResult:
    """What was heard in a mode, by the manifest `in_mode`; `facts` join those of `heard`."""
    result = judge(heard, manifest)
    known = {"encoder": manifest.encoder, "verdict": manifest.results.get("verdict"), "mode": mode}
    return replace(result, facts={**facts, **known, **heard.facts})


def in_mode(manifest: Manifest, mode: Mode) -> Manifest:
    """The manifest with a mode's thresholds and decision for its own."""
    return replace(manifest, thresholds=manifest.thresholds_of(mode), decision=manifest.decision_of(mode))


def pick_clips(
    clips: Sequence[Clip], phrases: Sequence[str], max_phrases: int | None, seed: int
) -> list[Clip]:
    """The clips of these phrases, at most so many of each; DataError where none is left."""
    rng = np.random.default_rng(seed)
    chosen = list[Clip]()
    for phrase in phrases:
        of_phrase = sorted((c for c in clips if c.label == phrase), key=lambda c: str(c.path))
        keep = rng.permutation(len(of_phrase))[:max_phrases]
        chosen += [of_phrase[i] for i in sorted(keep)]
    if not chosen:
        found = ", ".join(sorted({c.label for c in clips if c.label})) or "none"
        raise DataError(
            f"no clips of {', '.join(phrases)} to judge on (phrases found: {found}); "
            "give a folder that holds one folder per phrase"
        )
    return chosen


def listen(
    make_scorer: Callable[[], ScoresAudio],
    clips: Sequence[Clip],
    background: Sequence[Clip],
    noise: Sequence[Clip],
    snrs: Sequence[float | None],
    processes: int | None,
    seed: int,
    progress: bool,
    cluster: Cluster | None = None,
) -> Heard:
    """Build every stream of an evaluation and trace them all in one pool; arguments as for `evaluate`."""
    start = time.monotonic()
    speech = [c for c in background if c.kind == "speech"] or list(background)
    mixed = {
        "clean" if snr is None else f"{snr:g} dB": build_mixed_streams(
            clips, speech, noise, MixConfig(snr_db=snr), seed
        )
        for snr in snrs
    }
    everything = {c.path: c for c in (*background, *noise)}
    negative = build_negative_streams(list(everything.values()))
    streams: list[MixedStream | NegativeStream] = [*(s for part in mixed.values() for s in part), *negative]
    label = f"judging ({sum(s.seconds for s in streams) / 3600:.1f} h of audio)"
    traces = iter(trace_all(make_scorer, streams, processes, label, progress, cluster))
    mixed_heard = {name: [(s, next(traces)) for s in part] for name, part in mixed.items()}
    negative_heard = [(s, next(traces)) for s in negative]
    return with_facts(mixed_heard, negative_heard, {"seconds_taken": time.monotonic() - start})


def with_facts(
    mixed: Mapping[str, Sequence[tuple[MixedStream, Trace]]],
    negative: Sequence[tuple[NegativeStream, Trace]],
    facts: Mapping[str, Any],
) -> Heard:
    """What was heard, and how much that is; `facts` are kept too."""
    spoken = [s for stream, _ in next(iter(mixed.values())) for s in stream.spoken]
    # Where the student suspects nothing the cascade's posteriors are exactly 0.
    asked = np.concatenate([heard.scores.any(axis=1) for _, heard in negative])
    found = {
        "mixed_hours": {name: sum(s.seconds for s, _ in part) / 3600 for name, part in mixed.items()},
        "speakers": len({s.group for s in spoken}),
        "clips": len(spoken),
        "verifier_share": float(asked.mean()),
    }
    return Heard({name: list(part) for name, part in mixed.items()}, list(negative), {**found, **facts})


def speech_and_noise(background: Sequence[Clip]) -> tuple[list[Clip], list[Clip]]:
    """Split background recordings into what runs behind the phrases and what is laid over them."""
    return [c for c in background if c.kind == "speech"], [c for c in background if c.kind != "speech"]
