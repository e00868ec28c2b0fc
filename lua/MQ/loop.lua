--- Which host loop runs this program, and the contract that a host has to meet.
-- Must not know: clients, protocols, how any one host works.
--
-- A host is a table in lua/MQ/loop/NAME.lua:
--
--   spawn(fn, …) → co       runs fn(…) in a coroutine of its own, later, never before spawn returns
--   park() → …              stops the running coroutine until unpark; may return early, so its caller asks again
--   unpark(co, …)           makes park() in co return …, later, never before unpark returns. Of a coroutine that is not
--                           parked: its next park() returns at once, or whatever else it waits for may end early
--   running() → co | nil    the coroutine that may park; nil where nothing can (a main chunk, below a C call)
--   sleep(seconds)          parks for that long; 0 gives every other coroutine a turn
--   watch(fd, fn, state) → stop     calls fn() whenever fd is readable; fn neither parks nor raises. fn(true) says that
--                           coroutines which have been unparked will not run now. `state` is what the host may ask and
--                           tell: state.alive() is true while somebody waits for what can still come through fd, or
--                           subscribes; state.open() while there is a client that could have anything to tell;
--                           state.changed, where the host puts a function in, is called when one of them changes;
--                           state.running(bool) is told when the host's run() begins and ends; state.close() closes
--                           every client, and waits until they are. A host that never stops has nothing to ask or to
--                           tell.
--
-- and, where the host can do better than what is put in for it here:
--
--   pause(seconds)          park that returns after so long at the latest: sleep and after can be made from it
--   guard(died, fn, …) → co  like spawn; died(co, err, traceback) is called when fn raises
--   after(seconds, fn) → stop      calls fn() once from the loop itself; fn neither parks nor raises
--   run_until(fn, seconds) → bool   where running() is nil: runs the loop until fn() is true; false when nothing can
--                           make it so; nil, err where it cannot run. Asks fn after so many seconds, too, where given
--   at(seconds, fn) → timer calls fn in a coroutine of its own every so often, until timer:stop()
--   timeout(seconds, fn) → timer   the same, once
--   on_error(co, traceback, err)    where an error goes that nobody guards; may be replaced
--   pushes = true           it has nothing that runs before the loop goes to sleep, where what is queued could be
--                           written (port:push): that is done after each batch of messages instead
--   interrupted(co)         put in by the dispatch: a Ctrl-C has ended co, and is about to leave run()
--   idle_ends = true        its loop goes on as long as any coroutine is parked: those that only wait for work had
--                           better end

local compat = require "MQ.compat"
local core = require "MQ.core"

local hosts = { "own", "cf", "copas", "cqueues", "luv", "ngx", "nvim", "tarantool" }

local loop = {}
local chosen, chosen_name

-- The coroutine of fn may yield through xpcall everywhere but on Lua 5.1, where a host has to bring its own guard.
local function guard_by_xpcall(spawn)
  return function(died, fn, ...)
    local co
    local function traced(err)
      return { err = err, traceback = debug.traceback(tostring(err), 2) }
    end
    local arguments = compat.pack(...)
    co = spawn(function()
      local ok, failure = xpcall(function()
        return fn(compat.unpack(arguments, 1, arguments.n))
      end, traced)
      if not ok then
        died(co, failure.err, failure.traceback)
      end
    end)
    return co
  end
end

local function sleep_by_pause(host)
  return function(seconds)
    if type(seconds) ~= "number" then
      error("loop.sleep: seconds must be a number (got " .. type(seconds) .. ")", 2)
    end
    local due = core.now() + seconds
    local co = host.running()
    if not co then
      local _, err = host.run_until(function()
        return core.now() >= due
      end, math.max(seconds, 0))
      if err then
        error("loop.sleep: " .. err, 2)
      end
    else
      local left = math.max(seconds, 0)
      repeat
        host.pause(left)
        left = due - core.now()
      until left <= 0
    end
  end
end

local function after_by_pause(host)
  return function(seconds, fn)
    local due = core.now() + seconds
    local stopped = false
    local co = host.spawn(function()
      while not stopped and core.now() < due do
        host.pause(due - core.now())
      end
      if not stopped then
        stopped = true
        fn()
      end
    end)
    return function()
      if not stopped then
        stopped = true
        host.unpark(co)
      end
    end
  end
end

local function timer(host, name, repeats)
  return function(seconds, fn)
    if type(seconds) ~= "number" or not (seconds >= 0) then
      error(("loop.%s: seconds must be a number that is not negative (got %s)"):format(name, tostring(seconds)), 2)
    end
    if type(fn) ~= "function" then
      error(("loop.%s: expected a function (got %s)"):format(name, type(fn)), 2)
    end
    local due = core.now() + seconds
    local self, stopped = {}, false
    -- Others have their turn between the timer and its coroutine, and may stop it.
    local function run()
      if not stopped then
        fn()
      end
    end
    local function fire()
      if repeats then
        due = due + seconds
        local now = core.now()
        if due <= now then
          due = now + seconds   -- late by a period or more: what was missed is left out
        end
        self.cancel = host.after(due - now, fire)
      end
      host.spawn(run)
    end
    self.cancel = host.after(seconds, fire)

    --- Ends the timer. May be called twice.
    function self.stop()
      stopped = true
      self.cancel()
      return true
    end
    return self
  end
end

local function cannot_wait()
  return nil, "here no coroutine can yield, and the loop of this program cannot run inside itself: wait in a "
    .. "coroutine, and not below a function that a yield cannot cross (a comparison of table.sort; on Lua 5.1 pcall)"
end

local function report(_, traceback)
  io.stderr:write("MQ: error in a coroutine: ", traceback, "\n")
end

local function complete(host)
  host.run_until = host.run_until or cannot_wait
  host.guard = host.guard or guard_by_xpcall(host.spawn)
  host.sleep = host.sleep or sleep_by_pause(host)
  host.after = host.after or after_by_pause(host)
  host.at = host.at or timer(host, "at", true)
  host.timeout = host.timeout or timer(host, "timeout", false)
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

-- cf runs a program's main chunk in a state that can yield, before the chunk has loaded anything of cf.
local function in_cf()
  return package.loaded["internal.Co"]
    or compat.yieldable() and package.searchpath and package.searchpath("internal.Co", package.path)
      and package.searchpath("internal.Timer", package.path)
end

-- A host is recognised by what it leaves behind in the Lua state; a program that has none gets the own loop. luv,
-- cqueues and copas leave too little: a program may have loaded them for something else.
local function detect()
  local vim, box, ngx = rawget(_G, "vim"), rawget(_G, "box"), package.loaded.ngx
  if type(vim) == "table" and (vim.uv or vim.loop) then
    return "nvim"
  elseif box and package.loaded.fiber then
    return "tarantool"
  elseif type(ngx) == "table" and ngx.get_phase then
    return "ngx"
  elseif in_cf() then
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
  if not chosen then
    local ok, host = pcall(require, "MQ.loop." .. name)
    if not ok then
      error(("MQ.use: the %s loop cannot be had: %s"):format(name, tostring(host):match("^[^\n]*")), 2)
    end
    chosen_name, chosen = name, complete(host)
  end
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
