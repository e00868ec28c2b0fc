-- What a lost connection looks like: the broker is asked to cut ours, and the subscription comes back by itself.
local MQ = require "MQ.redis"
local loop = require("MQ").loop

local port = os.getenv("MQ_REDIS_PORT") or 6379
local mq = MQ:new {
  host = "localhost", port = port,
  reconnect = { min = 0.05, max = 1 },
  on_connect = function() print("connected") end,
  on_disconnect = function(_, err) print("disconnected: " .. err) end,
}

local lost, got = 0, nil
assert(mq:on("/news", function(msg)
  if not msg then
    lost = lost + 1
    return print("/news: the connection is lost (this is told once)")
  end
  got = msg.payload
end))

os.execute(("redis-cli -p %s CLIENT KILL TYPE pubsub >/dev/null"):format(port))
while lost == 0 do
  loop.sleep(0.01)
end

-- Queued while there is no connection; sent after the subscription has been renewed.
assert(mq:post("/news", "still here"))
while not got do
  loop.sleep(0.01)
end
print("received: " .. got)
print("reconnects: " .. mq:stats().reconnects)
mq:close()
assert(lost == 1 and got == "still here")
