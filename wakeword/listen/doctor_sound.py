"""The doctor's look at the microphone: PortAudio, devices, permissions, rates, and two seconds of sound."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword.errors import DeviceError
from wakeword.listen.doctor import Finding
from wakeword.listen.microphone import MAX_CHANNELS, InputDevice, devices, find_device, quiet_portaudio

RATES = (16_000, 44_100, 48_000)
"""Hertz that are tried; the device's own is what listening uses."""
FULL_SCALE = 0.999
CLIPPED_SHARE = 1e-3
"""Samples at full scale from which clipping is reported."""
OFFSET = 0.02
"""Mean of the samples, of full scale, from which a DC offset is reported."""
QUIET_DBFS = -70.0
"""A room heard by a working microphone is louder than this."""
START_S = 5.0
"""How long a device may take to give its first sound."""

Frames = npt.NDArray[np.float32]


def check_sound(wanted: str | int | None, listen_s: float) -> Iterator[Finding]:
    """Findings on everything between the air and the first sample."""
    yield from check_permissions(Path("/dev/snd"))
    try:
        with quiet_portaudio():
            import sounddevice

            yield Finding("portaudio", "ok", _portaudio_version(sounddevice))
            all_devices = devices()
            device = find_device(wanted)
    except OSError as err:
        yield Finding("portaudio", "fail", str(err), "install it (Debian, Ubuntu: apt install libportaudio2)")
        return
    except DeviceError as err:
        problem, _, fix = str(err).partition("; ")
        yield Finding("microphone", "fail", problem, fix)
        return
    names = ", ".join(f"{d.index} {d.name}" for d in all_devices)
    yield Finding("microphone", "ok", f"{device.index} {device.name} of {len(all_devices)}: {names}")
    yield check_rates(sounddevice, device)
    yield from _hear(sounddevice, device, listen_s)


def check_permissions(folder: Path) -> Iterator[Finding]:
    """Whether this user may open the sound cards of Linux; nothing to say where there are none."""
    cards = sorted(folder.glob("pcmC*D*c")) if folder.is_dir() else []
    if not cards:
        return
    closed = [card.name for card in cards if not os.access(card, os.R_OK | os.W_OK)]
    if closed:
        fix = "sudo usermod -aG audio $USER, then log in again (a container: --device /dev/snd)"
        yield Finding("permissions", "warn", f"may not open {', '.join(closed)} in {folder}", fix)
    else:
        yield Finding("permissions", "ok", f"{len(cards)} sound cards may be opened")


def check_rates(sounddevice: Any, device: InputDevice) -> Finding:
    """Which usual rates the device takes. It is opened at its own, and the sound resampled."""
    taken = [rate for rate in RATES if _takes(sounddevice, device, rate)]
    own = f"its own is {device.sample_rate:g} Hz, {device.channels} channels"
    if _takes(sounddevice, device, device.sample_rate):
        return Finding("rates", "ok", f"{', '.join(map(str, taken)) or 'no usual'} Hz; {own}")
    fix = "close what else records, or choose another --device (see wakeword devices)"
    return Finding("rates", "fail", f"does not take its own rate; {own}", fix)


@dataclass(frozen=True)
class Loudness:
    """What two seconds of sound say of a microphone."""

    rms_dbfs: float
    peak: float
    """0 to 1."""
    clipped: float
    """Share of samples at full scale."""
    offset: float
    """Mean, of full scale."""


def measure(frames: Frames) -> Loudness:
    """Measure samples [n, C] in [-1, 1]; a channel that is worse than the others counts."""
    offsets = frames.mean(axis=0, dtype=np.float64)
    power = float(np.square(frames - offsets, dtype=np.float64).mean())
    return Loudness(
        rms_dbfs=10 * float(np.log10(max(power, 1e-12))),
        peak=float(np.abs(frames).max()),
        clipped=float((np.abs(frames) >= FULL_SCALE).mean(axis=0).max()),
        offset=float(offsets[np.abs(offsets).argmax()]),
    )


def judge(heard: Loudness) -> Iterator[Finding]:
    """What the measurements mean: level, clipping, DC offset."""
    level = f"{heard.rms_dbfs:.0f} dBFS, peak {heard.peak:.3f}"
    if heard.peak == 0:
        yield Finding(
            "level", "fail", "digital silence", "unmute it (alsamixer, the system's sound settings)"
        )
    elif heard.rms_dbfs < QUIET_DBFS:
        fix = "raise its gain (alsamixer, or the sound settings), or speak while this runs"
        yield Finding("level", "warn", f"{level}: very quiet", fix)
    else:
        yield Finding("level", "ok", level)
    if heard.clipped > CLIPPED_SHARE:
        text = f"{100 * heard.clipped:.1f} % of the samples are at full scale"
        yield Finding("clipping", "warn", text, "lower its gain, and any boost (alsamixer)")
    else:
        yield Finding("clipping", "ok", "none")
    if abs(heard.offset) > OFFSET:
        text = f"DC offset of {100 * heard.offset:+.1f} % of full scale"
        yield Finding("offset", "warn", text, "a cheap sound card: use another input, or a USB microphone")
    else:
        yield Finding("offset", "ok", f"{100 * heard.offset:+.2f} % of full scale")


def _hear(sounddevice: Any, device: InputDevice, seconds: float) -> Iterator[Finding]:
    fix = "is it busy or unplugged? Close what else records, or restart the sound server"
    try:
        with quiet_portaudio():
            frames = record(sounddevice, device, seconds)
    except (sounddevice.PortAudioError, ValueError) as err:
        yield Finding("level", "fail", f"cannot record ({err})", fix)
        return
    if len(frames) < seconds * device.sample_rate:
        text = f"only {len(frames) / device.sample_rate:.2f} s of sound in {seconds + START_S:.0f} s"
        yield Finding("level", "fail", text, fix)
        return
    yield from judge(measure(frames))


def record(sounddevice: Any, device: InputDevice, seconds: float) -> Frames:
    """Sound [n, C] at the device's own rate; less where it gives less in time. PortAudioError, ValueError."""
    wanted = int(seconds * device.sample_rate)
    blocks: list[Frames] = []
    full = threading.Event()

    def take(block: Frames, n_frames: int, when: Any, status: Any) -> None:
        blocks.append(block.copy())
        if sum(map(len, blocks)) >= wanted:
            full.set()

    stream = sounddevice.InputStream(
        device=device.index, samplerate=device.sample_rate, dtype="float32", callback=take,
        channels=min(device.channels, MAX_CHANNELS), latency="high",
    )  # fmt: skip
    stream.start()
    full.wait(seconds + START_S)
    # A sound server that hangs would hold close() for ever.
    closing = threading.Thread(target=stream.close, daemon=True)
    closing.start()
    closing.join(2)
    return np.concatenate(blocks)[:wanted] if blocks else np.zeros((0, 1), dtype=np.float32)


def _takes(sounddevice: Any, device: InputDevice, rate: float) -> bool:
    try:
        with quiet_portaudio():
            sounddevice.check_input_settings(
                device.index, min(device.channels, MAX_CHANNELS), samplerate=rate
            )
    except (sounddevice.PortAudioError, ValueError):
        return False
    return True


def _portaudio_version(sounddevice: Any) -> str:
    library = sounddevice.get_portaudio_version()[1].partition(",")[0]
    return f"{library} (sounddevice {sounddevice.__version__})"
