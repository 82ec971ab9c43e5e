"""Fixed-point arithmetic as TFLite Micro's reference kernels do it (gemmlowp, rounding twice)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wakeword.errors import ExportError

Int64 = npt.NDArray[np.int64]
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
SIGMOID_INTEGER_BITS = 4
"""The sigmoid's argument has so many bits before the point: beyond ±16 it is 0 or 1."""


@dataclass(frozen=True)
class Scaling:
    """A real factor as multiplier x 2^(shift - 31); multiplier in [2^30, 2^31), shift < 0 is to the right."""

    multiplier: int
    shift: int


def quantise_multiplier(factor: float) -> Scaling:
    """The scaling nearest to a positive factor."""
    if not 0 < factor < 2**30:
        raise ExportError(f"a rescaling by {factor:g} has no place in int8 arithmetic")
    mantissa, shift = math.frexp(factor)
    multiplier = math.floor(mantissa * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, shift = multiplier // 2, shift + 1
    return Scaling(multiplier, shift) if shift >= -31 else Scaling(0, 0)


def doubling_high_mul(a: npt.ArrayLike, b: npt.ArrayLike) -> Int64:
    """round(a x b / 2^31), halves away from zero for positive products, towards zero for negative ones.

    Only INT32_MIN x INT32_MIN does not fit; it gives INT32_MAX.
    """
    product = np.asarray(a, dtype=np.int64) * np.asarray(b, dtype=np.int64)
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    # C divides towards zero, numpy's shift towards minus infinity.
    quotient = np.where(nudged >= 0, nudged >> 31, -((-nudged) >> 31))
    return np.minimum(quotient, INT32_MAX)


def rounding_shift(x: npt.ArrayLike, bits: npt.ArrayLike) -> Int64:
    """x / 2^bits, halves away from zero."""
    value, bits = np.asarray(x, dtype=np.int64), np.asarray(bits, dtype=np.int64)
    mask = (np.int64(1) << bits) - 1
    threshold = (mask >> 1) + (value < 0)
    return np.asarray((value >> bits) + ((value & mask) > threshold))


def scaled(x: npt.ArrayLike, multiplier: npt.ArrayLike, shift: npt.ArrayLike) -> Int64:
    """x times a scaling: shift left first, multiply, then shift right."""
    shift = np.asarray(shift, dtype=np.int64)
    left = np.asarray(x, dtype=np.int64) << np.maximum(shift, 0)
    return rounding_shift(doubling_high_mul(left, multiplier), np.maximum(-shift, 0))


def sigmoid_table(scale: float, zero_point: int) -> npt.NDArray[np.uint8]:
    """uint8 sigmoid of each int8 logit [256], indexed by logit + 128: LOGISTIC, then QUANTIZE to uint8."""
    scaling = quantise_multiplier(scale * (1 << (31 - SIGMOID_INTEGER_BITS)))
    radius = math.floor(
        ((1 << SIGMOID_INTEGER_BITS) - 1) * 2.0 ** (31 - SIGMOID_INTEGER_BITS - scaling.shift)
    )
    table = np.zeros(256, dtype=np.uint8)
    for logit in range(-128, 128):
        x = logit - zero_point
        if x <= -radius:
            continue
        if x >= radius:
            table[logit + 128] = 255
        else:
            raw = logistic(int(scaled(x, scaling.multiplier, scaling.shift)))
            table[logit + 128] = min(int(rounding_shift(raw, 31 - 8)), 255)
    return table


def logistic(x: int) -> int:
    """Sigmoid of x / 2^27, as a fraction of 2^31 [1]."""
    if x == 0:
        return 1 << 30
    positive = _logistic_of_positive(abs(x))
    return positive if x > 0 else INT32_MAX - positive


def _logistic_of_positive(x: int) -> int:
    return _one_over_one_plus(_exp_of_negative(-x))


def _mul(a: int, b: int) -> int:
    return int(doubling_high_mul(a, b))


def _saturating_left(x: int, bits: int) -> int:
    return max(INT32_MIN, min(INT32_MAX, x << bits))


def _half_sum(a: int, b: int) -> int:
    """Mean of two, halves away from zero."""
    total = a + b
    return (total + 1) // 2 if total >= 0 else -((1 - total) // 2)


def _exp_of_negative(a: int) -> int:
    """exp(a / 2^27) for a <= 0, as a fraction of 2^31."""
    quarter = 1 << (31 - SIGMOID_INTEGER_BITS - 2)
    within = (a & (quarter - 1)) - quarter  # in [-1/4, 0)
    result = _exp_near_zero(within << SIGMOID_INTEGER_BITS)
    remainder = within - a
    for exponent, factor in _EXP_FACTORS:
        if remainder & (1 << (31 - SIGMOID_INTEGER_BITS + exponent)):
            result = _mul(result, factor)
    return INT32_MAX if a == 0 else result


_EXP_FACTORS = (
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
)
"""(e, exp(-2^e) x 2^31), as gemmlowp has them for four integer bits."""


def _exp_near_zero(a: int) -> int:
    """exp(a / 2^31) for a in [-1/4, 0): Taylor's series about -1/8."""
    x = a + (1 << 28)
    x2 = _mul(x, x)
    x3 = _mul(x2, x)
    x4 = _mul(x2, x2)
    x4_over_4 = int(rounding_shift(x4, 2))
    tail = int(rounding_shift(_mul(x4_over_4 + x3, 715827883) + x2, 1))
    return min(INT32_MAX, 1895147668 + _mul(1895147668, x + tail))


def _one_over_one_plus(a: int) -> int:
    """1 / (1 + a / 2^31) for a in [0, 1], as a fraction of 2^31: three steps of Newton's method."""
    half = _half_sum(a, INT32_MAX)
    x = 1515870810 + _mul(half, -1010580540)  # 48/17 - 32/17 x, with two bits before the point
    for _ in range(3):
        rest = (1 << 29) - _mul(half, x)
        x += _saturating_left(_mul(x, rest), 2)
    return _saturating_left(x, 1)
