/* idle: `idle` Clients are connected and do nothing: what do they cost while they come, are there, and go? */
#ifndef MODE_IDLE_H
#define MODE_IDLE_H
#include "report.h"

static void run_idle(void) {
    setup(0);
    for (int k = 0; k < 20; k++)
        pump(10);
    long r0 = rss_kb(o_process);
    int a = ncs;
    for (int i = 0; i < o_idle; i++)
        add(CLIENT, i, 0);
    uint64_t c0 = cpu_pid_ns(o_process), ts = now_ns();
    open_all(a, ncs);
    double el = (now_ns() - ts) / 1e9;
    uint64_t c1 = cpu_pid_ns(o_process);
    uint64_t e = now_ns() + 300000000ull;
    while (now_ns() < e)
        pump(20);
    long r1 = rss_kb(o_process);
    uint64_t c2 = cpu_pid_ns(o_process), t2 = now_ns();
    e = t2 + (uint64_t)(o_seconds * 1e9);
    while (now_ns() < e)
        pump(50);
    double idle_cpu = (double)(cpu_pid_ns(o_process) - c2) / (now_ns() - t2);
    /* mass disconnect */
    uint64_t c3 = cpu_pid_ns(o_process), t3 = now_ns();
    for (int i = a; i < ncs; i++)
        c_close(&cs[i]);
    uint64_t last = cpu_pid_ns(o_process), quiet = now_ns();
    while (now_ns() - t3 < 10000000000ull) { /* until the Manager has been quiet for 200 ms */
        pump(20);
        uint64_t v = cpu_pid_ns(o_process);
        if (v - last > 200000) {
            last = v;
            quiet = now_ns();
        } else if (now_ns() - quiet > 200000000ull)
            break;
    }
    head();
    printf(", \"open_cps\": %.1f, \"open_cpu_us\": %.1f, \"rss0_kb\": %ld, \"rss1_kb\": %ld, \"kb_per_conn\": %.2f, "
           "\"idle_cpu\": %.5f, \"close_cpu_us\": %.1f, \"close_secs\": %.3f, \"rss2_kb\": %ld",
           o_idle / el, (c1 - c0) / 1e3 / o_idle, r0, r1, (double)(r1 - r0) / o_idle, idle_cpu,
           (last - c3) / 1e3 / o_idle, (quiet - t3) / 1e9, rss_kb(o_process));
    tail();
}
#endif
