-- A work queue: three workers share one subscription, so that each task goes to one of them. A task is acknowledged when
-- it is done, not when it arrives; a worker has two at hand at most.
local MQ = require "MQ.mqtt"
local loop = require("MQ").loop

local broker = { host = "localhost", port = os.getenv("MQ_MQTT_PORT") or 1883, receive_maximum = 2 }
local TASKS, done, share, clients = 30, 0, {}, {}

for number = 1, 3 do
  loop.spawn(function()
    local worker = MQ:new(broker)
    table.insert(clients, worker)
    assert(worker:on("$share/workers/tasks", function(task)
      if not task then
        return
      end
      loop.sleep(0.001 * number)                 -- some are slower: the others get more
      share[number] = (share[number] or 0) + 1
      done = done + 1
      task:ack()                                 -- without it the broker would give it to another one
    end, { ack = "manual", qos = 1 }))
    share[number] = 0
  end)
end

while not (share[1] and share[2] and share[3]) do
  loop.sleep(0.01)
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
