--- What the hosts on libuv have in common: the descriptor's watch, timers, and a write of what is queued before the
-- loop goes to sleep.
-- Must not know: clients, messages, when coroutines that are ready are run, who runs the loop.

local core = require "MQ.core"

local function milliseconds(seconds)
  return math.ceil(math.max(math.min(seconds, 1e9), 0) * 1000)
end

--- Gives `host`, which has spawn, park, unpark and running, the rest. `uv`: the luv module.
local function complete(host, uv)
  local function start_timer(seconds, fn)
    local handle = uv.new_timer()
    uv.update_time()   -- a timer counts from when the loop last looked at the clock
    handle:start(milliseconds(seconds), 0, function()
      if not handle:is_closing() then
        handle:close()
        fn()
      end
    end)
    return handle
  end

  local function stop_timer(handle)
    if not handle:is_closing() then
      handle:stop()
      handle:close()
    end
  end

  function host.after(seconds, fn)
    local handle = start_timer(seconds, fn)
    return function()
      stop_timer(handle)
    end
  end

  function host.sleep(seconds)
    if type(seconds) ~= "number" then
      error("loop.sleep: seconds must be a number (got " .. type(seconds) .. ")", 2)
    end
    local co = host.running()
    if co and not (seconds > 0) then
      host.unpark(co)
      host.park()
      return
    end
    local over = false
    local handle = start_timer(seconds, function()
      over = true
      if co then
        host.unpark(co)
      end
    end)
    if co then
      repeat
        host.park()
      until over
      return
    end
    local _, err = host.run_until(function()
      return over
    end)
    if err then
      stop_timer(handle)
      error("loop.sleep: " .. err, 2)
    end
  end

  -- The descriptor keeps the loop alive while somebody waits for what comes through it.
  function host.watch(fd, fn, state)
    local poll, prepare = uv.new_poll(fd), uv.new_prepare()
    poll:start("r", function()
      fn()
    end)
    poll:unref()
    prepare:start(function()
      core.port():push()
    end)
    prepare:unref()
    function state.changed()
      if not poll:is_closing() then
        if state.alive() then
          poll:ref()
        else
          poll:unref()
        end
      end
    end
    return function()
      for _, handle in ipairs { poll, prepare } do
        if not handle:is_closing() then
          handle:stop()
          handle:close()
        end
      end
    end
  end

  return host
end

return { complete = complete }
