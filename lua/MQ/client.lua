--- new, on, off, emit, post, flush, start, close, stats: one implementation for every protocol.
-- Must not know: bytes, retries, reconnects (the core's), how a host parks (the loop's), what a message looks like (the
-- protocol's).
--
-- A run-time failure returns nil, err, code. Misuse (a wrong object, a wrong option, no callback) raises at the
-- caller's line.

local core = require "MQ.core"
local dispatches = require "MQ.dispatch"
local options = require "MQ.options"

local Client = {}

-- Client → what publishes for it: the core's raw function, or `no_room` while coroutines wait for room in the queue, so
-- that nobody overtakes them. A lookup with anything that is no client gives nil, which is how misuse is noticed.
local publishers = setmetatable({}, { __mode = "k" })

local function no_room()
  return nil, "the outbound queue is full", "full"
end

-- For functions that the user called: the level is the user's line.
local function misuse(self, method)
  error(("call it as mq:%s(…), on a client that MQ:new made (got a %s before the colon)")
    :format(method, type(self)), 3)
end

-- What refuses a subscription for good; after any other failure it stays registered and begins when the broker is there.
local transient = { timeout = true, lost = true }

----------------------------------------------------------------------------------------------------------- publish

local function next_in_line(self)
  local record = self.blocked[1]
  if record then
    self.dispatch.complete(record, true)
  elseif publishers[self] == no_room then
    publishers[self] = self.publish
  end
end

local function leave_line(self, record)
  for index, each in ipairs(self.blocked) do
    if each == record then
      table.remove(self.blocked, index)
      break
    end
  end
  self.dispatch.forget()
end

-- overflow = "block": waits its turn until there is room, at most `timeout` seconds.
local function publish_with_patience(self, pattern, data, ticket, flags)
  local dispatch = self.dispatch
  local deadline = core.now() + self.timeout
  local record = dispatch.expect()
  self.blocked[#self.blocked + 1] = record
  publishers[self] = no_room
  local ok, err, code
  if #self.blocked == 1 then
    -- There may have been room again before anybody was in line to be told.
    ok, err, code = self.publish(pattern, data, ticket, flags)
  else
    code = "full"
  end
  while not ok and code == "full" do
    if not dispatch.await(record, math.max(deadline - core.now(), 0)) then
      ok, err, code = nil, ("the outbound queue stayed full for %s s"):format(self.timeout), "full"
      break
    end
    record.done = nil
    ok, err, code = self.publish(pattern, data, ticket, flags)
  end
  leave_line(self, record)
  if ok or code ~= "full" then
    next_in_line(self)
  elseif #self.blocked == 0 then
    publishers[self] = self.publish
  end
  return ok, err, code
end

local function flags_of(self, opt, method)
  local protocol = self.protocol
  local given, err = options.check(protocol.publish_options, opt)
  if not given then
    error(("mq:%s: %s"):format(method, err), 3)
  end
  return protocol.publish_flags and protocol.publish_flags(given)
end

--- Publishes without waiting for an answer: the fast path. true; nil, err, code.
function Client:post(pattern, data, opt)
  local publish = publishers[self]
  if not publish then
    misuse(self, "post")
  end
  local flags, ok, err, code
  if opt == nil then
    ok, err, code = publish(pattern, data)
  else
    flags = flags_of(self, opt, "post")
    ok, err, code = publish(pattern, data, nil, flags)
  end
  if ok then
    return true
  elseif code == "full" and self.overflow == "block" then
    ok, err, code = publish_with_patience(self, pattern, data, nil, flags)
    if ok then
      return true
    end
  end
  return nil, err, code
end

--- Publishes in call order and waits for the broker's answer. true, detail; nil, err, code.
function Client:emit(pattern, data, opt)
  local publish = publishers[self]
  if not publish then
    misuse(self, "emit")
  end
  local flags
  if opt ~= nil then
    flags = flags_of(self, opt, "emit")
  end
  local dispatch = self.dispatch
  local ticket = dispatch.ticket()
  local ok, err, code = publish(pattern, data, ticket, flags)
  if not ok then
    if code == "full" and self.overflow == "block" then
      ok, err, code = publish_with_patience(self, pattern, data, ticket, flags)
    end
    if not ok then
      return nil, err, code
    end
  end
  return dispatch.wait(ticket)
end

--- Waits until every post so far has its answer. true; nil, err, failed, code: how many posts failed since the last flush.
function Client:flush(seconds)
  if not publishers[self] then
    misuse(self, "flush")
  end
  if seconds ~= nil and (type(seconds) ~= "number" or not (seconds >= 0)) then
    error(("mq:flush: seconds must be a number that is not negative (got %s)"):format(tostring(seconds)), 2)
  end
  local dispatch = self.dispatch
  local ticket = dispatch.ticket()
  local ok, err, code = self.core:flush(ticket)
  if not ok then
    return nil, err, 0, code
  end
  local failed
  ok, err, code, failed = dispatch.wait(ticket, seconds)
  if ok then
    return true
  end
  return nil, err, failed or 0, code
end

--------------------------------------------------------------------------------------------------------- subscribe

local function slot(pattern, exact)
  return (exact and "=" or "~") .. pattern
end

local function count_live(self)
  local live = next(self.subscriptions) ~= nil
  if live ~= self.live then
    self.dispatch.subscribed(self, live)
  end
end

-- One callback is called by the route itself; several share it.
local function route(self, subscription)
  local listeners = subscription.listeners
  if #listeners > 1 then
    subscription.fan = { listeners = listeners, busy = true }
    self.dispatch.route(subscription.key, subscription.fan)
  else
    subscription.fan = nil
    self.dispatch.route(subscription.key, listeners[1])
  end
end

local function add_listener(self, subscription, fn)
  local listener = {
    client = self,
    callback = fn,
    deliver = self.protocol.receiver(fn, subscription.pattern, subscription.exact),
    busy = false,
  }
  -- A new list each time: a message that is being handed round goes to those who were there when it came.
  local listeners = {}
  for index, each in ipairs(subscription.listeners) do
    listeners[index] = each
  end
  listeners[#listeners + 1] = listener
  subscription.listeners = listeners
  route(self, subscription)
end

local function drop(self, subscription)
  for _, listener in ipairs(subscription.listeners) do
    self.dispatch.silence(listener)
  end
  self.dispatch.route(subscription.key, nil)
  local name = slot(subscription.pattern, subscription.exact)
  if self.subscriptions[name] == subscription then
    self.subscriptions[name] = nil
  end
  count_live(self)
end

local function subscribe(self, subscription)
  local dispatch = self.dispatch
  local ticket = dispatch.ticket()
  local ok, err, code =
    self.source:subscribe(ticket, subscription.key, subscription.pattern, subscription.exact, subscription.options)
  if ok then
    subscription.ticket = ticket
    -- Others may wait for the same confirmation: one asks, all are told.
    ok, err, code = dispatch.wait(ticket)
    subscription.ticket = nil
  end
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
  if ok then
    return true
  end
  return nil, err, code
end

local function has(subscription, fn)
  for _, listener in ipairs(subscription.listeners) do
    if listener.callback == fn then
      return true
    end
  end
  return false
end

--- Subscribes and waits until the broker has confirmed; from then on the subscription outlives every reconnect.
-- true; nil, err, code. After "timeout" the subscription stays, and begins when the broker is there.
function Client:on(pattern, fn, opt)
  if not publishers[self] then
    misuse(self, "on")
  end
  if type(fn) ~= "function" then
    error(("mq:on: expected a function to call with each message (got a %s); write mq:on(pattern, function (msg) … end)")
      :format(type(fn)), 2)
  end
  local given, problem = options.check(self.protocol.subscribe_options, opt)
  if not given then
    error("mq:on: " .. problem, 2)
  end
  if type(pattern) ~= "string" or pattern == "" then
    return nil, ("the pattern must be a string that is not empty (got a %s)"):format(type(pattern)), "invalid"
  end

  local exact = given.exact == true
  local name = slot(pattern, exact)
  local subscription = self.subscriptions[name]
  if not subscription then
    subscription = {
      key = self.dispatch.key(), pattern = pattern, exact = exact, listeners = {}, others = {}, options = nil,
    }
    if self.protocol.subscribe_flags then
      subscription.options = self.protocol.subscribe_flags(given)
    end
    self.subscriptions[name] = subscription
    add_listener(self, subscription, fn)
    count_live(self)
  elseif subscription.confirmed or not has(subscription, fn) then
    add_listener(self, subscription, fn)
  end

  if subscription.confirmed then
    return true
  elseif subscription.ticket then
    local record = self.dispatch.expect()
    table.insert(subscription.others, record)
    self.dispatch.await(record)
    return record[1], record[2], record[3]
  end
  return subscribe(self, subscription)
end

local function remove_listener(self, subscription, fn)
  local kept, removed = {}, {}
  for _, listener in ipairs(subscription.listeners) do
    local list = (fn == nil or listener.callback == fn) and removed or kept
    list[#list + 1] = listener
  end
  if #removed == 0 then
    return false
  elseif #kept > 0 then
    subscription.listeners = kept
    route(self, subscription)
    for _, listener in ipairs(removed) do
      self.dispatch.silence(listener)
    end
    return true
  end
  drop(self, subscription)
  return true, true
end

--- Unsubscribes: one callback, or all of the pattern. true; nil, err, code.
function Client:off(pattern, fn)
  if not publishers[self] then
    misuse(self, "off")
  end
  if fn ~= nil and type(fn) ~= "function" then
    error(("mq:off: expected the function that was given to mq:on, or nothing (got a %s)"):format(type(fn)), 2)
  end
  if type(pattern) ~= "string" then
    return nil, ("the pattern must be a string (got a %s)"):format(type(pattern)), "invalid"
  end
  local found = false
  local answered, err, code = true, nil, nil
  for _, exact in ipairs { false, true } do
    local subscription = self.subscriptions[slot(pattern, exact)]
    if subscription then
      local removed, last = remove_listener(self, subscription, fn)
      found = found or removed
      if last then
        local ticket = self.dispatch.ticket()
        local ok, why, kind = self.source:unsubscribe(ticket, subscription.key)
        if ok then
          ok, why, kind = self.dispatch.wait(ticket)
        end
        if not ok then
          answered, err, code = nil, why, kind
        end
      end
    end
  end
  if not found then
    return nil, ("nothing is subscribed to %q%s"):format(pattern, fn and " with that callback" or ""), "invalid"
  end
  return answered, err, code
end

------------------------------------------------------------------------------------------------------ its whole life

local function silence(self)
  for _, subscriptions in ipairs { self.subscriptions, self.retired } do
    for _, subscription in pairs(subscriptions) do
      for _, listener in ipairs(subscription.listeners) do
        self.dispatch.silence(listener)
      end
      self.dispatch.route(subscription.key, nil)
    end
  end
  self.subscriptions = {}
  count_live(self)
end

local function release(self, list, ...)
  for _, record in ipairs(list) do
    self.dispatch.complete(record, ...)
  end
end

-- It has ended, by close or by a fatal error: nothing of it may go on waiting.
local function finish(self, state, ...)
  self.state = state
  local starters = self.starters
  self.starters = {}
  release(self, starters, ...)
  for _, record in ipairs(self.blocked) do
    self.dispatch.complete(record, true)   -- each asks the core again, and is told
  end
end

local function tell_listeners(self)
  for _, subscription in pairs(self.subscriptions) do
    for _, listener in ipairs(subscription.listeners) do
      self.dispatch.lost(listener)
    end
  end
end

local on_state = {}

-- A client is connected while each of its connections is.
function on_state.connected(self, id)
  self.down[id] = nil
  self.up[id] = true
  if self.state ~= "connected" and next(self.down) == nil then
    self.state = "connected"
    if self.on_connect then
      self.dispatch.call(self, self.on_connect)
    end
  end
end

function on_state.lost(self, id, err, code, seconds)
  if self.up[id] then
    self.up[id] = nil
    if id == self.source.id then
      tell_listeners(self)
    end
  end
  self.down[id] = true
  if self.state == "connected" then
    self.state = "reconnecting"
    if self.on_disconnect then
      self.dispatch.call(self, self.on_disconnect, err, code, seconds)
    end
  else
    if self.state == "idle" then
      self.state = "connecting"
    end
    if self.on_error then
      self.dispatch.call(self, self.on_error, err, code, seconds)
    end
  end
end

function on_state.failed(self, _, err, code)
  if self.failure or self.closing then
    return
  end
  self.failure = { err, code }
  local connected = self.state == "connected"
  local told = #self.starters > 0 or self.on_error or self.on_disconnect
  -- The callbacks hear of the loss from their queues; then nothing more comes for them.
  if self.up[self.source.id] then
    tell_listeners(self)
  end
  for _, subscription in pairs(self.subscriptions) do
    self.dispatch.route(subscription.key, nil)
  end
  self.retired, self.subscriptions = self.subscriptions, {}
  count_live(self)
  if self.reader then
    self.reader:abandon()
    self.core:abandon()
  end
  finish(self, "failed", nil, err, code)
  if connected and self.on_disconnect then
    self.dispatch.call(self, self.on_disconnect, err, code)
  end
  if self.on_error then
    self.dispatch.call(self, self.on_error, err, code)
  elseif not told then
    io.stderr:write(tostring(self), ": ", tostring(err), "\n")
  end
end

function on_state.room(self)
  next_in_line(self)
end

function on_state.dropped(self, _, err, _, count)
  if self.on_error then
    self.dispatch.call(self, self.on_error,
      err or ("%s queued messages dropped, the queue is full"):format(tostring(count)), "full")
  end
end

-- A connection that has subscribed cannot publish (RESP2): subscriptions move to a connection of their own.
function on_state.split(self)
  if self.reader then
    return
  end
  local reader, err, code = self.make_reader()
  if not reader then
    on_state.failed(self, nil, err, code)
    return
  end
  self.reader, self.source = reader, reader
  self.dispatch.enter(reader.id, self)
  for _, subscription in pairs(self.subscriptions) do
    local ticket = self.dispatch.ticket()
    if subscription.ticket then
      self.dispatch.move_ticket(subscription.ticket, ticket)
      subscription.ticket = ticket
    end
    reader:subscribe(ticket, subscription.key, subscription.pattern, subscription.exact, subscription.options)
  end
end

-- The core reports a state of one of this client's connections.
local function handle(self, id, state, err, code, extra)
  local act = on_state[state]
  if act then
    act(self, id, err, code, extra)
  end
end

--- Serves until close: parks a coroutine, runs the loop in a main chunk. true; nil, err, code after a fatal error.
function Client:start()
  if not publishers[self] then
    misuse(self, "start")
  end
  if self.state == "closed" then
    return true
  elseif self.failure then
    return nil, self.failure[1], self.failure[2]
  end
  local dispatch = self.dispatch
  if dispatches.here() ~= dispatch then
    return nil, "the client belongs to the process that this one was forked from", "closed"
  end
  local record = {}
  table.insert(self.starters, record)
  dispatch.serve(self, true)
  local done = dispatch.await(record)
  dispatch.serve(self, false)
  if not done then
    return nil, "nothing is left that could end it: the process has been forked", "closed"
  end
  return record[1], record[2], record[3]
end

-- The answers to close of each connection; what the publishing one says counts.
local function close_connections(self, seconds)
  local dispatch = self.dispatch
  local tickets = {}
  for index, connection in ipairs { self.core, self.reader } do
    local ticket = dispatch.ticket()
    tickets[index] = connection:close(ticket, seconds) and ticket
  end
  local ok, err, code = true, nil, nil
  if tickets[1] then
    ok, err, code = dispatch.wait(tickets[1])
  end
  if tickets[2] then
    dispatch.wait(tickets[2])
  end
  if not ok and self.failure then
    ok, err, code = true, nil, nil   -- it had ended before, and its callers were told
  end
  return ok, err, code
end

--- Sends what is queued (at most `seconds`, 5 unless told), unsubscribes, disconnects, wakes every waiter. May be called
-- twice and from anywhere. true; nil, err, code where something could not be sent.
function Client:close(seconds)
  if not publishers[self] then
    misuse(self, "close")
  end
  if seconds ~= nil and (type(seconds) ~= "number" or not (seconds >= 0)) then
    error(("mq:close: seconds must be a number that is not negative (got %s)"):format(tostring(seconds)), 2)
  end
  if self.state == "closed" then
    return true
  end
  local dispatch = self.dispatch
  if self.closing then
    local record = dispatch.expect()
    table.insert(self.closing, record)
    dispatch.await(record)
    dispatch.forget()
    return record[1], record[2], record[3]
  end
  self.closing = {}
  silence(self)
  local ok, err, code = close_connections(self, seconds or 5)
  dispatch.leave(self.core.id)
  if self.reader then
    dispatch.leave(self.reader.id)
  end
  finish(self, "closed", true)
  release(self, self.closing, ok, err, code)
  if ok then
    return true
  end
  return nil, err, code
end

--- Counts since the client was made: sent, received, queued, dropped, reconnects, bytes_in, bytes_out, in_flight; and
-- its state.
function Client:stats()
  if not publishers[self] then
    misuse(self, "stats")
  end
  local stats = self.core:stats()
  if self.reader then
    for name, value in pairs(self.reader:stats()) do
      if type(value) == "number" then
        stats[name] = (stats[name] or 0) + value
      end
    end
  end
  stats.state = self.state
  return stats
end

-------------------------------------------------------------------------------------------------------------- new

local function address(flat)
  if flat.path then
    return flat.path
  elseif flat.hosts then
    return table.concat(flat.hosts, ",")
  end
  local host = flat.host:find(":", 1, true) and "[" .. flat.host .. "]" or flat.host
  return host .. ":" .. flat.port
end

-- Makes a client of `protocol`. The object, or nil, err, code, and whether the caller's code is to blame.
local function make(protocol, given)
  local flat, err = options.check(protocol.options, given)
  local ok = flat
  if ok then
    ok, err = options.settle(flat)
  end
  if ok and protocol.settle then
    ok, err = protocol.settle(flat)
  end
  if not ok then
    return nil, err, "invalid", true
  end
  local callbacks = {}
  for name, spec in pairs(protocol.options) do
    if spec.lua then
      callbacks[name], flat[name] = flat[name], nil
    end
  end

  local dispatch = dispatches.here()
  local connection, problem, code = core.client(protocol.name, flat)
  if not connection then
    return nil, problem, code
  end
  local self = setmetatable({
    protocol = protocol,
    dispatch = dispatch,
    core = connection,          -- publishes
    source = connection,        -- subscribes: the same, or `reader`
    publish = connection.publish,
    address = address(flat),
    overflow = flat.overflow,
    timeout = flat.timeout,
    on_error = callbacks.on_error,
    on_connect = callbacks.on_connect,
    on_disconnect = callbacks.on_disconnect,
    state = "idle",
    handle = handle,
    held = 0,
    live = false,
    up = {}, down = {},         -- ids of the connections that are, that have reported a loss
    subscriptions = {},
    starters = {},
    blocked = {},
    make_reader = function()
      flat.role = "subscriber"
      return core.client(protocol.name, flat)
    end,
  }, protocol.metatable)
  publishers[self] = self.publish
  dispatch.enter(connection.id, self)
  return self
end

--- The module of a protocol: `definition` says its name, options and message shape (redis.lua is an example).
local function define(definition)
  definition.metatable = {
    __name = definition.module,
    __index = Client,
    __tostring = function(self)
      return ("%s: %s (%s)"):format(definition.module, self.address, self.state)
    end,
  }
  local module = {}

  --- Makes a client; it connects at first use.
  function module:new(opt)
    if self ~= module then
      error(("call it as MQ:new{…}, with a colon (got a %s before it)"):format(type(self)), 2)
    end
    local mq, err, code, blame = make(definition, opt)
    if blame then
      error(("%s:new: %s"):format(definition.module, err), 2)
    end
    return mq, err, code
  end

  --- What MQ.connect needs to make the same from a URL: (options, options as text) → like make.
  function module.make(given, texts)
    options.read(definition.options, texts, given)
    return make(definition, given)
  end

  return module
end

return { define = define }
