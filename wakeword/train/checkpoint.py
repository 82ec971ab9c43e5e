"""Weights on disk: `weights.safetensors` and `model.json` beside it. No pickle, nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from wakeword.errors import TrainingError

WEIGHTS, META = "weights.safetensors", "model.json"


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and description; the one before stays whole until the new one is."""
    partial, partial_meta = folder / f".{WEIGHTS}.part", folder / f".{META}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        # The description travels inside the weights file too, so that the pair cannot come apart.
        text = json.dumps(meta, indent=1, sort_keys=True)
        save_file(contiguous, partial, metadata={"model": text})
        partial.replace(folder / WEIGHTS)
        partial_meta.write_text(text, encoding="utf-8")
        partial_meta.replace(folder / META)
    except (OSError, SafetensorError) as err:
        raise TrainingError(f"cannot write a checkpoint to {folder}: {err}") from err
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
            partial_meta.unlink(missing_ok=True)


def has_checkpoint(folder: Path) -> bool:
    """Whether there is something to go on from."""
    return (folder / WEIGHTS).is_file()


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_checkpoint` wrote; TrainingError when it is missing or damaged."""
    path = folder / WEIGHTS
    if not has_checkpoint(folder):
        raise TrainingError(f"no checkpoint in {folder}")
    try:
        from safetensors import safe_open

        with safe_open(path, "pt") as archive:
            meta = json.loads((archive.metadata() or {})["model"])
        return load_file(path), meta
    except (OSError, SafetensorError, KeyError, ValueError) as err:
        raise TrainingError(f"{path}: damaged checkpoint ({err}); delete {folder} to start anew") from err
