--- MQ in Tarantool: fibers, which can wait anywhere.
-- Must not know: clients, messages, protocols.

local core = require "MQ.core"
local fiber = require "fiber"
local socket = require "socket"

local FOREVER = 100 * 365 * 86400   -- Tarantool's own word for it

local loop = { name = "tarantool", idle_ends = true, pushes = true }

local watcher, push_due = nil, false

require("MQ.parking").attach(loop, fiber.self, function(_, seconds)
  fiber.sleep(seconds or FOREVER)
end, function(co)
  if co:status() ~= "dead" then
    co:wakeup()
  end
end, function()
  if watcher and not push_due then
    push_due = true
    watcher:wakeup()
  end
end)

loop.running = fiber.self

function loop.spawn(fn, ...)
  local co = fiber.new(fn, ...)
  co:name("MQ")
  return co
end

-- A fiber waits at the descriptor while a client is there: a script that has closed its clients ends by itself.
function loop.watch(fd, fn, state)
  local stopped = false

  local function serve()
    while not stopped and state.open() do
      if push_due then
        push_due = false
        core.port():push()
      end
      if socket.iowait(fd, "R", FOREVER) then
        fn()
        fiber.sleep(0)   -- what has been woken clears the descriptor first
      end
    end
    watcher = nil
  end

  function state.changed()
    if watcher then
      watcher:wakeup()   -- to look whether it is needed
    elseif not stopped and state.open() then
      watcher = fiber.new(serve)
      watcher:name("MQ.watch")
    end
  end

  return function()
    stopped = true
    state.changed()
  end
end

return loop
