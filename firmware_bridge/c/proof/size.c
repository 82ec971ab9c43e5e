/* SPDX-License-Identifier: MIT
 * What a program costs with the library in it (WITH_LIBRARY) and without: the difference is the library. */
#include "port.h"

#ifdef WITH_LIBRARY
#include "ww_model.h"
static ww_memory memory;
#endif

int main(void)
{
    static int16_t block[160];
    const int input = port_open("input.s16", 0);
    while (port_read(input, block, sizeof block)) {
#ifdef WITH_LIBRARY
        static ww_state *ww;
        const int16_t *pcm = block;
        size_t n = 160;
        ww_event event;
        if (!ww && ww_open(&memory, sizeof memory, &ww_wakeword, &ww) != WW_OK) {
            return 1;
        }
        while (ww_feed(ww, &pcm, &n, &event) == WW_EVENT) {
            port_write(1, &event, sizeof event);
        }
#else
        port_write(1, block, sizeof block);
#endif
    }
    return 0;
}
