/* What the peers on hiredis share: connecting, the next reply. */
#include "common.h"
#include <hiredis.h>

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
