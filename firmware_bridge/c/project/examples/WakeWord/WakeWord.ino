// SPDX-License-Identifier: MIT
// Lights the LED for a second when the phrase is heard, and tells the computer on USB:
//   wakeword firmware listen --port /dev/ttyACM0
// read_microphone is yours: fill it in for the microphone of your board (PDM.h, I2S.h ...).
#include <ww_link.h>
#include <ww_model.h>

static ww_memory memory;
static ww_state *ww;
static ww_link link_to_host;
static uint8_t line[512];
static unsigned long lit_ms;

// Up to n samples, 16 kHz, 16 bits, mono; returns how many there are.
static size_t read_microphone(int16_t *samples, size_t n) {
  (void)samples;
  (void)n;
  return 0;
}

static void talk() {
  uint8_t came[32];
  const uint8_t *waiting;
  size_t n = 0;
  while (n < sizeof came && Serial.available() > 0) came[n++] = (uint8_t)Serial.read();
  ww_link_receive(&link_to_host, came, n);
  ww_link_pending(&link_to_host, &waiting, &n);
  const size_t room = (size_t)Serial.availableForWrite();
  ww_link_sent(&link_to_host, Serial.write(waiting, n < room ? n : room));
}

void setup() {
  Serial.begin(115200);
  pinMode(LED_BUILTIN, OUTPUT);
  if (ww_open(&memory, sizeof memory, &ww_wakeword, &ww) != WW_OK) {
    for (;;) {
    }
  }
  ww_link_open(&link_to_host, &ww_wakeword, line, sizeof line);
}

void loop() {
  int16_t block[160];
  const int16_t *pcm = block;
  size_t n = read_microphone(block, 160);
  ww_slice slice;
  ww_link_audio(&link_to_host, pcm, n);
  while (ww_advance(ww, &pcm, &n, &slice) == WW_SLICE) {
    ww_link_slice(&link_to_host, &slice);
    if (slice.is_event) {
      digitalWrite(LED_BUILTIN, HIGH);
      lit_ms = millis();
    }
  }
  if (millis() - lit_ms > 1000) digitalWrite(LED_BUILTIN, LOW);
  talk();
}
