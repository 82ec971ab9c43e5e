/* SPDX-License-Identifier: MIT */
#include "ww_link.h"

#include <string.h>

enum { OVERLONG = 255, STATUS_SLICES = 100, ASK_BYTES = 5, EVENT_BYTES = 8 };
/* Room that trace and audio leave for what matters: an event and a status. */
enum { RESERVE = EVENT_BYTES + 7 + EVENT_BYTES + 8 + 7 };

uint16_t ww_link_crc(uint16_t crc, const uint8_t *bytes, size_t n)
{
    int bit;
    while (n--) {
        crc = (uint16_t)(crc ^ (uint16_t)((uint16_t)*bytes++ << 8));
        for (bit = 0; bit < 8; ++bit) {
            crc = (uint16_t)((crc & 0x8000u) ? ((unsigned)crc << 1) ^ 0x1021u : (unsigned)crc << 1);
        }
    }
    return crc;
}

static uint8_t *put16(uint8_t *to, uint16_t x)
{
    to[0] = (uint8_t)x;
    to[1] = (uint8_t)(x >> 8);
    return to + 2;
}

static uint8_t *put32(uint8_t *to, uint32_t x) { return put16(put16(to, (uint16_t)x), (uint16_t)(x >> 16)); }

static void count(uint16_t *counter)
{
    if (*counter < 0xFFFF) {
        ++*counter;
    }
}

/* Replaces the zeros of n <= 254 bytes at to + 1 by the distance to the next; the first of these goes to `to`. */
static void stuff(uint8_t *to, size_t n)
{
    uint8_t *mark = to;
    size_t i;
    for (i = 1; i <= n; ++i) {
        if (to[i] == 0) {
            *mark = (uint8_t)(to + i - mark);
            mark = to + i;
        }
    }
    *mark = (uint8_t)(to + n + 1 - mark);
}

/* The body a frame of n bytes is to have, in place in the line; NULL, and counted, if there is no room. */
static uint8_t *begin(ww_link *link, size_t n, size_t reserve)
{
    if (link->n_pending + n + 7 + reserve > link->n_line) {
        count(&link->n_dropped);
        return NULL;
    }
    return link->line + link->n_pending + 4;
}

static void finish(ww_link *link, uint8_t type, size_t n)
{
    uint8_t *frame = link->line + link->n_pending, *payload = frame + 2;
    payload[0] = type;
    payload[1] = link->sequence++;
    put16(payload + 2 + n, ww_link_crc(0xFFFF, payload, n + 2));
    stuff(frame + 1, n + 4);
    frame[0] = frame[n + 6] = 0;
    link->n_pending += n + 7;
}

static uint8_t *put_event(uint8_t *to, const ww_link *link)
{
    to = put32(put16(to, link->n_events), link->last.frame);
    *to++ = link->last.mean;
    *to++ = link->last.peak;
    return to;
}

static void say_hello(ww_link *link)
{
    const ww_model *model = link->model;
    const size_t length = strlen(model->phrase);
    const size_t n_phrase = length < WW_LINK_MAX_BODY - 12 ? length : WW_LINK_MAX_BODY - 12;
    uint8_t *body = begin(link, 12 + n_phrase, 0);
    if (body) {
        body[0] = WW_LINK_VERSION;
        body[1] = model->net.stride;
        body[2] = model->cutoff;
        body[3] = model->window;
        memcpy(body + 4, model->id, sizeof model->id);
        memcpy(body + 12, model->phrase, n_phrase);
        finish(link, WW_LINK_HELLO, 12 + n_phrase);
    }
}

static void say_event(ww_link *link)
{
    uint8_t *body = begin(link, EVENT_BYTES, 0);
    if (body) {
        put_event(body, link);
        finish(link, WW_LINK_EVENT, EVENT_BYTES);
    }
}

static void say_status(ww_link *link, uint32_t frame)
{
    uint8_t *body = begin(link, EVENT_BYTES + 8, 0);
    if (body) {
        put16(put16(put_event(put32(body, frame), link), link->n_bad), link->n_dropped);
        finish(link, WW_LINK_STATUS, EVENT_BYTES + 8);
    }
}

static void say_scores(ww_link *link)
{
    uint8_t *body = begin(link, 4u + link->n_scores, RESERVE);
    if (body) {
        memcpy(put32(body, link->scores_frame), link->scores, link->n_scores);
        finish(link, WW_LINK_TRACE, 4u + link->n_scores);
    }
    link->n_scores = 0;
}

ww_status ww_link_open(ww_link *link, const ww_model *model, uint8_t *line, size_t n)
{
    if (link == NULL || model == NULL || line == NULL) {
        return WW_ERROR_ARGUMENT;
    }
    if (n < WW_LINK_MAX_FRAME) {
        return WW_ERROR_MEMORY;
    }
    memset(link, 0, sizeof *link);
    link->model = model;
    link->line = line;
    link->n_line = n;
    say_hello(link);
    return WW_OK;
}

/* Undoes `stuff` in place; returns the bytes of the payload, 0 if it is not one. */
static size_t unstuff(uint8_t *frame, size_t n)
{
    size_t mark = 0;
    while (mark < n) {
        const size_t next = mark + frame[mark];
        if (next > n) {
            return 0;
        }
        frame[mark] = 0;
        mark = next;
    }
    return n - 1;
}

static void take_frame(ww_link *link)
{
    uint8_t *payload = link->received + 1;
    const size_t n = unstuff(link->received, link->n_received);
    uint8_t crc[2];
    if (n != ASK_BYTES || payload[0] != WW_LINK_ASK) {
        count(&link->n_bad);
        return;
    }
    put16(crc, ww_link_crc(0xFFFF, payload, n - 2));
    if (memcmp(crc, payload + n - 2, 2) != 0) {
        count(&link->n_bad);
        return;
    }
    link->wants = payload[2];
    link->n_scores = 0;
    say_hello(link);
}

ww_status ww_link_receive(ww_link *link, const uint8_t *bytes, size_t n)
{
    if (link == NULL || (bytes == NULL && n > 0)) {
        return WW_ERROR_ARGUMENT;
    }
    for (; n > 0; --n, ++bytes) {
        if (*bytes == 0) {
            if (link->n_received == OVERLONG) {
                count(&link->n_bad);
            } else if (link->n_received > 0) {
                take_frame(link);
            }
            link->n_received = 0;
        } else if (link->n_received < sizeof link->received) {
            link->received[link->n_received++] = *bytes;
        } else {
            link->n_received = OVERLONG;
        }
    }
    return WW_OK;
}

ww_status ww_link_slice(ww_link *link, const ww_slice *slice)
{
    if (link == NULL || slice == NULL) {
        return WW_ERROR_ARGUMENT;
    }
    if (slice->is_event) {
        ++link->n_events;
        link->last = slice->event;
        say_event(link);
    }
    if (slice->is_step && (link->wants & WW_LINK_WANT_TRACE)) {
        if (link->n_scores == 0) {
            link->scores_frame = slice->event.frame;
        }
        link->scores[link->n_scores++] = slice->score;
        if (link->n_scores == WW_LINK_SCORES) {
            say_scores(link);
        }
    }
    if (slice->event.frame % STATUS_SLICES == 0) {
        say_status(link, slice->event.frame);
    }
    return WW_OK;
}

ww_status ww_link_audio(ww_link *link, const int16_t *pcm, size_t n)
{
    if (link == NULL || (pcm == NULL && n > 0)) {
        return WW_ERROR_ARGUMENT;
    }
    while (n > 0) {
        const size_t n_now = n < WW_LINK_AUDIO_SAMPLES ? n : WW_LINK_AUDIO_SAMPLES;
        uint8_t *body = link->wants & WW_LINK_WANT_AUDIO ? begin(link, 4 + 2 * n_now, RESERVE) : NULL;
        if (body) {
            size_t i;
            uint8_t *to = put32(body, link->n_samples);
            for (i = 0; i < n_now; ++i) {
                to = put16(to, (uint16_t)pcm[i]);
            }
            finish(link, WW_LINK_AUDIO, 4 + 2 * n_now);
        }
        link->n_samples += (uint32_t)n_now;
        pcm += n_now;
        n -= n_now;
    }
    return WW_OK;
}

ww_status ww_link_pending(const ww_link *link, const uint8_t **bytes, size_t *n)
{
    if (link == NULL || bytes == NULL || n == NULL) {
        return WW_ERROR_ARGUMENT;
    }
    *bytes = link->line;
    *n = link->n_pending;
    return WW_OK;
}

ww_status ww_link_sent(ww_link *link, size_t n)
{
    if (link == NULL || n > link->n_pending) {
        return WW_ERROR_ARGUMENT;
    }
    link->n_pending -= n;
    memmove(link->line, link->line + n, link->n_pending);
    return WW_OK;
}
