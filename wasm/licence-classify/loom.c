/* The Loom reactor ABI, version 1: the host copies JSON in through loom_alloc, calls loom_run, and copies out. */

#include "classify.h"

#define EXPORT(name) __attribute__((export_name(name)))

enum { PAGE = 65536, ALIGNMENT = 16 };

extern uint8_t __heap_base;
static uintptr_t top;

/* Returns 0 when there is no more memory. What was allocated lives until the end of the next loom_run. */
EXPORT("loom_alloc") uint8_t *loom_alloc(uint32_t n)
{
    if (!top)
        top = (uintptr_t)&__heap_base;
    uintptr_t start = (top + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1);
    size_t have = __builtin_wasm_memory_size(0) * (size_t)PAGE;
    if (start < top || n > UINTPTR_MAX - start)
        return 0;
    if (start + n > have) {
        size_t pages = (start + n - have + PAGE - 1) / PAGE;
        if (__builtin_wasm_memory_grow(0, pages) == SIZE_MAX)
            return 0;
    }
    top = start + n;
    return (uint8_t *)start;
}

/* Returns `pointer << 32 | failed << 31 | length` of the answer. */
EXPORT("loom_run") uint64_t loom_run(uint8_t *input, uint32_t n)
{
    static uint8_t output[OUTPUT_BYTES];
    struct writer answer = {.at = output, .cap = sizeof output};
    uint8_t *scratch = n < UINT32_MAX ? loom_alloc(n + 1) : 0;
    bool done = false;
    if (scratch) {
        done = classify(input, n, scratch, &answer);
    } else {
        static const char message[] = "{\"type\":\"SandboxError\",\"message\":\"out of memory\"}";
        put_raw(&answer, message);
    }
    top = 0;
    return (uint64_t)(uintptr_t)output << 32 | (uint64_t)!done << 31 | answer.n;
}
