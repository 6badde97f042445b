/*
 * connect: Clients that connect, say who they are, link with a Service and leave, `clients` at a time; with
 * `per_second` as many begin in each second as that says, `clients` at a time at the most; `count` in all, if given.
 */
#ifndef MODE_CONNECT_H
#define MODE_CONNECT_H
#include "report.h"

static void run_connect(void) {
    setup(0);
    int a = ncs, max = o_count ? o_count : 1 << 30, done = 0, started = 0;
    for (int i = 0; i < o_clients; i++)
        add(CLIENT, i, 0)->state = S_CLOSED;
    memset(&Htcp, 0, sizeof Htcp);
    memset(&Hid, 0, sizeof Hid);
    memset(&Hlink, 0, sizeof Hlink);
    uint64_t c0 = cpu_pid_ns(o_process), g0 = cpu_self_ns(), ts = now_ns(), te = ts + (uint64_t)(o_seconds * 1e9),
             hard = te + (uint64_t)(o_timeout * 1e9), t = ts;
    for (int live = 1; live && t < hard && !(t >= te && done); t = now_ns()) {
        int allowed = max;
        if (o_per_second && (t - ts) / 1e9 * o_per_second + 1 < max)
            allowed = (int)((t - ts) / 1e9 * o_per_second) + 1;
        live = t < te && started < max; /* there may be more to come */
        for (int i = a; i < ncs; i++) {
            Conn *c = &cs[i];
            if (c->state == S_READY) {
                done++;
                c_close(c);
            }
            if (c->state == S_CLOSED && t < te && started < allowed) {
                c_open(c);
                started++;
            }
            live |= c->state != S_CLOSED;
        }
        pump(o_per_second ? 1 : 5);
        link_retries(now_ns());
    }
    double el = (now_ns() - ts) / 1e9;
    if (!done)
        fail("none of %d was linked (%s)", started, lasterr);
    head();
    printf(", \"sub\": \"%s\", \"secs\": %.3f, \"n\": %d, \"started\": %d, \"cps\": %.1f, \"lost\": %llu",
           *o_sub ? o_sub : "link", el, done, started, done / el, (unsigned long long)n_closed);
    h_print("transport_us", &Htcp);
    h_print("identity_request_us", &Hid);
    h_print("linked_us", &Hlink);
    cpu_fields(el, c0, g0, done);
    tail();
}
#endif
