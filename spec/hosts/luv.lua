-- The scenario as a program of luv.

local uv = require "luv"
local MQ = require "MQ"
MQ.use "luv"

local function every(seconds, fn)
  local timer = uv.new_timer()
  timer:start(seconds * 1000, seconds * 1000, fn)
  return function()
    timer:close()
  end
end

MQ.loop.spawn(require "spec.hosts.scenario", { sleep = MQ.loop.sleep, every = every })
uv.run()
print("the loop has ended")
