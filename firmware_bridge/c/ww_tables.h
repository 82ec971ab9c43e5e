/* SPDX-License-Identifier: Apache-2.0
 * Tables of the frontend; ww_tables.c is generated. */
#ifndef WW_TABLES_H
#define WW_TABLES_H

#include <stdint.h>

extern const int16_t ww_window[480];          /* Hann window x 4096 */
extern const int16_t ww_twiddle[192][2];      /* exp(-2 pi i k / 256) x 32767: re, im */
extern const int16_t ww_real_twiddle[128][2]; /* exp(-i pi ((k + 1) / 256 + 1/2)) x 32767 */
extern const uint8_t ww_band_edge[42];        /* first FFT bin of each mel band, and the end */
extern const uint16_t ww_band_weight[236];    /* of each bin from ww_band_edge[0] on, x 4096 */
extern const int16_t ww_gain_table[125];      /* PCAN: gain for noise 0 and 1, then parabolas */
extern const uint16_t ww_log_table[130];      /* 65536 (log2(1 + i/128) - i/128) */

#endif
