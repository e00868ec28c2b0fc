/* What the STOMP peers share: raw sockets, since no C library is packaged; connecting, writing, counting frames. */
#include "common.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <unistd.h>

static inline void write_all(int fd, const char *from, size_t left) {
    while (left > 0) {
        ssize_t taken = write(fd, from, left);
        if (taken < 0) die(strerror(errno));
        from += taken;
        left -= (size_t)taken;
    }
}

/* Reads once; how many frames have ended in what came. Bodies here hold no NUL. */
static inline long read_frames(int fd) {
    static char input[1 << 16];
    ssize_t got = read(fd, input, sizeof input);
    if (got <= 0) die("the broker closed the connection");
    if (got >= 6 && memcmp(input, "ERROR\n", 6) == 0) die("the broker sent an ERROR");
    long frames = 0;
    for (const char *at = input; (at = memchr(at, 0, (size_t)(input + got - at))); at++) frames++;
    return frames;
}

/* A connection as guest of the default virtual host, without heart-beats. */
static inline int open_stomp(const char *port) {
    static const char connect_frame[] = "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n\n";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) die(strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    write_all(fd, connect_frame, sizeof connect_frame);
    while (read_frames(fd) == 0) {}
    return fd;
}
