"""Fixtures shared by the tests: where the real recordings are, and short pieces of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wakeword.audio import SAMPLE_RATE, Samples, read_audio

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real recordings; the test is skipped where it is absent."""
    if not (CORPUS / "index.csv").is_file():
        pytest.skip(f"no recordings at {CORPUS}")
    return CORPUS


@pytest.fixture(scope="session")
def speech(corpus: Path) -> Samples:
    """Ten seconds of real speech."""
    return read_audio(corpus / "speech" / "librispeech_dev_00.opus")[: 10 * SAMPLE_RATE]


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(1)


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """On two busy cores two torch threads take ten times as long as one: each waits for the other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.wakeword` file of a small random verifier, thresholds set by hand; see `tiny`."""
    from tiny import save_tiny

    return save_tiny(tmp_path_factory.mktemp("tiny") / "tiny.wakeword")
