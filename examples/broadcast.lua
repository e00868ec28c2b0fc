-- A notice to everybody, three times, from a timer.
local MQ = require "MQ.redis"
local loop = require("MQ").loop

local broker = { host = "localhost", port = os.getenv("MQ_REDIS_PORT") or 6379 }
local NOTICES = 3

local heard = 0
local listeners = {}
for uid = 1, 3 do
  listeners[uid] = MQ:new(broker)
  -- exact: a channel's name, not a pattern
  assert(listeners[uid]:on("/system/notice", function(msg)
    if msg then
      print(("user %d: %s"):format(uid, msg.payload))
      heard = heard + 1
    end
  end, { exact = true }))
end

local server = MQ:new(broker)
local sent = 0
local timer
timer = loop.at(0.05, function()
  sent = sent + 1
  server:post("/system/notice", "notice " .. sent)
  if sent == NOTICES then
    timer:stop()
    assert(server:flush())      -- all posts have reached the broker
    server:close()
  end
end)

while heard < NOTICES * #listeners do
  loop.sleep(0.01)
end
for _, client in ipairs(listeners) do
  client:close()
end
