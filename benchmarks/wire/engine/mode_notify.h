/* notify: one Service tells `clients` of something, and is `window` notifications ahead of the slowest at the most. */
#ifndef MODE_NOTIFY_H
#define MODE_NOTIFY_H
#include "report.h"

static uint64_t nt_sent, nt_min, nt_ts[65536]; /* how many were sent, all have got, and when each was sent */
static int nt_atmin;                           /* how many Clients have got no more than nt_min */
static char *nt_msg;
static size_t nt_len;
static int nt_first, nt_n;
static int nt_measuring;
static uint64_t nt_count;
static Hist all_received;

static void nt_build(long payload) {
    nt_msg = need(malloc(payload + 256));
    nt_len = sprintf(nt_msg, "{\"error\": false, \"result\": [[\"");
    memset(nt_msg + nt_len, 'x', payload);
    nt_len += payload;
    nt_len += sprintf(nt_msg + nt_len, "\"], {}], \"service\": \"%s\", \"uid\": \"notification\"}\r\n", svc_name(0));
}
static void nt_fill(void) {
    uint64_t t = now_ns();
    while (nt_sent < nt_min + (uint64_t)o_window) {
        nt_ts[nt_sent++ & 65535] = t;
        put(&cs[0], nt_msg, nt_len);
    }
    flush_(&cs[0]);
}
static void nt_received(Conn *c, uint64_t t) {
    nt_count += nt_measuring;
    if (c->got++ != nt_min || --nt_atmin)
        return;
    if (nt_measuring)
        h_add(&all_received, t - nt_ts[nt_min & 65535]);
    nt_min = UINT64_MAX;
    for (int i = nt_first; i < nt_first + nt_n; i++) {
        if (cs[i].got < nt_min) {
            nt_min = cs[i].got;
            nt_atmin = 0;
        }
        nt_atmin += cs[i].got == nt_min;
    }
    nt_fill();
}
static void run_notify(void) {
    setup(0);
    nt_first = ncs;
    nt_n = nt_atmin = o_clients;
    for (int i = 0; i < o_clients; i++)
        add(CLIENT, i, 1);
    open_all(nt_first, ncs);
    on_notification = nt_received;
    nt_build(o_payload);
    nt_fill();
    uint64_t t, tw = now_ns() + (uint64_t)(o_warm_up * 1e9), hard = tw + (uint64_t)((o_seconds + o_timeout) * 1e9);
    while ((t = now_ns()) < tw || !nt_min) {
        pump(5);
        if (n_closed)
            fail("connection lost (%s)", lasterr);
        if (t > hard)
            fail("no notification");
    }
    nt_measuring = 1;
    uint64_t c0 = cpu_pid_ns(o_process), g0 = cpu_self_ns(), ts = now_ns(), s0 = nt_min,
             te = ts + (uint64_t)(o_seconds * 1e9);
    while (now_ns() < te) {
        pump(5);
        if (n_closed)
            fail("connection lost (%s)", lasterr);
    }
    double el = (now_ns() - ts) / 1e9;
    uint64_t n = nt_count, s1 = nt_min;
    head();
    printf(", \"secs\": %.3f, \"deliveries\": %llu, \"dps\": %.1f, \"notifications_per_s\": %.1f", el,
           (unsigned long long)n, n / el, (s1 - s0) / el);
    h_print("all_received_us", &all_received);
    cpu_fields(el, c0, g0, n);
    tail();
}
#endif
