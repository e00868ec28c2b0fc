local uv = require "luv"
require("MQ").use "luv"               -- before the first client
local MQ = require "MQ.redis"

local mq = MQ:new { host = "localhost", port = 6379 }
coroutine.wrap(function()             -- MQ's calls wait in a coroutine, not in a callback of luv
  assert(mq:on("/user/9/*", function(msg)
    if msg then print(msg.payload) mq:close() end
  end))
  assert(mq:emit("/user/9/ad", "hello"))
end)()
uv.run()                              -- ends when nothing is left to wait for
