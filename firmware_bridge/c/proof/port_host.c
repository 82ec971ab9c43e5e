/* SPDX-License-Identifier: MIT
 * A computer's files and standard input and output. Counts nothing. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "port.h"

const uint32_t port_tick_mask = 0xFFFFFFFFu;

int port_open(const char *name, int for_writing)
{
    return open(name, for_writing ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, 0644);
}

size_t port_read(int file, void *data, size_t n)
{
    size_t done = 0;
    while (done < n) {
        const ssize_t got = read(file, (char *)data + done, n - done);
        if (got <= 0) {
            break;
        }
        done += (size_t)got;
    }
    return done;
}

void port_write(int file, const void *data, size_t n)
{
    size_t done = 0;
    while (done < n) {
        const ssize_t put = write(file, (const char *)data + done, n - done);
        if (put < 0 && errno != EINTR) {
            _exit(3);
        }
        done += put > 0 ? (size_t)put : 0;
    }
}

uint32_t port_ticks(void) { return 0; }
uint32_t port_calibrate(void) { return 0; }
uint32_t port_stack_used(void) { return 0; }

int port_serial_open(void) { return 0; }

int port_serial_read(uint8_t *data, size_t n)
{
    struct pollfd line = {0, POLLIN, 0};
    ssize_t got;
    if (poll(&line, 1, 0) <= 0) {
        return 0;
    }
    got = read(0, data, n);
    return got > 0 ? (int)got : -1;
}

void port_serial_write(const uint8_t *data, size_t n) { port_write(1, data, n); }
