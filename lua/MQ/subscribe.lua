--- on, off: the half of a client that receives.
-- Must not know: how a message travels or looks (the protocol's receiver), how a client begins and ends.
--
-- A subscription is one pattern. It has a key, under which the core names its messages, and a listener for each
-- callback. It belongs to its client alone: the dispatch only has weak references to its listeners.

local listeners = require "MQ.listeners"
local object = require "MQ.object"
local options = require "MQ.options"

local publishers, misuse = object.publishers, object.misuse

local methods = {}

-- After these a subscription stays registered and begins when the broker is there; any other failure refuses it.
local transient = { timeout = true, lost = true }

local function slot(pattern, exact)
  return (exact and "=" or "~") .. pattern
end

local function tell_dispatch(self)
  local live = next(self.subscriptions) ~= nil
  if live ~= self.live then
    self.dispatch.subscribed(self, live)
  end
end

-- One callback is called by the route itself; several share it.
local function route(self, subscription)
  local set = subscription.listeners
  if set.count == 1 then
    subscription.fan = nil
    self.dispatch.route(subscription.key, listeners.all(set)[1])
  elseif not subscription.fan then
    subscription.fan = { listeners = set, busy = true, shares = subscription.shares, settle = subscription.settle }
    self.dispatch.route(subscription.key, subscription.fan)
  end
end

-- Tells the broker how a message fared, once all have dealt with it that share it: by `tell(id, ok)` where the last one
-- gives that. true; nil, err, code.
local function settler(self, subscription)
  local acknowledge, shares = self.source.acknowledge, subscription.shares
  return function(id, ok, tell)
    local share = shares[id]
    if share then
      share.left = share.left - 1
      share.ok = share.ok and ok
      if share.left > 0 then
        return true
      end
      shares[id] = nil
      ok = share.ok
    end
    if tell then
      return tell(id, ok)
    end
    acknowledge(id, ok)
    return true
  end
end

local function add_listener(self, subscription, fn, given)
  local listener = {
    client = self,
    callback = fn,
    busy = false,
    settle = subscription.settle,
    unsettled = false,   -- the id of the message that the callback has, where that is to be acknowledged
  }
  listener.deliver = self.protocol.receiver(fn, subscription.pattern, subscription.exact, listener, given)
  listeners.add(subscription.listeners, listener)
  route(self, subscription)
end

-- `verdict`: what becomes of the messages that wait for its callbacks (see dispatch.silence).
local function silence(self, subscription, verdict)
  for _, listener in ipairs(listeners.all(subscription.listeners)) do
    self.dispatch.silence(listener, verdict)
  end
  self.dispatch.route(subscription.key, nil)
end

local function drop(self, subscription)
  local verdict = false
  if self.protocol.gives_back then
    verdict = nil   -- what has not been dealt with goes back to the broker with the end of the subscription
  end
  silence(self, subscription, verdict)
  local name = slot(subscription.pattern, subscription.exact)
  if self.subscriptions[name] == subscription then
    self.subscriptions[name] = nil
  end
  tell_dispatch(self)
end

local function submit(self, subscription, ticket)
  return self.source:subscribe(ticket, subscription.key, subscription.pattern, subscription.exact, subscription.options)
end

-- The broker has answered a subscription, or has not in time: tells everybody who waits for the same.
local function settle(self, subscription, ok, err, code)
  local dispatch = self.dispatch
  subscription.ticket = nil
  if ok then
    subscription.confirmed = true
  elseif not transient[code] then
    drop(self, subscription)
  end
  local others = subscription.others
  subscription.others = {}
  for _, record in ipairs(others) do
    dispatch.complete(record, ok, err, code)
    dispatch.forget()
  end
end

local function confirm(self, subscription)
  local dispatch = self.dispatch
  local ticket = dispatch.ticket()
  local record = dispatch.pending(ticket, function(record)
    dispatch.asking(self, false)
    settle(self, subscription, record[1], record[2], record[3])
  end)
  dispatch.asking(self, true)
  local ok, err, code = submit(self, subscription, ticket)
  if not ok then
    dispatch.withdraw(ticket)
    dispatch.asking(self, false)
    settle(self, subscription, nil, err, code)
    return nil, err, code
  end
  subscription.ticket = ticket
  ok, err, code = dispatch.answer(record)
  if ok then
    return true
  end
  return nil, err, code
end

--- Subscribes and waits until the broker has confirmed; from then on the subscription outlives every reconnect.
-- true; nil, err, code. After "timeout" the subscription stays, and begins when the broker is there.
function methods:on(pattern, fn, opt)
  if not publishers[self] then
    misuse(self, "on")
  end
  if type(fn) ~= "function" then
    error(("mq:on: expected a function to call with each message (got a %s); "
      .. "write mq:on(pattern, function (msg) … end)"):format(type(fn)), 2)
  end
  local given, problem = options.check(self.protocol.subscribe_options, opt)
  if not given then
    error("mq:on: " .. problem, 2)
  end
  if type(pattern) ~= "string" or pattern == "" then
    return nil, ("the pattern must be a string that is not empty (got %s)"):format(options.quote(pattern)), "invalid"
  elseif self.failure then
    return nil, self.failure[1], self.failure[2]
  end

  local exact = given.exact == true
  local name = slot(pattern, exact)
  local subscription = self.subscriptions[name]
  if not subscription then
    local flags = self.protocol.subscribe_flags
    subscription = {
      key = self.dispatch.key(), pattern = pattern, exact = exact, options = flags and flags(given),
      listeners = listeners.new(), others = {},
      shares = {},   -- id of a message → how many callbacks have yet to deal with it
    }
    subscription.settle = self.protocol.acknowledges and settler(self, subscription)
    self.subscriptions[name] = subscription
    add_listener(self, subscription, fn, given)
    tell_dispatch(self)
  elseif subscription.confirmed or listeners.having(subscription.listeners, fn) == 0 then
    add_listener(self, subscription, fn, given)
  end

  if subscription.confirmed then
    return true
  elseif subscription.ticket then
    local record = self.dispatch.expect()
    table.insert(subscription.others, record)
    self.dispatch.await(record)
    if record[1] then
      return true
    end
    return nil, record[2] or record.stuck, record[3] or "invalid"
  end
  return confirm(self, subscription)
end

-- Takes off the listeners whose callback is fn, or all. Whether there were any, and whether none is left. The last ones
-- stay: with them the subscription goes.
local function remove_listeners(self, subscription, fn)
  local set = subscription.listeners
  local count = fn and listeners.having(set, fn) or set.count
  if count == 0 then
    return false, false
  elseif count == set.count then
    return true, true
  end
  local removed = listeners.remove(set, fn)
  route(self, subscription)
  for _, listener in ipairs(removed) do
    -- Where a refusal would have a message come again, what the others make of it counts.
    self.dispatch.silence(listener, self.protocol.gives_back or false)
  end
  return true, false
end

--- Unsubscribes: one callback, or all of the pattern. true; nil, err, code.
function methods:off(pattern, fn)
  if not publishers[self] then
    misuse(self, "off")
  end
  if fn ~= nil and type(fn) ~= "function" then
    error(("mq:off: expected the function that was given to mq:on, or nothing (got a %s)"):format(type(fn)), 2)
  end
  if type(pattern) ~= "string" then
    return nil, ("the pattern must be a string (got %s)"):format(options.quote(pattern)), "invalid"
  end
  local found, ok, err, code = false, true, nil, nil
  for _, exact in ipairs { false, true } do
    local subscription = self.subscriptions[slot(pattern, exact)]
    if subscription then
      local any, last = remove_listeners(self, subscription, fn)
      found = found or any
      if last then
        drop(self, subscription)
        local dispatch = self.dispatch
        local ticket = dispatch.ticket()
        local record = dispatch.pending(ticket)
        ok, err, code = self.source:unsubscribe(ticket, subscription.key)
        if ok then
          ok, err, code = dispatch.answer(record)
        else
          dispatch.withdraw(ticket)
        end
      end
    end
  end
  if not found then
    return nil, ("nothing is subscribed to %q%s"):format(pattern, fn and " with that callback" or ""), "invalid"
  elseif ok then
    return true
  end
  return nil, err, code
end

--- Every callback is called with nil, in order with its messages.
local function tell_lost(self)
  for _, subscription in pairs(self.subscriptions) do
    for _, listener in ipairs(listeners.all(subscription.listeners)) do
      self.dispatch.lost(listener)
    end
  end
end

--- The broker refused to renew a subscription: no further message comes, but what waits for its callbacks still reaches
-- them. Returns its pattern.
local function retire(self, key)
  for name, subscription in pairs(self.subscriptions) do
    if subscription.key == key then
      self.dispatch.route(key, nil)
      self.subscriptions[name] = nil
      table.insert(self.retired, subscription)
      tell_dispatch(self)
      return subscription.pattern
    end
  end
end

--- The same for all.
local function retire_all(self)
  for _, subscription in pairs(self.subscriptions) do
    self.dispatch.route(subscription.key, nil)
    table.insert(self.retired, subscription)
  end
  self.subscriptions = {}
  tell_dispatch(self)
end

--- The client closes: no callback is called any more.
local function silence_all(self)
  for _, subscription in pairs(self.subscriptions) do
    silence(self, subscription, nil)
  end
  for _, subscription in pairs(self.retired) do
    silence(self, subscription, nil)
  end
  self.subscriptions, self.retired = {}, {}
  tell_dispatch(self)
end

--- Submits every subscription to a source that has just taken over, and lets it answer whoever waits.
local function resubmit_all(self)
  for _, subscription in pairs(self.subscriptions) do
    local ticket = self.dispatch.ticket()
    if subscription.ticket then
      self.dispatch.move_ticket(subscription.ticket, ticket)
      subscription.ticket = ticket
    end
    submit(self, subscription, ticket)
  end
end

return {
  methods = methods,
  tell_lost = tell_lost,
  retire = retire,
  retire_all = retire_all,
  silence_all = silence_all,
  resubmit_all = resubmit_all,
}
