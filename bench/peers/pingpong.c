/* L: a message to oneself through the broker, one at a time.  pingpong PORT CHANNEL COUNT
 * Two blocking connections: RESP2 does not let a subscribed one publish. */
#include "redis.h"

int main(int argc, char **argv) {
    if (argc != 4) die("usage: pingpong PORT CHANNEL COUNT");
    redisContext *in = open_redis(argv[1]), *out = open_redis(argv[1]);
    long count = atol(argv[3]), warm = count / 20;
    double *took = malloc((size_t)count * sizeof *took), cpu_from = 0;
    redisAppendCommand(in, "PSUBSCRIBE %s", argv[2]);
    freeReplyObject(next_reply(in));
    for (long i = -warm; i < count; i++) {
        if (i == 0) cpu_from = cpu();
        double from = now();
        int done = 0;
        redisAppendCommand(out, "PUBLISH %s ping", argv[2]);
        while (!done)
            if (redisBufferWrite(out, &done) != REDIS_OK) die(out->errstr);
        freeReplyObject(next_reply(in)); /* the message */
        if (i >= 0) took[i] = now() - from;
        freeReplyObject(next_reply(out)); /* the number of receivers */
    }
    result("cpu", cpu() - cpu_from);
    percentiles(took, count);
    redisFree(in);
    redisFree(out);
    return 0;
}
