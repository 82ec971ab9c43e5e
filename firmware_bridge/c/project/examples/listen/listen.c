/* SPDX-License-Identifier: MIT
 * On a computer: arecord -q -r 16000 -f S16_LE -c 1 | ./listen */
#include <stdio.h>

#include "ww.h"
#include "ww_model.h"

static ww_memory memory;

int main(void)
{
    int16_t block[160];
    ww_state *ww;
    size_t n;
    if (ww_open(&memory, sizeof memory, &ww_wakeword, &ww) != WW_OK) {
        return 1;
    }
    while ((n = fread(block, sizeof block[0], 160, stdin)) > 0) {
        const int16_t *pcm = block;
        ww_event event;
        while (ww_feed(ww, &pcm, &n, &event) == WW_EVENT) {
            printf("%.2f s  %s  %u/255\n", event.time_ms / 1000.0, WW_MODEL_PHRASE, (unsigned)event.mean);
            fflush(stdout);
        }
    }
    return 0;
}
