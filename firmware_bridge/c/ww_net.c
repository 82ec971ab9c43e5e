/* SPDX-License-Identifier: MIT */
#include "ww_net.h"

#include <string.h>

/* round(a * b / 2^31) as gemmlowp does it; b > 0, so that nothing overflows */
static int32_t doubling_high_mul(int32_t a, int32_t b)
{
    const int64_t product = (int64_t)a * b;
    const int64_t nudged = product + (product >= 0 ? (int64_t)1 << 30 : 1 - ((int64_t)1 << 30));
    return (int32_t)((nudged + (nudged < 0 ? 0x7FFFFFFF : 0)) >> 31); /* divides towards zero */
}

static int32_t rounding_shift(int32_t x, int bits)
{
    const int32_t mask = (int32_t)(((uint32_t)1 << bits) - 1);
    const int32_t threshold = (mask >> 1) + (x < 0);
    return (x >> bits) + ((x & mask) > threshold);
}

int32_t ww_scale(int32_t x, int32_t multiplier, int shift)
{
    const int left = shift > 0 ? shift : 0;
    const int right = shift < 0 ? -shift : 0;
    return rounding_shift(doubling_high_mul((int32_t)((uint32_t)x << left), multiplier), right);
}

static int8_t clamp(int32_t x, int32_t lowest) { return (int8_t)(x < lowest ? lowest : x > 127 ? 127 : x); }

static int32_t dot(const int8_t *w, const int8_t *x, int n)
{
    int32_t sum = 0;
    for (; n >= 4; n -= 4, w += 4, x += 4) {
        sum += w[0] * x[0] + w[1] * x[1] + w[2] * x[2] + w[3] * x[3];
    }
    while (n--) {
        sum += *w++ * *x++;
    }
    return sum;
}

/* The rows a convolution looks at: `oldest` of `conv->rows` rows that lie in a ring. */
typedef struct {
    const int8_t *rows;
    uint8_t oldest;
} view;

static const int8_t *tap_row(const ww_conv *conv, view in, int tap)
{
    int row = in.oldest + tap * conv->dilation;
    if (row >= conv->rows) {
        row -= conv->rows;
    }
    return in.rows + row * conv->n_in;
}

static int32_t dense_sum(const ww_conv *conv, view in, int out)
{
    const int8_t *weights = conv->weights + (size_t)out * conv->taps * conv->n_in;
    int32_t sum = conv->bias[out];
    int tap;
    for (tap = 0; tap < conv->taps; ++tap) {
        sum += dot(weights + tap * conv->n_in, tap_row(conv, in, tap), conv->n_in);
    }
    return sum;
}

static int32_t depthwise_sum(const ww_conv *conv, view in, int channel)
{
    int32_t sum = conv->bias[channel];
    int tap;
    for (tap = 0; tap < conv->taps; ++tap) {
        sum += conv->weights[tap * conv->n_in + channel] * tap_row(conv, in, tap)[channel];
    }
    return sum;
}

static void convolve(const ww_conv *conv, view in, int8_t *y)
{
    int out;
    for (out = 0; out < conv->n_out; ++out) {
        const int32_t sum = conv->kind == WW_DENSE ? dense_sum(conv, in, out) : depthwise_sum(conv, in, out);
        const int32_t scaled = ww_scale(sum, conv->multiplier[out], conv->shift[out]);
        y[out] = clamp(scaled + conv->out_zero, conv->lowest);
    }
}

/* Convolves the row x after those before it, which lie in the next ring; `rings` moves on behind it. */
static void convolve_row(const ww_conv *conv, ww_rings *rings, const int8_t *x, int8_t *y)
{
    view in = {x, 0};
    if (conv->rows > 1) {
        const uint8_t newest = *rings->position;
        in.oldest = (uint8_t)(newest + 1 < conv->rows ? newest + 1 : 0);
        in.rows = rings->rows;
        memcpy(rings->rows + newest * conv->n_in, x, conv->n_in);
        *rings->position++ = in.oldest;
        rings->rows += conv->rows * conv->n_in;
    }
    convolve(conv, in, y);
}

static void add_rows(const ww_add *add, const int8_t *a, const int8_t *b, int n, int8_t *y)
{
    int i;
    for (i = 0; i < n; ++i) {
        const int32_t left = ww_scale((a[i] - add->a_zero) * (1 << 20), add->a.multiplier, add->a.shift);
        const int32_t right = ww_scale((b[i] - add->b_zero) * (1 << 20), add->b.multiplier, add->b.shift);
        y[i] = clamp(ww_scale(left + right, add->out.multiplier, add->out.shift) + add->out_zero, -128);
    }
}

static void run_stem(const ww_net *net, ww_rings *rings, int8_t *y)
{
    const ww_conv *stem = net->stem;
    const uint8_t position = (uint8_t)((*rings->position + net->stride) % stem->rows);
    view in;
    in.rows = rings->rows;
    in.oldest = position;
    convolve(stem, in, y);
    *rings->position++ = position;
    rings->rows += stem->rows * stem->n_in;
}

int8_t *ww_net_input(const ww_net *net, ww_rings rings, uint8_t frame)
{
    return rings.rows + ((*rings.position + frame) % net->stem->rows) * net->stem->n_in;
}

uint8_t ww_net_step(const ww_net *net, ww_rings rings, int8_t *scratch)
{
    int8_t *x = scratch, *y = scratch + net->widest, *z = scratch + 2 * net->widest;
    int8_t logit;
    view in;
    int i, j;
    run_stem(net, &rings, x);
    for (i = 0; i < net->n_blocks; ++i) {
        const ww_block *block = &net->blocks[i];
        const int8_t *made = x;
        for (j = 0; j < block->n_convs; ++j) {
            int8_t *to = made == y ? z : y;
            convolve_row(&block->convs[j], &rings, made, to);
            made = to;
        }
        add_rows(&block->add, x, made, block->convs[block->n_convs - 1].n_out, x);
    }
    in.rows = x;
    in.oldest = 0;
    convolve(net->output, in, &logit);
    return net->sigmoid[logit + 128];
}

static void clear_ring(const ww_conv *conv, ww_rings *rings)
{
    const size_t n_bytes = (size_t)conv->rows * conv->n_in;
    memset(rings->rows, conv->in_zero, n_bytes);
    rings->rows += n_bytes;
    *rings->position++ = 0;
}

void ww_net_reset(const ww_net *net, ww_rings rings)
{
    int i, j;
    clear_ring(net->stem, &rings);
    for (i = 0; i < net->n_blocks; ++i) {
        for (j = 0; j < net->blocks[i].n_convs; ++j) {
            if (net->blocks[i].convs[j].rows > 1) {
                clear_ring(&net->blocks[i].convs[j], &rings);
            }
        }
    }
}
