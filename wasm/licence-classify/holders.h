/* Finds who holds the copyright: `Copyright (c) 2010-2024 A. Person <a@example.org>` names `A. Person`. */
#pragma once

#include "json.h"

enum { HOLDERS = 32, HOLDER_BYTES = 100 };

struct holders {
    uint8_t name[HOLDERS][HOLDER_BYTES];
    size_t length[HOLDERS], n;
};

static inline bool is_letter(uint8_t c) { return lower(c) >= 'a' && lower(c) <= 'z'; }

static inline bool is_one_of(uint8_t c, const char *set)
{
    while (*set && c != (uint8_t)*set)
        set++;
    return *set;
}

/* Length of the ASCII word `word` (lower case) at `p`, letters in either case, or 0. */
static inline size_t match(const uint8_t *p, const uint8_t *end, const char *word)
{
    size_t n = 0;
    for (; word[n]; n++)
        if ((size_t)(end - p) <= n || lower(p[n]) != (uint8_t)word[n])
            return 0;
    return n;
}

/* The same, where no letter or digit follows. */
static inline size_t match_word(const uint8_t *p, const uint8_t *end, const char *word)
{
    size_t n = match(p, end, word);
    return n && p + n < end && (is_letter(p[n]) || is_digit(p[n])) ? 0 : n;
}

static inline size_t match_any(const uint8_t *p, const uint8_t *end, const char *const words[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t n = match_word(p, end, words[i]);
        if (n)
            return n;
    }
    return 0;
}
#define MATCH_ANY(p, end, words) match_any(p, end, words, sizeof words / sizeof *words)

static inline size_t match_sign(const uint8_t *p, const uint8_t *end)
{
    size_t n = match(p, end, "(c)");
    return n ? n : match(p, end, "\xc2\xa9");
}

static inline size_t match_year(const uint8_t *p, const uint8_t *end)
{
    size_t n = 0;
    while (n < 5 && p + n < end && is_digit(p[n]))
        n++;
    return (n == 4 || n == 2) && (p + n == end || !is_letter(p[n])) ? n : 0;
}

/* Skip signs, years and what stands between them. A list of years may go on in the next line. */
static const uint8_t *skip_years(const uint8_t *p, const uint8_t *end, bool *sign, bool *year)
{
    static const char *const fillers[] = {"by", "now", "present", "to"};
    for (uint8_t last = 0; p < end;) {
        size_t n;
        if ((n = match_sign(p, end)))
            *sign = true;
        else if ((n = match_year(p, end)))
            *year = true;
        else if (is_one_of(*p, " \t,-:.["))
            n = 1;
        else if (is_one_of(*p, "\n\r") && *year && is_one_of(last, ",\r"))
            n = 1;
        else if (!(n = match(p, end, "\xe2\x80\x93")) && !(n = MATCH_ANY(p, end, fillers)))
            break;
        if (*p != ' ' && *p != '\t')
            last = *p;
        p += n;
    }
    return p;
}

/* Whether the full stop at `p` belongs to the word before it, as in "Inc." or "J. Doe". */
static inline bool is_abbreviation(const uint8_t *start, const uint8_t *p, const uint8_t *end)
{
    static const char *const known[] = {"inc", "ltd", "co", "corp", "llc", "jr", "sr", "dr", "st"};
    const uint8_t *word = p;
    while (word > start && word[-1] > ' ' && word[-1] != ',')
        word--;
    size_t n = (size_t)(p - word);
    return n == 1 || (n > 2 && p[-2] == '.') || (n && MATCH_ANY(word, end, known) == n);
}

static inline bool ends_name(const uint8_t *start, const uint8_t *p, const uint8_t *end)
{
    static const char *const stops[] = {"all rights reserved", "copyright ", "http", "(http", "\xe2\x80\x9d"};
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++)
        if (match(p, end, stops[i]))
            return true;
    if (*p == '.' && (p + 1 == end || p[1] <= ' '))
        return !is_abbreviation(start, p, end);
    bool control = *p == 0xc2 && p[1] < 0xa0;
    bool year = p > start && p[-1] == ' ' && match_year(p, end) == 4;
    return control || year || is_one_of(*p, "\n\r<>\";{}[]|");
}

/* Keep the name that starts at `p`, unless it is known already. Returns where it ends. */
static const uint8_t *keep_name(struct holders *holders, const uint8_t *p, const uint8_t *end)
{
    if (holders->n == HOLDERS)
        return p;
    const uint8_t *start = p;
    uint8_t *name = holders->name[holders->n];
    size_t n = 0, letters = 0;
    while (p < end && !ends_name(start, p, end)) {
        size_t length = utf8_length(p, end);
        if (n + length > HOLDER_BYTES)
            break;
        if (*p <= ' ' || *p == 0x7f) {
            if (name[n - 1] != ' ')
                name[n++] = ' ';
            p++;
            continue;
        }
        letters += is_letter(*p) || *p >= 0x80;
        while (length--)
            name[n++] = *p++;
    }
    while (n && is_one_of(name[n - 1], " ,-(*#/"))
        n--;
    holders->length[holders->n] = n;
    for (size_t i = 0; i < holders->n; i++) {
        size_t same = 0;
        while (same < n && holders->length[i] == n && holders->name[i][same] == name[same])
            same++;
        if (same == n)
            return p;
    }
    holders->n += letters > 1;
    return p;
}

/* Keep the holder of the notice that may start at `*p`, which is moved past what was read (so that no byte is
   looked at for two notices). `bare` allows a notice of neither sign nor year. */
static inline bool read_notice(struct holders *holders, const uint8_t **p, const uint8_t *end, bool bare)
{
    static const char *const prose[] = {
        "act", "agent", "and", "disclaimer", "for", "fullname", "holder",
        "holders", "in", "interest", "is", "law", "laws", "license",
        "licence", "name", "notice", "notices", "of", "on", "or",
        "owner", "owners", "patent", "protection", "statement", "this", "trademark",
        "trademarks", "xxxx", "year", "yyyy",
    };
    bool sign = false, year = false;
    size_t n = match_word(*p, end, "copyright");
    const uint8_t *after = *p + n, *name = skip_years(after, end, &sign, &year);
    *p = name > *p ? name : *p + 1;
    if (name == end || name == after || !(n || (sign && year)))
        return false;
    bool capital = (*name >= 'A' && *name <= 'Z') || *name >= 0x80;
    if (!(year && capital) && MATCH_ANY(name, end, prose))
        return false;
    if (year ? !capital && !is_letter(*name) : !capital || !(sign || bare))
        return false;
    *p = keep_name(holders, name, end);
    return true;
}

/* Keep the holders named in the line that ends at `eol`. Returns whether it is but a copyright notice. */
static inline bool read_line(struct holders *holders, const uint8_t *line, const uint8_t *eol, const uint8_t *end)
{
    enum { LONGEST_NOTICE = 200 };
    bool notice = false, words = false;
    for (const uint8_t *p = line; p < eol;) {
        bool in_word = p > line && (is_letter(p[-1]) || is_digit(p[-1]));
        if (!in_word && (match_word(p, eol, "copyright") || match_sign(p, eol))) {
            notice |= read_notice(holders, &p, end, !words) && !words;
            words = true;
            continue;
        }
        notice |= !words && match(p, eol, "all rights reserved");
        words |= is_letter(*p) || is_digit(*p);
        p++;
    }
    return notice && eol - line < LONGEST_NOTICE;
}
