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
