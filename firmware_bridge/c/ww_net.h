/* SPDX-License-Identifier: MIT
 * The quantised network: int8 in and out, 32-bit sums, the rounding of TFLite Micro's reference kernels.
 *
 *   features [stride][40] -> stem -> block -> ... -> block -> output -> table -> score 0..255
 *
 * A block runs one or two convolutions and adds what went in to what came out. Everything in here is constant
 * and generated; what a network must remember lies in memory of the caller. */
#ifndef WW_NET_H
#define WW_NET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* For ww_scale. */
typedef struct {
    int32_t multiplier;
    int8_t shift;
} ww_scaling;

enum { WW_DENSE = 0, WW_DEPTHWISE = 1 };

typedef struct {
    uint8_t kind;     /* WW_DENSE or WW_DEPTHWISE */
    uint8_t taps;     /* rows that have a weight */
    uint8_t dilation; /* rows from one tap to the next */
    uint8_t rows;     /* rows from the oldest tap to the newest: (taps - 1) * dilation + 1 */
    uint8_t n_in;     /* channels of a row that goes in */
    uint8_t n_out;    /* channels that come out */
    int8_t in_zero;   /* zero point of the input: what rows hold before the first step */
    int8_t out_zero;
    int8_t lowest;             /* outputs are clamped to lowest..127 */
    const int8_t *weights;     /* dense [n_out][taps][n_in], depthwise [taps][n_in]; tap 0 is the oldest */
    const int32_t *bias;       /* [n_out], with the input's zero point already taken off */
    const int32_t *multiplier; /* [n_out] rescaling of the sums, with */
    const int8_t *shift;       /* [n_out] */
} ww_conv;

/* y = clamp(out(a((a - a_zero) << 20) + b((b - b_zero) << 20)) + out_zero) */
typedef struct {
    int8_t a_zero, b_zero, out_zero;
    ww_scaling a, b, out;
} ww_add;

typedef struct {
    const ww_conv *convs;
    uint8_t n_convs;
    ww_add add;
} ww_block;

typedef struct {
    uint8_t stride; /* feature frames in one step; the stem's rows are frames, all others are steps */
    uint8_t n_blocks;
    uint8_t n_rings;         /* convolutions of more than one row, the stem included */
    uint8_t widest;          /* most channels between two layers */
    uint16_t ring_bytes;     /* sum of rows * n_in of those */
    const ww_conv *stem;
    const ww_block *blocks;
    const ww_conv *output;   /* one dense output: the logit */
    const uint8_t *sigmoid;  /* [256]: score of each logit + 128 */
} ww_net;

/* Where a network keeps its rows: n_rings bytes of positions, then the rows themselves. */
typedef struct {
    uint8_t *position; /* [n_rings] the row to be written next, which is the oldest */
    int8_t *rows;      /* [ring_bytes] */
} ww_rings;

/* Sets all rows to their zero points. */
void ww_net_reset(const ww_net *net, ww_rings rings);

/* Where the next frame of 40 features belongs: row `frame` (0 .. stride - 1) of the coming step. */
int8_t *ww_net_input(const ww_net *net, ww_rings rings, uint8_t frame);

/* Runs a step once all its frames are in; scratch has 3 * widest bytes. Returns the score, 256 * posterior. */
uint8_t ww_net_step(const ww_net *net, ww_rings rings, int8_t *scratch);

/* x * multiplier * 2^(shift - 31), rounded twice: TFLite Micro's MultiplyByQuantizedMultiplier. */
int32_t ww_scale(int32_t x, int32_t multiplier, int shift);

#ifdef __cplusplus
}
#endif

#endif
