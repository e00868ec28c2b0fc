local copas = require "copas"
require("MQ").use "copas"             -- before the first client
local MQ = require "MQ.redis"

copas.addthread(function()
  local mq = MQ:new { host = "localhost", port = 6379 }
  assert(mq:on("/user/9/*", function(msg)
    if msg then print(msg.payload) mq:close() end
  end))
  assert(mq:emit("/user/9/ad", "hello"))
  mq:start()
  os.exit(0)                          -- Copas 1 never ends by itself
end)
copas.loop()
