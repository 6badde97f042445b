/*
 * beside: a Client with one request in flight and one with `window` keep on while somebody else disturbs the Manager.
 *
 * Both are measured for `seconds`; then a line "undisturbed" is printed. The next line on standard input begins the
 * second measurement, the one after it (or the end of the input) ends it.
 */
#ifndef MODE_BESIDE_H
#define MODE_BESIDE_H
#include "report.h"
#include "traffic.h"

typedef struct {
    uint64_t n, last, gap;
    Hist times;
} Side;
static Side sides[2];
static Conn *side_first;

static void side_reply(Conn *c, uint64_t now, uint64_t sent) {
    Side *s = &sides[c - side_first];
    s->n++;
    if (now - s->last > s->gap)
        s->gap = now - s->last;
    s->last = now;
    h_add(&s->times, now - sent);
}
static void sides_begin(uint64_t t) {
    memset(sides, 0, sizeof sides);
    sides[0].last = sides[1].last = t;
}
static void sides_end(uint64_t t) {
    for (int i = 0; i < 2; i++)
        if (t - sides[i].last > sides[i].gap)
            sides[i].gap = t - sides[i].last;
}
static void beside_pump(uint64_t until) {
    pump(5);
    if (n_closed)
        fail("connection lost (%s)", lasterr);
    if (now_ns() > until)
        fail("nobody said how to go on");
}
static void run_beside(void) {
    setup(0);
    side_first = &cs[ncs];
    add(CLIENT, 0, 1);
    add(CLIENT, 1, 1);
    open_all(ncs - 2, ncs);
    build_requests();
    heed_commands();
    begin(&side_first[0], 1);
    begin(&side_first[1], o_window);
    uint64_t hard = now_ns() + (uint64_t)((o_warm_up + o_seconds + o_timeout) * 1e9);
    for (uint64_t end = now_ns() + (uint64_t)(o_warm_up * 1e9); now_ns() < end;)
        beside_pump(hard);
    uint64_t t0 = now_ns(), t1;
    sides_begin(t0);
    on_timed = side_reply;
    while ((t1 = now_ns()) < t0 + (uint64_t)(o_seconds * 1e9))
        beside_pump(hard);
    sides_end(t1);
    double before_s = (t1 - t0) / 1e9;
    static Side before[2];
    memcpy(before, sides, sizeof sides);
    printf("undisturbed\n");
    fflush(stdout);
    while (commands < 1)
        beside_pump(hard);
    t0 = now_ns();
    sides_begin(t0);
    while (commands < 2)
        beside_pump(hard);
    t1 = now_ns();
    sides_end(t1);
    double during_s = (t1 - t0) / 1e9;
    head();
    printf(", \"secs\": %.3f", during_s);
    for (int i = 0; i < 2; i++) {
        double rate0 = before[i].n / before_s, rate1 = sides[i].n / during_s;
        printf(", \"%s\": {\"before_rps\": %.1f, \"during_rps\": %.1f, \"ratio\": %.4f, \"gap_before_ms\": %.1f, "
               "\"gap_during_ms\": %.1f",
               i ? "pipelined" : "sequential", rate0, rate1, rate0 ? rate1 / rate0 : 0, before[i].gap / 1e6,
               sides[i].gap / 1e6);
        h_print("before_us", &before[i].times);
        h_print("during_us", &sides[i].times);
        printf("}");
    }
    tail();
}
#endif
