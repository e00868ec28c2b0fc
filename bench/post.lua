-- P: posts, then one flush; and what a post costs its caller.  post.lua PORT CHANNEL COUNT SIZE

local MQ = require "MQ.redis"
local now = require("MQ.core").now

local port, channel, count, size = tonumber(arg[1]), arg[2], tonumber(arg[3]), tonumber(arg[4])
local mq = MQ:new { host = "127.0.0.1", port = port }
local payload = ("x"):rep(size)

assert(mq:emit(channel, payload)) -- connects

local from, cpu_from = now(), os.clock()
for _ = 1, count do
  assert(mq:post(channel, payload))
end
assert(mq:flush(60))
print(("seconds %.9f\ncpu %.9f"):format(now() - from, os.clock() - cpu_from))

-- In pieces that fit the queue: with a full one, post would wait for the broker.
local piece, spent = 20000, 0
for _ = 1, math.floor(count / piece) do
  from = now()
  for _ = 1, piece do
    mq:post(channel, payload)
  end
  spent = spent + (now() - from)
  assert(mq:flush(60))
end
print(("post %.9f"):format(spent / (math.floor(count / piece) * piece)))
mq:close()
