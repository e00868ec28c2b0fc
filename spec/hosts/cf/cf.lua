-- cf's module of that name, as far as programs and MQ use it. Its timers count hundredths of a second: they may be
-- early by one, and one that is due in a hundredth that cf has seen to already never comes.

local Co = require "internal.Co"
local loop = require "loop"
local sys = require "spec_sys"

local cf = { self = Co.self, fork = Co.spawn, wait = Co.wait, wakeup = Co.wakeup }

local function timer(seconds, fn, repeats)
  local self = {}
  local function start()
    local tick = math.floor((sys.now() + seconds) * 100)
    if tick > loop.tick then
      self.due = tick / 100
      loop.timers[self] = true
    end
  end
  function self.fn()
    Co.spawn(fn)
    if repeats then
      start()
    end
  end
  function self.stop()
    repeats = false
    loop.timers[self] = nil
  end
  start()
  return self
end

function cf.timeout(seconds, fn)
  assert(seconds > 0)
  return timer(seconds, fn, false)
end

function cf.at(seconds, fn)
  assert(seconds > 0)
  return timer(seconds, fn, true)
end

function cf.sleep(seconds)
  local co = Co.self()
  if seconds and seconds > 0 then
    timer(seconds, function() Co.wakeup(co) end, false)
  else
    Co.spawn(function() Co.wakeup(co) end)
  end
  Co.wait()
end

return cf
