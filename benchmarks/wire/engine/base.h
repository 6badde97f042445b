/*
 * What every part needs: the options, the clock, what a process uses of the machine, and how to give up.
 *
 * Rule of this file: it knows nothing of connections.
 */
#ifndef BASE_H
#define BASE_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* The options, NAME=VALUE on the command line. Times are in seconds, sizes in bytes. */
static char o_mode[32] = "load", o_host[64] = "127.0.0.1", o_service[64] = "Echo", o_source[64] = "";
static char o_user[64] = "", o_password[128] = "", o_sub[32] = "", o_kind[16] = "str";
static int o_port = 1875, o_tls = 0, o_clients = 1, o_services = 1, o_window = 1, o_idle = 0;
static int o_parallel = 16, o_process = 0, o_core = -1, o_count = 0, o_burst = 64, o_rate = 200, o_per_second = 0;
static long o_payload = 64, o_large = 1 << 20;
static double o_seconds = 3, o_warm_up = 0.5, o_timeout = 30;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
}
static uint64_t cpu_self_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
}
static void fail(const char *fmt, ...) {
    va_list a;
    char b[512];
    va_start(a, fmt);
    vsnprintf(b, sizeof b, fmt, a);
    va_end(a);
    for (char *p = b; *p; p++)
        if (*p == '"' || *p == '\\' || (unsigned char)*p < 32)
            *p = '\'';
    printf("{\"fail\": \"%s\"}\n", b);
    fflush(stdout);
    _exit(2);
}
static void *need(void *p) {
    if (!p)
        fail("out of memory");
    return p;
}
/* The CPU time of all threads of the Manager, in nanoseconds. */
static uint64_t cpu_pid_ns(int pid) {
    if (pid <= 0)
        return 0;
    char p[300];
    uint64_t sum = 0;
    snprintf(p, sizeof p, "/proc/%d/task", pid);
    DIR *d = opendir(p);
    if (!d)
        return 0;
    struct dirent *e;
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(p, sizeof p, "/proc/%d/task/%s/schedstat", pid, e->d_name);
        FILE *f = fopen(p, "r");
        unsigned long long v = 0;
        if (f) {
            if (fscanf(f, "%llu", &v) == 1)
                sum += v;
            fclose(f);
        }
    }
    closedir(d);
    return sum;
}
static long rss_kb(int pid) {
    if (pid <= 0)
        return 0;
    char p[64], l[256];
    long v = 0;
    snprintf(p, sizeof p, "/proc/%d/status", pid);
    FILE *f = fopen(p, "r");
    if (!f)
        return 0;
    while (fgets(l, sizeof l, f))
        if (!strncmp(l, "VmRSS:", 6))
            v = atol(l + 6);
    fclose(f);
    return v;
}
#endif
