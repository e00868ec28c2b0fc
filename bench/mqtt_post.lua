-- MO: posts, then one flush; to QoS 0 a message of QoS 1 is added, whose answer says that the broker is through, too.
-- mqtt_post.lua PORT TOPIC COUNT SIZE QOS IN_FLIGHT

local MQ = require "MQ.mqtt"
local now = require("MQ.core").now

local port, topic, count, size = tonumber(arg[1]), arg[2], tonumber(arg[3]), tonumber(arg[4])
local qos, in_flight = tonumber(arg[5]), tonumber(arg[6])
local mq = MQ:new { host = "127.0.0.1", port = port, qos = qos, max_in_flight = in_flight }
local payload = ("x"):rep(size)

assert(mq:emit(topic, payload)) -- connects

local from, cpu_from = now(), os.clock()
for _ = 1, count do
  assert(mq:post(topic, payload))
end
assert(mq:flush(120))
if qos == 0 then
  assert(mq:emit(topic, payload, { qos = 1 }))
end
print(("seconds %.9f\ncpu %.9f"):format(now() - from, os.clock() - cpu_from))
mq:close()
