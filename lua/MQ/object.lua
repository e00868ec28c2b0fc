--- Which tables are clients, and the errors for a method that was called on anything else, or that there is none of.
-- Must not know: what a client does.

local options = require "MQ.options"

local object = {}

--- Client → the function that publishes for it: the core's raw one, or a stand-in while coroutines wait for room. The
-- index of anything that is no client, nil too, gives nil: so one lookup on the fast path is also the check.
object.publishers = setmetatable({}, { __mode = "k" })

--- For a method that the user called: raises at the user's line, which is `level` calls up (3).
function object.misuse(self, method, level)
  error(("call it as mq:%s(…), on a client that MQ:new made (got a %s before the colon)")
    :format(method, type(self)), level or 3)
end

--- `seconds` may be nil or a number that is not negative. For a method that the user called.
function object.check_seconds(seconds, method)
  if seconds ~= nil and (type(seconds) ~= "number" or not (seconds >= 0)) then
    error(("mq:%s: seconds must be a number that is not negative (got %s)"):format(method, tostring(seconds)), 3)
  end
end

-- What only the clients of one protocol can do.
local special = { transaction = "MQ.stomp" }

-- What other libraries call what a client does.
local elsewhere = {
  publish = "emit", send = "emit", subscribe = "on", psubscribe = "on", unsubscribe = "off", punsubscribe = "off",
  disconnect = "close", stop = "close", quit = "close", run = "start", loop = "start",
}

--- An __index for what `class` does not have: raises at the caller's line where the name is a slip for one of its
-- methods. Any other name is nil, as in every table: a program may keep fields of its own in a client.
function object.missing(class)
  local methods = {}
  for name, value in pairs(class) do
    if type(value) == "function" then
      methods[name] = true
    end
  end
  return function(_, name)
    if type(name) ~= "string" then
      return nil
    elseif special[name] then
      error(("a client has no %s, unless it is one of %s"):format(options.quote(name), special[name]), 2)
    end
    local nearest = elsewhere[name]
    if not nearest then
      local edits
      nearest, edits = options.nearest(methods, name)
      if edits > math.max(1, math.floor(#name / 3)) then
        return nil
      end
    end
    error(("a client has no %s; did you mean mq:%s?"):format(options.quote(name), nearest), 2)
  end
end

return object
