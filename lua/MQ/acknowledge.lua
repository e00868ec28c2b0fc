--- How a message is acknowledged: by itself once its callback has returned, or by msg:ack() and msg:nack().
-- Must not know: what a message looks like, what the broker is told.

local acknowledge = {}

-- A message that waits for its program's word → { its listener, its id }. Not in the message, which is for printing.
local unsettled = setmetatable({}, { __mode = "k" })

--- Says how a message fared; `tell(id, ok)` tells the broker so in place of the usual way. true; nil, err, code.
-- For a method that the user called: raises at the user's line, and shows `call` as what to write there.
function acknowledge.settle(class, msg, ok, call, tell)
  local known = unsettled[msg]
  if getmetatable(msg) ~= class then
    error(('call it as %s, on a message that came with ack = "manual" (got a %s)'):format(call, type(msg)), 3)
  elseif not known then
    return nil, "the message has been acknowledged or rejected already", "invalid"
  end
  unsettled[msg] = nil
  local client = known.listener.client
  if client.state == "closed" or client.failure then
    return nil, "the client is closed", "closed"
  elseif known.id == 0 then
    return true
  end
  local done, err, code = known.listener.settle(known.id, ok, tell)
  if not done then
    unsettled[msg] = known
    return nil, err, code
  end
  return true
end

--- The client that a message came to, and a function that undoes its acknowledgement; nil where there is none to come.
function acknowledge.pending(msg)
  local known = unsettled[msg]
  if known then
    return known.listener.client, function()
      unsettled[msg] = known
    end
  end
end

--- The metatable of messages that the program acknowledges. `telling(client, opt, method)`, where it is given, makes of
-- a call's argument the function that tells the broker, or nil for the usual way; it raises at level 3. `absent(msg,
-- name)`, where it is given, says what a message has that is neither in it nor a method.
function acknowledge.class(name, telling, absent)
  local methods = {}
  local class = { __index = methods, __name = name }
  if absent then
    function class.__index(msg, field)
      return methods[field] or absent(msg, field)
    end
  end
  for method, ok in pairs { ack = true, nack = false } do
    local call = ("msg:%s()"):format(method)
    methods[method] = function(self, opt)
      local tell
      if opt ~= nil and telling and unsettled[self] then
        tell = telling(unsettled[self].listener.client, opt, method)
      end
      local done, err, code = acknowledge.settle(class, self, ok, call, tell)
      return done, err, code   -- no tail call: `settle` counts the levels to its caller
    end
  end
  return class
end

-- The metatable of messages that are acknowledged by themselves. Nothing is raised: that would refuse the message.
local by_itself = { __index = {}, __name = "MQ.Message" }
for _, method in ipairs { "ack", "nack" } do
  by_itself.__index[method] = function()
    return nil, ('the message is acknowledged by itself, once the callback has returned; for msg:%s() subscribe with '
      .. 'ack = "manual"'):format(method), "invalid"
  end
end

--- What hands messages to a callback, and has them acknowledged. `message` makes one of what the core gives: (pattern,
-- source, payload, flags, extra). `class`: of messages that the program acknowledges; nil: they are by themselves.
function acknowledge.receiver(fn, pattern, listener, message, class)
  local settle = listener.settle
  if class then
    return function(source, payload, flags, id, extra)
      local msg = setmetatable(message(pattern, source, payload, flags, extra), class)
      unsettled[msg] = { listener = listener, id = id }
      fn(msg)
    end
  end
  return function(source, payload, flags, id, extra)
    local msg = message(pattern, source, payload, flags, extra)
    if id == 0 then
      fn(msg)
      return
    end
    if not getmetatable(msg) then
      setmetatable(msg, by_itself)
    end
    -- Where the callback raises, this is not reached: the dispatch rejects what is unsettled.
    listener.unsettled = id
    fn(msg)
    listener.unsettled = false
    settle(id, true)
  end
end

return acknowledge
