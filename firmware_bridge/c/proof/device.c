/* SPDX-License-Identifier: MIT
 * A device on a serial line: waits until the host asks, then hears input.s16 as if it were its microphone, as
 * fast as the line takes it, and tells the host. Ends when the sound or the line does. */
#include "port.h"
#include "ww_link.h"
#include "ww_model.h"

enum { BLOCK = 160 };

static ww_memory memory;
static ww_link link;
static uint8_t line[512];

/* Sends what waits and takes what came; < 0 once the line is closed. */
static int exchange(void)
{
    uint8_t came[64];
    const uint8_t *waiting;
    size_t n;
    const int n_came = port_serial_read(came, sizeof came);
    if (n_came < 0) {
        return -1;
    }
    ww_link_receive(&link, came, (size_t)n_came);
    ww_link_pending(&link, &waiting, &n);
    port_serial_write(waiting, n);
    ww_link_sent(&link, n);
    return 0;
}

static int hear(ww_state *ww, const int16_t *pcm, size_t n)
{
    ww_slice slice;
    ww_link_audio(&link, pcm, n);
    while (ww_advance(ww, &pcm, &n, &slice) == WW_SLICE) {
        ww_link_slice(&link, &slice);
    }
    return exchange();
}

int main(void)
{
    static int16_t block[BLOCK];
    const int input = port_open("input.s16", 0);
    ww_state *ww;
    size_t n;
    if (input < 0 || port_serial_open() < 0 || ww_open(&memory, sizeof memory, &ww_wakeword, &ww) != WW_OK ||
        ww_link_open(&link, &ww_wakeword, line, sizeof line) != WW_OK) {
        return 1;
    }
    while (link.sequence < 2) { /* the first frame is the greeting, the second answers the host */
        if (exchange() < 0) {
            return 0;
        }
    }
    while ((n = port_read(input, block, sizeof block) / sizeof block[0]) > 0) {
        if (hear(ww, block, n) < 0) {
            return 0;
        }
    }
    return exchange() < 0;
}
