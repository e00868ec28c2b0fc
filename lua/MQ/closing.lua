--- Closes the clients of a dispatch, for a program or a host that ends.
-- Must not know: which host, what a client is but for close().

local closing = {}

--- Begins to close every client, each at most so many seconds (nil: as long as it takes); or, which `serves`, every
-- broker. Returns a function that says whether all of them are closed; `ended`, if there is one, is called as each is.
function closing.begin(dispatch, host, serves, seconds, ended)
  local left = 0
  local function one_less()
    left = left - 1
    if ended then
      ended()
    end
  end
  for _, client in ipairs(dispatch.clients()) do
    if (rawget(client, "serves") or false) == serves then
      left = left + 1
      host.guard(one_less, function()
        client:close(seconds)
        one_less()
      end)
    end
  end
  return function()
    return left == 0
  end
end

--- Returns close(), which parks until all are closed: brokers last, for the clients may be theirs.
function closing.of(dispatch, host)
  return function()
    local me = host.running()
    local function wake()
      host.unpark(me)
    end
    for _, serves in ipairs { false, true } do
      local are_closed = closing.begin(dispatch, host, serves, nil, wake)
      while not are_closed() do
        host.park()
      end
    end
  end
end

return closing
