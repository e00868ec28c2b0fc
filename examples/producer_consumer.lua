-- One consumer, 100 producers: each producer is a client of its own that sends one message.
local MQ = require "MQ.redis"
local loop = require("MQ").loop

local broker = { host = "localhost", port = os.getenv("MQ_REDIS_PORT") or 6379 }
local PRODUCERS = 100

local consumer = MQ:new(broker)
local seen, count = {}, 0

-- Waits until the broker has confirmed: whatever is sent from here on arrives.
assert(consumer:on("/queue", function(msg)
  if not msg then
    return print("the connection is lost; MQ connects again by itself")
  end
  assert(not seen[msg.payload], "a message came twice")
  seen[msg.payload], count = true, count + 1
  if count == PRODUCERS then
    consumer:close()
  end
end))

for id = 1, PRODUCERS do
  loop.spawn(function()
    local producer = MQ:new(broker)
    assert(producer:emit("/queue", "task " .. id))
    producer:close()
  end)
end

assert(consumer:start())        -- serves until close()
print(("%d producers sent a message each; one consumer received %d"):format(PRODUCERS, count))
