"""How texts sound and how far apart: against distances worked out by hand, and espeak-ng itself."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest

from wakeword.clips.phonemes import (
    STRONG_PRICE,
    WEAK_PRICE,
    Spoken,
    as_phonemes,
    distance,
    distances,
    distances_within,
    phonemes,
    price,
    sound_distance,
    weight,
)
from wakeword.errors import DataError

needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


def test_letters_without_marks() -> None:
    assert as_phonemes("kəmpjˈuːɾɚ") == tuple("kəmpjuɾɚ")
    assert as_phonemes("(en)ˈɔ̃ː(fr) ç t͡ʃ") == tuple("ɔçtʃ")


def test_alike_sounds_are_near() -> None:
    assert sound_distance("m", "m") == 0
    assert sound_distance("p", "b") < sound_distance("p", "z") < sound_distance("p", "i") == 1
    assert sound_distance("ɛ", "æ") < sound_distance("ɛ", "u")
    assert sound_distance("i", "j") == sound_distance("j", "i") == 0.4


def plain_edit(a: tuple[str, ...], b: tuple[str, ...]) -> float:
    """The same distance by the textbook's recursion."""
    table = np.zeros((len(a) + 1, len(b) + 1))
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            ways = []
            if i:
                ways.append(table[i - 1, j] + price(a[i - 1]))
            if j:
                ways.append(table[i, j - 1] + price(b[j - 1]))
            if i and j:
                ways.append(table[i - 1, j - 1] + sound_distance(a[i - 1], b[j - 1]))
            table[i, j] = min(ways, default=0)
    return float(table[-1, -1])


def test_edit_distance_is_the_textbooks() -> None:
    draw = random.Random(1)
    words = [tuple(draw.choices("aəiukptsmnlɹj", k=draw.randint(1, 9))) for _ in range(40)]
    phrase = tuple("kəmpju")
    wanted = [min(1.0, plain_edit(phrase, w) / max(weight(phrase), weight(w))) for w in words]
    np.testing.assert_allclose(distances(phrase, words), wanted, atol=1e-12)
    best = [
        min(plain_edit(phrase, w[i:j]) for i in range(len(w) + 1) for j in range(i, len(w) + 1))
        for w in words
    ]
    np.testing.assert_allclose(
        distances_within(phrase, Spoken(words)), np.array(best) / weight(phrase), atol=1e-12
    )


def test_a_phrase_within_a_longer_text_is_at_no_distance() -> None:
    assert distances_within(tuple("alɛks"), [tuple("pralɛksmi"), tuple("alɛk")]).tolist() == [
        0.0,
        pytest.approx(STRONG_PRICE / weight(tuple("alɛks"))),
    ]
    assert distance(tuple("mən"), tuple("mn")) == pytest.approx(WEAK_PRICE / weight(tuple("mən")))


@needs_espeak
def test_espeak_answers_text_by_text() -> None:
    spoken = phonemes(["computer", "smart mirror", "x"], "en-us")
    assert spoken[0] == tuple("kəmpjuɾɚ")
    assert len(spoken) == 3 and spoken[1][:3] == tuple("smɑ")
    assert phonemes(["spiegel"], "de") == [tuple("ʃpiɡəl")]
    assert phonemes([]) == []


@needs_espeak
def test_unknown_voice_is_refused() -> None:
    with pytest.raises(DataError, match="espeak-ng gave 0 pronunciations for 1 texts with voice 'xx-none'"):
        phonemes(["hello"], "xx-none")
