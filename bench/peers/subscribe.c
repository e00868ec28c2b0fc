/* S: counts pub/sub messages of one pattern.  subscribe PORT PATTERN COUNT
 * Says "ready" when subscribed; measures from the first message to the last. */
#include "redis.h"

int main(int argc, char **argv) {
    if (argc != 4) die("usage: subscribe PORT PATTERN COUNT");
    redisContext *c = open_redis(argv[1]);
    long count = atol(argv[3]), seen = 0;
    size_t bytes = 0;
    redisAppendCommand(c, "PSUBSCRIBE %s", argv[2]);
    freeReplyObject(next_reply(c));
    puts("ready");
    fflush(stdout);
    double from = 0, cpu_from = cpu();
    while (seen < count) {
        redisReply *message = next_reply(c);
        if (seen++ == 0) from = now();
        bytes += message->element[3]->len;
        freeReplyObject(message);
    }
    result("seconds", now() - from);
    result("cpu", cpu() - cpu_from);
    result("bytes", (double)bytes);
    redisFree(c);
    return 0;
}
