-- MI: a callback that counts the messages of one filter.  mqtt_subscribe.lua PORT FILTER COUNT QOS
-- Says "ready" when subscribed; measures from the first message to the last.

local MQ = require "MQ.mqtt"
local now = require("MQ.core").now

local port, filter, count, qos = tonumber(arg[1]), arg[2], tonumber(arg[3]), tonumber(arg[4])
local mq = MQ:new { host = "127.0.0.1", port = port, receive_maximum = 65535 }
local seen, bytes, from, cpu_from = 0, 0, nil, nil

assert(mq:on(filter, function(msg)
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
end, { qos = qos }))
print("ready")
io.stdout:flush()
cpu_from = os.clock()
mq:start()
