/* SPDX-License-Identifier: Apache-2.0 AND BSD-3-Clause
 *
 * Sound to 40 features every 10 ms, in integers, bit for bit what TensorFlow Lite Micro's "micro frontend"
 * computes with the settings of ESPHome's micro_wake_word (PyPI: pymicro-features).
 *
 * Derived from tensorflow/lite/experimental/microfrontend (Copyright 2018 The TensorFlow Authors, Apache-2.0)
 * and from kissfft (Copyright 2003-2010 Mark Borgerding, BSD-3-Clause), see NOTICE. Changed: C99 instead of
 * C++, no allocation, tables in flash instead of made at start, transform and energies in place (1 KB of
 * scratch instead of 7 KB), one pass from channel to feature.
 *
 *   16 kHz PCM -> Hann window of 30 ms -> FFT 512 -> 40 mel channels, 125 to 7500 Hz -> square root
 *     -> noise reduction -> PCAN gain control -> logarithm -> uint16 -> int8
 */
#ifndef WW_FRONTEND_H
#define WW_FRONTEND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WW_SAMPLE_RATE 16000     /* Hz */
#define WW_WINDOW_SAMPLES 480    /* 30 ms */
#define WW_HOP_SAMPLES 160       /* 10 ms */
#define WW_CHANNELS 40
#define WW_FFT_SIZE 512
#define WW_FFT_BINS (WW_FFT_SIZE / 2)

/* What the frontend remembers between calls. All zero is its state at the start. */
typedef struct {
    int16_t window[WW_WINDOW_SAMPLES]; /* the newest samples */
    uint16_t n_filled;                 /* how many of them are there */
    uint32_t noise[WW_CHANNELS];       /* noise estimate per channel */
} ww_frontend;

typedef struct {
    int16_t re, im;
} ww_complex;

/* Memory a call works in and may be used for other things between calls. */
typedef union {
    int16_t pcm[WW_FFT_SIZE];
    ww_complex bin[WW_FFT_BINS];
    uint32_t energy[WW_FFT_BINS];
} ww_spectrum;

/* Takes samples up to the end of the next 10 ms hop.
 *   frontend  [in,out] the state
 *   scratch   [out]    work space
 *   pcm       [in]     n samples, mono, 16 kHz
 *   n_used    [out]    how many of them were taken; call again with the rest
 *   features  [out]    40 values, if a hop was completed: 0 = silence, about 670 = loud
 * Returns 1 if `features` were written, 0 if all samples were taken and more are needed. */
int ww_frontend_feed(ww_frontend *frontend, ww_spectrum *scratch, const int16_t *pcm, size_t n, size_t *n_used,
                     uint16_t features[WW_CHANNELS]);

/* The int8 features that the network takes: round(feature * 256 / 666) - 128, clamped. */
void ww_frontend_quantize_s8(const uint16_t features[WW_CHANNELS], int8_t quantized[WW_CHANNELS]);

/* Stages, in ww_fft.c and ww_gain.c. */

/* Transforms scratch->pcm (512 windowed samples) and leaves the energy of bins 1 to 255 in scratch->energy. */
void ww_fft_energies(ww_spectrum *scratch);

/* One channel from its magnitude to its feature; `noise` is the estimate it updates, `smoothing` of 1 << 14. */
uint16_t ww_gain_feature(uint32_t magnitude, uint32_t smoothing, uint32_t *noise);

/* Position of the highest bit that is set, counted from 1; 0 for 0. */
int ww_top_bit_u32(uint32_t x);
int ww_top_bit_u64(uint64_t x);

#ifdef __cplusplus
}
#endif

#endif
