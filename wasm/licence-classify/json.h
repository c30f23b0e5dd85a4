/* Just enough JSON: strict string reading that unescapes in place, and bounded writing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
    const uint8_t *at;
    size_t n;
};

struct reader {
    uint8_t *at, *end;
};

struct writer {
    uint8_t *at;
    size_t n, cap; /* n goes on counting past cap, so that n > cap tells that something was dropped */
};

static inline bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

static inline uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }

/* The length of the well-formed UTF-8 sequence at `p` (RFC 3629), or 0. */
static inline size_t utf8_length(const uint8_t *p, const uint8_t *end)
{
    if (*p < 0x80)
        return 1;
    size_t n = *p >= 0xc2 && *p <= 0xdf ? 2 : (*p & 0xf0) == 0xe0 ? 3 : *p >= 0xf0 && *p <= 0xf4 ? 4 : 0;
    if (!n || (size_t)(end - p) < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (*p == 0xe0 && p[1] < 0xa0) || (*p == 0xf0 && p[1] < 0x90);
    bool surrogate = *p == 0xed && p[1] > 0x9f;
    bool beyond = *p == 0xf4 && p[1] > 0x8f;
    return overlong || surrogate || beyond ? 0 : n;
}

static inline uint8_t *utf8_put(uint8_t *to, uint32_t c)
{
    static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    *to++ = (uint8_t)(lead[more] | c >> 6 * more);
    while (more--)
        *to++ = (uint8_t)(0x80 | (c >> 6 * more & 0x3f));
    return to;
}

static inline void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

static inline bool eat(struct reader *r, uint8_t wanted)
{
    skip_space(r);
    if (r->at == r->end || *r->at != wanted)
        return false;
    r->at++;
    return true;
}

/* Read the `\uXXXX` at the reader; false leaves the reader where it was. */
static inline bool read_unit(struct reader *r, uint32_t *unit)
{
    if (r->end - r->at < 6 || r->at[0] != '\\' || r->at[1] != 'u')
        return false;
    uint32_t value = 0;
    for (int i = 2; i < 6; i++) {
        uint8_t c = lower(r->at[i]);
        if (!is_digit(c) && !(c >= 'a' && c <= 'f'))
            return false;
        value = value << 4 | (uint32_t)(is_digit(c) ? c - '0' : c - 'a' + 10);
    }
    *unit = value;
    r->at += 6;
    return true;
}

/* Replace the escape at the reader by what it stands for. An unpaired surrogate becomes U+FFFD. */
static inline bool read_escape(struct reader *r, uint8_t **to)
{
    static const uint8_t from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    if (r->end - r->at < 2)
        return false;
    for (size_t i = 0; i < sizeof from - 1; i++)
        if (r->at[1] == from[i]) {
            *(*to)++ = into[i];
            r->at += 2;
            return true;
        }
    uint32_t c, low;
    if (!read_unit(r, &c))
        return false;
    if (c >= 0xd800 && c <= 0xdfff) {
        struct reader ahead = *r;
        if (c < 0xdc00 && read_unit(&ahead, &low) && low >= 0xdc00 && low <= 0xdfff) {
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            *r = ahead;
        } else {
            c = 0xfffd;
        }
    }
    *to = utf8_put(*to, c);
    return true;
}

/* Read a string. Its unescaped form is never longer, so it is written over the escaped one. */
static inline bool read_string(struct reader *r, struct slice *string)
{
    if (!eat(r, '"'))
        return false;
    uint8_t *start = r->at, *to = r->at;
    while (r->at < r->end && *r->at != '"') {
        if (*r->at == '\\') {
            if (!read_escape(r, &to))
                return false;
            continue;
        }
        size_t n = *r->at < 0x20 ? 0 : utf8_length(r->at, r->end);
        if (!n)
            return false;
        while (n--)
            *to++ = *r->at++;
    }
    *string = (struct slice){start, (size_t)(to - start)};
    return eat(r, '"');
}

static inline bool is_string(struct slice string, const char *text)
{
    size_t n = 0;
    while (n < string.n && text[n] && string.at[n] == (uint8_t)text[n])
        n++;
    return n == string.n && !text[n];
}

static inline void put(struct writer *w, uint8_t c)
{
    if (w->n < w->cap)
        w->at[w->n] = c;
    w->n++;
}

static inline void put_raw(struct writer *w, const char *s)
{
    while (*s)
        put(w, (uint8_t)*s++);
}

static inline void put_hex(struct writer *w, uint64_t value, int digits)
{
    while (digits--)
        put(w, (uint8_t)"0123456789abcdef"[value >> 4 * digits & 15]);
}

static inline void put_number(struct writer *w, uint64_t value)
{
    if (value > 9)
        put_number(w, value / 10);
    put(w, (uint8_t)('0' + value % 10));
}

static inline void put_string(struct writer *w, struct slice s)
{
    put(w, '"');
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.at[i];
        if (c < 0x20) {
            put_raw(w, "\\u");
            put_hex(w, c, 4);
            continue;
        }
        if (c == '"' || c == '\\')
            put(w, '\\');
        put(w, c);
    }
    put(w, '"');
}
