--- Closes every client of a dispatch, for a host that is told to end.
-- Must not know: which host, what a client is but for close().

--- Returns close(), which parks until all are closed: brokers last, for the clients may be theirs.
local function closing(dispatch, host)
  local function close_those(serves)
    local me, left = host.running(), 0
    local function ended()
      left = left - 1
      host.unpark(me)
    end
    for _, client in ipairs(dispatch.clients()) do
      if (rawget(client, "serves") or false) == serves then
        left = left + 1
        host.guard(ended, function()
          client:close()
          ended()
        end)
      end
    end
    while left > 0 do
      host.park()
    end
  end

  return function()
    close_those(false)
    close_those(true)
  end
end

return closing
