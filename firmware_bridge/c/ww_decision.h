/* SPDX-License-Identifier: MIT
 * From scores to events: the rule of ESPHome's micro_wake_word, in integers.
 *
 *   fires   the sum of the last `window` scores is above cutoff * window
 *   then    all scores are forgotten, and 100 slices of 10 ms pass unheard: only those are counted during
 *           which the newest score is below the cutoff. So it is at the start. */
#ifndef WW_DECISION_H
#define WW_DECISION_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WW_MAX_WINDOW 33
#define WW_SLICES_UNHEARD 100

typedef struct {
    uint8_t recent[WW_MAX_WINDOW];
    uint8_t newest;  /* where the newest of them is */
    uint8_t is_new;  /* whether it has not been judged yet */
    uint8_t unheard; /* slices still to pass */
} ww_decision;

void ww_decision_reset(ww_decision *decision);

/* A new score, 0 to 255. */
void ww_decision_score(ww_decision *decision, uint8_t window, uint8_t score);

/* Passes one slice, behind the score that came with it, if any. Returns 1 if the phrase is detected, and then
 * `mean` and `peak` are those of the scores that did it. */
int ww_decision_slice(ww_decision *decision, uint8_t window, uint8_t cutoff, uint8_t *mean, uint8_t *peak);

#ifdef __cplusplus
}
#endif

#endif
