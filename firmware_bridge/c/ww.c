/* SPDX-License-Identifier: MIT */
#include "ww.h"

#include <string.h>

/* What ww_state must be aligned to. */
struct aligned {
    char one;
    ww_state state;
};

size_t ww_state_bytes(const ww_model *model)
{
    if (model == NULL) {
        return 0;
    }
    return sizeof(ww_state) + sizeof(union ww_scratch) + model->net.n_rings + model->net.ring_bytes;
}

static int fits(const ww_model *model)
{
    return model->format == WW_MODEL_FORMAT && model->window >= 1 && model->window <= WW_MAX_WINDOW &&
           3u * model->net.widest <= sizeof(union ww_scratch);
}

ww_status ww_open(void *memory, size_t n_bytes, const ww_model *model, ww_state **state)
{
    ww_state *ww = memory;
    if (memory == NULL || model == NULL || state == NULL) {
        return WW_ERROR_ARGUMENT;
    }
    if (!fits(model)) {
        return WW_ERROR_MODEL;
    }
    if (n_bytes < ww_state_bytes(model) || (uintptr_t)memory % offsetof(struct aligned, state) != 0) {
        return WW_ERROR_MEMORY;
    }
    ww->model = model;
    ww->scratch = (union ww_scratch *)(void *)(ww + 1);
    ww->rings.position = (uint8_t *)(ww->scratch + 1);
    ww->rings.rows = (int8_t *)(ww->rings.position + model->net.n_rings);
    *state = ww;
    return ww_reset(ww);
}

ww_status ww_reset(ww_state *state)
{
    if (state == NULL) {
        return WW_ERROR_ARGUMENT;
    }
    memset(&state->frontend, 0, sizeof state->frontend);
    ww_decision_reset(&state->decision);
    ww_net_reset(&state->model->net, state->rings);
    state->n_frames = 0;
    state->frame_in_step = 0;
    return WW_OK;
}

/* The network and the decision, once the features of a slice are in their row. */
static void pass_slice(ww_state *state, ww_slice *slice)
{
    const ww_model *model = state->model;
    ww_event *event = &slice->event;
    ++state->n_frames;
    slice->is_step = ++state->frame_in_step == model->net.stride;
    slice->score = 0;
    if (slice->is_step) {
        state->frame_in_step = 0;
        slice->score = ww_net_step(&model->net, state->rings, state->scratch->rows);
        ww_decision_score(&state->decision, model->window, slice->score);
    }
    event->mean = event->peak = 0;
    slice->is_event = (uint8_t)ww_decision_slice(&state->decision, model->window, model->cutoff, &event->mean,
                                                 &event->peak);
    event->frame = state->n_frames;
    event->time_ms = 10u * (state->n_frames - 1u) + 30u;
}

ww_status ww_advance(ww_state *state, const int16_t **pcm, size_t *n, ww_slice *slice)
{
    uint16_t features[WW_CHANNELS];
    size_t n_used;
    int8_t *row;
    int is_slice;
    if (state == NULL || pcm == NULL || n == NULL || slice == NULL || (*pcm == NULL && *n > 0)) {
        return WW_ERROR_ARGUMENT;
    }
    if (*n == 0) {
        return WW_OK;
    }
    is_slice = ww_frontend_feed(&state->frontend, &state->scratch->spectrum, *pcm, *n, &n_used, features);
    *pcm += n_used;
    *n -= n_used;
    if (!is_slice) {
        return WW_OK;
    }
    row = ww_net_input(&state->model->net, state->rings, state->frame_in_step);
    ww_frontend_quantize_s8(features, row);
    slice->features = row;
    pass_slice(state, slice);
    return WW_SLICE;
}

ww_status ww_feed(ww_state *state, const int16_t **pcm, size_t *n, ww_event *event)
{
    ww_slice slice;
    ww_status status;
    if (event == NULL) {
        return WW_ERROR_ARGUMENT;
    }
    while ((status = ww_advance(state, pcm, n, &slice)) == WW_SLICE) {
        if (slice.is_event) {
            *event = slice.event;
            return WW_EVENT;
        }
    }
    return status;
}
