local MQ = require "MQ.redis"

local mq = MQ:new { host = "localhost", port = 6379 }
coroutine.wrap(function()
  assert(mq:on("/user/9/*", function(msg)
    if msg then vim.notify(msg.payload) end   -- a callback may call all of vim.api
  end))
  assert(mq:emit("/user/9/ad", "hello"))
end)()
