/* SPDX-License-Identifier: MIT
 * A wake word for microcontrollers: 16 kHz PCM in, events out. Integers only; no allocation, no globals.
 *
 *     #include "ww.h"
 *     #include "ww_model.h"                    // generated: ww_wakeword, ww_memory
 *
 *     static ww_memory memory;                 // all the RAM there is to it
 *
 *     void listen(void)
 *     {
 *         ww_state *ww;
 *         int16_t block[160];                  // any size
 *         if (ww_open(&memory, sizeof memory, &ww_wakeword, &ww) != WW_OK) return;
 *         for (;;) {
 *             const int16_t *pcm = block;
 *             size_t n = read_microphone(block, 160);
 *             ww_event event;
 *             while (ww_feed(ww, &pcm, &n, &event) == WW_EVENT) switch_on_the_light(event.time_ms);
 *         }
 *     }
 *
 * Block sizes make no difference to what comes out, only to when. The work is done every 30 ms of sound, in
 * the call whose samples complete them. A state belongs to one task; the model is constant and may be shared. */
#ifndef WW_H
#define WW_H

#include <stddef.h>
#include <stdint.h>

#include "ww_decision.h"
#include "ww_frontend.h"
#include "ww_net.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WW_MODEL_FORMAT 1

typedef enum {
    WW_OK = 0,          /* done; all samples taken */
    WW_EVENT = 1,       /* the phrase was heard */
    WW_SLICE = 2,       /* 10 ms of sound are through */
    WW_ERROR_ARGUMENT = -1, /* a pointer is null */
    WW_ERROR_MEMORY = -2,   /* less memory than ww_state_bytes says, or not aligned as ww_memory is */
    WW_ERROR_MODEL = -3     /* the model was generated for another version of this library */
} ww_status;

/* What is generated for a phrase. */
typedef struct {
    uint32_t format;     /* WW_MODEL_FORMAT */
    const char *phrase;  /* UTF-8 */
    uint8_t id[8];       /* start of the model's SHA-256 */
    uint8_t cutoff;      /* 1 to 254: fires where the mean of the last scores is above */
    uint8_t window;      /* scores in that mean, at most WW_MAX_WINDOW */
    ww_net net;
} ww_model;

typedef struct {
    uint32_t frame;   /* slices of 10 ms since ww_open, when it was heard; wraps after 497 days */
    uint32_t time_ms; /* end of that slice, since the first sample; wraps after 49 days */
    uint8_t mean;     /* of the last `window` scores: 255 = sure */
    uint8_t peak;     /* the highest of them */
} ww_event;

/* What came of 10 ms of sound: for whoever wants to see more than events. */
typedef struct {
    const int8_t *features; /* [40] what the network was given; valid until the next call */
    uint8_t is_step;        /* whether the network ran: every third slice */
    uint8_t score;          /* then its score, 0 to 255 */
    uint8_t is_event;       /* whether `event` is one */
    ww_event event;
} ww_slice;

/* All that is remembered. The fields are private; they are here so that the compiler knows the size. */
typedef struct {
    const ww_model *model;
    union ww_scratch *scratch;
    ww_rings rings;
    ww_frontend frontend;
    ww_decision decision;
    uint32_t n_frames;
    uint8_t frame_in_step;
} ww_state;

/* Scratch space: the frontend's and the network's, one after the other. */
union ww_scratch {
    ww_spectrum spectrum;
    int8_t rows[sizeof(ww_spectrum)];
};

/* Bytes of memory that a model needs; ww_memory is of that size. 0 if the model is null. */
size_t ww_state_bytes(const ww_model *model);

/* Starts to listen.
 *   memory   [out] n_bytes of RAM that stay yours, aligned as a pointer is: a ww_memory
 *   model    [in]  ww_wakeword of the generated ww_model.h; must stay there
 *   state    [out] what the other calls take; lies in `memory`
 * WW_OK, WW_ERROR_ARGUMENT, WW_ERROR_MEMORY or WW_ERROR_MODEL. */
ww_status ww_open(void *memory, size_t n_bytes, const ww_model *model, ww_state **state);

/* Forgets all sound, as after ww_open: for a gap in it. WW_OK or WW_ERROR_ARGUMENT. */
ww_status ww_reset(ww_state *state);

/* Takes samples, up to the next event.
 *   pcm      [in,out] 16 kHz, mono; moved on behind the samples taken
 *   n        [in,out] how many there are; what is left after an event
 *   event    [out]    the event, for WW_EVENT
 * WW_EVENT, or WW_OK once all are taken, or WW_ERROR_ARGUMENT. */
ww_status ww_feed(ww_state *state, const int16_t **pcm, size_t *n, ww_event *event);

/* The same, 10 ms at a time: WW_SLICE, or WW_OK once all samples are taken and the slice is not complete. */
ww_status ww_advance(ww_state *state, const int16_t **pcm, size_t *n, ww_slice *slice);

#ifdef __cplusplus
}
#endif

#endif
