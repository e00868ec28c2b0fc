--- post, emit, flush: the half of a client that sends.
-- Must not know: what carries it, subscriptions, how a client begins and ends.

local core = require "MQ.core"
local plain = require("MQ.compat").plain
local object = require "MQ.object"
local options = require "MQ.options"

local publishers, misuse, check_seconds = object.publishers, object.misuse, object.check_seconds

local methods = {}

-- Stands in for the core's function while coroutines wait for room, so that nobody overtakes them.
local function no_room()
  return nil, "the outbound queue is full", "full"
end

local function leave_line(self, record)
  for index, each in ipairs(self.blocked) do
    if each == record then
      table.remove(self.blocked, index)
      self.dispatch.forget()
      break
    end
  end
end

-- Whoever is past its time and has not left will not: nginx ends the coroutines of a request that is aborted.
local function is_gone(record)
  return record ~= nil and record.deadline < core.now()
end

--- There is room again: whoever waited longest asks the core again. With nobody left, the fast path opens.
local function next_in_line(self)
  while is_gone(self.blocked[1]) do
    leave_line(self, self.blocked[1])
  end
  local record = self.blocked[1]
  if record then
    self.dispatch.complete(record, true)
  else
    self.publish_with(self.core_publish)
  end
end

--- The client has ended: everybody who waits for room asks the core again, and is told so.
local function end_line(self)
  for _, record in ipairs(self.blocked) do
    self.dispatch.complete(record, true)
  end
end

-- `extra`: a table of what no flag can hold, which only the slower way takes.
local function hand_over(self, publish, pattern, data, ticket, flags, extra)
  if extra == nil or publish ~= self.raw_publish or type(pattern) ~= "string" or type(data) ~= "string" then
    return publish(pattern, data, ticket, flags)
  end
  return self.core:send(ticket, pattern, data, flags, extra)
end

-- overflow = "block": waits its turn until there is room, at most `timeout` seconds.
local function publish_with_patience(self, pattern, data, ticket, flags, extra)
  local dispatch = self.dispatch
  local deadline = core.now() + self.timeout
  local record = dispatch.expect()
  record.deadline = deadline
  table.insert(self.blocked, record)
  self.publish_with(no_room)
  if is_gone(self.blocked[1]) then
    next_in_line(self)
  end
  local ok, err, code = nil, nil, "full"
  while code == "full" do
    if not dispatch.await(record, math.max(deadline - core.now(), 0)) then
      err = record.stuck or ("the outbound queue stayed full for %s s"):format(plain(self.timeout))
      break
    end
    record.done = nil
    ok, err, code = hand_over(self, self.core_publish, pattern, data, ticket, flags, extra)
  end
  leave_line(self, record)
  if code ~= "full" or #self.blocked == 0 or is_gone(self.blocked[1]) then
    next_in_line(self)
  end
  return ok, err, code
end

-- What the last argument says, as flags and the table that is left.
local function flags_of(self, opt, method)
  local protocol = self.protocol
  if protocol.quick_flags and type(opt) == "table" then
    local flags, extra = protocol.quick_flags(opt)
    if flags then
      return flags, extra
    end
  end
  local given, err = options.check(protocol.publish_options, opt)
  if not given then
    error(("mq:%s: %s"):format(method, err), method == "post" and 4 or 3)
  end
  if protocol.publish_flags then
    return protocol.publish_flags(given)
  end
end

-- What the core refused, to the caller: it does not say which argument is no string.
local function refused(call, pattern, data, err, code)
  if code == "invalid" then
    local name, value = "pattern", pattern
    if type(pattern) == "string" then
      name, value = "payload", data
    end
    if type(value) ~= "string" then
      err = ("%s: the %s must be a string (got a %s)"):format(call, name, type(value))
    end
  end
  return nil, err, code
end

-- The core has not taken a message: waits for room where that is wanted.
local function insist(self, call, err, code, pattern, data, ticket, flags, extra)
  if code == "full" and self.overflow == "block" then
    local ok
    ok, err, code = publish_with_patience(self, pattern, data, ticket, flags, extra)
    if ok then
      return true
    end
  end
  return refused(call, pattern, data, err, code)
end

--- Gives a message to the core, and waits for room where there is none. `call`: what the user wrote, for what is wrong
-- with it. true; nil, err, code.
local function put(self, call, pattern, data, ticket, flags, extra)
  local ok, err, code = hand_over(self, publishers[self], pattern, data, ticket, flags, extra)
  if ok then
    return true
  end
  return insist(self, call, err, code, pattern, data, ticket, flags, extra)
end

-- post with an option, or of who knows what. Called by a method that the user called.
local function post(self, pattern, data, opt)
  if not publishers[self] then
    misuse(self, "post", 4)
  end
  local flags, extra
  if opt ~= nil then
    flags, extra = flags_of(self, opt, "post")
  end
  return put(self, "mq:post", pattern, data, nil, flags, extra)
end

--- Publishes without waiting for an answer: the fast path. true; nil, err, code.
function methods:post(pattern, data, opt)
  local ok, err, code = post(self, pattern, data, opt)   -- no tail call: misuse counts the levels to its caller
  return ok, err, code
end

--- Gives a new client a `post` of its own, which need not look for what publishes: that would
-- be a fifth of what a post costs.
local function open(self)
  local publish

  --- Changes what publishes: the core, or a stand-in.
  function self.publish_with(fn)
    publish, publishers[self] = fn, fn
  end

  function self.post(client, pattern, data, opt)
    local ok, err, code
    if opt == nil and client == self then
      ok, err, code = publish(pattern, data)
      if ok then
        return true
      end
      ok, err, code = insist(self, "mq:post", err, code, pattern, data)
    else
      ok, err, code = post(client, pattern, data, opt)
    end
    return ok, err, code
  end

  self.publish_with(self.core_publish)
end

--- Publishes in call order and waits for the broker's answer. true, detail; nil, err, code.
function methods:emit(pattern, data, opt)
  if not publishers[self] then
    misuse(self, "emit")
  end
  local flags, extra
  if opt ~= nil then
    flags, extra = flags_of(self, opt, "emit")
  end
  local dispatch = self.dispatch
  if self.state == "idle" then
    -- Connections of one process come up in any order. What is published over a new one must not overtake the
    -- subscriptions that this process asked for before.
    dispatch.let_pass(self)
  end
  local ticket = dispatch.ticket()
  local record = dispatch.pending(ticket)
  local ok, err, code = put(self, "mq:emit", pattern, data, ticket, flags, extra)
  if not ok then
    dispatch.withdraw(ticket)
    return nil, err, code
  end
  return dispatch.answer(record)
end

--- Waits until every post so far has its answer. true; nil, err, failed, code, where `failed` says how many posts
-- failed since the last flush.
function methods:flush(seconds)
  if not publishers[self] then
    misuse(self, "flush")
  end
  check_seconds(seconds, "flush")
  local dispatch = self.dispatch
  local ticket = dispatch.ticket()
  local record = dispatch.pending(ticket)
  local ok, err, code = self.core:flush(ticket)
  if not ok then
    dispatch.withdraw(ticket)
    local failure = self.failure
    if failure then
      err, code = failure[1], failure[2]
    end
    return nil, err, 0, code
  end
  local failed
  ok, err, code, failed = dispatch.answer(record, seconds)
  if ok then
    return true
  end
  return nil, err, failed or 0, code
end

return { methods = methods, open = open, put = put, next_in_line = next_in_line, end_line = end_line }
