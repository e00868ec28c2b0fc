--- Which tables are clients, and the error for a method that was called on anything else.
-- Must not know: what a client does.

local object = {}

--- Client → the function that publishes for it: the core's raw one, or a stand-in while coroutines wait for room. The
-- index of anything that is no client, nil too, gives nil: so one lookup on the fast path is also the check.
object.publishers = setmetatable({}, { __mode = "k" })

--- For a method that the user called: raises at the user's line.
function object.misuse(self, method)
  error(("call it as mq:%s(…), on a client that MQ:new made (got a %s before the colon)")
    :format(method, type(self)), 3)
end

--- `seconds` may be nil or a number that is not negative. For a method that the user called.
function object.check_seconds(seconds, method)
  if seconds ~= nil and (type(seconds) ~= "number" or not (seconds >= 0)) then
    error(("mq:%s: seconds must be a number that is not negative (got %s)"):format(method, tostring(seconds)), 3)
  end
end

return object
