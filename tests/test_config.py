"""Settings are read strictly: what is unknown, of another type or out of range is named."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from wakeword.config import (
    DEFAULT_FA_PER_HOUR,
    OPERATING_POINTS,
    DataConfig,
    HeadConfig,
    OptimConfig,
    TrainConfig,
    load_config,
)
from wakeword.errors import UsageError

EXAMPLE = Path(__file__).resolve().parents[1] / "configs" / "example.toml"


def read(tmp_path: Path, text: str) -> TrainConfig:
    (tmp_path / "my.toml").write_text(text, encoding="utf-8")
    return load_config(tmp_path / "my.toml", TrainConfig)


def test_the_example_states_every_default() -> None:
    assert load_config(EXAMPLE, TrainConfig) == TrainConfig()
    text = EXAMPLE.read_text(encoding="utf-8")
    for kind in (TrainConfig, DataConfig, HeadConfig, OptimConfig):
        for field in fields(kind):
            name = field.name
            assert f"\n{name} " in text or f"[{name}]" in text or f"{name} =" in text, name


def test_some_settings_and_defaults_for_the_rest(tmp_path: Path) -> None:
    got = read(
        tmp_path, 'tune = "top-2"\nwindow_s = 2\n[optim]\nepochs = 3\n[decision]\nsmoothing_hops = 4\n'
    )
    assert (got.tune, got.window_s, got.optim.epochs, got.decision.smoothing_hops) == ("top-2", 2.0, 3, 4)
    assert type(got.window_s) is float
    assert got.data == DataConfig()
    assert read(tmp_path, "") == TrainConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 3", "unknown key 'epochs'; known are language, encoder"),
        ("[optim]\nepoch = 3", "optim: unknown key 'epoch'"),
        ('seed = "1"', "seed takes int, got '1'"),
        ("seed = true", "seed takes int, got True"),
        ("seed = 1.0", "seed takes int, got 1.0"),
        ("window_s = true", "window_s takes float"),
        ("encoder = 3", "encoder takes str"),
        ("optim = 3", "optim is a table, got 3"),
        ("[optim.epochs]\nx = 1", "optim: epochs takes int"),
        ("seed = ", "not valid TOML"),
        ("seed = 1\nseed = 2", "not valid TOML"),
        ("seed = -1", "seed is -1; it must be 0 or more"),
        ("window_s = nan", "window_s is nan"),
        ("window_s = 0.1", "window_s is 0.1"),
        ("blocks = -1", "blocks is -1"),
        ("[head]\nkernel = 8", "kernel is 8; it must be odd"),
        ("[head]\ndropout = 1.0", "dropout is 1.0"),
        ("[head]\nhidden = 0", "hidden is 0"),
        ("[data]\nversions = 0", "versions is 0; it must be 1 or more"),
        ("[data]\nnegatives = 0", "negatives is 0"),
        ("[optim]\nepochs = 0", "epochs is 0"),
        ("[optim]\nbatch = 0", "batch is 0"),
        ("[optim]\nlearning_rate = inf", "learning_rate is inf"),
        ("[optim]\nlearning_rate = 0.0", "learning_rate is 0.0"),
        ("[optim]\nwarmup = 1.0", "warmup is 1.0"),
        ("[optim]\naveraging = nan", "averaging is nan"),
        ("[decision]\nrefractory_s = -1.0", "refractory_s is -1.0"),
    ],
)
def test_wrong_settings(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*No such file"):
        load_config(tmp_path / "none.toml", TrainConfig)
    with pytest.raises(UsageError, match=r"cannot read .*directory"):
        load_config(tmp_path, TrainConfig)
    (tmp_path / "latin.toml").write_bytes(b"encoder = '\xe9'")
    with pytest.raises(UsageError, match="not valid TOML"):
        load_config(tmp_path / "latin.toml", TrainConfig)


def test_the_default_operating_point_is_stored() -> None:
    assert DEFAULT_FA_PER_HOUR in OPERATING_POINTS
