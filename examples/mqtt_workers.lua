-- A work queue: three workers share one subscription, so that each task goes to one of them. A task is acknowledged
-- when it is done, not when it arrives.
local MQ = require "MQ.mqtt"
local loop = require("MQ").loop

local broker = { host = "localhost", port = os.getenv("MQ_MQTT_PORT") or 1883, receive_maximum = 5 }
local TASKS, done, share, clients = 30, 0, {}, {}

for number = 1, 3 do
  local worker = MQ:new(broker)
  clients[number], share[number] = worker, 0
  assert(worker:on("$share/workers/tasks", function(task)
    if task then
      loop.sleep(0.001)
      share[number], done = share[number] + 1, done + 1
      assert(task:ack())      -- a worker that dies before that leaves it to the others
    end
  end, { ack = "manual" }))
end

local boss = MQ:new(broker)
table.insert(clients, boss)
for number = 1, TASKS do
  assert(boss:post("tasks", "task " .. number, { qos = 1 }))
end
assert(boss:flush(10))

while done < TASKS do
  loop.sleep(0.01)
end
print(("%d tasks done: %d, %d and %d by each worker"):format(done, share[1], share[2], share[3]))
for _, client in ipairs(clients) do
  client:close()
end
