--- Which host loop runs this program, and the contract that a host has to meet.
-- Must not know: clients, protocols, how any one host works.
--
-- A host is a table in lua/MQ/loop/NAME.lua:
--
--   spawn(fn, …) → co       runs fn(…) in a coroutine of its own, later, never before spawn returns
--   park() → …              stops the running coroutine until unpark; may return early, so its caller asks again
--   unpark(co, …)           makes park() in co return …, later, never before unpark returns
--   running() → co | nil    the coroutine that may park; nil where nothing can (a main chunk, below a C call)
--   sleep(seconds)          parks for that long; 0 gives every other coroutine a turn
--   watch(fd, fn, state) → stop     calls fn() whenever fd is readable; fn does not park. `state` is what the host may
--                           ask and tell: state.alive() is true while something can still come through fd, and
--                           state.running(bool) is told when the host's run() begins and ends. A host that never
--                           stops has nothing to ask or to tell.
--
-- and, where the host can do better than what is put in for it here:
--
--   guard(died, fn, …) → co  like spawn; died(co, err) is called when fn raises
--   after(seconds, fn) → stop      calls fn() once from the loop itself; fn neither parks nor raises
--   run_until(fn) → bool    where running() is nil: runs the loop until fn() is true; false when nothing can make it
--                           so; nil, err where it cannot run
--   at(seconds, fn) → timer calls fn in a coroutine of its own every so often, until timer:stop()
--   timeout(seconds, fn) → timer   the same, once
--   on_error(co, traceback, err)    where an error goes that nobody guards; may be replaced

local hosts = { "own" }

local loop = {}
local chosen, chosen_name

-- The coroutine of fn may yield through xpcall everywhere but on Lua 5.1, where a host has to bring its own guard.
local function guard_by_xpcall(spawn)
  return function(died, fn, ...)
    local co
    local function traced(err)
      return { err = err, traceback = debug.traceback(tostring(err), 2) }
    end
    local function body(...)
      local arguments, count = { ... }, select("#", ...)
      local unpack = require("MQ.compat").unpack
      local ok, failure = xpcall(function()
        return fn(unpack(arguments, 1, count))
      end, traced)
      if not ok then
        died(co, failure.err, failure.traceback)
      end
    end
    co = spawn(body, ...)
    return co
  end
end

local function after_by_sleep(spawn, sleep)
  return function(seconds, fn)
    local stopped = false
    spawn(function()
      sleep(seconds)
      if not stopped then
        fn()
      end
    end)
    return function()
      stopped = true
    end
  end
end

local function timer_by_sleep(spawn, sleep, repeats)
  return function(seconds, fn)
    local timer = { stopped = false }
    function timer:stop()
      self.stopped = true
      return true
    end
    spawn(function()
      repeat
        sleep(seconds)
        if not timer.stopped then
          spawn(fn)
        end
      until timer.stopped or not repeats
    end)
    return timer
  end
end

local function report(_, traceback)
  io.stderr:write("MQ: error in a coroutine: ", traceback, "\n")
end

local function complete(host)
  host.guard = host.guard or guard_by_xpcall(host.spawn)
  host.after = host.after or after_by_sleep(host.spawn, host.sleep)
  host.at = host.at or timer_by_sleep(host.spawn, host.sleep, true)
  host.timeout = host.timeout or timer_by_sleep(host.spawn, host.sleep, false)
  host.on_error = host.on_error or report
  return host
end

local function known(name)
  for _, host in ipairs(hosts) do
    if host == name then
      return true
    end
  end
  return false
end

-- A host is recognised by what it leaves behind in the Lua state; a program that has none gets the own loop.
local function detect()
  if package.loaded["internal.Co"] and known("cf") then
    return "cf"
  end
  return "own"
end

--- Chooses the host by name, before the first client is made. Raises at the caller's line.
function loop.use(name)
  if not known(name) then
    error(("MQ.use: no host loop is called %q; there is: %s")
      :format(tostring(name), table.concat(hosts, ", ")), 2)
  end
  if chosen and chosen_name ~= name then
    error(("MQ.use: the %s loop already serves this program; call MQ.use before the first client is made")
      :format(chosen_name), 2)
  end
  chosen_name = name
  chosen = chosen or complete(require("MQ.loop." .. name))
  return chosen
end

--- The host of this program: the chosen one, else the one that is found.
function loop.current()
  if not chosen then
    loop.use(detect())
  end
  return chosen
end

return loop
