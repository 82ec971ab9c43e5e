/* SPDX-License-Identifier: MIT */
#include "ww_decision.h"

#include <string.h>

static void forget(ww_decision *decision)
{
    memset(decision->recent, 0, sizeof decision->recent);
    decision->newest = 0;
    decision->unheard = WW_SLICES_UNHEARD;
}

void ww_decision_reset(ww_decision *decision)
{
    forget(decision);
    decision->is_new = 0;
}

void ww_decision_score(ww_decision *decision, uint8_t window, uint8_t score)
{
    decision->newest = (uint8_t)(decision->newest + 1 < window ? decision->newest + 1 : 0);
    decision->recent[decision->newest] = score;
    decision->is_new = 1;
}

int ww_decision_slice(ww_decision *decision, uint8_t window, uint8_t cutoff, uint8_t *mean, uint8_t *peak)
{
    uint32_t sum = 0;
    uint8_t i, highest = 0;
    if (decision->recent[decision->newest] < cutoff && decision->unheard > 0) {
        --decision->unheard;
    }
    if (!decision->is_new || decision->unheard > 0) {
        return 0;
    }
    decision->is_new = 0;
    for (i = 0; i < window; ++i) {
        sum += decision->recent[i];
        highest = decision->recent[i] > highest ? decision->recent[i] : highest;
    }
    if (sum <= (uint32_t)cutoff * window) {
        return 0;
    }
    *mean = (uint8_t)(sum / window);
    *peak = highest;
    forget(decision);
    return 1;
}
