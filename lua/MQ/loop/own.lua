--- The loop of a program that has none: coroutines, timers, and the wait for the port.
-- Must not know: clients, messages, what the watched descriptor carries. It cannot watch a descriptor of another kind:
-- it blocks in the port's own wait.
--
-- A turn: the timers that are due, every coroutine that is ready by then, and the watchers when there is something for
-- them; it blocks when no coroutine is ready. run() ends when nothing is left that could wake anything.

local coroutines = require "MQ.ready"
local timers = require "MQ.timers"

local DEEPEST = 40         -- loops inside loops: each takes some of the 200 C calls that Lua allows

local function new(clock)
  local now, wait = clock.now, clock.wait

  local heap = timers.new()
  local watchers = {}
  local depth, runs = 0, 0                               -- loops on the stack; those of them that are run()

  local loop = { name = "own" }
  local run_ready, any_ready = coroutines.new(loop)
  local spawn, park, unpark, running = loop.spawn, loop.park, loop.unpark, loop.running

  local function run_due()
    local time, newest = now(), heap.sequence
    while true do
      local entry = heap[1]
      if not entry or entry.at > time or entry.sequence > newest then
        return
      end
      timers.remove(heap, entry)
      if entry.period then
        local next_time = entry.at + entry.period
        if next_time <= time then
          next_time = time + entry.period   -- late by a period or more: what was missed is left out
        end
        timers.add(heap, entry, next_time)
      end
      entry.fire(entry)
    end
  end

  local function watchers_alive()
    for _, watcher in ipairs(watchers) do
      if watcher.state.alive() then
        return true
      end
    end
    return false
  end

  local function run_watchers()
    for index = #watchers, 1, -1 do
      watchers[index].fn()
    end
  end

  local function announce(runs_now)
    for _, watcher in ipairs(watchers) do
      watcher.state.running(runs_now)
    end
  end

  local function serve(done)
    while true do
      if heap[1] then
        run_due()
      end
      run_ready()
      if done and done() then
        run_ready()   -- what came with the answer: a main chunk that goes on finds its callbacks called
        return true
      end
      local seconds
      if any_ready() then
        seconds = 0
      elseif heap[1] then
        seconds = math.max(heap[1].at - now(), 0)
      elseif not watchers_alive() then
        return false
      end
      if wait(seconds, depth == 1) then
        run_watchers()
      end
    end
  end

  local function enter(done)
    if depth >= DEEPEST then
      return nil, DEEPEST .. " coroutines wait inside one another, each below a function that cannot yield "
        .. "(pcall on Lua 5.1, a comparison of table.sort): wait outside of it"
    end
    depth = depth + 1
    local ok, result = pcall(serve, done)
    depth = depth - 1
    if not ok then
      error(result, 0)
    end
    return result
  end

  -- Others have their turn between the timer and its coroutine, and may stop it.
  local function run_task(entry)
    if not entry.stopped then
      entry.fn()
    end
  end

  local function fire_task(entry)
    spawn(run_task, entry)
  end

  local function fire_sleeper(entry)
    entry.over = true
    unpark(entry.co)
  end

  local function fire_direct(entry)
    entry.fn()
  end

  local Timer = { __name = "MQ.timer" }
  Timer.__index = Timer

  --- Ends the timer. May be called twice.
  function Timer:stop()
    timers.remove(heap, self)
    self.period, self.stopped = nil, true
    return true
  end

  local function timer(name, seconds, fn, period)
    if type(seconds) ~= "number" or not (seconds >= 0) then
      error(("loop.%s: seconds must be a number that is not negative (got %s)"):format(name, tostring(seconds)), 3)
    end
    if type(fn) ~= "function" then
      error(("loop.%s: expected a function (got %s)"):format(name, type(fn)), 3)
    end
    local entry = setmetatable({ fn = fn, period = period, fire = fire_task }, Timer)
    timers.add(heap, entry, now() + seconds)
    return entry
  end

  --- Calls fn in a coroutine of its own every so many seconds, until stop().
  function loop.at(seconds, fn)
    local entry = timer("at", seconds, fn, seconds)
    return entry
  end

  --- Calls fn in a coroutine of its own once.
  function loop.timeout(seconds, fn)
    local entry = timer("timeout", seconds, fn)
    return entry
  end

  function loop.after(seconds, fn)
    local entry = { fn = fn, fire = fire_direct }
    timers.add(heap, entry, now() + seconds)
    return function()
      timers.remove(heap, entry)
    end
  end

  -- The loop runs, as far as its watchers are concerned. What is wrong where it cannot.
  local function run(done)
    runs = runs + 1
    announce(true)
    local ok, result, err = pcall(enter, done)
    runs = runs - 1
    announce(false)
    if not ok then
      error(result, 0)
    end
    return err
  end

  function loop.sleep(seconds)
    if type(seconds) ~= "number" then
      error("loop.sleep: seconds must be a number (got " .. type(seconds) .. ")", 2)
    end
    local co = running()
    local entry = { co = co, fire = fire_sleeper }
    if not co then
      entry.fire = function()
        entry.over = true
      end
    elseif not (seconds > 0) then
      unpark(co)
      park()
      return
    end
    timers.add(heap, entry, now() + seconds)
    if co then
      repeat
        park()
      until entry.over
    else
      local err = run(function()
        return entry.over
      end)
      if err then
        timers.remove(heap, entry)
        error("loop.sleep: " .. err, 2)
      end
    end
  end

  function loop.watch(_, fn, state)
    local watcher = { fn = fn, state = state }
    watchers[#watchers + 1] = watcher
    for _ = 1, runs do
      state.running(true)
    end
    return function()
      for index, each in ipairs(watchers) do
        if each == watcher then
          table.remove(watchers, index)
          return
        end
      end
    end
  end

  --- Runs until nothing is left to do, or until done() is true where it is given.
  function loop.run(done)
    local err = run(done)
    if err then
      error("loop.run: " .. err, 2)
    end
  end

  function loop.run_until(done)
    return enter(done)
  end

  loop.now = now
  loop.new = new     -- another loop with another clock

  return loop
end

local core = require "MQ.core"

return new {
  now = core.now,
  wait = function(seconds, outermost)
    return core.port():wait(seconds, outermost)
  end,
}
