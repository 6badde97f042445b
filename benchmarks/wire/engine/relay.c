/*
 * The least that a Manager can do, as fast as it can be done: what no Manager written in Python can outrun.
 *
 * It asks who is there, links, hands requests to Services with the requester added, and replies and notifications back.
 * It checks nothing, limits nothing, and believes everything: it is for the fake peers of the generator alone.
 *
 * Build:  cc -O2 -o relay relay.c
 * Usage:  relay PORT                  (127.0.0.1; it serves until it is killed)
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "lines.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE (1 << 20)
#define SLOTS 4096 /* of the table of Services, a power of two; more Services than half of it make it slow */

typedef struct Peer {
    int fd, port, known, wants_out, touched;
    char *in; /* the beginning of a line */
    size_t in_length, in_room;
    char *out;
    size_t out_begin, out_end, out_room;
    char requester[320]; /* a Client's, as JSON, with the key */
    char *name;          /* a Service's, as JSON */
    size_t name_length;
    struct Peer **links; /* of a Service: the Clients; of a Client: the Services */
    int n_links, links_room;
    struct Peer *next_touched, *next_closed;
} Peer;

static int loop;
static Peer *by_port[65536], *services[SLOTS];
static Peer *touched; /* something is to be sent to them */
static Peer *closed;  /* events may still speak of them */
static char chunk[READ_SIZE];

static void *need(void *p) {
    if (!p) {
        fprintf(stderr, "relay: out of memory\n");
        exit(1);
    }
    return p;
}
static Peer **slot_of(Span name) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (unsigned char)name.p[i]) * 16777619u;
    for (;; h++) {
        Peer **s = &services[h & (SLOTS - 1)];
        if (!*s || ((*s)->name_length == name.n && !memcmp((*s)->name, name.p, name.n)))
            return s;
    }
}

/* Bytes out */

static void put(Peer *p, const char *bytes, size_t n) {
    if (p->out_begin == p->out_end)
        p->out_begin = p->out_end = 0;
    if (p->out_end + n > p->out_room) {
        size_t room = p->out_room ? p->out_room : 1024;
        while (room < p->out_end + n)
            room *= 2;
        p->out = need(realloc(p->out, room));
        p->out_room = room;
    }
    memcpy(p->out + p->out_end, bytes, n);
    p->out_end += n;
    if (!p->touched) {
        p->touched = 1;
        p->next_touched = touched;
        touched = p;
    }
}
static void put_text(Peer *p, const char *text) {
    put(p, text, strlen(text));
}
static void flush_out(Peer *p) {
    while (p->fd >= 0 && p->out_begin < p->out_end) {
        ssize_t n = send(p->fd, p->out + p->out_begin, p->out_end - p->out_begin, MSG_NOSIGNAL);
        if (n < 0)
            break; /* if it has gone, reading says so, too */
        p->out_begin += n;
    }
    int wants = p->out_begin < p->out_end;
    if (p->fd >= 0 && wants != p->wants_out) {
        struct epoll_event ev = {.events = EPOLLIN | (wants ? EPOLLOUT : 0), .data.ptr = p};
        epoll_ctl(loop, EPOLL_CTL_MOD, p->fd, &ev);
        p->wants_out = wants;
    }
}

/* Messages */

static void link_one(Peer *p, Peer *other) {
    for (int i = 0; i < p->n_links; i++)
        if (p->links[i] == other)
            return;
    if (p->n_links == p->links_room) {
        p->links_room = p->links_room ? 2 * p->links_room : 4;
        p->links = need(realloc(p->links, p->links_room * sizeof *p->links));
    }
    p->links[p->n_links++] = other;
}
static void unlink_one(Peer *p, Peer *other) {
    for (int i = 0; i < p->n_links; i++)
        if (p->links[i] == other) {
            p->links[i] = p->links[--p->n_links];
            return;
        }
}
static void identified(Peer *p, Msg *m) {
    Msg identity;
    if (!m->result.n || scan(m->result.p, m->result.p + m->result.n, &identity) || identity.name.n < 2)
        return;
    p->known = 1;
    if (is(identity.type, "service")) {
        p->name = need(malloc(identity.name.n));
        memcpy(p->name, identity.name.p, identity.name.n);
        p->name_length = identity.name.n;
        *slot_of(identity.name) = p;
    } else {
        int n = identity.name.n > 202 ? 200 : (int)identity.name.n - 2;
        snprintf(p->requester, sizeof p->requester, ", \"requester\": \"%.*s[127.0.0.1:%d]\"}\r\n", n,
                 identity.name.p + 1, p->port);
        by_port[p->port] = p;
    }
}
static void from_client(Peer *p, Msg *m, const char *line, size_t n) {
    int to_manager = is(m->service, "Manager");
    Span name = m->service;
    if (to_manager) { /* "link" is all that the generator asks for: args is ["NAME"] */
        const char *begin = memchr(m->args.p, '"', m->args.n), *end = memrchr(m->args.p, '"', m->args.n);
        name = begin && end > begin ? (Span){begin, (size_t)(end + 1 - begin)} : (Span){"", 0};
    }
    Peer *service = *slot_of(name);
    if (service && !to_manager) {
        put(service, line, n - 1); /* without the last brace */
        put_text(service, p->requester);
        return;
    }
    if (service) {
        link_one(service, p);
        link_one(p, service);
        put_text(p, "{\"error\": false, \"requester\": null, \"result\": {\"type\": \"service\", \"name\": ");
        put(p, name.p, name.n);
        put_text(p, ", \"attributes\": {}}, \"uid\": ");
    } else
        put_text(p, "{\"error\": true, \"message\": \"KeyError: no such Service\", \"result\": null, \"uid\": ");
    put(p, m->uid.p, m->uid.n);
    put_text(p, "}\r\n");
}
static void from_service(Peer *p, Msg *m, const char *line, size_t n) {
    if (is(m->uid, "notification")) {
        for (int i = 0; i < p->n_links; i++) {
            put(p->links[i], line, n);
            put_text(p->links[i], "\r\n");
        }
        return;
    }
    const char *colon = m->requester.n ? memrchr(m->requester.p, ':', m->requester.n) : NULL;
    Peer *client = colon ? by_port[atoi(colon + 1) & 65535] : NULL;
    if (client) {
        put(client, line, n);
        put_text(client, "\r\n");
    }
}
static void on_line(Peer *p, const char *line, size_t n) {
    Msg m;
    while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
        n--;
    if (scan(line, line + n, &m))
        return;
    if (!p->known)
        identified(p, &m);
    else if (p->name)
        from_service(p, &m, line, n);
    else
        from_client(p, &m, line, n);
}

/* Connections */

static void on_accept(int listener) {
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    int fd, one = 1;
    while ((fd = accept4(listener, (void *)&a, &n, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Peer *p = need(calloc(1, sizeof *p));
        p->fd = fd;
        p->port = ntohs(a.sin_port);
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = p};
        epoll_ctl(loop, EPOLL_CTL_ADD, fd, &ev);
        put_text(p, "{\"args\": [], \"attribute\": \"identity\", \"error\": false, \"kwargs\": {}, \"requester\": "
                    "\"Manager[127.0.0.1:0]\", \"uid\": \"\"}\r\n");
        n = sizeof a;
    }
}
static void on_end(Peer *p) {
    close(p->fd);
    p->fd = -1;
    if (by_port[p->port] == p)
        by_port[p->port] = NULL;
    for (int i = 0; i < p->n_links; i++)
        unlink_one(p->links[i], p);
    p->next_closed = closed;
    closed = p;
}
/* The table is made anew without a Service that has gone: none of those after it may get lost. */
static void forget_service(Peer *gone) {
    static Peer *old[SLOTS];
    memcpy(old, services, sizeof old);
    memset(services, 0, sizeof services);
    for (int i = 0; i < SLOTS; i++)
        if (old[i] && old[i] != gone)
            *slot_of((Span){old[i]->name, old[i]->name_length}) = old[i];
}
static void free_closed(void) {
    while (closed) {
        Peer *p = closed;
        closed = p->next_closed;
        if (p->name)
            forget_service(p);
        free(p->in);
        free(p->out);
        free(p->name);
        free(p->links);
        free(p);
    }
}
static void keep(Peer *p, const char *bytes, size_t n) {
    if (p->in_length + n > p->in_room) {
        size_t room = p->in_room ? p->in_room : 4096;
        while (room < p->in_length + n)
            room *= 2;
        p->in = need(realloc(p->in, room));
        p->in_room = room;
    }
    memcpy(p->in + p->in_length, bytes, n);
    p->in_length += n;
}
static void on_readable(Peer *p) {
    ssize_t n = recv(p->fd, chunk, sizeof chunk, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        on_end(p);
        return;
    }
    const char *begin = chunk, *end = chunk + n, *newline;
    while ((newline = memchr(begin, '\n', end - begin))) {
        if (p->in_length) {
            keep(p, begin, newline + 1 - begin);
            on_line(p, p->in, p->in_length);
            p->in_length = 0;
        } else
            on_line(p, begin, newline + 1 - begin);
        begin = newline + 1;
    }
    if (begin < end)
        keep(p, begin, end - begin);
}
static int listen_on(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (void *)&a, sizeof a) || listen(fd, 1024)) {
        fprintf(stderr, "relay: port %d: %s\n", port, strerror(errno));
        exit(1);
    }
    return fd;
}
int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: relay PORT\n");
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = listen_on(atoi(argv[1]));
    loop = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL}, events[256];
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &ev);
    for (;;) {
        int n = epoll_wait(loop, events, 256, -1);
        for (int i = 0; i < n; i++) {
            Peer *p = events[i].data.ptr;
            if (!p)
                on_accept(listener);
            else if (p->fd >= 0) {
                if (events[i].events & EPOLLOUT)
                    flush_out(p);
                if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                    on_readable(p);
            }
        }
        while (touched) {
            Peer *p = touched;
            touched = p->next_touched;
            p->touched = 0;
            flush_out(p);
        }
        free_closed();
    }
}
