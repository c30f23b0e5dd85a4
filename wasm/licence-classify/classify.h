#pragma once

#include "json.h"

/* The most an answer can take: every rule and every holder, each byte escaped. */
enum { OUTPUT_BYTES = 32 * 1024 };

/* Classify the JSON `{"name", "text"}` of `n` bytes, which is overwritten, with `n + 1` bytes of scratch space.
   Writes `{"name", "licences", "family", "fingerprint", "holders", "words"}` and returns true, or
   `{"type", "message"}` and returns false. */
bool classify(uint8_t *input, size_t n, uint8_t *scratch, struct writer *w);
