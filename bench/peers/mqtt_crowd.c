/* BF, BO, BI, BW: a crowd of MQTT 3.1.1 subscribers on bare sockets.  mqtt_crowd PORT CLIENTS MESSAGES QOS FILTER OWN
 * Each subscribes to FILTER, and to OWN filters that nobody else has; then "ready" is said. Reads until each has MESSAGES
 * messages, acknowledging those of QoS 1, and measures from the first to the last; with 0 it holds the connections until
 * its input ends. */
#include "common.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CARRY = 1024, FILTERS_AT_ONCE = 500 };

struct client {
    int fd;
    long messages;
    size_t held;
    unsigned char carry[CARRY];
};

static unsigned char scratch[1 << 17];

static void put(int fd, const void *data, size_t size) {
    for (const char *from = data; size > 0;) {
        ssize_t taken = write(fd, from, size);
        if (taken < 0) die(strerror(errno));
        from += taken, size -= (size_t)taken;
    }
}

static void take(int fd, unsigned char *to, size_t size) {
    while (size > 0) {
        ssize_t got = read(fd, to, size);
        if (got <= 0) die("the broker closed the connection");
        to += got, size -= (size_t)got;
    }
}

/* The remaining length behind a packet's first byte, and where the body begins; 0 where it is not all there. */
static size_t body_at(const unsigned char *packet, size_t size, size_t *length) {
    *length = 0;
    for (size_t i = 1; i < size && i < 5; i++) {
        *length |= (size_t)(packet[i] & 127) << (7 * (i - 1));
        if (!(packet[i] & 128)) return i + 1;
    }
    return 0;
}

static size_t put_length(unsigned char *out, size_t length) {
    size_t n = 0;
    do {
        out[n] = (unsigned char)(length & 127);
        length >>= 7;
        if (length) out[n] |= 128;
        n++;
    } while (length);
    return n;
}

/* Subscribes to `count` filters, "own/ID/0/+" and so on, or to the one given. */
static void subscribe(int fd, const char *filter, int id, long count, int qos) {
    unsigned char head[8];
    for (long done = 0; done < count;) {
        size_t size = 0;
        scratch[size++] = 0, scratch[size++] = 1;
        int asked = 0;
        for (; asked < FILTERS_AT_ONCE && done < count; asked++, done++) {
            char own[64];
            const char *text = filter;
            if (!text) snprintf(own, sizeof own, "own/%d/%ld/+", id, done), text = own;
            size_t length = strlen(text);
            scratch[size++] = (unsigned char)(length >> 8), scratch[size++] = (unsigned char)length;
            memcpy(scratch + size, text, length);
            size += length;
            scratch[size++] = (unsigned char)qos;
        }
        head[0] = 0x82;
        put(fd, head, 1 + put_length(head + 1, size));
        put(fd, scratch, size);
        /* type, length (one or two bytes), id, a code for each */
        size_t body = (size_t)asked + 2, before = 1 + put_length(head + 1, body);
        take(fd, scratch, before + body);
        if (scratch[0] != 0x90 || scratch[before + body - 1] > 2) die("the broker refused a subscription");
    }
}

static int enter(int port, const char *filter, int id, long own, int qos) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) die("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char hello[64];
    int n = snprintf(hello + 14, sizeof hello - 14, "crowd-%d", id);
    memcpy(hello, "\020\0\0\004MQTT\004\002\0\0\0", 13);
    hello[1] = (char)(12 + n), hello[13] = (char)n;
    put(fd, hello, (size_t)(14 + n));
    unsigned char answer[4];
    take(fd, answer, sizeof answer);
    if (answer[0] != 0x20 || answer[3]) die("the broker refused the connection");
    if (*filter) subscribe(fd, filter, id, 1, qos);
    subscribe(fd, NULL, id, own, qos);
    return fd;
}

/* Counts the messages in what has come, and acknowledges them. */
static void count(struct client *c) {
    static unsigned char acks[1 << 16];
    memcpy(scratch, c->carry, c->held);
    ssize_t got = read(c->fd, scratch + c->held, (sizeof scratch) / 2);
    if (got <= 0) die("a connection has ended");
    size_t size = c->held + (size_t)got, at = 0, owed = 0;
    while (at < size) {
        const unsigned char *packet = scratch + at;
        size_t length, body = body_at(packet, size - at, &length);
        if (!body || at + body + length > size) break;
        if (packet[0] >> 4 == 3) {
            c->messages++;
            if (packet[0] & 6) {
                size_t topic = (size_t)packet[body] << 8 | packet[body + 1];
                acks[owed] = 0x40, acks[owed + 1] = 2;
                memcpy(acks + owed + 2, packet + body + 2 + topic, 2);
                owed += 4;
            }
        }
        at += body + length;
    }
    c->held = size - at;
    if (c->held > CARRY) die("a packet is too large");
    memcpy(c->carry, scratch + at, c->held);
    if (owed) put(c->fd, acks, owed);
}

int main(int argc, char **argv) {
    if (argc != 7) die("usage: mqtt_crowd PORT CLIENTS MESSAGES QOS FILTER OWN");
    int port = atoi(argv[1]), n = atoi(argv[2]), qos = atoi(argv[4]);
    long messages = atol(argv[3]), own = atol(argv[6]);
    struct client *all = calloc((size_t)n, sizeof *all);
    int set = epoll_create1(0);
    for (int i = 0; i < n; i++) {
        all[i].fd = enter(port, argv[5], i, own, qos);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &all[i]};
        epoll_ctl(set, EPOLL_CTL_ADD, all[i].fd, &e);
    }
    puts("ready");
    fflush(stdout);
    if (messages == 0) return getchar() == EOF ? 0 : 1;
    double from = 0;
    for (int done = 0; done < n;) {
        struct epoll_event events[256];
        int ready = epoll_wait(set, events, 256, 60000);
        if (ready <= 0) die("nothing comes any more");
        if (from == 0) from = now();
        for (int i = 0; i < ready; i++) {
            struct client *c = events[i].data.ptr;
            long before = c->messages;
            count(c);
            if (before < messages && c->messages >= messages) done++;
        }
    }
    result("seconds", now() - from);
    return 0;
}
