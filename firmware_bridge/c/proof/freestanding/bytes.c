/* SPDX-License-Identifier: MIT
 * Byte by byte, and so slower than a C library's. Compiled so that no loop becomes a call of itself. */
#include "string.h"

void *memcpy(void *to, const void *from, size_t n) { return memmove(to, from, n); }

void *memmove(void *to, const void *from, size_t n)
{
    char *target = to;
    const char *source = from;
    size_t i;
    if (target < source) {
        for (i = 0; i < n; ++i) {
            target[i] = source[i];
        }
    } else {
        for (i = n; i > 0; --i) {
            target[i - 1] = source[i - 1];
        }
    }
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    char *target = to;
    while (n--) {
        *target++ = (char)byte;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *left = a, *right = b;
    for (; n; --n, ++left, ++right) {
        if (*left != *right) {
            return *left < *right ? -1 : 1;
        }
    }
    return 0;
}

size_t strlen(const char *text)
{
    size_t n = 0;
    while (text[n]) {
        ++n;
    }
    return n;
}
