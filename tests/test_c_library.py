"""The C library on this computer, with sanitizers: bit for bit what Python computes."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from c_library import (
    assert_same,
    compile_on_host,
    expected,
    need,
    random_pcm,
    rule_that_fires,
    run_trace,
)
from toy_network import toy_network

from firmware_bridge import frontend_tables
from firmware_bridge.decision import FirmwareRule
from firmware_bridge.emit_c import MODEL_FILE, check_source, emit_library, read_build
from firmware_bridge.emit_model import CModel, render_source
from firmware_bridge.micro import FEATURE_UNIT
from firmware_bridge.network import QuantisedNet
from firmware_bridge.network_file import FirmwareModel, Point
from firmware_bridge.qemu import C_DIR, run_tool
from wakeword.audio import SAMPLE_RATE, Samples, as_int16
from wakeword.errors import BundleError, ExportError, UsageError

FEATURES_MAIN = r"""
#include <stdio.h>
#include <string.h>
#include "ww_frontend.h"
int main(void) {
  static ww_frontend frontend; static ww_spectrum scratch; static int16_t pcm[777];
  size_t n, used; uint16_t features[WW_CHANNELS];
  while ((n = fread(pcm, 2, 777, stdin)) > 0) {
    const int16_t *at = pcm;
    for (; n > 0; at += used, n -= used)
      if (ww_frontend_feed(&frontend, &scratch, at, n, &used, features))
        fwrite(features, 2, WW_CHANNELS, stdout);
  }
  return 0;
}
"""
API_MAIN = r"""
#include "ww_link.h"
#include "ww_model.h"
#include <stdio.h>
#include <string.h>
static union { ww_memory memory; char bytes[sizeof(ww_memory) + 8]; } room;
#define CHECK(x) if (!(x)) { printf("line %d: %s\n", __LINE__, #x); return 1; }
int main(void) {
  ww_state *ww = NULL; ww_event event; ww_slice slice; static int16_t pcm[16000]; const int16_t *at = pcm;
  ww_model other = ww_wakeword; ww_link link; static uint8_t line[WW_LINK_MAX_FRAME]; const uint8_t *bytes;
  size_t n = 16000, all = sizeof(ww_memory);
  CHECK(ww_state_bytes(&ww_wakeword) <= all && ww_state_bytes(&ww_wakeword) + 8 > all);
  CHECK(ww_state_bytes(NULL) == 0);
  CHECK(ww_open(NULL, all, &ww_wakeword, &ww) == WW_ERROR_ARGUMENT);
  CHECK(ww_open(&room, all, NULL, &ww) == WW_ERROR_ARGUMENT);
  CHECK(ww_open(&room, all, &ww_wakeword, NULL) == WW_ERROR_ARGUMENT);
  CHECK(ww_open(&room, ww_state_bytes(&ww_wakeword) - 1, &ww_wakeword, &ww) == WW_ERROR_MEMORY);
  CHECK(ww_open(room.bytes + 1, all, &ww_wakeword, &ww) == WW_ERROR_MEMORY);
  other.format = 2;
  CHECK(ww_open(&room, all, &other, &ww) == WW_ERROR_MODEL);
  CHECK(ww == NULL);
  memset(&room, 0xAA, sizeof room);
  CHECK(ww_open(&room, all, &ww_wakeword, &ww) == WW_OK);
  CHECK(ww_feed(NULL, &at, &n, &event) == WW_ERROR_ARGUMENT);
  CHECK(ww_feed(ww, &at, &n, NULL) == WW_ERROR_ARGUMENT);
  CHECK(ww_advance(ww, &at, NULL, &slice) == WW_ERROR_ARGUMENT && ww_reset(NULL) == WW_ERROR_ARGUMENT);
  at = NULL;
  CHECK(ww_advance(ww, &at, &n, &slice) == WW_ERROR_ARGUMENT);
  at = pcm;
  CHECK(ww_feed(ww, &at, &n, &event) == WW_OK && n == 0 && at == pcm + 16000);
  CHECK(ww_feed(ww, &at, &n, &event) == WW_OK && ww_reset(ww) == WW_OK);
  CHECK(ww_link_open(&link, &ww_wakeword, line, WW_LINK_MAX_FRAME - 1) == WW_ERROR_MEMORY);
  CHECK(ww_link_open(&link, NULL, line, sizeof line) == WW_ERROR_ARGUMENT);
  CHECK(ww_link_open(&link, &ww_wakeword, line, sizeof line) == WW_OK);
  CHECK(ww_link_pending(&link, &bytes, &n) == WW_OK && n > 12 && bytes[0] == 0 && bytes[n - 1] == 0);
  CHECK(ww_link_sent(&link, n + 1) == WW_ERROR_ARGUMENT && ww_link_sent(&link, n) == WW_OK);
  for (n = 0; n < 3000; ++n) { /* nobody takes what waits: it is dropped and counted, never written too far */
    slice.is_event = 1; slice.is_step = 1; slice.event.frame = (uint32_t)n; ww_link_slice(&link, &slice);
    link.wants = 3; ww_link_audio(&link, pcm, n);
  }
  CHECK(link.n_dropped > 1000 && link.n_events == 3000);
  return 0;
}
"""


@pytest.fixture(autouse=True)
def compilers() -> None:
    need("gcc", "make")


def nasty_sounds(rng: np.random.Generator) -> dict[str, np.ndarray]:
    n = 2 * SAMPLE_RATE
    square = np.where(np.arange(n) // 20 % 2, 32767, -32768)
    return {
        "silence": np.zeros(n),
        "least": np.full(n, -32768),
        "square": square,
        "clicks": np.where(rng.random(n) < 1e-3, -32768, 0),
        "quiet": rng.normal(0, 2, n),
        "loud": rng.normal(0, 60_000, n),
        "changing": random_pcm(rng, 2),
        "tone": 20_000 * np.sin(np.cumsum(np.linspace(0, 3.1, n))),
    }


def test_the_frontend_is_the_micro_frontend(
    tmp_path: Path, rng: np.random.Generator, speech: Samples
) -> None:
    from pymicro_features import MicroFrontend

    (tmp_path / "features.c").write_text(FEATURES_MAIN)
    program = compile_on_host(tmp_path, tmp_path / "features.c", port=False)
    for name, sound in {**nasty_sounds(rng), "speech": as_int16(speech)}.items():
        pcm = np.clip(sound, -32768, 32767).astype(np.int16)
        done = subprocess.run([program], input=pcm.tobytes(), capture_output=True, check=True, timeout=60)
        got = np.frombuffer(done.stdout, dtype=np.uint16).reshape(-1, 40)
        frontend = MicroFrontend()
        found = [
            frontend.process_samples(pcm[i : i + 160].tobytes()).features for i in range(0, len(pcm), 160)
        ]
        want = np.rint(np.array([f for f in found if f]) / FEATURE_UNIT).astype(np.uint16)
        np.testing.assert_array_equal(got, want, err_msg=name)


@pytest.mark.parametrize(
    "net",
    [
        toy_network(1, 8, ("separable", "dense"), 3, (1, 2), 3),
        toy_network(2, 13, ("dense", "separable", "separable"), 5, (3, 1, 2), 5),
        toy_network(3, 5, (), 3, (), 7),
        toy_network(4, 72, ("separable",), 7, (4,), 3),
    ],
    ids=["both", "odd", "stem", "wide"],
)
def test_features_scores_and_events_are_pythons(
    net: QuantisedNet, tmp_path: Path, rng: np.random.Generator
) -> None:
    pcm = random_pcm(rng, 12)
    model = CModel(net, FirmwareRule(100, 4), "test")
    model = replace(model, rule=rule_that_fires(expected(model, pcm).scores))
    want = expected(model, pcm)
    assert len(want.events) >= 2 and len(set(want.scores.tolist())) > 20
    got = run_trace(compile_on_host(tmp_path, C_DIR / "proof" / "trace.c", model=model), pcm)
    assert_same(got, want)


def test_wrong_calls_and_a_full_line_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "api.c").write_text(API_MAIN)
    model = CModel(toy_network(), FirmwareRule(100, 4), "test")
    run_tool([str(compile_on_host(tmp_path, tmp_path / "api.c", model=model, port=False))], 60)


def test_the_library_calls_nothing_but_bytes(tmp_path: Path) -> None:
    """No allocation, no libm, no stdio, no state of its own."""
    need("nm", "size")
    sources = sorted(C_DIR.glob("ww*.c"))
    run_tool(["gcc", "-O2", "-c", *map(str, sources)], 120, tmp_path)
    objects = [str(tmp_path / f"{path.stem}.o") for path in sources]
    symbols = run_tool(["nm", *objects], 30)
    defined = set(re.findall(r"^[0-9a-f]+ [A-Za-z] (\S+)$", symbols, re.M))
    needed = set(re.findall(r"^\s+U (\S+)$", symbols, re.M)) - defined
    assert needed <= {
        "memcpy",
        "memmove",
        "memset",
        "memcmp",
        "bcmp",
        "strlen",
        "_GLOBAL_OFFSET_TABLE_",
        "__stack_chk_fail",
    }
    assert not re.findall(r"^[0-9a-f]+ [bBdDcC] (\S+)$", symbols, re.M)


def test_tables_are_what_their_generator_makes() -> None:
    assert frontend_tables.render() == frontend_tables.TABLES.read_text()


def toy_model(rule: FirmwareRule | None = None) -> FirmwareModel:
    net = replace(toy_network(), phrase="grüß dich?")
    return FirmwareModel(net, {"0.5": Point(rule or FirmwareRule(100, 4), 1, 2.0, {"clean": 0.01})})


def test_a_library_builds_and_listens(tmp_path: Path, rng: np.random.Generator) -> None:
    need("cmake", "g++")
    out = tmp_path / "lib"
    pcm = random_pcm(rng, 10)
    scores = expected(CModel(toy_network(), FirmwareRule(100, 4), ""), pcm).scores
    model = toy_model(rule_that_fires(scores))
    build = emit_library(model, out, 0.5, "wakeword firmware build x --target c")
    assert emit_library(model, out, 0.5, "again").c_model.sha256 == build.c_model.sha256
    times = (expected(build.c_model, pcm).events * 10 + 30) / 1000
    assert len(times)
    run_tool(["make", "-C", str(out)], 300)
    heard = subprocess.run([out / "listen"], input=pcm.tobytes(), capture_output=True, check=True, timeout=60)
    lines = heard.stdout.decode().splitlines()
    assert [float(line.split()[0]) for line in lines] == [round(t, 2) for t in times]
    assert "grüß dich?" in lines[0]
    run_tool(["cmake", "-S", str(out), "-B", str(tmp_path / "cmake"), "-DWW_EXAMPLE=ON"], 300)
    run_tool(["cmake", "--build", str(tmp_path / "cmake")], 300)
    again = subprocess.run(
        [tmp_path / "cmake" / "listen"], input=pcm.tobytes(), capture_output=True, timeout=60
    )
    assert again.stdout == heard.stdout
    sketch = tmp_path / "sketch.cpp"
    sketch.write_text(ARDUINO + (out / "examples" / "WakeWord" / "WakeWord.ino").read_text())
    run_tool(["g++", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{out / 'src'}", str(sketch)], 120)


ARDUINO = """
#include <cstddef>
#include <cstdint>
struct Port { void begin(long); int available(); int read(); int availableForWrite();
              size_t write(const uint8_t *, size_t); };
extern Port Serial;
enum { OUTPUT, HIGH, LOW, LED_BUILTIN };
void pinMode(int, int); void digitalWrite(int, int); unsigned long millis();
"""


def test_folders_that_are_not_ours_or_were_changed(tmp_path: Path) -> None:
    out = tmp_path / "lib"
    (out / "precious").mkdir(parents=True)
    with pytest.raises(UsageError, match="not a library of ours"):
        emit_library(toy_model(), out, 0.5, "")
    with pytest.raises(BundleError, match="wakeword firmware build"):
        read_build(out)
    shutil.rmtree(out)
    with pytest.raises(ExportError, match=r"there are 0\.5"):
        emit_library(toy_model(), out, 7.0, "")
    assert not out.exists() and not list(tmp_path.iterdir())
    emit_library(toy_model(), out, 0.5, "")
    for name in ("src/ww_net.c", "src/ww_model.c", MODEL_FILE):
        path = out / name
        before = path.read_bytes()
        path.write_bytes(before.replace(b"2", b"3", 1))
        with pytest.raises(BundleError, match=rf"{path.name} was changed"):
            read_build(out)
        path.unlink()
        with pytest.raises(BundleError, match=rf"{path.name} is missing"):
            read_build(out)
        path.write_bytes(before)
    build = read_build(out)
    check_source(build)
    (out / "src" / "extra.c").write_text("int main(void) { return 1; }")
    with pytest.raises(BundleError, match=r"extra\.c is not what this version generates"):
        check_source(build)
    (out / "ww_build.json").write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        read_build(out)


def test_what_does_not_fit_into_c_is_refused() -> None:
    with pytest.raises(ExportError, match="stride"):
        render_source(CModel(toy_network(), FirmwareRule(100, 4, stride=2), ""))
    net = toy_network(channels=300, blocks=(), dilations=())
    with pytest.raises(ExportError, match="at most 255"):
        render_source(CModel(net, FirmwareRule(100, 4), ""))


def test_words_of_others_stay_words(tmp_path: Path) -> None:
    model = CModel(replace(toy_network(), phrase='a"; */ x\\'), FirmwareRule(100, 4), 'build "*/ int y; /*"')
    compile_on_host(tmp_path, C_DIR / "proof" / "trace.c", model=model)
