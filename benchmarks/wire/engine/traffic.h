/*
 * Requests in flight: a reply is counted and timed, and the next request takes its place.
 *
 * Rule of this file: what all modes with requests share; who sends how many is said by the mode.
 */
#ifndef TRAFFIC_H
#define TRAFFIC_H
#include "peers.h"

static Hist replies;     /* how long requests took, while measuring */
static uint64_t n_reply; /* all replies, also those of the warm-up */
static enum { WARMING_UP, MEASURING, MEASURED_FIRST } measuring;
static uint64_t m_first, m_last, m_count; /* the first reply starts the clock, and is not counted */

static void (*on_timed)(Conn *, uint64_t now, uint64_t sent); /* set by a mode that looks at each Client */

static void count_reply(Conn *c, Msg *m, uint64_t t) {
    c->inflight -= c->inflight > 0;
    if (!m->has_result || m->error) {
        n_err++;
        note_message(m);
    } else if (m->uid.n != 38 || !c->active) {
        n_bad++;
        return;
    } else {
        uint64_t sent = c->ts[(uint32_t)strtoul(m->uid.p + 29, NULL, 16) & c->tsmask];
        c->got++;
        n_reply++;
        if ((long)m->result.n < o_payload * 8 / 10 && !c->half) {
            n_bad++;
            snprintf(lasterr, sizeof lasterr, "short result");
        }
        if (measuring == MEASURED_FIRST) {
            m_count++;
            m_last = t;
            h_add(&replies, t - sent);
        } else if (measuring == MEASURING) {
            m_first = t;
            measuring = MEASURED_FIRST;
        }
        if (on_timed)
            on_timed(c, t, sent);
    }
    if (!c->stalled)
        send_req(c, t);
}
/* The first requests of a Client. */
static void begin(Conn *c, int in_flight) {
    for (int i = 0; i < in_flight; i++)
        send_req(c, now_ns());
    flush_(c);
}
static void build_requests(void) {
    for (int i = 0; i < (o_services ? o_services : 1); i++)
        build_request(i, "echo", o_payload, svc_name(i));
    on_reply = count_reply;
}
#endif
