/* P: pipelined PUBLISHes through hiredis's own API.  publish PORT CHANNEL COUNT SIZE DEPTH */
#include "redis.h"

int main(int argc, char **argv) {
    if (argc != 6) die("usage: publish PORT CHANNEL COUNT SIZE DEPTH");
    redisContext *c = open_redis(argv[1]);
    long count = atol(argv[3]), depth = atol(argv[5]), appended = 0, answered = 0;
    size_t size = (size_t)atol(argv[4]);
    char *payload = malloc(size + 1);
    memset(payload, 'x', size + 1);
    double from = now(), cpu_from = cpu();
    while (answered < count) {
        for (long n = 0; n < depth && appended < count; n++, appended++)
            redisAppendCommand(c, "PUBLISH %s %b", argv[2], payload, size);
        for (; answered < appended; answered++) freeReplyObject(next_reply(c));
    }
    result("seconds", now() - from);
    result("cpu", cpu() - cpu_from);
    redisFree(c);
    return 0;
}
