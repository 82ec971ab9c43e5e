/* SPDX-License-Identifier: Apache-2.0
 * Window, mel channels and square root of the frontend; see ww_frontend.h and NOTICE. */
#include "ww_frontend.h"

#include <string.h>

#include "ww_tables.h"

enum { SMOOTHING_EVEN = 409, SMOOTHING_ODD = 983 }; /* 0.025 and 0.06 of 1 << 14 */

static uint32_t square_root(uint64_t x)
{
    const int n_bits = ww_top_bit_u64(x);
    uint64_t bit, root = 0;
    uint64_t most = n_bits > 32 ? 0xFFFFFFFFu : 0xFFFFu;
    if (x == 0) {
        return 0;
    }
    for (bit = (uint64_t)1 << ((n_bits - 1) & ~1); bit; bit >>= 2) {
        if (x >= root + bit) {
            x -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    if (x > root && root != most) {
        ++root; /* rounds to nearest */
    }
    return (uint32_t)root;
}

/* Applies the Hann window into scratch->pcm, scaled up to use all 16 bits; returns the shift. */
static int apply_window(const int16_t *window, ww_spectrum *scratch)
{
    int16_t peak = 0;
    int shift, i;
    for (i = 0; i < WW_WINDOW_SAMPLES; ++i) {
        const int16_t value = (int16_t)((window[i] * (int32_t)ww_window[i]) >> 12);
        /* -32768 stays negative here, as in the original */
        const int16_t size = (int16_t)(value < 0 ? -value : value);
        scratch->pcm[i] = value;
        if (size > peak) {
            peak = size;
        }
    }
    shift = 15 - ww_top_bit_u32((uint32_t)peak);
    for (i = 0; i < WW_WINDOW_SAMPLES; ++i) {
        scratch->pcm[i] = (int16_t)(uint16_t)((uint32_t)(uint16_t)scratch->pcm[i] << shift);
    }
    memset(scratch->pcm + WW_WINDOW_SAMPLES, 0, (WW_FFT_SIZE - WW_WINDOW_SAMPLES) * sizeof scratch->pcm[0]);
    return shift;
}

/* Each band of bins rises into one channel and falls out of the one before. */
static void channels(ww_frontend *frontend, const uint32_t *energy, int shift, uint16_t *features)
{
    uint64_t falling = 0;
    int band, bin = ww_band_edge[0];
    for (band = 0; band <= WW_CHANNELS; ++band) {
        uint64_t rising = 0, total = 0;
        for (; bin < ww_band_edge[band + 1]; ++bin) {
            rising += (uint64_t)energy[bin] * ww_band_weight[bin - ww_band_edge[0]];
            total += energy[bin];
        }
        if (band > 0) {
            const int channel = band - 1;
            const uint32_t magnitude = square_root(falling + rising) >> shift;
            const uint32_t smoothing = channel % 2 ? SMOOTHING_ODD : SMOOTHING_EVEN;
            features[channel] = ww_gain_feature(magnitude, smoothing, &frontend->noise[channel]);
        }
        falling = (total << 12) - rising;
    }
}

int ww_frontend_feed(ww_frontend *frontend, ww_spectrum *scratch, const int16_t *pcm, size_t n, size_t *n_used,
                     uint16_t features[WW_CHANNELS])
{
    const size_t room = (size_t)WW_WINDOW_SAMPLES - frontend->n_filled;
    const size_t n_taken = n < room ? n : room;
    int shift;
    memcpy(frontend->window + frontend->n_filled, pcm, n_taken * sizeof *pcm);
    frontend->n_filled = (uint16_t)(frontend->n_filled + n_taken);
    *n_used = n_taken;
    if (frontend->n_filled < WW_WINDOW_SAMPLES) {
        return 0;
    }
    shift = apply_window(frontend->window, scratch);
    memmove(frontend->window, frontend->window + WW_HOP_SAMPLES,
            (WW_WINDOW_SAMPLES - WW_HOP_SAMPLES) * sizeof *pcm);
    frontend->n_filled = WW_WINDOW_SAMPLES - WW_HOP_SAMPLES;
    ww_fft_energies(scratch);
    channels(frontend, scratch->energy, shift, features);
    return 1;
}

void ww_frontend_quantize_s8(const uint16_t features[WW_CHANNELS], int8_t quantized[WW_CHANNELS])
{
    int i;
    for (i = 0; i < WW_CHANNELS; ++i) {
        const int32_t value = (int32_t)(((uint32_t)features[i] * 256u + 333u) / 666u) - 128;
        quantized[i] = (int8_t)(value < 127 ? value : 127);
    }
}
