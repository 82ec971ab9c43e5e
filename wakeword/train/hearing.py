"""What the recogniser makes of phrase clips before training on them: which does it hear as what they say?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from wakeword.audio import Samples
from wakeword.clips.augment import place
from wakeword.train.fusion import FusedNet

BATCH = 16
HEARD = -7.0
"""Log-probability from which a clip counts as heard as its phrase.

Of some 28 clips each by espeak-ng of alexa, computer, jarvis and smart mirror, 41, 0, 19 and 39 % lie below;
of those by piper, hibari, flite and festival none, but of smart mirror 3 % (flite) and 7 % (piper).
"""
AFTER_S = 0.2
"""Between the end of the phrase and the end of the window."""


def hear(
    net: FusedNet, clips: Sequence[Samples], window_samples: int, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Log-probability of each phrase in each clip [n, K], the clip alone in near-silence."""
    rng = np.random.default_rng(seed)
    rows = []
    for start in range(0, len(clips), BATCH):
        windows = [
            place(clip, window_samples, rng, min_after_s=AFTER_S, max_after_s=AFTER_S)[0]
            for clip in clips[start : start + BATCH]
        ]
        with torch.inference_mode():
            mel = net.encoder_input(torch.from_numpy(np.stack(windows)))
            rows.append(net.opinions(mel)[1].numpy())
    return np.concatenate(rows) if rows else np.zeros((0, len(net.phrases)), dtype=np.float32)


def heard_as(
    net: FusedNet, clips: Sequence[Samples], labels: Sequence[str], window_samples: int
) -> npt.NDArray[np.bool_]:
    """Which clips the recogniser hears as the phrase they are labelled with [n].

    Of synthetic clips this finds those in which a voice mispronounced the phrase or changing it broke it.
    """
    columns = np.array([net.phrases.index(label) for label in labels], dtype=np.int64)
    said = hear(net, clips, window_samples)[np.arange(len(columns)), columns]
    return np.asarray(said >= HEARD)
