/* SPDX-License-Identifier: Apache-2.0 AND BSD-3-Clause
 * The real FFT of 512 16-bit samples as kissfft computes it with FIXED_POINT=16: four radix-4 stages that each
 * divide by 4, then the split into the spectrum of a real signal. See ww_frontend.h and NOTICE. */
#include "ww_frontend.h"
#include "ww_tables.h"

/* Negative numbers must shift arithmetically; every compiler for these chips does. */
typedef char ww_shift_is_arithmetic[((-3) >> 1) == -2 ? 1 : -1];
typedef char ww_complex_is_packed[sizeof(ww_complex) == 4 ? 1 : -1];

static int16_t narrow(int32_t x) { return (int16_t)x; }

static int16_t round_q15(int32_t x) { return narrow((x + (1 << 14)) >> 15); }

static ww_complex divide(ww_complex a, int32_t reciprocal_q15)
{
    ww_complex out;
    out.re = round_q15(a.re * reciprocal_q15);
    out.im = round_q15(a.im * reciprocal_q15);
    return out;
}

static ww_complex multiply(ww_complex a, const int16_t twiddle[2])
{
    ww_complex out;
    out.re = round_q15((int32_t)a.re * twiddle[0] - (int32_t)a.im * twiddle[1]);
    out.im = round_q15((int32_t)a.re * twiddle[1] + (int32_t)a.im * twiddle[0]);
    return out;
}

static ww_complex add(ww_complex a, ww_complex b)
{
    ww_complex out;
    out.re = narrow(a.re + b.re);
    out.im = narrow(a.im + b.im);
    return out;
}

static ww_complex subtract(ww_complex a, ww_complex b)
{
    ww_complex out;
    out.re = narrow(a.re - b.re);
    out.im = narrow(a.im - b.im);
    return out;
}

enum { QUARTER = 32767 / 4, HALF = 32767 / 2 };

/* One radix-4 butterfly over x[0], x[m], x[2m], x[3m]; twiddles advance by k * stride. */
static void butterfly(ww_complex *x, size_t m, size_t k_stride)
{
    const ww_complex a = divide(x[0], QUARTER);
    const ww_complex b = multiply(divide(x[m], QUARTER), ww_twiddle[k_stride]);
    const ww_complex c = multiply(divide(x[2 * m], QUARTER), ww_twiddle[2 * k_stride]);
    const ww_complex d = multiply(divide(x[3 * m], QUARTER), ww_twiddle[3 * k_stride]);
    const ww_complex even = add(a, c), odd = subtract(a, c);
    const ww_complex sum = add(b, d), difference = subtract(b, d);

    x[0] = add(even, sum);
    x[2 * m] = subtract(even, sum);
    x[m].re = narrow(odd.re + difference.im);
    x[m].im = narrow(odd.im - difference.re);
    x[3 * m].re = narrow(odd.re - difference.im);
    x[3 * m].im = narrow(odd.im + difference.re);
}

/* Puts x[i] where the base-4 digits of i read backwards. */
static void reverse_digits(ww_complex *x)
{
    size_t i;
    for (i = 0; i < WW_FFT_BINS; ++i) {
        const size_t j = (i >> 6) | ((i >> 2) & 0x0C) | ((i << 2) & 0x30) | ((i << 6) & 0xC0);
        if (i < j) {
            const ww_complex swap = x[i];
            x[i] = x[j];
            x[j] = swap;
        }
    }
}

static void complex_fft(ww_complex *x)
{
    size_t m, start, k;
    reverse_digits(x);
    for (m = 1; m < WW_FFT_BINS; m *= 4) {
        const size_t stride = WW_FFT_BINS / (4 * m);
        for (start = 0; start < WW_FFT_BINS; start += 4 * m) {
            for (k = 0; k < m; ++k) {
                butterfly(x + start + k, m, k * stride);
            }
        }
    }
}

static uint32_t energy(int32_t re, int32_t im)
{
    re = narrow(re >> 1);
    im = narrow(im >> 1);
    return (uint32_t)(re * re) + (uint32_t)(im * im);
}

void ww_fft_energies(ww_spectrum *scratch)
{
    size_t k;
    complex_fft(scratch->bin);
    for (k = 1; k <= WW_FFT_BINS / 2; ++k) {
        ww_complex low = scratch->bin[k], high = scratch->bin[WW_FFT_BINS - k];
        ww_complex sum, twisted;
        high.im = narrow(-high.im);
        low = divide(low, HALF);
        high = divide(high, HALF);
        sum = add(low, high);
        twisted = multiply(subtract(low, high), ww_real_twiddle[k - 1]);
        scratch->energy[k] = energy(sum.re + twisted.re, sum.im + twisted.im);
        scratch->energy[WW_FFT_BINS - k] = energy(sum.re - twisted.re, twisted.im - sum.im);
    }
}
