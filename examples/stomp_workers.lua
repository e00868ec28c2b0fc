-- A work queue: three workers share the tasks of one queue. Each has at most five of them at a time, and acknowledges a
-- task when it is done, not when it arrives.
local MQ = require "MQ.stomp"
local loop = require("MQ").loop

local broker = { host = "localhost", port = os.getenv("MQ_STOMP_PORT") or 61613 }
local TASKS, done, share, clients = 30, 0, {}, {}

for number = 1, 3 do
  local worker = MQ:new(broker)
  clients[number], share[number] = worker, 0
  assert(worker:on("/queue/tasks", function(task)
    if not task then
      return print("the connection is lost; MQ connects again by itself")
    end
    loop.sleep(0.001)
    if task.headers.difficulty == "hard" and task.headers.redelivered ~= "true" then
      return assert(task:nack())      -- not now: the broker gives it to somebody once more
    end
    share[number], done = share[number] + 1, done + 1
    assert(task:ack())                -- a worker that dies before that leaves it to the others
  end, { ack = "manual", prefetch = 5 }))
end

local boss = MQ:new(broker)
table.insert(clients, boss)
for number = 1, TASKS do
  local difficulty = number % 10 == 0 and "hard" or "easy"
  assert(boss:post("/queue/tasks", "task " .. number, { header = { persistent = true, difficulty = difficulty } }))
end
assert(boss:flush(10))                -- the broker has them all, on its disk

while done < TASKS do
  loop.sleep(0.01)
end
print(("%d tasks done: %d, %d and %d by each worker"):format(done, share[1], share[2], share[3]))
for _, client in ipairs(clients) do
  client:close()
end
