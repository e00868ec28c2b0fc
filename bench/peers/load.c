/* The load generator of S, the same for both sides: pipelined PUBLISHes, written from a buffer that is
 * formatted once, so that it costs as little as it can.  load PORT CHANNEL COUNT SIZE
 * At most WINDOW commands are unanswered: the broker's input buffer stays small. */
#include "redis.h"
#include <errno.h>
#include <poll.h>
#include <unistd.h>

enum { BATCH = 500, WINDOW = 4000 };

int main(int argc, char **argv) {
    if (argc != 5) die("usage: load PORT CHANNEL COUNT SIZE");
    redisContext *c = open_redis(argv[1]);
    long count = atol(argv[3]), sent = 0, answered = 0;
    size_t size = (size_t)atol(argv[4]);
    char *payload = malloc(size + 1), *command, *batch, replies[65536];
    memset(payload, 'x', size + 1);
    int length = redisFormatCommand(&command, "PUBLISH %s %b", argv[2], payload, size);
    batch = malloc((size_t)length * BATCH);
    for (int i = 0; i < BATCH; i++) memcpy(batch + (size_t)i * (size_t)length, command, (size_t)length);
    while (answered < count) {
        while (sent < count && sent - answered <= WINDOW - BATCH) {
            long n = count - sent < BATCH ? count - sent : BATCH;
            size_t left = (size_t)n * (size_t)length;
            for (const char *from = batch; left > 0;) {
                ssize_t taken = write(c->fd, from, left);
                if (taken < 0) die(strerror(errno));
                from += taken;
                left -= (size_t)taken;
            }
            sent += n;
        }
        ssize_t got = read(c->fd, replies, sizeof replies);
        if (got <= 0) die("the broker closed the connection");
        for (ssize_t i = 0; i < got; i++) answered += replies[i] == '\n';
        if (replies[0] == '-') die("the broker refused a PUBLISH");
    }
    redisFree(c);
    return 0;
}
