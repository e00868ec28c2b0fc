-- The scenario as a script of Tarantool.

local fiber = require "fiber"

local function every(seconds, fn)
  local stopped = false
  fiber.create(function()
    while not stopped do
      fiber.sleep(seconds)
      fn()
    end
  end)
  return function()
    stopped = true
  end
end

require "spec.hosts.scenario" { sleep = fiber.sleep, every = every }
