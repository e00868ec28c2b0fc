-- MR: a message to oneself through the broker, QoS 1, one at a time.  mqtt_pingpong.lua PORT TOPIC COUNT

local MQ = require "MQ.mqtt"
local now = require("MQ.core").now

local port, topic, count = tonumber(arg[1]), arg[2], tonumber(arg[3])
local mq = MQ:new { host = "127.0.0.1", port = port, qos = 1, subscription_identifiers = false }
local took, seen, warm, from, cpu_from = {}, 0, math.floor(count / 20), nil, nil

local function ping()
  from = now()
  assert(mq:post(topic, "ping"))
end

local function report()
  print(("cpu %.9f"):format(os.clock() - cpu_from))
  table.sort(took)
  print(("p50 %.9f\np99 %.9f"):format(took[math.floor(count / 2) + 1], took[math.floor(count / 100) * 99 + 1]))
  mq:close()
end

assert(mq:on(topic, function(msg)
  local elapsed = now() - from
  assert(msg, "connection lost")
  seen = seen + 1
  if seen == warm then
    cpu_from = os.clock()
  elseif seen > warm then
    took[seen - warm] = elapsed
  end
  if seen == warm + count then
    return report()
  end
  ping()
end))
ping()
mq:start()
