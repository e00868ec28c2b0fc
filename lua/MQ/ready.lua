--- Coroutines that are ready to go on, in the order in which they became so: for hosts that have callbacks but no
-- coroutines of their own.
-- Must not know: time, descriptors, when it is run.
--
-- A coroutine that the program made itself (coroutine.create, coroutine.wrap) may wait here too: whoever resumed it
-- sees it yield, and it is resumed directly when it is ready.

local compat = require "MQ.compat"

local create, resume, status, yield = coroutine.create, coroutine.resume, coroutine.status, coroutine.yield
local close_coroutine = coroutine.close
local pack, unpack, yieldable, interrupted = compat.pack, compat.unpack, compat.yieldable, compat.interrupted

local PARK = {}   -- what a parked coroutine yields: tells a park from a coroutine's own yield

--- Gives `host` spawn, park, unpark, running and guard; errors that nobody guards go to its on_error.
-- soon(), where given, is called when there is something to run: it has to see to it that run is called, but not before
-- it returns; it may be called again before that. Without it the host looks by itself.
-- Returns run(), which resumes every coroutine that is ready when it begins, and any(): whether one is.
local function new(host, soon)
  local ready, arguments, head, tail = {}, {}, 1, 0
  -- Spawned and not ended: a task is no garbage while it waits.
  local tasks = {}   -- luacheck: ignore 241
  local guards = setmetatable({}, { __mode = "k" })

  local function unpark(co, ...)
    tail = tail + 1
    ready[tail] = co
    if select("#", ...) > 0 then
      arguments[tail] = pack(...)
    end
    if soon and head == tail then
      soon()
    end
  end

  local function spawn(fn, ...)
    local co = create(fn)
    tasks[co] = true
    unpark(co, ...)
    return co
  end

  local function died(co, err)
    -- LuaJIT raises the interpreter's interrupt in whichever coroutine runs; it is meant for the program.
    if interrupted(err) then
      if host.interrupted then
        host.interrupted(co)
      end
      error(err, 0)
    end
    local traceback = debug.traceback(co, tostring(err))
    if close_coroutine then
      close_coroutine(co)
    end
    local guard = guards[co]
    if guard then
      guard(co, err, traceback)
    else
      host.on_error(co, traceback, err)
    end
  end

  local function step(co, values)
    -- It may have ended, or have been resumed by somebody else, since it was made ready.
    local state = status(co)
    if state ~= "suspended" then
      if state == "dead" then
        tasks[co] = nil
      end
      return
    end
    local ok, yielded
    if values then
      ok, yielded = resume(co, unpack(values, 1, values.n))
    else
      ok, yielded = resume(co)
    end
    if yielded ~= PARK and status(co) == "dead" then
      tasks[co] = nil
      if not ok then
        died(co, yielded)
      end
    end
  end

  -- `head` and `tail` belong to every run on the stack, so that one inside another goes on where this one is.
  local function run()
    local last = tail
    while head <= last and head <= tail do
      local co, values = ready[head], arguments[head]
      ready[head] = nil
      if values then
        arguments[head] = nil
      end
      head = head + 1
      if head > tail then
        head, tail, last = 1, 0, 0
      end
      step(co, values)
    end
    if soon and head <= tail then
      soon()
    end
  end

  local function any()
    return head <= tail
  end

  function host.park()
    return yield(PARK)
  end

  function host.guard(guard, fn, ...)
    local co = spawn(fn, ...)
    guards[co] = guard
    return co
  end

  host.spawn, host.unpark, host.running = spawn, unpark, yieldable

  return run, any
end

return { new = new }
