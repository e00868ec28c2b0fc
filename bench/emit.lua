-- E: coroutines that each wait for every answer.  emit.lua PORT CHANNEL COROUTINES EACH SIZE

local MQ = require "MQ.redis"
local loop = require("MQ.loop").current()
local now = require("MQ.core").now

local port, channel = tonumber(arg[1]), arg[2]
local coroutines, each, payload = tonumber(arg[3]), tonumber(arg[4]), ("x"):rep(tonumber(arg[5]))
local mq = MQ:new { host = "127.0.0.1", port = port }
assert(mq:emit(channel, payload)) -- connects

local from, cpu_from, running = now(), os.clock(), coroutines
for _ = 1, coroutines do
  loop.spawn(function()
    for _ = 1, each do
      assert(mq:emit(channel, payload))
    end
    running = running - 1
    if running == 0 then
      print(("seconds %.9f\ncpu %.9f"):format(now() - from, os.clock() - cpu_from))
      mq:close()
    end
  end)
end
mq:start()
assert(running == 0)
