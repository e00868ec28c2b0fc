--- park and unpark for hosts with coroutines of their own, from the two things that such a host can do: make the
-- running coroutine wait, and make a waiting one go on.
-- Must not know: which host.

local compat = require "MQ.compat"
local pack, unpack = compat.pack, compat.unpack

local NOTHING = pack()

--- Gives `host` park, pause and unpark. wait(co, seconds | nil) makes co, which is the running one, wait until go(co)
-- was called, or so long, or less; go(co) is only called for one that waits. own() is the running coroutine.
-- push_soon() is called before it waits: what it has queued, and may wait for, has to leave (port:push) before the loop
-- sleeps, but after others that are ready have queued theirs.
local function attach(host, own, wait, go, push_soon)
  local weak = { __mode = "k" }
  local parked, woken = setmetatable({}, weak), setmetatable({}, weak)

  function host.pause(seconds)
    local co = own()
    local values = woken[co]
    if not values then
      parked[co] = true
      push_soon()
      wait(co, seconds)
      parked[co] = nil
      values = woken[co]
    end
    if values then
      woken[co] = nil
      return unpack(values, 1, values.n)
    end
  end

  function host.park()
    return host.pause(nil)
  end

  -- A coroutine that is not parked finds the values at its next park: whatever else it waits for is not disturbed.
  function host.unpark(co, ...)
    woken[co] = select("#", ...) > 0 and pack(...) or NOTHING
    if parked[co] then
      parked[co] = nil
      go(co)
    end
  end
end

return { attach = attach }
