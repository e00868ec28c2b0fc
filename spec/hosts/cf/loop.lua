-- What cf has of libev, for the stand-in in this directory: descriptors, timers, and the idle watcher that runs cf's
-- coroutines. As in libev, that one has its turn only when no descriptor is readable and no timer is due.
-- Must not know: cf's coroutines.
--
-- cf's watchers are addresses: what they belong to may be collected, and then the program crashes.

local sys = require "spec_sys"

local loop = { watchers = {}, timers = {}, tick = 0, idle = nil }

local function resume(co)
  local ok, err = coroutine.resume(co)
  if not ok then
    io.stderr:write("[cf] ", debug.traceback(co, tostring(err)), "\n")
  end
end

-- One round; blocks where nothing is to do.
local function round()
  local fds = {}
  for watcher in pairs(loop.watchers) do
    if not (watcher.io and watcher.co) then
      io.stderr:write("[cf] crash: a watcher that is started has been collected\n")
      os.exit(139)
    end
    fds[#fds + 1] = watcher.fd
  end
  local now, wait = sys.now(), 10
  for timer in pairs(loop.timers) do
    wait = math.min(wait, math.max(timer.due - now, 0))
  end
  local readable = assert(sys.poll(fds, {}, loop.idle and 0 or wait))
  local busy = false
  local ready = {}
  for watcher in pairs(loop.watchers) do
    if readable[watcher.fd] then
      ready[#ready + 1] = watcher
    end
  end
  for _, watcher in ipairs(ready) do
    if loop.watchers[watcher] then
      busy = true
      resume(watcher.co)
    end
  end
  now = sys.now()
  local due = {}
  for timer in pairs(loop.timers) do
    if timer.due <= now then
      due[#due + 1] = timer
    end
  end
  if due[1] then
    loop.tick = math.floor(now * 100)
  end
  for _, timer in ipairs(due) do
    loop.timers[timer] = nil
    busy = true
    timer.fn()
  end
  local idle = loop.idle
  if idle and not busy then
    loop.idle = nil
    idle()
  end
end

-- Runs until loop.stop is called.
function loop.run()
  loop.over = false
  while not loop.over do
    round()
  end
end

function loop.stop()
  loop.over = true
end

-- In a forked child: nothing of the parent's.
function loop.reset()
  loop.watchers, loop.timers, loop.idle = {}, {}, nil
end

return loop
