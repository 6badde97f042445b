/*
 * hol (head-of-line blocking): Client 0 stalls, the others keep their window of requests.
 *
 * sub=reply: it asks for `burst` replies of `large` bytes and reads none; notify: it is linked with a Service that
 * sends `burst` notifications of `large` bytes, `rate` a second, and reads none; service: it sends `burst` requests of
 * `large` bytes to a second Service, which reads none. A third of the time passes before, two thirds in the stall.
 */
#ifndef MODE_HOL_H
#define MODE_HOL_H
#include "mode_notify.h"
#include "report.h"
#include "traffic.h"

#define BUCKET 100000000ull /* 100 ms */

static uint64_t *hb, hb_t0, hb_lastreply, hb_gap, stalled_closed_at;
static int hbn;

static void hol_reply(Conn *c, uint64_t t, uint64_t sent) {
    (void)sent;
    if (!hb || c->half)
        return;
    int i = (int)((t - hb_t0) / BUCKET);
    if (i < hbn)
        hb[i]++;
    if (t - hb_lastreply > hb_gap)
        hb_gap = t - hb_lastreply;
    hb_lastreply = t;
}
static void hol_notified(Conn *c, uint64_t t) {
    (void)c;
    (void)t;
}
static void hol_lost(Conn *c) {
    if (c->half && !stalled_closed_at)
        stalled_closed_at = now_ns();
}
static uint64_t healthy_replies(int first) {
    uint64_t n = 0;
    for (int i = first + 1; i < ncs; i++)
        n += cs[i].got;
    return n;
}
/* Have the Client stall, and the Manager want to send to it. */
static void stall_reply(Conn *bad) {
    char b[256];
    for (int i = 0; i < o_burst; i++) {
        snprintf(
            b, sizeof b,
            "{\"args\": [], \"attribute\": \"big\", \"error\": false, \"kwargs\": {}, \"service\": \"%s\", \"uid\": "
            "\"00000000-0000-4000-8000-0000%08x\"}\r\n",
            svc_name(0), i);
        puts_(bad, b);
    }
    flush_(bad);
}
static void stall_service(Conn *bad, Conn *service) {
    service->stalled = 1;
    upd(service);
    build_request(1, "echo", o_large, svc_name(1));
    for (int i = 0; i < o_burst; i++)
        put(bad, requests[1].text, requests[1].length);
    flush_(bad);
}
static void run_hol(void) {
    int m_not = !strcmp(o_sub, "notify"), m_svc = !strcmp(o_sub, "service");
    if (!m_not && !m_svc && strcmp(o_sub, "reply"))
        fail("hol: sub must be reply, notify or service");
    o_services = m_svc ? 2 : 1;
    setup(1);
    int a = ncs;
    for (int i = 0; i < o_clients; i++)
        add(CLIENT, i, 1)->svc = 0;
    Conn *bad = &cs[a];
    bad->half = !m_svc;
    bad->svc = m_svc;
    open_all(a, ncs);
    build_requests();
    on_timed = hol_reply;
    on_notification = hol_notified;
    on_lost = hol_lost;
    if (m_not)
        nt_build(o_large);
    for (int i = a + 1; i < ncs; i++)
        begin(&cs[i], o_window);
    uint64_t t, tw = now_ns() + (uint64_t)(o_warm_up * 1e9);
    while (now_ns() < tw)
        pump(5);
    long r0 = rss_kb(o_process), rmax = r0;
    hbn = (int)(o_seconds * 10) + 200;
    hb = need(calloc(hbn, sizeof *hb));
    hb_t0 = hb_lastreply = now_ns();
    double ph = o_seconds / 3;
    uint64_t tb = hb_t0 + (uint64_t)(ph * 1e9), te = hb_t0 + (uint64_t)(o_seconds * 1e9);
    while (now_ns() < tb)
        pump(5);
    uint64_t n0 = healthy_replies(a), gap0 = hb_gap, nb = 0;
    hb_gap = 0;
    for (int i = 0; i < (int)(ph * 10); i++)
        nb += hb[i];
    uint64_t tt = now_ns();
    bad->stalled = 1;
    upd(bad);
    if (m_svc)
        stall_service(bad, &cs[1]);
    else if (!m_not)
        stall_reply(bad);
    uint64_t sent = 0, t_rss = 0;
    while ((t = now_ns()) < te) {
        if (m_not) {
            while (sent < (uint64_t)o_burst && (t - tt) / 1e9 * o_rate > sent) {
                put(&cs[0], nt_msg, nt_len);
                sent++;
            }
            flush_(&cs[0]);
        }
        pump(5);
        if (t - t_rss > 50000000ull) { /* not each turn: reading /proc costs as much as many messages */
            long r = rss_kb(o_process);
            if (r > rmax)
                rmax = r;
            t_rss = t;
        }
    }
    uint64_t n1 = healthy_replies(a);
    if (te > hb_lastreply && te - hb_lastreply > hb_gap)
        hb_gap = te - hb_lastreply;
    double el = (t - tt) / 1e9;
    int i0 = (int)(ph * 10), i1 = (int)(o_seconds * 10), zero = 0;
    uint64_t late = 0, ln = 0;
    for (int i = i0 + 1; i < i1; i++) {
        zero += !hb[i];
        if (i >= (i0 + i1) / 2) {
            late += hb[i];
            ln++;
        }
    }
    double before = nb / (i0 ? i0 / 10.0 : 1), after = (n1 - n0) / el, lated = ln ? late / (ln / 10.0) : 0;
    uint64_t gap1 = hb_gap;
    if (before <= 0)
        fail("no reply before the stall (%s)", lasterr);
    int rec = 0;
    uint64_t tr = now_ns(), trec = 0;
    if (bad->state != S_CLOSED) {
        bad->stalled = 0;
        upd(bad);
    }
    if (m_svc && cs[1].state != S_CLOSED) {
        cs[1].stalled = 0;
        upd(&cs[1]);
    }
    while (!rec && (t = now_ns()) - tr < 3000000000ull) {
        pump(5);
        if (healthy_replies(a) > n1 + 200) {
            rec = 1;
            trec = t;
        }
    }
    head();
    printf(", \"sub\": \"%s\", \"before_rps\": %.1f, \"after_rps\": %.1f, \"late_rps\": %.1f, \"ratio\": %.4f, "
           "\"late_ratio\": %.4f, \"gap_before_ms\": %.1f, \"gap_after_ms\": %.1f, \"zero_100ms_buckets\": %d, "
           "\"buckets_after\": %d",
           o_sub, before, after, lated, after / before, lated / before, gap0 / 1e6, gap1 / 1e6, zero, i1 - i0 - 1);
    printf(", \"stalled_peer_closed_ms\": %.1f, \"recovered\": %s, \"recover_ms\": %.1f, \"rss0_kb\": %ld, "
           "\"rss_max_kb\": %ld",
           stalled_closed_at ? (stalled_closed_at - tt) / 1e6 : -1.0, rec ? "true" : "false",
           rec ? (trec - tr) / 1e6 : -1.0, r0, rmax);
    printf(", \"timeline_100ms\": [");
    for (int i = 0; i < i1; i++)
        printf("%s%llu", i ? "," : "", (unsigned long long)hb[i]);
    printf("]");
    tail();
}
#endif
