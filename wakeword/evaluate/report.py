"""`report.json` and one self-contained `report.html` from an evaluation's result."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import soundfile

from wakeword.audio import SAMPLE_RATE, Samples
from wakeword.errors import DataError
from wakeword.evaluate.plots import det_plot, histogram_plot
from wakeword.evaluate.result import (
    Accepted,
    AtThreshold,
    ConfusableResult,
    EvaluationResult,
    Excerpt,
    FalseAccepts,
    Misses,
)
from wakeword.files import written_whole

FROM_OTHERS = "The thresholds were set before, on other recordings (dev)."
FROM_DEV = """<b>The thresholds were set on these very recordings (dev)</b>: expect somewhat worse of others,
and judge it on such by <code>wakeword evaluate</code>."""


def write_report(result: EvaluationResult, out_dir: str | os.PathLike[str]) -> Path:
    """Write both files, each whole or not at all; return the path of `report.html`."""
    folder = Path(out_dir)
    texts = {"report.json": json.dumps(as_json(result), indent=1), "report.html": as_html(result)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with written_whole(folder / name) as partial:
                partial.write_text(text, encoding="utf-8")
    except OSError as err:
        raise DataError(f"cannot write the report to {folder}: {err}") from err
    return folder / "report.html"


def as_json(value: Any) -> Any:
    """Plain values for JSON: dataclasses by field, rates beside counts, no audio; NaN becomes null."""
    if isinstance(value, Misses | FalseAccepts | Accepted):
        rate = value.per_hour if isinstance(value, FalseAccepts) else value.rate
        return {**_fields(value), "rate": as_json(rate)}
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, dict):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return as_json(value.tolist())
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _fields(value: Any) -> dict[str, Any]:
    return {f.name: as_json(getattr(value, f.name)) for f in fields(value) if f.name != "audio"}


def as_html(result: EvaluationResult) -> str:
    """The whole page; it loads nothing from anywhere."""
    template = Template(Path(__file__).with_name("report.html.in").read_text(encoding="utf-8"))
    return template.substitute(
        model=html.escape(result.model),
        subtitle=html.escape(_subtitle(result)),
        verdict=verdict_html(result.facts.get("verdict")),
        cards=_cards(result),
        origin=FROM_DEV if result.facts.get("split") == "dev" else FROM_OTHERS,
        thresholds=_threshold_tables(result),
        rates=_rate_table(result),
        det=det_plot(result),
        histograms=histogram_plot(result),
        noise=_noise_table(result),
        latency=_latency_table(result),
        sources=_source_table(result),
        mixed=_mixed_table(result),
        misses=_clips(result.worst_misses, "No phrase was missed at the default thresholds."),
        accepts=_clips(result.worst_false_accepts, "The background is empty."),
        confusables=confusable_section(result.confusables),
        footer=html.escape(_footer(result)),
    )


def _subtitle(result: EvaluationResult) -> str:
    rows = result.headline()
    spoken = sum(row.misses[result.conditions[0]].spoken for row in rows)
    hours = rows[0].false_accepts.hours
    speakers = result.facts.get("speakers")
    voices = f" by {speakers} speakers" if speakers else ""
    where = "dev: " if result.facts.get("split") == "dev" else ""
    phrases = f"{where}{spoken} spoken phrases{voices} in continuous speech"
    return f"{phrases}, {hours:.1f} h of background without them"


def verdict_html(verdict: Mapping[str, Any] | None) -> str:
    """What the bundle says of itself, from dev."""
    if verdict is None:
        return ""
    if verdict["ready"]:
        return '<p class="verdict"><b>Ready</b>, by what was measured on dev when it was trained.</p>'
    reasons = "; ".join(verdict["reasons"])
    text = f"{html.escape(reasons)}.<br>Next: {html.escape(verdict['next_step'])}"
    return f'<p class="verdict bad"><b>Not ready</b>, by what was measured on dev: {text}.</p>'


def _footer(result: EvaluationResult) -> str:
    known = {"encoder": "encoder", "model_bytes": "model", "mode": "listening mode", "seed": "seed"}
    known |= {"verifier_share": "verifier asked on", "seconds_taken": "time taken"}
    shown = {label: result.facts[key] for key, label in known.items() if result.facts.get(key) is not None}
    if "model" in shown:
        shown["model"] = f"{shown['model'] / 1e6:.1f} MB"
    if "verifier asked on" in shown:
        shown["verifier asked on"] = f"{percent(shown['verifier asked on'])} of the background's hops"
    if "time taken" in shown:
        shown["time taken"] = f"{shown['time taken'] / 60:.1f} min"
    return " · ".join(f"{label}: {value}" for label, value in shown.items())


def _cards(result: EvaluationResult) -> str:
    rows = result.headline()
    total = sum(row.false_accepts.count for row in rows)
    hours = rows[0].false_accepts.hours
    cards = [
        (f"{percent(result.mean_miss_rate(c))}", f"missed, {c} (mean of phrases)") for c in result.conditions
    ]
    cards.append(
        (f"{total / (hours * len(rows)):.2f}/h" if hours else "–", "false accepts of one phrase (mean)")
    )
    waits = [row.median_s for row in result.latencies if row.condition == result.conditions[0]]
    if waits:
        cards.append(
            (f"{1000 * np.median(waits):.0f} ms", f"after the end of the phrase, {result.conditions[0]}")
        )
    items = (f'<div class="figure"><b>{html.escape(b)}</b>{html.escape(text)}</div>' for b, text in cards)
    return f'<div class="figures">{"".join(items)}</div>'


def _threshold_tables(result: EvaluationResult) -> str:
    default = result.default_fa_per_hour
    others = sorted({row.wanted_fa_per_hour for row in result.at_threshold} - {default})
    parts = [
        f"<h3>Default: thresholds for {default:g} false accepts per hour</h3>",
        _threshold_table(result, default),
    ]
    for rate in others:
        title = f"<summary>Thresholds for {rate:g} false accepts per hour</summary>"
        parts.append(f"<details>{title}{_threshold_table(result, rate)}</details>")
    return "".join(parts)


def _threshold_table(result: EvaluationResult, rate: float) -> str:
    rows = [_threshold_row(row, result.conditions) for row in result.headline(rate)]
    means = [f"{percent(result.mean_miss_rate(c, rate))}" for c in result.conditions]
    accepts = [row.false_accepts.per_hour for row in result.headline(rate)]
    rows.append(["mean", "", *means, f"{np.mean(accepts):.2g}"])
    head = ["phrase", "threshold", *(f"missed, {c}" for c in result.conditions), "false accepts per hour"]
    return table(head, rows, last_is_total=True)


def _threshold_row(row: AtThreshold, conditions: Sequence[str]) -> list[str]:
    mark = '<small class="tag">extrapolated</small>' if row.extrapolated else ""
    cells = [html.escape(row.phrase), f"{score_text(row.threshold)}{mark}"]
    return cells + [misses_cell(row.misses[c]) for c in conditions] + [accepts_cell(row.false_accepts)]


def _rate_table(result: EvaluationResult) -> str:
    rows = []
    for row in result.at_rate:
        few = row.extrapolated_misses is not None
        wanted = f"{row.wanted_fa_per_hour:g}" + ("<small>too few hours: at none</small>" if few else "")
        cells = [misses_cell(row.misses[c], _beyond(row.extrapolated_misses, c)) for c in result.conditions]
        rows.append([html.escape(row.phrase), wanted, *cells, accepts_cell(row.false_accepts)])
    head = [
        "phrase",
        "wanted per hour",
        *(f"missed, {c}" for c in result.conditions),
        "false accepts per hour",
    ]
    return table(head, rows)


def _beyond(misses: dict[str, Misses] | None, condition: str) -> str:
    if misses is None:
        return ""
    return f'<small class="tag">extrapolated: {percent(misses[condition].rate)}</small>'


def _noise_table(result: EvaluationResult) -> str:
    if not result.by_noise:
        return '<p class="soft">No condition with noise.</p>'
    rows = [[html.escape(r.condition), html.escape(r.noise), misses_cell(r.misses)] for r in result.by_noise]
    return table(["SNR", "kind", "missed"], rows)


def _latency_table(result: EvaluationResult) -> str:
    rows = [
        [
            html.escape(r.phrase),
            html.escape(r.condition),
            f"{1000 * r.median_s:.0f}",
            f"{1000 * r.p95_s:.0f}",
            str(r.n),
        ]
        for r in result.latencies
    ]
    return table(["phrase", "condition", "median", "95 % within", "detections"], rows)


def _source_table(result: EvaluationResult) -> str:
    rows = []
    for band in ("wideband", "narrow-band"):
        of_band = [r for r in result.by_source if r.band == band]
        if not of_band:
            continue
        for r in of_band:
            counts = [str(r.by_phrase[p]) for p in result.phrases]
            rows.append([html.escape(r.source), band, f"{r.hours:.2f}", *counts])
        hours = sum(r.hours for r in of_band)
        sums = [sum(r.by_phrase[p] for r in of_band) for p in result.phrases]
        per_hour = [f"{n}<small>{n / hours:.2g} per hour</small>" if hours else str(n) for n in sums]
        rows.append([f"<b>all {band}</b>", "", f"<b>{hours:.2f}</b>", *per_hour])
    return table(["source", "band", "hours", *(html.escape(p) for p in result.phrases)], rows)


def _mixed_table(result: EvaluationResult) -> str:
    rows = [
        [html.escape(c), *(accepts_cell(row.mixed_false_accepts[c]) for row in result.headline())]
        for c in result.conditions
    ]
    return table(["condition", *(html.escape(p) for p in result.phrases)], rows)


def confusable_section(found: ConfusableResult | None) -> str:
    """Accept rates by kind, the texts most accepted, and recordings to listen to."""
    if found is None:
        return '<p class="soft">None were played; evaluate with --confusables FOLDER.</p>'
    phrases = sorted(found.total.by_phrase)
    held_out = found.total.held_out[1] > 0
    rows = [_accepted_row(row, phrases, held_out) for row in (*found.by_kind, found.total)]
    head = ["kind", "accepted", *(["texts never trained on"] if held_out else []), *map(html.escape, phrases)]
    parts = [table(head, rows, last_is_total=True)]
    if found.texts:
        cells = [
            [html.escape(t.text), t.kind, html.escape(t.phrase), f"{t.accepted} of {t.spoken}"]
            for t in found.texts
        ]
        parts += ["<h3>Accepted most</h3>", table(["text", "kind", "taken for", "times"], cells)]
    parts += ["<h3>Nearest to being taken for a phrase</h3>", _clips(found.excerpts, "None.")]
    return "".join(parts)


def _accepted_row(row: Accepted, phrases: Sequence[str], held_out: bool) -> list[str]:
    interval = f"{percent(row.interval.low)} to {percent(row.interval.high)}"
    main = f"{percent(row.rate)}<small>{interval} ({row.accepted} of {row.spoken})</small>"
    shares = [row.held_out] if held_out else []
    shares += [row.by_phrase.get(phrase, (0, 0)) for phrase in phrases]
    return [html.escape(row.kind), main, *(f"{k} of {n}" if n else "–" for k, n in shares)]


def _clips(excerpts: Sequence[Excerpt], none: str) -> str:
    if not excerpts:
        return f'<p class="soft">{none}</p>'
    return f'<ul class="clips">{"".join(_clip(e) for e in excerpts)}</ul>'


def _clip(excerpt: Excerpt) -> str:
    verdict = "detected" if excerpt.score >= excerpt.threshold else "not detected"
    score = f"score {score_text(excerpt.score)}, threshold {score_text(excerpt.threshold)}: {verdict}"
    return (
        f"<li><b>{html.escape(excerpt.phrase)}</b> <small>{html.escape(excerpt.title)}</small>"
        f'<small>{score}</small><audio controls preload="none" src="{audio_uri(excerpt.audio)}"></audio></li>'
    )


def audio_uri(samples: Samples) -> str:
    """The samples as a data: address, MP3 where libsndfile can write it, else WAV."""
    kind, mime = ("MP3", "audio/mpeg") if "MP3" in soundfile.available_formats() else ("WAV", "audio/wav")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format=kind)
    return f"data:{mime};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], last_is_total: bool = False) -> str:
    """An HTML table; cells are HTML already."""
    body = []
    for i, row in enumerate(rows):
        mark = ' class="all"' if last_is_total and i == len(rows) - 1 else ""
        body.append(f"<tr{mark}>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>")
    top = "".join(f"<th>{cell}</th>" for cell in head)
    inner = f"<thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody>"
    return f'<div class="scroll"><table>{inner}</table></div>'


def misses_cell(misses: Misses, more: str = "") -> str:
    """Share missed, interval, counts."""
    if not misses.spoken:
        return "–"
    interval = f"{percent(misses.interval.low)} to {percent(misses.interval.high)}"
    return f"{percent(misses.rate)}<small>{interval} ({misses.missed} of {misses.spoken})</small>{more}"


def accepts_cell(accepts: FalseAccepts) -> str:
    """Rate per hour, interval, counts."""
    if not accepts.hours:
        return "–"
    counts = f"({accepts.count} in {accepts.hours:.1f} h)"
    if not accepts.count:
        return f"0<small>&lt; {accepts.interval.high:.2g} {counts}</small>"
    interval = f"{accepts.interval.low:.2g} to {accepts.interval.high:.2g}"
    return f"{accepts.per_hour:.2g}<small>{interval} {counts}</small>"


def percent(share: float) -> str:
    """A share as text: "0 %", "0.64 %", "6.4 %", "64 %"; "–" for NaN."""
    if math.isnan(share):
        return "–"
    value = 100 * share
    return f"{value:.{0 if value == 0 or value >= 9.95 else 1 if value >= 0.995 else 2}f} %"


def score_text(score: float) -> str:
    """A posterior with enough digits at both ends: "0.53", "0.9988", "0.0021"."""
    if 0.1 <= score <= 0.9:
        return f"{score:.2f}"
    digits = min(7, 1 - math.floor(math.log10(max(min(score, 1 - score), 1e-7))))
    return f"{score:.{digits}f}"
