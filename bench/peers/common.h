/* What the C peers share: clocks, connecting, results as "name value" lines. */
#include <hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static inline double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* User and system time of this process so far. */
static inline double cpu(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static inline void die(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static inline redisContext *open_redis(const char *port) {
    redisContext *c = redisConnect("127.0.0.1", atoi(port));
    if (!c || c->err) die(c ? c->errstr : "out of memory");
    return c;
}

static inline redisReply *next_reply(redisContext *c) {
    redisReply *reply = NULL;
    if (redisGetReply(c, (void **)&reply) != REDIS_OK || reply->type == REDIS_REPLY_ERROR)
        die(reply ? reply->str : c->errstr);
    return reply;
}

static inline void result(const char *name, double value) { printf("%s %.9g\n", name, value); }
