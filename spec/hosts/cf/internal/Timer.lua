-- cf's timers. They count hundredths of a second: they may be early by one, and one that is due in a hundredth that cf
-- has seen to already never comes.

local Co = require "internal.Co"
local loop = require "loop"
local sys = require "spec_sys"

local function timer(seconds, fn, repeats)
  assert(seconds > 0)
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

local Timer = {}

function Timer.timeout(seconds, fn)
  return timer(seconds, fn, false)
end

function Timer.at(seconds, fn)
  return timer(seconds, fn, true)
end

function Timer.sleep(seconds)
  local co = Co.self()
  timer(seconds, function() Co.wakeup(co) end, false)
  Co.wait()
end

return Timer
