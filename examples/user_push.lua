-- A message for one user: each subscribes to all that is below a name of its own.
local MQ = require "MQ.redis"
local loop = require("MQ").loop

local broker = { host = "localhost", port = os.getenv("MQ_REDIS_PORT") or 6379 }

local received = {}
local users = {}
for uid = 1, 10 do
  users[uid] = MQ:new(broker)
  assert(users[uid]:on("/user/" .. uid .. "/*", function(msg)
    if msg then
      print(("user %d got %s: %s"):format(uid, msg.source, msg.payload))
      received[#received + 1] = uid
    end
  end))
end

local server = MQ:new(broker)
for _, uid in ipairs { 9, 4, 8 } do
  -- emit returns the number of receivers
  local ok, receivers = server:emit("/user/" .. uid .. "/ad", "just for you")
  assert(ok and receivers == 1)
end

while #received < 3 do
  loop.sleep(0.01)
end
table.sort(received)            -- ten connections: whose message comes first is chance
assert(table.concat(received, " ") == "4 8 9")
for _, client in ipairs(users) do
  client:close()
end
server:close()
