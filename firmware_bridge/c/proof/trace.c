/* SPDX-License-Identifier: MIT
 * Runs the library over input.s16 (16 kHz PCM) in blocks of changing size and writes all that comes out.
 *   output.bin  per slice of 10 ms 45 bytes: 40 features, is_step, score, is_event, mean, peak
 *   report.bin  uint32: slices, ticks in all calls, most ticks in one call, ticks for 40000 instructions,
 *               stack used by the library, bytes of memory it took, status of ww_open */
#include <string.h>

#include "port.h"
#include "ww.h"
#include "ww_model.h"

enum { MAX_BLOCK = 700 };

typedef struct {
    uint32_t n_slices, ticks, most_ticks, ticks_40000, stack, memory, status;
} report;

static ww_memory memory;
static int16_t block[MAX_BLOCK];
static report run;

static void record(int file, const ww_slice *slice)
{
    uint8_t out[WW_CHANNELS + 5];
    memcpy(out, slice->features, WW_CHANNELS);
    out[WW_CHANNELS] = slice->is_step;
    out[WW_CHANNELS + 1] = slice->score;
    out[WW_CHANNELS + 2] = slice->is_event;
    out[WW_CHANNELS + 3] = slice->event.mean;
    out[WW_CHANNELS + 4] = slice->event.peak;
    port_write(file, out, sizeof out);
}

static void feed(ww_state *ww, size_t n, int file)
{
    const int16_t *pcm = block;
    ww_slice slice;
    for (;;) {
        const uint32_t before = port_ticks();
        const ww_status status = ww_advance(ww, &pcm, &n, &slice);
        const uint32_t ticks = (port_ticks() - before) & port_tick_mask;
        run.ticks += ticks;
        run.most_ticks = ticks > run.most_ticks ? ticks : run.most_ticks;
        if (status != WW_SLICE) {
            return;
        }
        ++run.n_slices;
        record(file, &slice);
    }
}

int main(void)
{
    const int input = port_open("input.s16", 0), output = port_open("output.bin", 1);
    const int result = port_open("report.bin", 1);
    uint32_t random = 1;
    ww_state *ww = NULL;
    size_t n;
    if (input < 0 || output < 0 || result < 0) {
        return 1;
    }
    run.ticks_40000 = port_calibrate();
    run.memory = (uint32_t)sizeof memory;
    run.status = (uint32_t)ww_open(&memory, sizeof memory, &ww_wakeword, &ww);
    if (run.status == WW_OK) {
        do {
            const size_t size = 1 + (random = random * 1664525u + 1013904223u) / 65536u % MAX_BLOCK;
            n = port_read(input, block, 2 * size) / 2;
            feed(ww, n, output);
        } while (n);
    }
    run.stack = port_stack_used();
    port_write(result, &run, sizeof run);
    return run.status != WW_OK;
}
