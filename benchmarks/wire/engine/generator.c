/*
 * The load on a Manager, on the wire: one thread and one epoll loop play all fake Services and all fake Clients, so
 * that what is measured is the Manager, even if both run on one core.
 *
 * Build:  cc -O2 -o generator generator.c -lssl -lcrypto      (without OpenSSL: -DNO_TLS and no -l)
 * Usage:  generator MODE NAME=VALUE ...                        MODE: load | notify | connect | idle | hol | beside
 * Output: one JSON object. Exit status 0: measured; 2: it could not be, and `fail` says why.
 *
 * The modes are described in the files of their names, the scenarios that are made of them in ../scenarios.py.
 */
#include "mode_beside.h"
#include "mode_connect.h"
#include "mode_hol.h"
#include "mode_idle.h"
#include "mode_load.h"
#include "mode_notify.h"

static const struct {
    const char *name;
    void (*run)(void);
} modes[] = {{"load", run_load}, {"notify", run_notify}, {"connect", run_connect},
             {"idle", run_idle}, {"hol", run_hol},       {"beside", run_beside}};

#define TEXT(n) {#n, o_##n, sizeof o_##n, 's'}
#define INT(n) {#n, &o_##n, 0, 'i'}
#define LONG(n) {#n, &o_##n, 0, 'l'}
#define DOUBLE(n) {#n, &o_##n, 0, 'd'}
static const struct {
    const char *name;
    void *value;
    size_t size;
    char kind;
} options[] = {TEXT(host),    TEXT(service), TEXT(source),    TEXT(user),      TEXT(password),
               TEXT(sub),     TEXT(kind),    INT(port),       INT(tls),        INT(clients),
               INT(services), INT(window),   INT(idle),       INT(parallel),   INT(process),
               INT(core),     INT(count),    INT(burst),      INT(rate),       INT(per_second),
               LONG(payload), LONG(large),   DOUBLE(seconds), DOUBLE(warm_up), DOUBLE(timeout)};

static void set_option(char *word) {
    char *value = strchr(word, '=');
    if (!value)
        fail("%s is not NAME=VALUE", word);
    *value++ = 0;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (strcmp(options[i].name, word))
            continue;
        if (options[i].kind == 's')
            snprintf(options[i].value, options[i].size, "%s", value);
        else if (options[i].kind == 'i')
            *(int *)options[i].value = atoi(value);
        else if (options[i].kind == 'l')
            *(long *)options[i].value = atol(value);
        else
            *(double *)options[i].value = atof(value);
        return;
    }
    fail("there is no option %s", word);
}
static void use_tls(void) {
#ifdef NO_TLS
    fail("the generator was built without TLS: the headers of OpenSSL were missing");
#else
    ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
#endif
}
int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        fprintf(stderr, "usage: generator load|notify|connect|idle|hol|beside NAME=VALUE ...\n");
        return 1;
    }
    snprintf(o_mode, sizeof o_mode, "%s", argv[1]);
    for (int i = 2; i < argc; i++)
        set_option(argv[i]);
    if (o_core >= 0) {
        cpu_set_t s;
        CPU_ZERO(&s);
        CPU_SET(o_core, &s);
        if (sched_setaffinity(0, sizeof s, &s))
            fail("core %d: %s", o_core, strerror(errno));
    }
    struct rlimit rl;
    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
    ep = epoll_create1(EPOLL_CLOEXEC);
    if (o_tls)
        use_tls();
    bigstr = need(malloc(o_large + 3));
    memset(bigstr, 'z', o_large + 2);
    bigstr[0] = bigstr[o_large + 1] = '"';
    if (o_window < 1 || o_window > 60000)
        fail("window: %d is not from 1 to 60000", o_window);
    if (o_services < 0 || o_services > MAX_SERVICES)
        fail("services: %d is not from 0 to %d", o_services, MAX_SERVICES);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(modes[i].name, o_mode)) {
            modes[i].run();
            fflush(stdout);
            _exit(0);
        }
    fail("there is no mode %s", o_mode);
}
