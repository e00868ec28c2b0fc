---@meta MQ.redis
-- What the language server (LuaLS) knows of `require "MQ.redis"`. Never loaded by a program.

---@class MQ.redis
local redis = {}

---@class MQ.redis.Options: MQ.Options
---@field path? string           # of a unix socket, in place of host and port

---@class MQ.redis.Message
---@field type "pmessage"|"message"
---@field source string          # the channel
---@field pattern string         # as given to `on`
---@field payload string

---@class MQ.redis.Client: MQ.Client
local Client = {}

---Subscribes and waits until the broker has confirmed; the subscription then outlives every reconnect. The callback is
---called with nil once when the connection is lost. After "timeout" the subscription stays, and begins when the broker
---is there.
---@param pattern string         # with `*`, `?` and `[…]`
---@param callback fun(msg: MQ.redis.Message?)   # one message at a time, in order; may wait
---@param options? {exact?: boolean}             # exact: the pattern is a channel's name
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Client:on(pattern, callback, options) end

---Makes a client; it connects at first use. A wrong option raises at the caller's line.
---@param options? MQ.redis.Options
---@return MQ.redis.Client? client
---@return string? err            # a file that tls names cannot be read
---@return MQ.Code? code
function redis:new(options) end

return redis
