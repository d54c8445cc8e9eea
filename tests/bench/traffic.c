/* Copyright: (c) 2026, the wharf.network authors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Traffic for the benchmarks of the data path and of names: one thread, and as little beside the system calls as can be.
 * What sends and what receives stay on a CPU each. The figures hold on a machine that does nothing else.
 *
 *   traffic accept PORT                           accept connections, and close each
 *   traffic drain PORT                            accept connections one after the other, and read all that comes
 *   traffic hold PORT                             answer greetings at a UDP port, and read nothing more
 *   traffic connect ADDRESS PORT MS SOURCE...     connect again and again from these addresses, closing by a reset
 *   traffic datagrams ADDRESS PORT MS             send datagrams that fill Ethernet's smallest frame
 *   traffic stream ADDRESS PORT MS                send as much as TCP takes
 *   traffic ask ADDRESS NAME MS OPEN              ask a resolver for an A record, with so many queries open at once
 *
 * The first three say "ready" and end with their standard input. The others print how many connections, datagrams,
 * bytes or answers it were, in how many nanoseconds; connect and ask also the median and the 99th percentile of what
 * each took, in nanoseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* 64 bytes on Ethernet are 14 of its header, 20 of IP's, 8 of UDP's, these, and 4 of the checksum. */
#define PAYLOAD 18
#define BATCH 64
#define GREETING 1
#define FIRST_PORT 10000
#define PORTS 50000
#define MOST_TIMES (1 << 22)

static uint32_t times[MOST_TIMES];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Stay on the last CPU, or on the first. */
static void stay(int is_last)
{
    cpu_set_t may, own;
    CPU_ZERO(&own);
    if (sched_getaffinity(0, sizeof may, &may))
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &may) && (is_last || !CPU_COUNT(&own))) {
            CPU_ZERO(&own);
            CPU_SET(cpu, &own);
        }
    sched_setaffinity(0, sizeof own, &own);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static struct sockaddr_in at(const char *address, int port)
{
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, address, &where.sin_addr) != 1)
        fail(address);
    return where;
}

static int opened(int kind)
{
    int own = socket(AF_INET, kind | SOCK_CLOEXEC, 0), on = 1;
    if (own < 0 || setsockopt(own, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on))
        fail("socket");
    return own;
}

static int bound(int kind, int port)
{
    struct sockaddr_in where = at("0.0.0.0", port);
    int own = opened(kind);
    if (bind(own, (void *)&where, sizeof where))
        fail("bind");
    return own;
}

static int connected(int kind, const char *address, int port)
{
    struct sockaddr_in where = at(address, port);
    int own = opened(kind);
    if (connect(own, (void *)&where, sizeof where))
        fail("connect");
    return own;
}

/* Whether there is something to read before the standard input ends. */
static int comes(int own)
{
    struct pollfd both[] = {{.fd = own, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    if (poll(both, 2, -1) < 0)
        fail("poll");
    return !both[1].revents;
}

static void serve(int port, int is_read)
{
    static char buffer[1 << 18];
    int server = bound(SOCK_STREAM, port);
    if (listen(server, 65535))
        fail("listen");
    puts("ready");
    fflush(stdout);
    while (comes(server)) {
        int peer = accept(server, NULL, NULL);
        /* A connection that its client has reset may be gone again. */
        if (peer < 0)
            continue;
        while (is_read && comes(peer) && read(peer, buffer, sizeof buffer) > 0)
            ;
        close(peer);
    }
}

static void hold(int port)
{
    int own = bound(SOCK_DGRAM, port);
    puts("ready");
    fflush(stdout);
    while (comes(own)) {
        struct sockaddr_in peer;
        socklen_t size = sizeof peer;
        char greeting;
        if (recvfrom(own, &greeting, 1, MSG_DONTWAIT, (void *)&peer, &size) < 0)
            continue;
        if (greeting != GREETING)
            break;
        sendto(own, &greeting, 1, 0, (void *)&peer, size);
    }
    while (getchar() != EOF)
        ;
    close(own);
}

static int by_size(const void *one, const void *other)
{
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

static void report(uint64_t count, uint64_t took, int timed)
{
    uint64_t kept = count < MOST_TIMES ? count : MOST_TIMES;
    printf("%lu %lu", (unsigned long)count, (unsigned long)took);
    if (timed && kept) {
        qsort(times, kept, sizeof *times, by_size);
        printf(" %u %u", times[kept / 2], times[kept * 99 / 100]);
    }
    puts("");
}

static void note(uint64_t count, uint64_t took)
{
    if (count < MOST_TIMES)
        times[count] = took;
}

static void connect_again(const char *address, int port, uint64_t length, int sources, char **source)
{
    struct linger reset = {.l_onoff = 1};
    struct sockaddr_in to = at(address, port);
    uint64_t began = now(), last = began, count = 0;
    for (; last - began < length; count++) {
        /* A port that is asked for spares the kernel the search, and none comes again while a flow may be known. */
        struct sockaddr_in from = at(source[count % sources], FIRST_PORT + count / sources % PORTS);
        int own = opened(SOCK_STREAM);
        if (setsockopt(own, SOL_SOCKET, SO_LINGER, &reset, sizeof reset))
            fail("linger");
        if (bind(own, (void *)&from, sizeof from))
            fail("bind");
        uint64_t sent = now();
        if (connect(own, (void *)&to, sizeof to))
            fail("connect");
        last = now();
        note(count, last - sent);
        close(own);
    }
    report(count, last - began, 1);
}

static void send_datagrams(const char *address, int port, uint64_t length)
{
    static char payload[PAYLOAD];
    struct iovec part = {payload, sizeof payload};
    struct mmsghdr batch[BATCH] = {0};
    char greeting = GREETING;
    struct timeval patience = {.tv_sec = 2};
    int own = connected(SOCK_DGRAM, address, port);
    if (setsockopt(own, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience))
        fail("patience");
    /* A flow is established once it has been answered. */
    if (send(own, &greeting, 1, 0) != 1 || recv(own, &greeting, 1, 0) != 1)
        fail("no greeting");
    for (int each = 0; each < BATCH; each++)
        batch[each].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
    uint64_t began = now(), last = began, count = 0;
    for (; last - began < length; last = now()) {
        int sent = sendmmsg(own, batch, BATCH, 0);
        if (sent < 0)
            fail("sendmmsg");
        count += sent;
    }
    report(count, last - began, 0);
}

static void send_stream(const char *address, int port, uint64_t length)
{
    static char buffer[1 << 18];
    int own = connected(SOCK_STREAM, address, port);
    uint64_t began = now(), last = began, count = 0;
    for (; last - began < length; last = now()) {
        ssize_t sent = send(own, buffer, sizeof buffer, 0);
        if (sent < 0)
            fail("send");
        count += sent;
    }
    report(count, last - began, 0);
}

static size_t write_query(uint8_t *query, const char *name)
{
    static const uint8_t header[] = {0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, end[] = {0, 0, 1, 0, 1};
    uint8_t *at = query;
    at = mempcpy(at, header, sizeof header);
    while (*name) {
        size_t label = strcspn(name, ".");
        *at++ = label;
        at = mempcpy(at, name, label);
        name += label + (name[label] == '.');
    }
    return (uint8_t *)mempcpy(at, end, sizeof end) - query;
}

static void ask(const char *address, const char *name, uint64_t length, unsigned open)
{
    static uint64_t sent[65536];
    uint8_t query[512], answer[1024];
    size_t size = write_query(query, name);
    struct timeval patience = {.tv_sec = 2};
    int own = connected(SOCK_DGRAM, address, 53);
    if (setsockopt(own, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience))
        fail("patience");
    uint64_t began = now(), last = began, count = 0;
    uint16_t number = 0;
    for (unsigned waiting = 0; last - began < length; waiting--) {
        for (; waiting < open; waiting++, number++) {
            query[0] = number >> 8;
            query[1] = number;
            sent[number] = now();
            if (send(own, query, size, 0) < 0)
                fail("send");
        }
        if (recv(own, answer, sizeof answer, 0) < 12)
            fail("no answer");
        if (answer[3] & 15 || !(answer[6] << 8 | answer[7])) {
            fprintf(stderr, "%s is not known: code %d\n", name, answer[3] & 15);
            exit(1);
        }
        last = now();
        note(count++, last - sent[answer[0] << 8 | answer[1]]);
    }
    report(count, last - began, 1);
}

int main(int count, char **word)
{
    if (count < 3)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    const char *what = word[1];
    uint64_t length = count > 4 ? strtoull(word[4], NULL, 10) * 1000000 : 0;
    /* Who accepts must not wake another CPU for each connection: it waits until there are no more. */
    if (strcmp(what, "ask"))
        stay(strcmp(what, "drain"));
    if (!strcmp(what, "accept") || !strcmp(what, "drain"))
        serve(atoi(word[2]), *what == 'd');
    else if (!strcmp(what, "hold"))
        hold(atoi(word[2]));
    else if (!strcmp(what, "connect") && count > 5)
        connect_again(word[2], atoi(word[3]), length, count - 5, word + 5);
    else if (!strcmp(what, "datagrams") && count > 4)
        send_datagrams(word[2], atoi(word[3]), length);
    else if (!strcmp(what, "stream") && count > 4)
        send_stream(word[2], atoi(word[3]), length);
    else if (!strcmp(what, "ask") && count > 5)
        ask(word[2], word[3], length, strtoul(word[5], NULL, 10));
    else
        return 2;
    return 0;
}
