"""Room responses by a statistical model: the direct sound, sparse early reflections, a decaying tail.

There are no measured rooms to train on, and an image-source simulation costs more than the rest of
augmentation together. This model keeps what a detector hears of a room, its reverberation time and how
much weaker the direct sound is than the rest:

- Reflections arrive as a Poisson process of density 4 pi c^3 t^2 / V and their mean energy falls by
  60 dB in the reverberation time (Kuttruff, Room Acoustics, ch. 4).
- From the mixing time, about sqrt(V in m^3) ms after the sound left, they are so dense that the response
  is Gaussian noise (Polack 1988, La transmission de l'energie sonore dans les salles).
- The direct-to-reverberant ratio is 20 log10(critical distance / distance), where the critical distance
  is 0.1 sqrt(Q V / (pi RT60)) m (Kuttruff, ch. 5); a talker who faces the microphone has a gain Q of 2.
- Treble dies away sooner than bass, by absorption in air and soft things: two bands are enough here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wakeword.audio import SAMPLE_RATE, Samples, fft_length

SPEED_OF_SOUND = 343.0
"""Metres per second."""
TALKER_GAIN = 2.0
TREBLE_HZ = 3_000.0
DECAY_DB = 45.0
"""How far the tail is followed; what comes later is below any background."""


@dataclass(frozen=True)
class RoomConfig:
    """Ranges that rooms are drawn from: from a small office to a living room with hard walls."""

    min_rt60_s: float = 0.15
    max_rt60_s: float = 0.8
    min_distance_m: float = 0.3
    max_distance_m: float = 4.0
    min_volume_m3: float = 20.0
    max_volume_m3: float = 150.0


DEFAULT_ROOMS = RoomConfig()


@dataclass(frozen=True)
class Room:
    """One room, and the distance from mouth to microphone in it."""

    rt60_s: float
    distance_m: float
    volume_m3: float

    @property
    def direct_to_reverberant_db(self) -> float:
        """Energy of the direct sound over that of everything after it."""
        critical_m = 0.1 * np.sqrt(TALKER_GAIN * self.volume_m3 / (np.pi * self.rt60_s))
        return float(20 * np.log10(critical_m / self.distance_m))


def draw_room(rng: np.random.Generator, config: RoomConfig = DEFAULT_ROOMS) -> Room:
    """Pick a room; distances are spread evenly on a logarithmic scale."""
    log_distance = rng.uniform(np.log(config.min_distance_m), np.log(config.max_distance_m))
    return Room(
        rt60_s=rng.uniform(config.min_rt60_s, config.max_rt60_s),
        distance_m=float(np.exp(log_distance)),
        volume_m3=rng.uniform(config.min_volume_m3, config.max_volume_m3),
    )


def simulate_room(rng: np.random.Generator, room: Room | None = None) -> Samples:
    """Return a room response [N], at most 0.6 s long.

    Sample 0 is the direct sound, with an energy of exactly 1: convolution neither delays nor amplifies
    it. A room is drawn unless one is given.
    """
    room = room or draw_room(rng)
    n = int(room.rt60_s * DECAY_DB / 60 * SAMPLE_RATE)
    late = _sparse(rng, n, room) * _damped(rng.standard_normal(n), room)
    late[0] = 0.0
    energy = 10 ** (-room.direct_to_reverberant_db / 10)
    response = late * np.sqrt(energy / max(float(late @ late), 1e-12))
    response[0] = 1.0
    return np.asarray(response, dtype=np.float32)


def _sparse(rng: np.random.Generator, n: int, room: Room) -> npt.NDArray[np.float64]:
    """How strongly each sample [n] is reached by reflections: single ones at first, then by all."""
    age_s = np.arange(n) / SAMPLE_RATE + room.distance_m / SPEED_OF_SOUND
    per_sample = 4 * np.pi * SPEED_OF_SOUND**3 * age_s**2 / room.volume_m3 / SAMPLE_RATE
    mixing_s = np.sqrt(room.volume_m3) / 1000
    # A sample that is reached by a fraction of a reflection on average holds one that much less often,
    # but then at its full energy: the mean energy stays on the exponential decay.
    chance = np.where(age_s < mixing_s, np.minimum(per_sample, 1.0), 1.0)
    return np.asarray((rng.random(n) < chance) / np.sqrt(chance))


def _damped(noise: npt.NDArray[np.float64], room: Room) -> npt.NDArray[np.float64]:
    """Let the noise decay by 60 dB in the reverberation time, its treble in two thirds of it."""
    n = len(noise)
    n_fft = fft_length(n)
    spectrum = np.fft.rfft(noise, n_fft)
    edge = int(TREBLE_HZ / SAMPLE_RATE * n_fft)
    bass = np.fft.irfft(np.where(np.arange(len(spectrum)) < edge, spectrum, 0), n_fft)[:n]
    decay = 10 ** (-3 * np.arange(n) / SAMPLE_RATE / room.rt60_s)
    return np.asarray(bass * decay + (noise - bass) * decay**1.5)
