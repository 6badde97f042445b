/*
 * The line of a peer: its top-level keys are found in one pass, strings are skipped, and nothing is decoded or checked.
 *
 * Rule of this file: it looks at bytes, and knows nothing of connections. Generator and relay both read with it.
 */
#ifndef LINES_H
#define LINES_H
#include <stddef.h>
#include <string.h>

typedef struct {
    const char *p;
    size_t n;
} Span;
typedef struct {
    Span args, attribute, requester, uid, result, service, message, name, type;
    int has_result, error;
} Msg;
static const char *skip_str(const char *p, const char *e) { /* p: after the opening quote; -> closing quote */
    for (;;) {
        p = memchr(p, '"', e - p);
        if (!p)
            return NULL;
        const char *q = p;
        while (q[-1] == '\\')
            q--;
        if (!((p - q) & 1))
            return p;
        p++;
    }
}
static const char *skip_val(const char *p, const char *e) {
    if (p >= e)
        return NULL;
    if (*p == '"') {
        p = skip_str(p + 1, e);
        return p ? p + 1 : NULL;
    }
    if (*p == '{' || *p == '[') {
        int d = 0;
        for (; p < e; p++) {
            char c = *p;
            if (c == '"') {
                p = skip_str(p + 1, e);
                if (!p)
                    return NULL;
            } else if (c == '{' || c == '[')
                d++;
            else if (c == '}' || c == ']') {
                if (!--d)
                    return p + 1;
            }
        }
        return NULL;
    }
    while (p < e && *p != ',' && *p != '}' && *p != ']')
        p++;
    return p;
}
#define WS(p)                                                                                                          \
    while (p < e && (*p == ' ' || *p == '\t'))                                                                         \
    p++
static int scan(const char *p, const char *e, Msg *m) {
    memset(m, 0, sizeof *m);
    WS(p);
    if (p >= e || *p != '{')
        return -1;
    p++;
    for (;;) {
        WS(p);
        if (p < e && *p == '}')
            return 0;
        if (p >= e || *p != '"')
            return -1;
        const char *k = p + 1, *ke = skip_str(k, e);
        if (!ke)
            return -1;
        size_t kn = ke - k;
        p = ke + 1;
        WS(p);
        if (p >= e || *p != ':')
            return -1;
        p++;
        WS(p);
        const char *v = p;
        p = skip_val(p, e);
        if (!p)
            return -1;
        Span s = {v, (size_t)(p - v)};
        while (s.n && (s.p[s.n - 1] == ' '))
            s.n--;
#define K(name) (kn == sizeof name - 1 && !memcmp(k, name, kn))
        if (K("uid"))
            m->uid = s;
        else if (K("args"))
            m->args = s;
        else if (K("requester"))
            m->requester = s;
        else if (K("attribute"))
            m->attribute = s;
        else if (K("result")) {
            m->result = s;
            m->has_result = 1;
        } else if (K("service"))
            m->service = s;
        else if (K("message"))
            m->message = s;
        else if (K("name"))
            m->name = s;
        else if (K("type"))
            m->type = s;
        else if (K("error"))
            m->error = s.n && s.p[0] == 't';
        WS(p);
        if (p < e && *p == ',') {
            p++;
            continue;
        }
        if (p < e && *p == '}')
            return 0;
        return -1;
    }
}
static int is(Span s, const char *lit) { /* JSON string equals lit */
    size_t n = strlen(lit);
    return s.n == n + 2 && !memcmp(s.p + 1, lit, n);
}

#endif
