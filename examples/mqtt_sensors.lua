-- Sensors publish retained readings; a dashboard that comes later sees the last one of each, then every new one.
local MQ = require "MQ.mqtt"
local loop = require("MQ").loop

local broker = { host = "localhost", port = os.getenv("MQ_MQTT_PORT") or 1883 }

local sensor = MQ:new(broker)
for room, celsius in pairs { kitchen = "21.5", cellar = "12.0", attic = "27.3" } do
  assert(sensor:emit("house/" .. room .. "/temperature", celsius, { qos = 1, retain = true }))
end

local dashboard = MQ:new(broker)
local readings, updates = {}, 0

-- `+` stands for one level of a topic, `#` for all that follow.
assert(dashboard:on("house/+/temperature", function(msg)
  if not msg then
    return print("the connection is lost; MQ connects again by itself")
  end
  local room = msg.topic:match("^house/([^/]+)/")
  readings[room], updates = msg.payload, updates + 1
  print(("%-8s %s °C%s"):format(room, msg.payload, msg.retain and " (retained)" or ""))
end))

while updates < 3 do
  loop.sleep(0.01)
end
assert(sensor:emit("house/attic/temperature", "31.0", { qos = 1, retain = true }))
while updates < 4 do
  loop.sleep(0.01)
end
assert(readings.attic == "31.0" and readings.cellar == "12.0")

dashboard:close()
for room in pairs(readings) do
  sensor:post("house/" .. room .. "/temperature", "", { retain = true })   -- an empty one clears it
end
sensor:close()      -- sends what is queued first
