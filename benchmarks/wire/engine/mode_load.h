/* load: each of `clients` keeps `window` requests in flight, to `services` that echo; `idle` more are connected only.
 */
#ifndef MODE_LOAD_H
#define MODE_LOAD_H
#include "report.h"
#include "traffic.h"

static void run_load(void) {
    setup(0);
    int a = ncs;
    for (int i = 0; i < o_clients; i++)
        add(CLIENT, i, 1);
    for (int i = 0; i < o_idle; i++)
        add(CLIENT, i, 0);
    open_all(a, ncs);
    build_requests();
    uint64_t t = now_ns();
    for (int i = a; i < a + o_clients; i++)
        begin(&cs[i], o_window);
    uint64_t tw = t + (uint64_t)(o_warm_up * 1e9), hard = tw + (uint64_t)((o_seconds + o_timeout) * 1e9);
    while ((t = now_ns()) < tw || !n_reply) {
        pump(5);
        if (n_closed)
            fail("connection lost (%s)", lasterr);
        if (t > hard)
            fail("no reply");
    }
    measuring = MEASURING;
    uint64_t c0 = cpu_pid_ns(o_process), g0 = cpu_self_ns(), ts = now_ns(), te = ts + (uint64_t)(o_seconds * 1e9);
    while ((t = now_ns()) < te || m_count < (uint64_t)(o_count ? o_count : 1)) {
        pump(5);
        if (n_closed)
            fail("connection lost (%s)", lasterr);
        if (t > hard)
            break;
    }
    double el = (m_last - m_first) / 1e9, wall = (now_ns() - ts) / 1e9;
    if (!m_count)
        fail("no reply in the measuring time");
    head();
    printf(", \"secs\": %.3f, \"n\": %llu, \"rps\": %.1f, \"MBps\": %.2f", el, (unsigned long long)m_count,
           m_count / el, m_count / el * o_payload / 1e6);
    h_print("lat_us", &replies);
    cpu_fields(wall, c0, g0, m_count);
    tail();
}
#endif
