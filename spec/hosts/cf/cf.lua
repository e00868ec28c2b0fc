-- cf's module of that name, as far as programs and MQ use it.

local Co = require "internal.Co"
local Timer = require "internal.Timer"

local cf = {
  self = Co.self, fork = Co.spawn, wait = Co.wait, wakeup = Co.wakeup,
  at = Timer.at, timeout = Timer.timeout,
}

function cf.yield()
  local co = Co.self()
  Co.spawn(function() Co.wakeup(co) end)
  Co.wait()
end

function cf.sleep(seconds)
  if seconds and seconds > 0 then
    Timer.sleep(seconds)
  else
    cf.yield()
  end
end

return cf
