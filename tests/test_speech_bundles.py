"""torchaudio's model classes with small random weights behind our interface, and in an exported graph."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchaudio
from test_frontend import export

import wakeword
from export.pack import draft_bundle, export_verifier
from wakeword.audio import SAMPLE_RATE
from wakeword.bundle import save_bundle
from wakeword.config import HeadConfig, TrainConfig
from wakeword.errors import EncoderError, ExportError
from wakeword.train import speech_bundles
from wakeword.train.encoders import ENCODERS, Encoder, build_encoder, load_encoder
from wakeword.train.model import WakewordNet, window_columns
from wakeword.train.speech_bundles import EmformerEncoder, Wav2Vec2Encoder

WAV2VEC2 = ENCODERS["wav2vec2-base"]
EMFORMER = ENCODERS["emformer-rnnt-base-librispeech"]

# torchaudio's own bundle parameters, narrower and with three blocks.
SMALL: dict[str, Any] = torchaudio.pipelines.WAV2VEC2_BASE._params | {
    "extractor_conv_layer_config": [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2],
    "encoder_embed_dim": 32,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 4,
    "encoder_ff_interm_features": 64,
}
small_wav2vec2 = partial(torchaudio.models.wav2vec2_model, **SMALL)
small_wavlm = partial(torchaudio.models.wavlm_model, **SMALL, encoder_num_buckets=32, encoder_max_distance=80)
small_rnnt = partial(
    torchaudio.models.emformer_rnnt_model,
    input_dim=80,
    encoding_dim=48,
    segment_length=16,
    right_context_length=4,
    time_reduction_input_dim=8,
    time_reduction_stride=4,
    transformer_num_heads=4,
    transformer_ffn_dim=64,
    transformer_num_layers=3,
    transformer_dropout=0.1,
    transformer_activation="gelu",
    transformer_left_context_length=30,
    transformer_max_memory_size=0,
    transformer_weight_init_scale_strategy="depthwise",
    transformer_tanh_on_mem=True,
    symbol_embedding_dim=8,
    num_lstm_layers=1,
    lstm_layer_norm=True,
    lstm_layer_norm_epsilon=1e-3,
    lstm_dropout=0.3,
)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 0.1


def wav2vec2(n_blocks: int) -> Encoder:
    return Wav2Vec2Encoder(WAV2VEC2, small_wav2vec2(), n_blocks)


def wavlm(n_blocks: int) -> Encoder:
    return Wav2Vec2Encoder(ENCODERS["wavlm-base-plus"], small_wavlm(), n_blocks)


def emformer(n_blocks: int) -> Encoder:
    mean, inverse_std = torch.full((80,), 9.0), torch.full((80,), 0.3)
    return EmformerEncoder(EMFORMER, small_rnnt(num_symbols=11).transcriber, n_blocks, mean, inverse_std)


KINDS = pytest.mark.parametrize("make", [wav2vec2, wavlm, emformer])


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(1)  # torchaudio draws its weights from the global generator


@KINDS
def test_frames_and_width(make: Callable[[int], Encoder]) -> None:
    encoder = make(2).eval()
    assert encoder.input == "audio"
    for seconds in (0.03, 1.0, 1.9):
        n_samples = int(seconds * 16_000)
        frames = encoder(noise(2, n_samples))
        assert frames.shape[::2] == (2, encoder.width)
        assert abs(frames.shape[1] - seconds * encoder.frame_hz) <= 1


@KINDS
def test_windows_of_a_batch_do_not_mix(make: Callable[[int], Encoder]) -> None:
    encoder, audio = make(2).eval(), noise(3, 8_000)
    with torch.no_grad():
        alone = torch.cat([encoder(window[None]) for window in audio])
        torch.testing.assert_close(encoder(audio), alone, atol=1e-5, rtol=1e-4)


@KINDS
def test_stem_and_layers_share_nothing_and_are_used(make: Callable[[int], Encoder]) -> None:
    encoder = make(2)
    in_blocks = {id(p) for layer in encoder.layers() for p in layer.parameters()}
    assert len(encoder.layers()) == encoder.n_blocks == 2
    assert in_blocks.isdisjoint({id(p) for p in encoder.stem()})
    encoder.eval()(noise(1, 8_000)).sum().backward()
    assert all(p.grad is not None for p in encoder.stem())


@KINDS
def test_gradient_reaches_only_the_layers_that_ask(make: Callable[[int], Encoder]) -> None:
    encoder = make(3).eval().requires_grad_(False)
    encoder.layers()[-1].requires_grad_(True)
    encoder(noise(1, 8_000)).square().mean().backward()
    chosen = {id(p) for p in encoder.layers()[-1].parameters()}
    touched = {id(p) for p in encoder.parameters() if p.grad is not None}
    assert touched
    assert touched <= chosen


@pytest.mark.parametrize("make_model", [small_wav2vec2, small_wavlm])
def test_is_torchaudios_own_features_at_that_depth(make_model: Callable[[], Any]) -> None:
    model = make_model().eval()
    audio = noise(2, 8_000)
    with torch.no_grad():
        expected = model.extract_features(audio)[0]
        for depth in (3, 2, 1):
            encoder = Wav2Vec2Encoder(WAV2VEC2, make_model(), depth).eval()
            theirs = {n: t for n, t in plain_state(model).items() if n in encoder.model.state_dict()}
            encoder.model.load_state_dict(theirs)
            torch.testing.assert_close(encoder(audio), expected[depth - 1], atol=1e-5, rtol=1e-4)


def plain_state(model: Any) -> dict[str, torch.Tensor]:
    """A model's state with the position convolution's weight norm multiplied out by hand."""
    state = dict(model.state_dict())
    conv = "encoder.transformer.pos_conv_embed.conv."
    g, v = (state[f"{conv}parametrizations.weight.original{i}"] for i in (0, 1))
    state[f"{conv}weight"] = g * v / v.norm(dim=(0, 1), keepdim=True)
    return state


@pytest.fixture
def statistics(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    stats = {"mean": rng.normal(9, 2, 80).tolist(), "invstddev": rng.uniform(0.1, 0.5, 80).tolist()}
    path = tmp_path / "global_stats_rnnt_librispeech.json"
    path.write_text(json.dumps(stats), encoding="utf-8")
    return path


def test_emformer_is_torchaudios_pipeline(statistics: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features and transcriber against the bundle's own, which takes one recording at a time."""
    monkeypatch.setattr(torchaudio.utils, "_download_asset", lambda key: str(statistics))
    extract = torchaudio.pipelines.EMFORMER_RNNT_BASE_LIBRISPEECH.get_feature_extractor()
    stats = json.loads(statistics.read_text(encoding="utf-8"))
    transcriber = small_rnnt(num_symbols=11).transcriber.eval()
    mean, inverse_std = torch.tensor(stats["mean"]), torch.tensor(stats["invstddev"])
    encoder = EmformerEncoder(EMFORMER, transcriber, 3, mean, inverse_std).eval()
    audio = noise(16_000)
    audio[8_000:12_000] *= 1e-5  # quiet enough for the linear part of the scale
    features, length = extract(audio)
    with torch.no_grad():
        torch.testing.assert_close(encoder.features(audio[None])[0], features[:-4], atol=2e-4, rtol=1e-4)
        expected = transcriber(features[None], length - 4)[0]
        ours = transcriber.layer_norm(transcriber.output_linear(encoder(audio[None])))
    torch.testing.assert_close(ours, expected, atol=2e-4, rtol=1e-3)


class WithHead(torch.nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = torch.nn.Linear(encoder.width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.encoder(x)).mean(dim=1)
        return logits


@pytest.mark.parametrize("make", [wav2vec2, wavlm])
def test_exported_graph_of_any_length_computes_the_same(
    make: Callable[[int], Encoder], tmp_path: Path
) -> None:
    net = WithHead(make(2)).eval()
    session = export(net, noise(2, 8_000), tmp_path / "net.onnx")
    for shape in ((1, 8_000), (3, 12_345)):
        audio = noise(*shape)
        (got,) = session.run(None, {"x": audio.numpy()})
        np.testing.assert_allclose(got, net(audio).detach().numpy(), atol=1e-5, rtol=1e-4)


def test_exported_emformer_has_a_fixed_length(tmp_path: Path) -> None:
    net = WithHead(emformer(1)).eval()
    session = export(net, noise(2, 16_000), tmp_path / "net.onnx", lengths=False)
    for n_windows in (1, 3):
        audio = noise(n_windows, 16_000)
        (got,) = session.run(None, {"x": audio.numpy()})
        np.testing.assert_allclose(got, net(audio).detach().numpy(), atol=1e-5, rtol=1e-4)
    any_length = ({1: torch.export.Dim.DYNAMIC},)
    with pytest.raises(ExportError, match="export it with a fixed number of samples"):
        torch.export.export(net, (noise(2, 16_000),), dynamic_shapes=any_length, strict=False)


@pytest.mark.parametrize("name", [n for n, s in ENCODERS.items() if s.family == "torchaudio"])
def test_our_table_and_factories_agree_with_torchaudios_bundles(name: str) -> None:
    spec, bundle = ENCODERS[name], getattr(torchaudio.pipelines, name.upper().replace("-", "_"))
    assert bundle.sample_rate == spec.sample_rate
    if spec is EMFORMER:
        assert spec.url.endswith(bundle._rnnt_path)
        assert (bundle.n_mels, bundle.hop_length, bundle.n_fft) == (spec.n_mels, 160, 400)
        return
    assert spec.url.endswith(bundle._path)
    with torch.device("meta"):
        theirs = {"Wav2Vec2": torchaudio.models.wav2vec2_model, "WavLM": torchaudio.models.wavlm_model}[
            bundle._model_type
        ](**bundle._params)
        ours = speech_bundles.FACTORIES[name]()
    wanted = {n: t.shape for n, t in theirs.state_dict().items() if not n.startswith("aux.")}
    assert {n: t.shape for n, t in ours.state_dict().items()} == wanted
    assert bundle._normalize_waveform is False
    blocks = ours.encoder.transformer.layers
    assert (len(blocks), blocks[0].attention.num_heads) == (spec.blocks, spec.heads)


def test_bundles_load_through_torchaudio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small bundle in torch's own download cache: everything but the network."""
    bundle = torchaudio.pipelines.Wav2Vec2Bundle("small.pth", SMALL, 16_000, False, "Wav2Vec2")
    model = small_wav2vec2()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save(model.state_dict(), tmp_path / "checkpoints" / "small.pth")
    monkeypatch.setattr(torchaudio.pipelines, "WAV2VEC2_BASE", bundle)
    encoder = load_encoder("wav2vec2-base", 2)
    audio = noise(1, 8_000)
    with torch.no_grad():
        expected = model.eval().extract_features(audio)[0][1]
        torch.testing.assert_close(encoder(audio), expected, atol=1e-5, rtol=1e-4)


def test_emformer_loads_through_torchaudio(
    tmp_path: Path, statistics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rnnt = small_rnnt(num_symbols=4_097)
    torch.save(rnnt.state_dict(), tmp_path / "emformer_rnnt_base_librispeech.pt")
    monkeypatch.setattr(torchaudio.utils, "_download_asset", lambda key: str(tmp_path / Path(key).name))
    monkeypatch.setattr(torchaudio.models, "emformer_rnnt_base", small_rnnt)
    bundle = torchaudio.pipelines.EMFORMER_RNNT_BASE_LIBRISPEECH
    monkeypatch.setattr(bundle, "_rnnt_factory_func", partial(small_rnnt, num_symbols=4_097))
    by_bundle, by_path = load_encoder(EMFORMER.name, 2), load_encoder(EMFORMER.name, 2, tmp_path)
    audio = noise(1, 8_000)
    with torch.no_grad():
        assert torch.equal(by_bundle(audio), by_path(audio))
    mean = json.loads(statistics.read_text(encoding="utf-8"))["mean"]
    torch.testing.assert_close(by_bundle.get_buffer("mean"), torch.tensor(mean))


def test_a_bundles_file_named_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_bundles, "FACTORIES", {"hubert-base": small_wav2vec2})
    model = small_wav2vec2()
    torch.save(model.state_dict() | {"aux.weight": torch.zeros(32, 32)}, tmp_path / "hubert.pth")
    audio = noise(1, 8_000)
    with torch.no_grad():
        expected = model.eval().extract_features(audio)[0][0]
        got = load_encoder("hubert-base", 1, tmp_path / "hubert.pth")(audio)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    (tmp_path / "hubert.pth").write_bytes(b"something else")
    with pytest.raises(EncoderError, match=r"hubert\.pth: not the weights of hubert-base"):
        load_encoder("hubert-base", 1, tmp_path / "hubert.pth")


def test_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torchaudio.pipelines.HUBERT_BASE, "get_model", unreachable, raising=False)
    with pytest.raises(EncoderError, match=r"hubert-base: torchaudio could not fetch https.*no route"):
        load_encoder("hubert-base")


def test_a_built_emformer_takes_statistics_from_a_checkpoint() -> None:
    encoder = build_encoder(EMFORMER.name, 1)
    assert {"mean", "inverse_std"} <= encoder.state_dict().keys()
    assert (encoder.width, encoder.frame_hz) == (512, 25.0)


@pytest.mark.parametrize("make", [wav2vec2, emformer], ids=["wav2vec2", "emformer"])
def test_a_detector_on_an_audio_encoder(make: Callable[[int], Encoder], tmp_path: Path) -> None:
    """Head, int8 export, bundle and streaming detector take a family that hears the waveform."""
    torch.manual_seed(3)
    encoder = make(2)
    net = WakewordNet(encoder, ("hey nova", "lights on"), HeadConfig(hidden=8, kernel=3)).eval()
    config = TrainConfig(window_s=1.0, encoder=encoder.spec.name)
    n = window_columns(encoder, config.window_s)
    sound = noise(8 * n).numpy()
    _, int8, parity = export_verifier(net, sound.reshape(8, n), {"phrases": net.phrases})
    assert parity.fp32_max < 1e-4
    bundle = draft_bundle(net, int8, "audio", config, {})
    assert (bundle.manifest.input, bundle.manifest.window) == ("audio", n)
    path = tmp_path / "audio.wakeword"
    save_bundle(path, bundle)
    scorer = wakeword.load(path, threshold=0.9).scorer
    rows = scorer.feed(sound)
    at = round(rows[5][0] * SAMPLE_RATE)
    with torch.inference_mode():
        expected = torch.sigmoid(net(torch.from_numpy(sound[None, at - n : at])))[0].numpy()
    np.testing.assert_allclose(rows[5][1], expected, atol=0.02)
