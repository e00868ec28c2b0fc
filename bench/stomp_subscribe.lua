-- TI: a callback that counts the messages of one destination.  stomp_subscribe.lua PORT DESTINATION COUNT
-- Says "ready" when subscribed; measures from the first message to the last.

local MQ = require "MQ.stomp"
local now = require("MQ.core").now

local port, destination, count = tonumber(arg[1]), arg[2], tonumber(arg[3])
local mq = MQ:new { host = "127.0.0.1", port = port, username = "guest", password = "guest" }
local seen, bytes, from, cpu_from = 0, 0, nil, nil

assert(mq:on(destination, function(msg)
  if not msg then
    error("connection lost")
  end
  if seen == 0 then
    from = now()
  end
  seen = seen + 1
  bytes = bytes + #msg.payload
  if seen == count then
    -- os.clock counts every thread of the process
    print(("seconds %.9f\ncpu %.9f\nbytes %d"):format(now() - from, os.clock() - cpu_from, bytes))
    mq:close()
  end
end, { ack = "none" }))
print("ready")
io.stdout:flush()
cpu_from = os.clock()
mq:start()
