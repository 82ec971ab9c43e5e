/* SPDX-License-Identifier: MIT
 * The network alone, for a computer: int8 features [frames][40] on stdin, a score for each step on stdout. */
#include <stdio.h>

#include "ww_model.h"

static ww_memory memory;
static int8_t scratch[3 * 255];

int main(void)
{
    const ww_net *net = &ww_wakeword.net;
    ww_rings rings;
    uint8_t frame = 0;
    rings.position = memory.rings;
    rings.rows = (int8_t *)memory.rings + net->n_rings;
    ww_net_reset(net, rings);
    while (fread(ww_net_input(net, rings, frame), 1, net->stem->n_in, stdin) == net->stem->n_in) {
        if (++frame == net->stride) {
            putchar(ww_net_step(net, rings, scratch));
            frame = 0;
        }
    }
    return ferror(stdin) || fflush(stdout) ? 1 : 0;
}
