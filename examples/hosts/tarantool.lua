local MQ = require "MQ.redis"

local mq = MQ:new { host = "localhost", port = 6379 }
assert(mq:on("/user/9/*", function(msg)   -- every fiber may wait
  if msg then print(msg.payload) mq:close() end
end))
assert(mq:emit("/user/9/ad", "hello"))
mq:start()
