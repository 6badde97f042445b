/*
 * A histogram of times: 64 steps for each doubling, so that a figure is off by 1.6 % at most.
 *
 * Rule of this file: nanoseconds in, microseconds out.
 */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H
#include "base.h"

#define HN (64 * 60)
typedef struct {
    uint64_t b[HN], n, max;
    double sum;
} Hist;
static void h_add(Hist *h, uint64_t v) {
    int i;
    if (v < 64)
        i = (int)v;
    else {
        int s = 63 - __builtin_clzll(v) - 6;
        i = (s + 1) * 64 + (int)((v >> s) - 64);
    }
    if (i >= HN)
        i = HN - 1;
    h->b[i]++;
    h->n++;
    h->sum += v;
    if (v > h->max)
        h->max = v;
}
static double h_q(Hist *h, double q) { /* -> microseconds */
    if (!h->n)
        return 0;
    uint64_t want = (uint64_t)(q * (h->n - 1)) + 1, c = 0;
    for (int i = 0; i < HN; i++) {
        c += h->b[i];
        if (c >= want) {
            double v = i < 128 ? i : (double)((uint64_t)(64 + i % 64) << (i / 64 - 1));
            return v / 1e3;
        }
    }
    return h->max / 1e3;
}
static void h_print(const char *k, Hist *h) {
    printf(", \"%s\": {\"n\": %llu, \"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f, "
           "\"mean\": %.1f}",
           k, (unsigned long long)h->n, h_q(h, .5), h_q(h, .9), h_q(h, .99), h_q(h, .999), h->max / 1e3,
           h->n ? h->sum / h->n / 1e3 : 0);
}

#endif
