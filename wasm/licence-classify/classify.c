/* Classifies licence texts by distinctive phrases. Untrusted input: every loop is linear in it, and every
   buffer is bounded by it or by a constant. */

#include "classify.h"
#include "holders.h"
#include "json.h"

enum family { UNKNOWN, PUBLIC_DOMAIN, PERMISSIVE, WEAK_COPYLEFT, STRONG_COPYLEFT, NETWORK_COPYLEFT, PROPRIETARY };

static const char *const family_names[] = {
    "unknown", "public-domain", "permissive", "weak-copyleft", "strong-copyleft", "network-copyleft", "proprietary",
};

enum phrase {
    NONE,
#define PHRASE(name, words) name,
#define RULE(...)
#include "rules.def"
#undef PHRASE
#undef RULE
    PHRASES
};

static const char *const phrases[PHRASES] = {
#define PHRASE(name, words) [name] = words,
#define RULE(...)
#include "rules.def"
#undef PHRASE
#undef RULE
};

enum { UNLESS_MAX = 3, ALSO_MAX = 3, MENTION_BELOW = 60, NAME_BYTES = 1024 };

struct rule {
    const char *id;
    enum family family;
    uint32_t weight;
    enum phrase key, unless[UNLESS_MAX], also[ALSO_MAX];
};

static const struct rule rules[] = {
#define UNLESS(...) {__VA_ARGS__}
#define ALSO(...) {__VA_ARGS__}
#define PHRASE(name, words)
#define RULE(...) {__VA_ARGS__},
#include "rules.def"
#undef PHRASE
#undef RULE
};

enum { RULES = sizeof rules / sizeof *rules };

struct finding {
    const struct rule *rule;
    uint32_t confidence; /* percent */
};

/* A SimHash over runs of four words: texts that differ in few words differ in few bits. */
struct simhash {
    uint64_t run; /* 16 bits of the hash of each of the last four words */
    int32_t balance[64];
};

/* The text reduced to lower-case words, each with one space before it. */
struct words {
    uint8_t *at;
    size_t bytes, count;
    struct simhash simhash;
};

static const uint64_t FNV_OFFSET = 0xcbf29ce484222325, FNV_PRIME = 0x100000001b3;

static uint64_t hash_word(const uint8_t *p, size_t n)
{
    uint64_t hash = FNV_OFFSET;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * FNV_PRIME;
    return hash;
}

static void simhash_add(struct simhash *s, uint64_t word)
{
    s->run = s->run << 16 | ((word ^ word >> 40) & 0xffff);
    uint64_t mixed = (s->run ^ s->run >> 33) * 0xff51afd7ed558ccd;
    mixed ^= mixed >> 33;
    for (int bit = 0; bit < 64; bit++)
        s->balance[bit] += (int32_t)(mixed >> bit & 1) * 2 - 1;
}

static uint64_t simhash_value(const struct simhash *s)
{
    uint64_t value = 0;
    for (int bit = 0; bit < 64; bit++)
        value |= (uint64_t)(s->balance[bit] > 0) << bit;
    return value;
}

/* The length of the part of a word at `p`: an ASCII letter or digit, or any other character but punctuation. */
static size_t word_part(const uint8_t *p, const uint8_t *end)
{
    if (*p < 0x80)
        return is_letter(*p) || is_digit(*p);
    size_t n = utf8_length(p, end);
    bool latin_sign = p[0] == 0xc2;                                    /* U+0080 to U+00BF, © among them */
    bool general = p[0] == 0xe2 && (p[1] == 0x80 || p[1] == 0x81);     /* U+2000 to U+207F, quotes and dashes */
    bool cjk_or_mark = (p[0] == 0xe3 && p[1] == 0x80) || p[0] == 0xef; /* U+3000 to U+303F, U+F000 and up */
    return latin_sign || general || cjk_or_mark ? 0 : n;
}

/* Add the words from `p` to `end`; those of a copyright notice stay out of the fingerprint. */
static void add_words(struct words *words, const uint8_t *p, const uint8_t *end, bool notice)
{
    while (p < end) {
        size_t n = word_part(p, end);
        if (!n) {
            p += utf8_length(p, end);
            continue;
        }
        words->at[words->bytes++] = ' ';
        uint8_t *word = words->at + words->bytes;
        for (; p < end && (n = word_part(p, end)); p += n)
            for (size_t i = 0; i < n; i++)
                words->at[words->bytes++] = lower(p[i]);
        uint8_t *word_end = words->at + words->bytes;
        if (match(word, word_end, "licenc"))
            word[5] = 's';
        words->count++;
        if (!notice)
            simhash_add(&words->simhash, hash_word(word, (size_t)(word_end - word)));
    }
}

static void read_text(struct slice text, struct words *words, struct holders *holders)
{
    const uint8_t *end = text.at + text.n;
    for (const uint8_t *line = text.at, *eol; line < end; line = eol) {
        for (eol = line; eol < end && *eol != '\n' && *eol != '\r';)
            eol++;
        add_words(words, line, eol, read_line(holders, line, eol, end));
        eol += eol < end;
    }
}

/* Count how often each phrase occurs. Phrases are bucketed by their first word, so that a word of the text is
   compared only with those it may begin. */
static void count_phrases(const struct words *words, uint32_t counts[PHRASES])
{
    enum { BUCKETS = 256 };
    uint16_t first[BUCKETS] = {0}, next[PHRASES] = {0};
    for (uint16_t i = 1; i < PHRASES; i++) {
        size_t n = 0;
        while (phrases[i][n] && phrases[i][n] != ' ')
            n++;
        uint16_t *bucket = &first[hash_word((const uint8_t *)phrases[i], n) % BUCKETS];
        next[i] = *bucket;
        *bucket = i;
    }
    const uint8_t *end = words->at + words->bytes;
    for (const uint8_t *word = words->at, *p; word < end; word = p) {
        for (p = ++word; p < end && *p != ' ';)
            p++;
        for (uint16_t i = first[hash_word(word, (size_t)(p - word)) % BUCKETS]; i; i = next[i])
            counts[i] += match_word(word, end, phrases[i]) > 0;
    }
}

static bool is_same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static uint32_t confidence(const struct rule *rule, const uint32_t counts[PHRASES])
{
    uint64_t against = 0;
    for (size_t i = 0; i < UNLESS_MAX; i++)
        against += counts[rule->unless[i]];
    if (counts[rule->key] <= against)
        return 0;
    uint32_t asked = 1, found = 1;
    for (size_t i = 0; i < ALSO_MAX && rule->also[i]; i++) {
        asked++;
        found += counts[rule->also[i]] > 0;
    }
    return rule->weight * found / asked;
}

/* Find the licences, the most certain first, each once. Mentions count only where nothing is more certain. */
static size_t find_licences(const uint32_t counts[PHRASES], struct finding found[RULES])
{
    size_t n = 0;
    for (size_t i = 0; i < RULES; i++) {
        const struct rule *rule = &rules[i];
        uint32_t certain = confidence(rule, counts);
        size_t at = 0;
        while (at < n && !is_same(found[at].rule->id, rule->id))
            at++;
        if (!certain || (at < n && found[at].confidence >= certain))
            continue;
        n += at == n;
        for (; at && found[at - 1].confidence < certain; at--)
            found[at] = found[at - 1];
        found[at] = (struct finding){rule, certain};
    }
    while (n && found[0].confidence >= MENTION_BELOW && found[n - 1].confidence < MENTION_BELOW)
        n--;
    return n;
}

static void put_licences(struct writer *w, const struct finding *found, size_t n)
{
    enum family strictest = UNKNOWN;
    put_raw(w, "\"licences\":[");
    for (size_t i = 0; i < n; i++) {
        put_raw(w, i ? ",{\"id\":\"" : "{\"id\":\"");
        put_raw(w, found[i].rule->id);
        put_raw(w, "\",\"family\":\"");
        put_raw(w, family_names[found[i].rule->family]);
        put_raw(w, "\",\"confidence\":");
        put_number(w, found[i].confidence / 100);
        put(w, '.');
        put_number(w, found[i].confidence / 10 % 10);
        put_number(w, found[i].confidence % 10);
        put(w, '}');
        if (found[i].rule->family > strictest)
            strictest = found[i].rule->family;
    }
    put_raw(w, "],\"family\":\"");
    put_raw(w, family_names[strictest]);
    put(w, '"');
}

static void put_holders(struct writer *w, const struct holders *holders, bool gnu)
{
    bool first = true;
    put_raw(w, "\"holders\":[");
    for (size_t i = 0; i < holders->n; i++) {
        const uint8_t *name = holders->name[i];
        /* The GNU licences name the holder of their own text. */
        if (gnu && match(name, name + holders->length[i], "free software foundation"))
            continue;
        if (!first)
            put(w, ',');
        first = false;
        put_string(w, (struct slice){name, holders->length[i]});
    }
    put(w, ']');
}

/* Read {"name": …, "text": …}, in either order, and nothing else. Returns what is wrong, or NULL. */
static const char *read_request(struct reader r, struct slice *name, struct slice *text)
{
    if (!eat(&r, '{'))
        return "the input is not an object";
    do {
        struct slice key, value;
        if (!read_string(&r, &key) || !eat(&r, ':') || !read_string(&r, &value))
            return "the input is not an object of strings";
        struct slice *into = is_string(key, "name") ? name : is_string(key, "text") ? text : NULL;
        if (!into || into->at)
            return "the input has a member that is unknown or there twice";
        *into = value;
    } while (eat(&r, ','));
    bool closed = eat(&r, '}');
    skip_space(&r);
    if (!closed || r.at != r.end)
        return "the input does not end where its object does";
    if (!name->at || !text->at)
        return "the input lacks a name or a text";
    return name->n > NAME_BYTES ? "the name is too long" : NULL;
}

static void put_failure(struct writer *w, const char *message)
{
    w->n = 0;
    put_raw(w, "{\"type\":\"InvalidError\",\"message\":\"");
    put_raw(w, message);
    put_raw(w, "\"}");
}

bool classify(uint8_t *input, size_t n, uint8_t *scratch, struct writer *w)
{
    struct slice name = {0}, text = {0};
    const char *wrong = read_request((struct reader){input, input + n}, &name, &text);
    if (wrong) {
        put_failure(w, wrong);
        return false;
    }
    static struct holders holders;
    static struct finding found[RULES];
    struct words words = {.at = scratch};
    uint32_t counts[PHRASES] = {0};
    holders.n = 0;
    read_text(text, &words, &holders);
    count_phrases(&words, counts);

    put_raw(w, "{\"name\":");
    put_string(w, name);
    put(w, ',');
    put_licences(w, found, find_licences(counts, found));
    put_raw(w, ",\"fingerprint\":\"");
    put_hex(w, simhash_value(&words.simhash), 16);
    put_raw(w, "\",");
    put_holders(w, &holders, counts[VERBATIM] > 0);
    put_raw(w, ",\"words\":");
    put_number(w, words.count);
    put(w, '}');
    bool fits = w->n <= w->cap;
    if (!fits)
        put_failure(w, "the result is too large");
    return fits;
}
