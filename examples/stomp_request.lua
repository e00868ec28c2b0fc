-- Request and reply: the asker names a temporary queue for the answers, which only it can read.
local MQ = require "MQ.stomp"
local loop = require("MQ").loop

local broker = { host = "localhost", port = os.getenv("MQ_STOMP_PORT") or 61613 }

local server = MQ:new(broker)
assert(server:on("/queue/square", function(request)
  if request then
    server:post(request.headers["reply-to"], ("%d"):format(request.payload ^ 2), {
      header = { ["correlation-id"] = request.headers["correlation-id"] },
    })
  end
end))

local asker, waiting = MQ:new(broker), {}
assert(asker:on("/temp-queue/answers", function(answer)
  local id = answer and answer.headers["correlation-id"]
  if id then
    waiting[id] = answer.payload
  end
end))

local function ask(number)
  local id = "request " .. number
  assert(asker:emit("/queue/square", tostring(number), {
    header = { ["reply-to"] = "/temp-queue/answers", ["correlation-id"] = id },
  }))
  while not waiting[id] do
    loop.sleep(0.001)
  end
  return tonumber(waiting[id])
end

for number = 1, 5 do
  print(("%d^2 = %d"):format(number, ask(number)))
end
asker:close()
server:close()
