--- The cf framework's `cf` on the loop of this program: coroutines and timers under cf's names.
-- Must not know: MQ's clients, which host loop runs.

local loops = require "MQ.loop"

local loop = loops.current()

local cf = {}

local function check_function(fn, name)
  if type(fn) ~= "function" then
    error(("cf.%s: expected a function (got a %s)"):format(name, type(fn)), 3)
  end
end

--- Runs func(…) in a coroutine of its own, which starts with the next turn of the loop. Returns the coroutine.
function cf.fork(func, ...)
  check_function(func, "fork")
  local co = loop.spawn(func, ...)
  return co
end

--- Runs a file (a path, or a name as for require) in a coroutine of its own.
function cf.run(filename, ...)
  local chunk, err = loadfile(filename)
  if not chunk then
    local path = package.searchpath and package.searchpath(filename, package.path)
    if path then
      chunk, err = loadfile(path)
    end
  end
  if not chunk then
    error("cf.run: " .. err, 2)
  end
  local co = loop.spawn(chunk, ...)
  return co
end

local function timer(make, seconds, func)
  if type(seconds) ~= "number" or not (seconds > 0) or type(func) ~= "function" then
    return nil   -- as in cf
  end
  return make(seconds, func)
end

--- Calls func every so many seconds, each time in a coroutine of its own. Returns a timer with stop(); nil where the
-- seconds are not greater than 0.
function cf.at(repeats, func)
  return timer(loop.at, repeats, func)
end

--- The same, once.
function cf.timeout(timeout, func)
  return timer(loop.timeout, timeout, func)
end

--- Lets every other coroutine have a turn.
function cf.yield()
  loop.sleep(0)
end

--- Parks the coroutine for so many seconds.
function cf.sleep(timeout)
  loop.sleep(tonumber(timeout) or 0)
end

--- The running coroutine.
function cf.self()
  return coroutine.running()
end

--- Parks the coroutine until somebody wakes it; returns what wakeup was given.
function cf.wait()
  return loop.park()
end

--- Wakes a coroutine that is in cf.wait.
function cf.wakeup(co, ...)
  if type(co) ~= "thread" then
    error(("cf.wakeup: expected a coroutine (got a %s)"):format(type(co)), 2)
  elseif co == coroutine.running() then
    error("cf.wakeup: a coroutine cannot wake itself", 2)
  elseif coroutine.status(co) == "dead" then
    error("cf.wakeup: the coroutine has ended", 2)
  end
  loop.unpark(co, ...)
end

--- Runs the functions side by side and returns when every one has ended. One that raises is reported.
function cf.join(...)
  local waiter = loop.running()
  local left, parked = 0, false
  local function ended()
    left = left - 1
    if left == 0 and parked then
      loop.unpark(waiter)
    end
  end
  for index = 1, select("#", ...) do
    local func = select(index, ...)
    check_function(func, "join")
    left = left + 1
    loop.guard(function(co, err, traceback)
      loop.on_error(co, traceback, err)
      ended()
    end, function()
      func()
      ended()
    end)
  end
  if waiter then
    parked = true
    while left > 0 do
      loop.park()
    end
  else
    loop.run_until(function()
      return left == 0
    end)
  end
end

return cf
