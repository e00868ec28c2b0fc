/* H, W: a crowd of browsers.  websocket_clients PORT CLIENTS FRAMES
 * Opens the WebSockets at /ws and says "ready". Reads until each has FRAMES messages, and measures from the first to the
 * last; with 0 it holds the connections until its input ends. */
#include "common.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char request[] =
    "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nOrigin: http://localhost\r\n\r\n";

struct client {
    int fd;
    long frames;
    size_t skip; /* of the payload that is under way */
    unsigned char head[10];
    size_t have; /* of the head */
};

static int open_socket(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) die("cannot connect");
    if (write(fd, request, sizeof request - 1) != (ssize_t)sizeof request - 1) die("cannot write");
    /* byte by byte near the end would be exact; nothing follows the head before all are open */
    char answer[1024];
    ssize_t got = read(fd, answer, sizeof answer);
    if (got < 12 || memcmp(answer, "HTTP/1.1 101", 12)) die("no WebSocket");
    return fd;
}

/* Counts the frames in what was read (a server's: no mask). */
static void count(struct client *c, const unsigned char *data, size_t size) {
    while (size > 0) {
        if (c->skip > 0) {
            size_t n = c->skip < size ? c->skip : size;
            c->skip -= n, data += n, size -= n;
            if (c->skip == 0) c->frames++;
            continue;
        }
        c->head[c->have++] = *data++, size--;
        size_t length = c->have > 1 ? c->head[1] & 127 : 0, need = length < 126 ? 2 : length == 126 ? 4 : 10;
        if (c->have < 2 || c->have < need) continue;
        if (need > 2) {
            length = 0;
            for (size_t i = 2; i < need; i++) length = length << 8 | c->head[i];
        }
        if ((c->head[0] & 15) > 2) c->frames--; /* a ping */
        c->have = 0, c->skip = length;
        if (length == 0) c->frames++;
    }
}

int main(int argc, char **argv) {
    if (argc != 4) die("usage: websocket_clients PORT CLIENTS FRAMES");
    int port = atoi(argv[1]), n = atoi(argv[2]);
    long frames = atol(argv[3]);
    struct client *all = calloc((size_t)n, sizeof *all);
    int set = epoll_create1(0);
    for (int i = 0; i < n; i++) {
        all[i].fd = open_socket(port);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &all[i]};
        epoll_ctl(set, EPOLL_CTL_ADD, all[i].fd, &e);
    }
    puts("ready");
    fflush(stdout);
    if (frames == 0) return getchar() == EOF ? 0 : 1;
    static unsigned char buffer[65536];
    double from = 0, cpu_from = cpu();
    for (int done = 0; done < n;) {
        struct epoll_event events[256];
        int ready = epoll_wait(set, events, 256, 60000);
        if (ready <= 0) die("nothing comes any more");
        if (from == 0) from = now();
        for (int i = 0; i < ready; i++) {
            struct client *c = events[i].data.ptr;
            ssize_t got = read(c->fd, buffer, sizeof buffer);
            if (got <= 0) die("a connection has ended");
            long before = c->frames;
            count(c, buffer, (size_t)got);
            if (before < frames && c->frames >= frames) done++;
        }
    }
    result("seconds", now() - from);
    result("cpu", cpu() - cpu_from);
    return 0;
}
