"""Ours and the field on the same streams: misses at each rate of false accepts, in each noise.

    python benchmarks/peers.py out/demo/demo.wakeword ../shared/corpus/index.csv
        [--embedding EMBEDDING.wakeword] [--snr clean --snr 10 ...] [--phrase alexa ...]

EMBEDDING.wakeword is `wakeword train` with the same arguments and `--encoder speech-embedding`: Google's
speech embedding, under openWakeWord and livekit-wakeword, with our head. The peers know one phrase of the
corpus, `alexa`; other phrases are heard by ours and the embedding alone. The peers run in out/bench-venv (as
for cost.py). About 12 minutes on two idle cores; an interrupted run is gone on with (benchmarks/out/peers).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from cost_run import make_environment
from peers_hear import NEGATIVE, Plan, hear_all
from peers_report import Cell, Curve, Heard, as_json, det_picture, judge_system, table, winners
from peers_scorers import EMBEDDING, OURS, PEER_PHRASE, PEERS, maker_of
from results import HERE, OUT, provenance, update_section, write_json

from wakeword.bundle import load_bundle
from wakeword.decision import DecisionConfig
from wakeword.evaluate.streams import MixedStream
from wakeword.manifest import Mode

SCRIPT = Path(__file__).with_name("peers_hear.py")


def main() -> None:
    arguments = parse()
    plan = Plan(
        corpus=str(arguments.corpus.resolve()),
        phrases=tuple(arguments.phrase or (PEER_PHRASE,)),
        snrs=tuple(arguments.snr or ("clean", "10", "5", "0")),
        max_clips=arguments.max_clips,
        hours=arguments.hours,
    )
    heard = [hear(system, plan, arguments) for system in systems(arguments)]
    streams = plan.streams()
    mixed = {name: part for name, part in streams.items() if name != NEGATIVE}
    cells, curves = judge_all(heard, mixed, plan.phrases)
    quick = arguments.max_clips is not None or arguments.hours is not None
    picture = det_picture(curves, cells, list(mixed), quick)
    body = section(cells, list(mixed), plan, picture)
    print(body)
    write_json("peers quick" if quick else "peers", {"plan": asdict(plan), "cells": as_json(cells)})
    if not quick:
        update_section("peers", body)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--embedding", type=Path, help="bundle of the speech embedding with our head")
    parser.add_argument("--snr", action="append", help="clean or dB; several")
    parser.add_argument("--phrase", action="append", help="spoken in the mixed streams; several")
    parser.add_argument("--max-clips", type=int, help="of each phrase, for a trial: RESULTS.md stays")
    parser.add_argument("--hours", type=float, help="of background, for a trial: RESULTS.md stays")
    parser.add_argument("--processes", type=int, help="that listen; one for each core unless given")
    parser.add_argument("--python", type=Path, help="of an environment that has the peers")
    return parser.parse_args()


def systems(arguments: argparse.Namespace) -> list[str]:
    return [*OURS, *([EMBEDDING] if arguments.embedding else []), *PEERS]


def hear(system: str, plan: Plan, arguments: argparse.Namespace) -> Heard:
    """Let a system hear what it has not heard yet."""
    bundle = (arguments.embedding if system == EMBEDDING else arguments.bundle).resolve()
    is_peer = system in PEERS
    key = json.dumps(asdict(plan)) + ("" if is_peer else hashlib.sha256(bundle.read_bytes()).hexdigest())
    name = "".join(c if c.isalnum() else "-" for c in system)
    folder = OUT / "peers" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
    if is_peer and not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.json").write_text(json.dumps(asdict(plan)), encoding="utf-8")
        python = arguments.python or make_environment()
        command = [python, SCRIPT, system, bundle, folder / "plan.json", folder, arguments.processes or 0]
        subprocess.run([str(part) for part in command], cwd=HERE, check=True)
        (folder / "done").touch()
    traces = hear_all(maker_of(system, bundle), plan.streams(), folder, arguments.processes)
    if is_peer:
        return Heard(system, DecisionConfig(smoothing_hops=1), traces, {})
    manifest = load_bundle(bundle).manifest
    mode: Mode = "student" if system == OURS[1] else "cascade" if system == OURS[0] else "verifier"
    points = manifest.thresholds_of(mode)
    values = {phrase: {rate: t.value for rate, t in of.items()} for phrase, of in points.items()}
    return Heard(system, manifest.decision_of(mode), traces, values)


def judge_all(
    heard: list[Heard], mixed: dict[str, list[MixedStream]], phrases: tuple[str, ...]
) -> tuple[list[Cell], list[Curve]]:
    """Cells of all phrases that a system knows; curves of the phrase that all know."""
    cells, curves = list[Cell](), list[Curve]()
    for one in heard:
        known = one.traces[NEGATIVE][0].phrases
        for phrase in (p for p in phrases if p in known):
            found, lines = judge_system(one, mixed, phrase)
            cells += found
            curves += lines if phrase == PEER_PHRASE else []
    return cells, curves


def section(cells: list[Cell], conditions: list[str], plan: Plan, picture: Path) -> str:
    relative = Path("..") / picture.relative_to(HERE.parent)
    return f"""## Beside the field

{provenance()}

The same streams for all: {cells[0].misses.spoken} recordings of `{plan.phrases[0]}` by held-out
pseudo-speakers, in continuous background speech, noise over everything at each SNR; false accepts in
{cells[0].false_accepts.hours:.1f} h of test background. "test": each system at the lowest threshold with no
more false accepts on these very hours. That flatters every system, and the peers, which were not calibrated
on our dev recordings, have no other row. "dev": our thresholds as a listener has them, and how often they
fire here. Hours too few for 0.1 FA/h: no false accept at all, and the tail of the peaks extrapolated. Peers'
scores are not smoothed beyond what they do themselves; refractory period and re-arm are the same for all.
The embedding is heard at every fourth hop, and at those between where either neighbour hears anything.

{winners(cells, conditions)}

![DET curves]({relative})

{table(cells, conditions)}
"""


if __name__ == "__main__":
    sys.exit(main())
