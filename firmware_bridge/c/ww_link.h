/* SPDX-License-Identifier: MIT
 * Tells a computer over a serial line what was heard: the device's end of `wakeword firmware listen`.
 *
 *     static ww_link link;
 *     static uint8_t line[512];                         // bytes that wait to be sent; yours
 *     ww_link_open(&link, &ww_wakeword, line, sizeof line);
 *     for (;;) {
 *         n = uart_read(bytes, sizeof bytes);           // whatever has come, also nothing
 *         ww_link_receive(&link, bytes, n);
 *         ... while (ww_advance(ww, &pcm, &n, &slice) == WW_SLICE) ww_link_slice(&link, &slice);
 *         ww_link_pending(&link, &waiting, &n);
 *         ww_link_sent(&link, uart_write(waiting, n));  // as many as the line takes now
 *     }
 *
 * On the wire: 0x00, COBS(type, sequence, body, CRC-16 low byte first), 0x00. Numbers are little-endian.
 * The CRC is CCITT-FALSE (polynomial 0x1021, start 0xFFFF) over type, sequence and body. What does not fit is
 * dropped and counted; events are told again once a second, so that one that is lost on the line still arrives. */
#ifndef WW_LINK_H
#define WW_LINK_H

#include "ww.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WW_LINK_VERSION 1
#define WW_LINK_MAX_BODY 240
#define WW_LINK_MAX_FRAME (WW_LINK_MAX_BODY + 7) /* on the wire, both zeros included */
#define WW_LINK_AUDIO_SAMPLES 80                 /* in one audio frame */
#define WW_LINK_SCORES 16                        /* in one score frame */

enum {
    /* device to host */
    WW_LINK_HELLO = 1,  /* version u8, stride u8, cutoff u8, window u8, model id [8], phrase UTF-8 */
    WW_LINK_EVENT = 2,  /* number u16, frame u32, mean u8, peak u8 */
    WW_LINK_STATUS = 3, /* every second: frame u32, the last event as in EVENT, bad frames u16, dropped u16 */
    WW_LINK_TRACE = 4,  /* frame u32 of the first, scores u8 [n], one a step */
    WW_LINK_AUDIO = 5,  /* number of the first sample u32, samples i16 [n] */
    /* host to device */
    WW_LINK_ASK = 0x81  /* wants u8: WW_LINK_WANT_...; answered by HELLO */
};
enum { WW_LINK_WANT_TRACE = 1, WW_LINK_WANT_AUDIO = 2 };

typedef struct {
    const ww_model *model;
    uint8_t *line;        /* bytes that wait to be sent */
    size_t n_line, n_pending;
    uint8_t received[16]; /* a frame that is coming in, still encoded */
    uint8_t n_received;   /* 255 = too long to be one of ours */
    uint8_t sequence, wants;
    uint16_t n_events, n_bad, n_dropped;
    ww_event last;
    uint8_t scores[WW_LINK_SCORES], n_scores;
    uint32_t scores_frame, n_samples;
} ww_link;

/* Starts; `line` is n bytes of yours, at least WW_LINK_MAX_FRAME (512 or more where audio is wanted).
 * WW_OK, WW_ERROR_ARGUMENT or WW_ERROR_MEMORY. */
ww_status ww_link_open(ww_link *link, const ww_model *model, uint8_t *line, size_t n);

/* Takes bytes from the host. Anything may come; only frames that are right have an effect. */
ww_status ww_link_receive(ww_link *link, const uint8_t *bytes, size_t n);

/* Takes what ww_advance gave: queues events, a status every second, and scores if the host wants them. */
ww_status ww_link_slice(ww_link *link, const ww_slice *slice);

/* Takes the sound itself, before or after it is fed: queues it if the host wants it. */
ww_status ww_link_audio(ww_link *link, const int16_t *pcm, size_t n);

/* The bytes that wait: *n of them at *bytes, valid until the next call. */
ww_status ww_link_pending(const ww_link *link, const uint8_t **bytes, size_t *n);

/* Says that the first n of them were sent. */
ww_status ww_link_sent(ww_link *link, size_t n);

/* CRC-16/CCITT-FALSE; start with 0xFFFF. */
uint16_t ww_link_crc(uint16_t crc, const uint8_t *bytes, size_t n);

#ifdef __cplusplus
}
#endif

#endif
