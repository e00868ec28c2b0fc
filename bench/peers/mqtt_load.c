/* The load generator of MI and of the broker's benches, the same for both sides: PUBLISHes on a bare socket, MQTT 3.1.1,
 * so that it costs as little as it can.  mqtt_load PORT TOPIC COUNT SIZE QOS
 * At most WINDOW messages of QoS 1 and 2 are unanswered: the broker's input buffer stays small. */
#include "common.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 250, WINDOW = 1000, PUBACK = 0x40, PUBREC = 0x50, PUBCOMP = 0x70 };

static int fd;

static void put(const void *data, size_t size) {
    for (const char *from = data; size > 0;) {
        ssize_t taken = write(fd, from, size);
        if (taken < 0) die(strerror(errno));
        from += taken;
        size -= (size_t)taken;
    }
}

/* Appends what has come to `buffer`, which holds `held` bytes; the new number. */
static size_t take(unsigned char *buffer, size_t held, size_t room) {
    ssize_t got = read(fd, buffer + held, room - held);
    if (got <= 0) die("the broker closed the connection");
    return held + (size_t)got;
}

static void open_socket(const char *port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    int one = 1;
    inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) die(strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    static const unsigned char hello[] = {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0};
    unsigned char answer[4];
    put(hello, sizeof hello);
    for (size_t held = 0; held < sizeof answer;) held = take(answer, held, sizeof answer);
    if (answer[0] != 0x20 || answer[3]) die("the broker refused the connection");
}

/* A PUBLISH without its packet id; `id_at` says where that goes. The length of the whole. */
static size_t format(unsigned char *out, const char *topic, size_t size, int qos, size_t *id_at) {
    size_t name = strlen(topic), body = 2 + name + (qos ? 2 : 0) + size, n = 0;
    out[n++] = (unsigned char)(0x30 | qos << 1);
    for (size_t rest = body;;) {
        out[n] = rest & 127;
        rest >>= 7;
        if (rest) out[n] |= 128;
        n++;
        if (!rest) break;
    }
    out[n++] = (unsigned char)(name >> 8);
    out[n++] = (unsigned char)name;
    memcpy(out + n, topic, name);
    n += name;
    *id_at = n;
    n += qos ? 2 : 0;
    memset(out + n, 'x', size);
    return n + size;
}

/* Reads answers, all four bytes long; releases what PUBREC asks for. How many messages were acknowledged. */
static long settle(void) {
    static unsigned char in[65536], out[65536];
    static size_t held;
    size_t used = 0, releases = 0;
    long acknowledged = 0;
    held = take(in, held, sizeof in);
    for (; held - used >= 4; used += 4) {
        if (in[used] == PUBREC) {
            memcpy(out + releases, in + used, 4);
            out[releases] = 0x62;
            releases += 4;
        } else if (in[used] == PUBACK || in[used] == PUBCOMP) {
            acknowledged++;
        } else {
            die("the broker sent something else than an acknowledgement");
        }
    }
    memmove(in, in + used, held - used);
    held -= used;
    if (releases) put(out, releases);
    return acknowledged;
}

int main(int argc, char **argv) {
    if (argc != 6) die("usage: mqtt_load PORT TOPIC COUNT SIZE QOS");
    open_socket(argv[1]);
    long count = atol(argv[3]), sent = 0, answered = 0;
    size_t size = (size_t)atol(argv[4]), id_at;
    int qos = atoi(argv[5]);
    unsigned char *one = malloc(size + strlen(argv[2]) + 16);
    size_t length = format(one, argv[2], size, qos, &id_at);
    unsigned char *batch = malloc(length * BATCH);
    for (int i = 0; i < BATCH; i++) memcpy(batch + (size_t)i * length, one, length);
    double from = now();
    while (sent < count || (qos && answered < count)) {
        while (sent < count && (!qos || sent - answered <= WINDOW - BATCH)) {
            long n = count - sent < BATCH ? count - sent : BATCH;
            for (long i = 0; qos && i < n; i++) {
                long id = (sent + i) % 65535 + 1;
                batch[(size_t)i * length + id_at] = (unsigned char)(id >> 8);
                batch[(size_t)i * length + id_at + 1] = (unsigned char)id;
            }
            put(batch, (size_t)n * length);
            sent += n;
        }
        if (qos && answered < count) answered += settle();
    }
    result("seconds", now() - from);
    put("\340", 2); /* DISCONNECT: e0 00 */
    close(fd);
    return 0;
}
