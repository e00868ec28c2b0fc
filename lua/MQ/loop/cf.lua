--- MQ in the cf framework: its coroutines, its timers, and its watch of a descriptor.
-- Must not know: clients, messages, protocols.
--
-- cf runs its coroutines when libev is idle, which it is not as long as a watched descriptor is readable, and this one
-- is until a coroutine has seen to it: so the watch rests meanwhile. It then runs them until none is ready, and looks
-- at no descriptor and no timer before: so sleep(0) waits for the descriptor, which it makes readable.

local cf = require "cf"
local compat = require "MQ.compat"
local core = require "MQ.core"
local tcp = require "tcp"

local pack, unpack = compat.pack, compat.unpack
local yield = coroutine.yield

local READ = 1
local TICK = 0.011   -- cf's timers count hundredths of a second, and one that is due in the running one never comes

local loop = { name = "cf", running = compat.yieldable, pushes = true }

local next_turn = {}   -- who waits for the descriptor

function loop.spawn(fn, ...)
  local arguments = pack(...)   -- cf loses those behind a nil
  return cf.fork(function()
    return fn(unpack(arguments, 1, arguments.n))
  end)
end

-- cf.wait is a yield that refuses coroutines which cf does not know. The program's own (coroutine.wrap) may wait here
-- too: whoever resumed one sees it yield.
local function wait()
  yield()
end

-- cf.wakeup refuses those, and one that somebody else has woken already.
local function go(co)
  local ok, err = pcall(cf.wakeup, co)
  if not ok and tostring(err):find("not associated", 1, true) then
    loop.spawn(function()
      if coroutine.status(co) == "suspended" then
        local went_on, problem = coroutine.resume(co)
        if not went_on then
          loop.on_error(co, debug.traceback(co, tostring(problem)), problem)
        end
      end
    end)
  end
end

local push_due = false

local function push()
  push_due = false
  core.port():push()
end

local function push_soon()
  if not push_due then
    push_due = true
    loop.spawn(push)
  end
end

require("MQ.parking").attach(loop, coroutine.running, wait, go, push_soon)

--- cf's timers may be early by a tick: they are asked again.
function loop.after(seconds, fn)
  local due = core.now() + seconds
  local timer, stopped
  local function fire()
    local left = due - core.now()
    if stopped then
      return
    elseif left > 0 then
      timer = cf.timeout(math.max(left, TICK), fire)
    else
      stopped = true
      fn()
    end
  end
  timer = cf.timeout(math.max(seconds, TICK), fire)
  return function()
    if not stopped then
      stopped = true
      timer:stop()
    end
  end
end

function loop.sleep(seconds)
  if type(seconds) ~= "number" then
    error("loop.sleep: seconds must be a number (got " .. type(seconds) .. ")", 2)
  end
  local co = loop.running()
  if not co then
    local _, err = loop.run_until()
    error("loop.sleep: " .. err, 2)
  end
  local over = false
  local function wake()
    over = true
    loop.unpark(co)
  end
  if seconds > 0 then
    loop.after(seconds, wake)
  else
    next_turn[#next_turn + 1] = wake
    core.port():ring()
  end
  repeat
    loop.park()
  until over
end

-- cf resumes `watcher` itself, below which nothing of cf can wait: it only makes others ready. cf knows the addresses
-- of `io` and `watcher` and does not hold them: whoever has the function that is returned does.
function loop.watch(fd, fn)
  local io, stopped, watcher = tcp.new(), false, nil

  local function watch()
    if not stopped then
      tcp.start(io, fd, READ, watcher)
    end
  end

  watcher = coroutine.create(function()
    while true do
      tcp.stop(io)
      core.port():hush()
      local wakes = next_turn
      next_turn = {}
      for _, wake in ipairs(wakes) do
        wake()
      end
      fn()
      loop.spawn(watch)   -- behind the coroutine that fn has made ready
      yield()
    end
  end)
  watch()
  return function()
    stopped = true
    tcp.stop(io)
    watcher = nil
  end
end

return loop
