/*
 * The fake Services and Clients: handshake, link, and the answers of a Service.
 *
 * Rule of this file: what becomes of a reply and of a notification is said by the mode (`on_reply`, `on_notification`);
 * no mode is known here.
 */
#ifndef PEERS_H
#define PEERS_H
#include "transport.h"

#define MAX_SERVICES 1000

typedef struct {
    char *text;
    size_t length, uid;
} Request;
static Request requests[MAX_SERVICES]; /* to each Service, prebuilt; the uid is patched in place */
static char *bigstr;

/* Set by the mode. */
static void (*on_reply)(Conn *, Msg *, uint64_t now);
static void (*on_notification)(Conn *, uint64_t now);

static void send_req(Conn *c, uint64_t t) {
    static const char hex[] = "0123456789abcdef";
    Request *r = &requests[c->svc];
    char *u = r->text + r->uid;
    uint32_t v = c->seq;
    for (int i = 35; i >= 28; i--) {
        u[i] = hex[v & 15];
        v >>= 4;
    }
    c->ts[c->seq & c->tsmask] = t;
    c->seq++;
    c->inflight++;
    put(c, r->text, r->length);
}
static void build_request(int service, const char *attr, long payload, const char *svc) {
    Request *r = &requests[service];
    free(r->text);
    char *req = r->text = need(malloc(payload + 512));
    int floats = !strcmp(o_kind, "floats");
    size_t n = sprintf(req, floats ? "{\"args\": [[" : "{\"args\": [\"");
    if (floats) { /* numbers as a DAQ returns them, payload bytes in all */
        size_t e = n + payload - 24;
        unsigned k = 1;
        while (n < e) {
            k = k * 1103515245u + 12345u;
            n += sprintf(req + n, "%.9f, ", (k >> 8) * 1e-5);
        }
        n += sprintf(req + n, "1.5]");
    } else {
        memset(req + n, 'x', payload);
        n += payload;
        req[n++] = '"';
    }
    n +=
        sprintf(req + n, "], \"attribute\": \"%s\", \"error\": false, \"kwargs\": {}, \"service\": \"%s\", \"uid\": \"",
                attr, svc);
    r->uid = n;
    n += sprintf(req + n, "00000000-0000-4000-8000-000000000000\"}\r\n");
    r->length = n;
}
static const char *svc_name(int i) {
    static char b[4][96];
    static int k;
    char *s = b[k++ & 3];
    /* own Services get a unique name (a previous run's Service may still be being removed);
       services=0: the name of an external Service, as it is */
    if (o_services)
        snprintf(s, 96, "%s-%d-%d", o_service, (int)getpid(), i);
    else
        snprintf(s, 96, "%s", o_service);
    return s;
}
static void send_link(Conn *c) {
    char b[256];
    snprintf(b, sizeof b,
             "{\"args\": [\"%s\"], \"attribute\": \"link\", \"error\": false, \"kwargs\": {}, \"service\": "
             "\"Manager\", \"uid\": \"link\"}\r\n",
             svc_name(c->svc));
    puts_(c, b);
}
static void hello_done(Conn *c) {
    c->state = S_READY;
    npending--;
    nready++;
}
static void on_line(Conn *c, const char *p, const char *e) {
    Msg m;
    while (e > p && (e[-1] == '\n' || e[-1] == '\r'))
        e--;
    if (scan(p, e, &m)) {
        n_bad++;
        snprintf(lasterr, sizeof lasterr, "unparsable line: %.*s", (int)(e - p > 120 ? 120 : e - p), p);
        return;
    }
    uint64_t t = now_ns();
    if (c->state == S_HELLO) {
        char b[512];
        if (m.error) {
            n_err++;
            note_message(&m);
            return;
        }
        if (is(m.attribute, "username")) {
            snprintf(b, sizeof b, "{\"result\": \"%s\"}\r\n", o_user);
            puts_(c, b);
            return;
        }
        if (is(m.attribute, "password")) {
            snprintf(b, sizeof b, "{\"result\": \"%s\"}\r\n", o_password);
            puts_(c, b);
            return;
        }
        if (!is(m.attribute, "identity")) {
            n_bad++;
            return;
        }
        h_add(&Hid, t - c->t0);
        if (c->role == SERVICE)
            snprintf(b, sizeof b,
                     "{\"error\": false, \"requester\": null, \"result\": {\"type\": \"service\", \"name\": \"%s\", "
                     "\"attributes\": {\"echo\": \"(*args) -> list\", \"big\": \"() -> str\"}, \"max_clients\": -1, "
                     "\"language\": \"C\", \"os\": \"Linux\"}, \"uid\": \"\"}\r\n",
                     svc_name(c->id));
        else
            snprintf(b, sizeof b,
                     "{\"error\": false, \"requester\": null, \"result\": {\"type\": \"client\", \"name\": \"wire "
                     "benchmark\", \"language\": \"C\", \"os\": \"Linux\"}, \"uid\": \"\"}\r\n");
        puts_(c, b);
        if (c->role == CLIENT && strcmp(o_sub, "identity")) {
            c->state = S_LINK;
            send_link(c);
        } else
            hello_done(c);
        return;
    }
    if (c->state == S_LINK) {
        if (is(m.uid, "notification"))
            return;
        if (!m.has_result) {
            n_bad++;
            return;
        }
        if (m.error) { /* the Service may not be registered yet: retry for some time */
            n_linkerr++;
            note_message(&m);
            c->retry_at = t + 20000000ull;
            if (++c->linktries > 250)
                fail("cannot link: %s", lasterr);
            return;
        }
        h_add(&Hlink, t - c->t0);
        hello_done(c);
        return;
    }
    if (c->role == SERVICE) {
        if (m.error || m.has_result) {
            n_err++;
            note_message(&m);
            return;
        }
        if (!m.requester.n || !m.uid.n) {
            n_bad++;
            return;
        }
        puts_(c, "{\"error\": false, \"requester\": ");
        put(c, m.requester.p, m.requester.n);
        puts_(c, ", \"result\": ");
        if (is(m.attribute, "big")) {
            put(c, bigstr, o_large + 2);
        } else if (m.args.n)
            put(c, m.args.p, m.args.n);
        else
            puts_(c, "null");
        puts_(c, ", \"uid\": ");
        put(c, m.uid.p, m.uid.n);
        puts_(c, "}\r\n");
        c->got++;
        return;
    }
    if (is(m.uid, "notification")) {
        if (on_notification)
            on_notification(c, t);
    } else if (on_reply)
        on_reply(c, &m, t);
    else
        n_bad++;
}
static void link_retries(uint64_t t) {
    for (int i = 0; i < ncs; i++)
        if (cs[i].state == S_LINK && cs[i].retry_at && t >= cs[i].retry_at) {
            cs[i].retry_at = 0;
            send_link(&cs[i]);
            flush_(&cs[i]);
        }
}
/* open connections [from, to) with at most o_parallel in set-up at a time, wait for all */
static void open_all(int from, int to) {
    uint64_t end = now_ns() + (uint64_t)(o_timeout * 1e9);
    int next = from, base = nready;
    while (nready - base < to - from) {
        while (next < to && npending < o_parallel)
            c_open(&cs[next++]);
        pump(5);
        uint64_t t = now_ns();
        link_retries(t);
        if (n_closed)
            fail("connection lost in set-up (%s)", lasterr);
        if (t > end)
            fail("set-up timed out: %d of %d ready (%s)", nready - base, to - from, lasterr);
    }
}
static void mk(int n) {
    cs = need(calloc(n, sizeof *cs));
    ncs = 0;
}
static Conn *add(int role, int id, int active) {
    Conn *c = &cs[ncs++];
    c->role = role;
    c->id = id;
    c->active = active;
    c->fd = -1;
    c->svc = o_services > 0 ? id % o_services : 0;
    if (active && role == CLIENT) {
        uint32_t k = 64;
        while (k < (uint32_t)o_window * 4)
            k *= 2;
        c->tsmask = k - 1;
        c->ts = need(calloc(k, sizeof *c->ts));
    }
    return c;
}
#endif
