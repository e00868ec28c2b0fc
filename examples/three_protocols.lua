-- One message over three protocols: a sensor publishes over MQTT, a dashboard hears it over Redis, a logger over STOMP.
-- The broker is in this program: no server is needed.
local MQ = require "MQ"

local broker = assert(MQ.broker:new { redis = 0, mqtt = 0, stomp = 0 })   -- 0: any port that is free
local ports = broker:ports()
local READINGS = 3

local function client(protocol)
  return MQ[protocol]:new { host = "127.0.0.1", port = ports[protocol] }
end

local heard = 0
local function listener(name)
  return function(msg)
    if msg then
      print(("%-9s  %s: %s"):format(name, msg.source, msg.payload))
      heard = heard + 1
    end
  end
end

-- One name space: a topic of MQTT is Redis' channel of that name, and STOMP's /topic/… (which has no wildcards).
local dashboard, logger = client "redis", client "stomp"
assert(dashboard:on("house/*", listener "dashboard"))
assert(logger:on("/topic/house/attic", listener "logger"))

local sensor = client "mqtt"
for reading = 1, READINGS do
  assert(sensor:emit("house/attic", 20 + reading .. " °C", { qos = 1 }))
end

while heard < 2 * READINGS do
  MQ.loop.sleep(0.01)
end
for _, each in ipairs { sensor, dashboard, logger, broker } do
  each:close()
end
