/* SPDX-License-Identifier: Apache-2.0
 * From the magnitude of a channel to its feature: noise reduction, per-channel gain (PCAN,
 * https://research.google/pubs/pub45911.pdf), logarithm. See ww_frontend.h and NOTICE. */
#include "ww_frontend.h"
#include "ww_tables.h"

enum {
    NOISE_UP = 10,         /* the noise estimate has this many more bits than the signal */
    SMOOTHING_ONE = 1 << 14,
    SIGNAL_FLOOR = 819,    /* 0.05: what noise reduction leaves of a signal at least */
    SNR_SHIFT = 6,
    SNR_BITS = 12,
    GAIN_OUT_BITS = 6,
    LOG_UP = 3,            /* undoes the scaling of the FFT before the logarithm */
    LN2_Q16 = 45426,
    LOG_SCALE_SHIFT = 6
};

int ww_top_bit_u32(uint32_t x)
{
#if defined(__GNUC__)
    return x ? 32 - __builtin_clz((unsigned)x) : 0;
#else
    int n = 0;
    while (x) {
        ++n;
        x >>= 1;
    }
    return n;
#endif
}

int ww_top_bit_u64(uint64_t x)
{
    const uint32_t high = (uint32_t)(x >> 32);
    return high ? 32 + ww_top_bit_u32(high) : ww_top_bit_u32((uint32_t)x);
}

static uint32_t reduce_noise(uint32_t signal, uint32_t smoothing, uint32_t *noise)
{
    const uint32_t scaled = signal << NOISE_UP;
    const uint64_t mixed = (uint64_t)scaled * smoothing + (uint64_t)*noise * (SMOOTHING_ONE - smoothing);
    const uint32_t estimate = (uint32_t)(mixed >> 14);
    const uint32_t least = (uint32_t)(((uint64_t)signal * SIGNAL_FLOOR) >> 14);
    const uint32_t left = (scaled - (estimate > scaled ? scaled : estimate)) >> NOISE_UP;
    *noise = estimate;
    return left > least ? left : least;
}

/* The gain for a noise level: a parabola between the powers of two, three coefficients each. */
static uint32_t gain_for(uint32_t noise)
{
    const int16_t *parabola;
    int interval;
    int32_t fraction, value;
    if (noise <= 2) {
        return (uint32_t)(int32_t)ww_gain_table[noise];
    }
    interval = ww_top_bit_u32(noise);
    parabola = ww_gain_table + 4 * interval - 6;
    fraction = (int32_t)((interval < 11 ? noise << (11 - interval) : noise >> (interval - 11)) & 0x3FF);
    value = (parabola[2] * fraction) >> 5;
    value += parabola[1] * 32;
    value = (value * fraction + (1 << 14)) >> 15;
    return (uint32_t)(int32_t)(int16_t)(value + parabola[0]);
}

static uint32_t control_gain(uint32_t signal, uint32_t noise)
{
    const uint32_t snr = (uint32_t)(((uint64_t)signal * gain_for(noise)) >> SNR_SHIFT);
    if (snr < (2u << SNR_BITS)) {
        return (snr * snr) >> (2 + 2 * SNR_BITS - GAIN_OUT_BITS);
    }
    return (snr >> (SNR_BITS - GAIN_OUT_BITS)) - (1u << GAIN_OUT_BITS);
}

/* Natural logarithm of x > 1, times 64, by 128 straight pieces. */
static uint32_t logarithm(uint32_t x)
{
    const uint32_t whole = (uint32_t)ww_top_bit_u32(x) - 1;
    const uint32_t rest = x - (1u << whole);
    const int32_t fraction = (int32_t)(whole < 16 ? rest << (16 - whole) : rest >> (whole - 16));
    const int32_t piece = fraction >> 9;
    const int32_t c0 = ww_log_table[piece], c1 = ww_log_table[piece + 1];
    const int32_t bend = ((c1 - c0) * (fraction - piece * 512)) >> 16;
    const uint32_t log2_q16 = (whole << 16) + (uint32_t)(fraction + c0 + bend);
    const uint32_t ln_q16 = (uint32_t)(((uint64_t)LN2_Q16 * log2_q16 + 32768u) >> 16);
    return ((ln_q16 << LOG_SCALE_SHIFT) + 32768u) >> 16;
}

uint16_t ww_gain_feature(uint32_t magnitude, uint32_t smoothing, uint32_t *noise)
{
    const uint32_t clean = reduce_noise(magnitude, smoothing, noise);
    const uint32_t level = control_gain(clean, *noise) << LOG_UP;
    const uint32_t feature = level > 1 ? logarithm(level) : 0;
    return (uint16_t)(feature < 0xFFFF ? feature : 0xFFFF);
}
