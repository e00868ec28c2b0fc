local cqueues = require "cqueues"
require("MQ").use "cqueues"           -- before the first client
local MQ = require "MQ.redis"

local cq = cqueues.new()
cq:wrap(function()
  local mq = MQ:new { host = "localhost", port = 6379 }
  assert(mq:on("/user/9/*", function(msg)
    cqueues.sleep(0.1)                -- a callback may use all of cqueues
    if msg then print(msg.payload) mq:close() end
  end))
  assert(mq:emit("/user/9/ad", "hello"))
end)
assert(cq:loop())                     -- ends when the client is closed
