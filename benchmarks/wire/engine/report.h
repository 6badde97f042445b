/*
 * What every result begins and ends with: the options, what Manager and generator used, the noise of the machine,
 * errors.
 *
 * Rule of this file: it prints JSON, and measures nothing itself.
 */
#ifndef REPORT_H
#define REPORT_H
#include "peers.h"

/* noise of the machine while we measured: stolen by the host + used by other processes, in cores */
static uint64_t nz_t0, nz_steal0, nz_busy0, nz_self0, nz_mgr0;
/* What the machine did, in nanoseconds: of all cores, or of the one that we are bound to. */
static void proc_stat(uint64_t *steal, uint64_t *busy) {
    char line[512], name[16] = "cpu";
    unsigned long long u, n, s, i, w, q, sq, st;
    *steal = *busy = 0;
    FILE *f = fopen("/proc/stat", "r");
    if (!f)
        return;
    if (o_core >= 0)
        snprintf(name, sizeof name, "cpu%d", o_core);
    size_t length = strlen(name);
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, name, length) || line[length] != ' ')
            continue;
        if (sscanf(line + length, "%llu %llu %llu %llu %llu %llu %llu %llu", &u, &n, &s, &i, &w, &q, &sq, &st) != 8)
            break;
        uint64_t k = 1000000000ull / sysconf(_SC_CLK_TCK);
        *steal = st * k;
        *busy = (u + n + s + q + sq) * k;
    }
    fclose(f);
}
static void noise_start(void) {
    nz_t0 = now_ns();
    proc_stat(&nz_steal0, &nz_busy0);
    nz_self0 = cpu_self_ns();
    nz_mgr0 = cpu_pid_ns(o_process);
}
static void noise_print(void) {
    uint64_t st, bu;
    proc_stat(&st, &bu);
    double w = (double)(now_ns() - nz_t0);
    double steal = (st - nz_steal0) / w, other = ((double)(bu - nz_busy0) - (double)(cpu_self_ns() - nz_self0) -
                                                  (double)(cpu_pid_ns(o_process) - nz_mgr0)) /
                                                 w;
    if (!o_process || other < 0)
        other = 0; /* without process= the Manager cannot be told from other processes */
    printf(", \"steal\": %.3f, \"foreign\": %.3f", steal, other);
}
static void head(void) {
    printf("{\"mode\": \"%s\", \"tls\": %d, \"clients\": %d, \"idle\": %d, \"services\": %d, \"window\": %d, "
           "\"payload\": %ld",
           o_mode, o_tls, o_clients, o_idle, o_services, o_window, o_payload);
}
static void tail(void) {
    noise_print();
    printf(", \"errors\": %llu, \"bad\": %llu, \"closed\": %llu", (unsigned long long)n_err, (unsigned long long)n_bad,
           (unsigned long long)n_closed);
    if (*lasterr && (n_err || n_bad)) {
        for (char *p = lasterr; *p; p++)
            if (*p == '"' || *p == '\\' || (unsigned char)*p < 32)
                *p = '\'';
        printf(", \"last_error\": \"%s\"", lasterr);
    }
    printf("}\n");
}
static void wait_quiet(void) { /* leftovers of a previous run (e.g. 1000 disconnects being logged) */
    if (!o_process)
        return;
    uint64_t t0 = now_ns(), last = cpu_pid_ns(o_process);
    for (int q = 0; q < 5 && now_ns() - t0 < 20000000000ull;) {
        usleep(20000);
        uint64_t v = cpu_pid_ns(o_process);
        q = v - last > 400000 ? 0 : q + 1;
        last = v;
    }
}
static void setup(int extra_clients) {
    wait_quiet();
    noise_start();
    mk(o_services + o_clients + o_idle + extra_clients + 8);
    for (int i = 0; i < o_services; i++)
        add(SERVICE, i, 1);
    if (o_services)
        open_all(0, o_services);
}
static void cpu_fields(double el, uint64_t c0, uint64_t g0, double per) {
    uint64_t c1 = cpu_pid_ns(o_process), g1 = cpu_self_ns();
    double gen = (g1 - g0) / 1e9 / el;
    printf(", \"gen_cpu\": %.3f, \"gen_bound\": %s", gen, gen > 0.93 ? "true" : "false");
    if (o_process)
        printf(", \"mgr_cpu\": %.3f, \"mgr_us_per_op\": %.2f, \"rss_kb\": %ld", (c1 - c0) / 1e9 / el,
               per > 0 ? (c1 - c0) / 1e3 / per : 0, rss_kb(o_process));
}

#endif
