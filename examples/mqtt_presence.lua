-- Presence: each device says "online", retained, and leaves a last will that says "offline". The broker publishes it
-- when the device is gone without a good-bye.
local MQ = require "MQ.mqtt"
local loop = require("MQ").loop

local broker = { host = "localhost", port = os.getenv("MQ_MQTT_PORT") or 1883 }
local topic = "presence/device-1"

if arg[1] == "device" then
  local device = MQ:new {
    host = broker.host, port = broker.port, client_id = "device-1",
    will = { topic = topic, payload = "offline", qos = 1, retain = true },
  }
  assert(device:emit(topic, "online", { retain = true }))
  os.exit(1)          -- it crashes: no close(), so no good-bye
end

local watcher, states = MQ:new(broker), {}
assert(watcher:on("presence/+", function(msg)
  if msg and msg.payload ~= "" then
    states[#states + 1] = msg.payload
    print(msg.topic:match("[^/]+$") .. " is " .. msg.payload)
  end
end))

os.execute(("%s %s device"):format(arg[-1], arg[0]))     -- this script once more, as the device

while #states < 2 do
  loop.sleep(0.01)
end
assert(states[1] == "online" and states[2] == "offline")
watcher:post(topic, "", { retain = true })
watcher:close()
