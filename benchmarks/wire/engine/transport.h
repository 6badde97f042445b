/*
 * Connections in one epoll loop: TCP and TLS, bytes in and out, lines.
 *
 * Rule of this file: what a line says is for peers.h; no message is known here.
 */
#ifndef TRANSPORT_H
#define TRANSPORT_H
#include "base.h"
#include "histogram.h"
#include "lines.h"
#ifndef NO_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#else /* stubs: everything but tls=1 works */
typedef struct SSL SSL;
typedef struct SSL_CTX SSL_CTX;
#define SSL_write(s, p, n) ((void)(n), -1)
#define SSL_read(s, p, n) (-1)
#define SSL_get_error(s, k) 1
#define SSL_ERROR_WANT_READ 2
#define SSL_ERROR_WANT_WRITE 3
#define SSL_set_quiet_shutdown(s, v) (void)0
#define SSL_shutdown(s) (void)0
#define SSL_free(s) (void)0
#define SSL_new(c) NULL
#define SSL_set_fd(s, f) (void)0
#define SSL_connect(s) (-1)
#define SSL_pending(s) 0
#define ERR_error_string(e, b) "no TLS"
#endif
enum { CLIENT, SERVICE };
enum { S_NEW, S_TCP, S_TLS, S_HELLO, S_LINK, S_READY, S_CLOSED };
typedef struct Conn {
    int fd, role, state, id, svc, active, stalled, mask, linktries, half;
    SSL *ssl;
    char *ib;
    size_t ilen, icap, ioff, iscan;
    char *ob;
    size_t olen, ocap, ooff;
    uint64_t t0, retry_at, *ts;
    uint32_t seq, tsmask, inflight;
    uint64_t got;
} Conn;
static int ep;
#ifndef NO_TLS
static SSL_CTX *ctx;
#endif
static Conn *cs;
static int ncs, nready, npending;
static uint64_t n_err, n_bad, n_closed, n_linkerr;
static Hist Htcp, Hid, Hlink; /* until the transport is open, the identity is asked for, the link is there */
static char lasterr[256];
static void note_message(const Msg *m) {
    snprintf(lasterr, sizeof lasterr, "%.*s", (int)(m->message.n > 200 ? 200 : m->message.n), m->message.p);
}

static void (*on_lost)(Conn *); /* set by a mode that goes on without it */

static int commands; /* how many lines have come on standard input; its end is one, too */

static void lost(Conn *c) {
    n_closed++;
    if (on_lost)
        on_lost(c);
}

static void upd(Conn *c) {
    int want = (c->stalled ? 0 : EPOLLIN) | (c->olen > c->ooff || c->state == S_TCP ? EPOLLOUT : 0);
    if (c->state == S_TLS)
        want = EPOLLIN | (c->mask & EPOLLOUT);
    if (want != c->mask) {
        struct epoll_event ev = {.events = want, .data.ptr = c};
        epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
        c->mask = want;
    }
}
static void setmask(Conn *c, int want) {
    if (want == c->mask)
        return;
    struct epoll_event ev = {.events = want, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
    c->mask = want;
}
static void put(Conn *c, const char *p, size_t n) {
    if (c->ooff == c->olen)
        c->ooff = c->olen = 0;
    if (c->olen + n > c->ocap) {
        if (c->ooff) {
            memmove(c->ob, c->ob + c->ooff, c->olen - c->ooff);
            c->olen -= c->ooff;
            c->ooff = 0;
        }
        if (c->olen + n > c->ocap) {
            size_t nc = c->ocap ? c->ocap : 4096;
            while (nc < c->olen + n)
                nc *= 2;
            c->ob = need(realloc(c->ob, nc));
            c->ocap = nc;
        }
    }
    memcpy(c->ob + c->olen, p, n);
    c->olen += n;
}
static void puts_(Conn *c, const char *s) {
    put(c, s, strlen(s));
}
static void c_close(Conn *c) {
    if (c->state == S_CLOSED)
        return;
    if (c->state != S_NEW && c->state < S_READY)
        npending--;
    if (c->state == S_READY)
        nready--;
    c->state = S_CLOSED;
    if (c->ssl) {
        SSL_set_quiet_shutdown(c->ssl, 0);
        SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
    close(c->fd);
    c->fd = -1;
    free(c->ib);
    free(c->ob);
    c->ib = c->ob = NULL;
    c->ilen = c->icap = c->ioff = c->iscan = c->olen = c->ocap = c->ooff = 0;
    c->inflight = 0;
}
static void flush_(Conn *c) {
    while (c->state != S_CLOSED && c->olen > c->ooff) {
        ssize_t r;
        if (c->ssl) {
            size_t n = c->olen - c->ooff;
            int k = SSL_write(c->ssl, c->ob + c->ooff, n > (1 << 20) ? 1 << 20 : (int)n);
            if (k <= 0) {
                int er = SSL_get_error(c->ssl, k);
                if (er == SSL_ERROR_WANT_WRITE || er == SSL_ERROR_WANT_READ)
                    break;
                c_close(c);
                lost(c);
                return;
            }
            r = k;
        } else {
            r = send(c->fd, c->ob + c->ooff, c->olen - c->ooff, MSG_NOSIGNAL);
            if (r < 0) {
                if (errno == EAGAIN || errno == EINTR)
                    break;
                c_close(c);
                lost(c);
                return;
            }
        }
        c->ooff += r;
    }
    if (c->state != S_CLOSED)
        upd(c);
}
static void c_open(Conn *c) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(o_port)};
    inet_pton(AF_INET, o_host, &a.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket: %s", strerror(errno));
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (c->half) {
        int b = 32768;
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &b, sizeof b);
    }
    if (*o_source) {
        struct sockaddr_in s = {.sin_family = AF_INET};
        inet_pton(AF_INET, o_source, &s.sin_addr);
        setsockopt(c->fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &one, sizeof one);
        if (bind(c->fd, (void *)&s, sizeof s))
            fail("bind %s: %s", o_source, strerror(errno));
    }
    c->t0 = now_ns();
    c->linktries = 0;
    c->retry_at = 0;
    c->state = S_TCP;
    npending++;
    if (connect(c->fd, (void *)&a, sizeof a) && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    c->mask = EPOLLOUT;
    struct epoll_event ev = {.events = c->mask, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
}
static void on_line(Conn *c, const char *p, const char *e);

static void on_readable(Conn *c) {
    /* what OpenSSL has read already, epoll does not tell of */
    for (int rounds = 0; rounds < 8 || (c->ssl && SSL_pending(c->ssl)); rounds++) {
        if (c->ioff) {
            memmove(c->ib, c->ib + c->ioff, c->ilen - c->ioff);
            c->ilen -= c->ioff;
            c->iscan -= c->ioff;
            c->ioff = 0;
        }
        size_t wanted = c->state == S_READY && c->active ? 262144 : 4096;
        if (c->role == SERVICE)
            wanted = 262144;
        if (c->icap - c->ilen < wanted / 2 || !c->icap) {
            size_t nc = c->icap ? c->icap * 2 : wanted;
            if (nc < c->ilen + wanted)
                nc = c->ilen + wanted;
            c->ib = need(realloc(c->ib, nc));
            c->icap = nc;
        }
        ssize_t r;
        size_t room = c->icap - c->ilen;
        if (c->ssl) {
            int k = SSL_read(c->ssl, c->ib + c->ilen, room > (1 << 20) ? 1 << 20 : (int)room);
            if (k <= 0) {
                int er = SSL_get_error(c->ssl, k);
                if (er == SSL_ERROR_WANT_READ || er == SSL_ERROR_WANT_WRITE)
                    break;
                r = 0;
            } else
                r = k;
        } else {
            r = recv(c->fd, c->ib + c->ilen, room, 0);
            if (r < 0) {
                if (errno == EAGAIN || errno == EINTR)
                    break;
                r = 0;
            }
        }
        if (r == 0) {
            c_close(c);
            lost(c);
            return;
        }
        c->ilen += r;
        char *nl;
        while (c->state != S_CLOSED && (nl = memchr(c->ib + c->iscan, '\n', c->ilen - c->iscan))) {
            size_t s = c->ioff;
            c->ioff = c->iscan = nl + 1 - c->ib;
            on_line(c, c->ib + s, nl + 1);
        }
        if (c->state == S_CLOSED)
            return;
        c->iscan = c->ilen;
        if (c->ioff == c->ilen)
            c->ioff = c->ilen = c->iscan = 0;
        if (!c->ssl && (size_t)r < room)
            break;
    }
    flush_(c);
}
static void tls_step(Conn *c) {
    int k = SSL_connect(c->ssl);
    if (k == 1) {
        c->state = S_HELLO;
        h_add(&Htcp, now_ns() - c->t0);
        upd(c);
        on_readable(c);
        return;
    }
    int er = SSL_get_error(c->ssl, k);
    if (er == SSL_ERROR_WANT_READ)
        setmask(c, EPOLLIN);
    else if (er == SSL_ERROR_WANT_WRITE)
        setmask(c, EPOLLOUT | EPOLLIN);
    else {
        snprintf(lasterr, sizeof lasterr, "TLS: %s", ERR_error_string(ERR_get_error(), NULL));
        c_close(c);
        lost(c);
    }
}
static void on_event(Conn *c, int ev) {
    if (c->state == S_CLOSED)
        return;
    if (c->state == S_TCP) {
        int er = 0;
        socklen_t l = sizeof er;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &er, &l);
        if (er) {
            snprintf(lasterr, sizeof lasterr, "connect: %s", strerror(er));
            c_close(c);
            lost(c);
            return;
        }
        if (!(ev & EPOLLOUT))
            return;
        if (o_tls) {
            c->ssl = SSL_new(ctx);
            SSL_set_fd(c->ssl, c->fd);
            c->state = S_TLS;
            tls_step(c);
        } else {
            c->state = S_HELLO;
            h_add(&Htcp, now_ns() - c->t0);
            upd(c);
        }
        return;
    }
    if (c->state == S_TLS) {
        tls_step(c);
        return;
    }
    if (c->stalled && (ev & (EPOLLHUP | EPOLLERR))) {
        c_close(c);
        lost(c);
        return;
    }
    if (ev & EPOLLOUT)
        flush_(c);
    if (c->state != S_CLOSED && (ev & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !c->stalled)
        on_readable(c);
}
static void read_command(void) {
    char b[64];
    ssize_t n = read(STDIN_FILENO, b, sizeof b);
    if (n > 0)
        for (ssize_t i = 0; i < n; i++)
            commands += b[i] == '\n';
    else {
        commands = 1 << 20;
        epoll_ctl(ep, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    }
}
static void heed_commands(void) {
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(ep, EPOLL_CTL_ADD, STDIN_FILENO, &ev))
        fail("standard input must be a pipe: %s", strerror(errno));
}
static int pump(int ms) { /* one turn of the loop */
    struct epoll_event ev[512];
    int n = epoll_wait(ep, ev, 512, ms);
    for (int i = 0; i < n; i++) {
        if (ev[i].data.ptr)
            on_event(ev[i].data.ptr, ev[i].events);
        else
            read_command();
    }
    return n;
}
#endif
