-- The scenario as a program of cqueues.

local cqueues = require "cqueues"
require("MQ").use "cqueues"

local controller = cqueues.new()

local function every(seconds, fn)
  local stopped = false
  controller:wrap(function()
    while not stopped do
      cqueues.sleep(seconds)
      fn()
    end
  end)
  return function()
    stopped = true
  end
end

controller:wrap(require "spec.hosts.scenario", { sleep = cqueues.sleep, every = every })
assert(controller:loop())
print("the loop has ended")
