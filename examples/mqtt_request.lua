-- Request and response (MQTT 5): a request names the topic for its answer, and the data by which the asker knows it.
local MQ = require "MQ.mqtt"
local loop = require("MQ").loop

local broker = { host = "localhost", port = os.getenv("MQ_MQTT_PORT") or 1883 }

local server = MQ:new(broker)
assert(server:on("square", function(request)
  if request then
    local properties = request.properties
    assert(server:emit(properties.response_topic, ("%d"):format(request.payload ^ 2), {
      properties = { correlation_data = properties.correlation_data },
    }))
  end
end))

local asker = MQ:new(broker)
local waiting, answers = {}, 0
assert(asker:on("answers/asker", function(answer)
  if answer then
    local id = answer.properties.correlation_data
    print(waiting[id] .. "^2 = " .. answer.payload)
    assert(tonumber(answer.payload) == waiting[id] ^ 2)
    answers = answers + 1
  end
end))

for number = 1, 5 do
  local id = "request " .. number
  waiting[id] = number
  assert(asker:emit("square", tostring(number), {
    properties = { response_topic = "answers/asker", correlation_data = id },
  }))
end
while answers < 5 do
  loop.sleep(0.01)
end
asker:close()
server:close()
