-- The scenario as a program of copas. Copas 1 has no timers and never ends: there both are MQ's.

local copas = require "copas"
local MQ = require "MQ"
MQ.use "copas"

local sleep = copas.pause or copas.sleep or MQ.loop.sleep

local function every(seconds, fn)
  local stopped = false
  copas.addthread(function()
    while not stopped do
      sleep(seconds)
      fn()
    end
  end)
  return function()
    stopped = true
  end
end

copas.addthread(function()
  require "spec.hosts.scenario" { sleep = sleep, every = every }
  if not copas.finished then
    os.exit(0)
  end
end)
copas.loop()
print("the loop has ended")
