--- MQ in a program that copas runs: MQ.use "copas".
-- Must not know: clients, messages, protocols.
--
-- Copas 2 and later can make a coroutine sleep and wake it. Copas 1 knows sockets and nothing else: what wakes a
-- coroutine there, a timer too, makes the port's descriptor readable, and whoever watches that resumes it.

local core = require "MQ.core"
local copas = require "copas"
local compat = require "MQ.compat"
local timers = require "MQ.timers"

local pack, unpack, yield = compat.pack, compat.unpack, coroutine.yield

local sleeps = copas.pause or copas.sleep
local pause_for_ever = copas.pauseforever
local set_error_handler = copas.seterrorhandler or copas.setErrorHandler

local loop = { name = "copas", idle_ends = sleeps ~= nil, pushes = true }

local handlers = setmetatable({}, { __mode = "k" })   -- coroutine → what copas calls when it dies

loop.running = compat.yieldable

local function call(fn, ...)
  local arguments = pack(...)
  return function()
    return fn(unpack(arguments, 1, arguments.n))
  end
end

local forever = not sleeps   -- Copas 1 runs for ever, and so does the watcher

-- What there is to do when the descriptor is readable; what is queued leaves then, too.
local turning = false

local function turn()
  core.port():hush()
  core.port():push()
end

local function push_soon()
  if not turning then
    core.port():ring()
  end
end

if sleeps then
  require("MQ.parking").attach(loop, loop.running, function(_, seconds)
    if seconds then
      sleeps(seconds)
    elseif pause_for_ever then
      pause_for_ever()
    else
      sleeps(-1)
    end
  end, copas.wakeup, push_soon)

  function loop.spawn(fn, ...)
    local body = call(fn, ...)
    return copas.addthread(function()
      sleeps(0)   -- not before this returns
      return body()
    end)
  end
else
  local ready, sleepers = {}, timers.new()
  local alarm          -- when the descriptor will be readable

  local function set_alarm()
    local first = sleepers[1]
    if first and not (alarm and alarm <= first.at) then
      alarm = first.at
      core.port():ring(alarm - core.now())
    end
  end

  local function make_ready(co)
    ready[#ready + 1] = co
    core.port():ring()
  end

  require("MQ.parking").attach(loop, loop.running, function(co, seconds)
    local entry = { co = co }
    if seconds then
      timers.add(sleepers, entry, core.now() + seconds)
      set_alarm()
    end
    yield()   -- copas keeps a coroutine that yields a socket, and lets go of this one
    timers.remove(sleepers, entry)
    if handlers[co] then
      set_error_handler(handlers[co])   -- which it has forgotten meanwhile
    end
  end, make_ready, push_soon)

  function loop.spawn(fn, ...)
    local co = coroutine.create(call(fn, ...))
    make_ready(co)
    return co
  end

  function turn()
    turning = true
    core.port():hush()
    local now = core.now()
    while sleepers[1] and sleepers[1].at <= now do
      local entry = sleepers[1]
      timers.remove(sleepers, entry)
      ready[#ready + 1] = entry.co
    end
    if alarm and alarm <= now then
      alarm = nil
    end
    set_alarm()
    local coroutines = ready
    ready = {}
    for _, co in ipairs(coroutines) do
      if coroutine.status(co) == "suspended" then
        copas.addthread(co)
      end
    end
    core.port():push()
    turning = false
  end
end

if _VERSION == "Lua 5.1" and not rawget(_G, "jit") then
  -- No yield crosses pcall; copas itself tells of a coroutine that dies.
  function loop.guard(died, fn, ...)
    local body = call(fn, ...)
    return loop.spawn(function()
      local co = coroutine.running()
      handlers[co] = function(err)
        died(co, err, debug.traceback(co, tostring(err)))
      end
      set_error_handler(handlers[co])
      return body()
    end)
  end
end

-- What copas takes for a socket. A read that finds nothing makes it wait; the one after that has waited.
local function readable(fd)
  local waited = false
  return {
    getfd = function()
      return fd
    end,
    dirty = function()
      return false
    end,
    settimeout = function() end,
    receive = function()
      waited = not waited
      if waited then
        return nil, "timeout"
      end
      return true
    end,
  }
end

function loop.watch(fd, fn, state)
  local stopped, watching = false, false
  local descriptor = readable(fd)

  local function serve()
    while not stopped and (forever or state.open()) do
      copas.receive(descriptor)
      fn()
      turn()
    end
    watching = false
  end

  function state.changed()
    if not watching and (forever or state.open()) then
      watching = true
      copas.addthread(serve)
    elseif not forever and not state.open() then
      core.port():ring()   -- the watcher has to see that it is not needed
    end
  end

  if forever then
    state.changed()
  end
  return function()
    stopped = true
  end
end

-- In the main chunk: steps copas.
function loop.run_until(done, seconds)
  local co, is_main = coroutine.running()
  if co and not is_main then
    return nil, "a coroutine of copas cannot wait below a function that a yield cannot cross (a comparison of "
      .. "table.sort; on Lua 5.1 pcall): wait outside of it"
  end
  local deadline = seconds and core.now() + seconds
  while not done() do
    if not deadline and copas.finished and copas.finished() then
      return false
    end
    copas.step(deadline and math.max(deadline - core.now(), 0))
  end
  return true
end

return loop
