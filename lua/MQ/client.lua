--- new, start, close, stats, and what a client makes of its connections' states.
-- With publish.lua and subscribe.lua: one implementation for every protocol.
-- Must not know: bytes, retries, reconnects (the core's), how a host parks (the loop's), what a message looks like (the
-- protocol's).
--
-- A run-time failure returns nil, err, code. Misuse (a wrong object, a wrong option, no callback) raises at the
-- caller's line.

local core = require "MQ.core"
local dispatches = require "MQ.dispatch"
local object = require "MQ.object"
local options = require "MQ.options"
local publishing = require "MQ.publish"
local subscribing = require "MQ.subscribe"

local publishers, misuse, check_seconds = object.publishers, object.misuse, object.check_seconds

-- Fields that a client may not have are false here, so that their absence is no question of what the program meant.
local Client = {
  on_error = false, on_connect = false, on_disconnect = false, on_auth = false,
  reader = false,             -- the connection that subscribes where the publishing one cannot
  told_away = false,          -- standard error knows that there is no connection yet
  failure = false,            -- { err, code } of the fatal error that has ended it
  closing = false,            -- the records of those who wait in close
}

for _, methods in ipairs { publishing.methods, subscribing.methods } do
  for name, method in pairs(methods) do
    Client[name] = method
  end
end

-- It has ended, by close or by a fatal error: nothing of it may go on waiting. From now on every call that would reach
-- the broker returns nil, err, code; whoever waits in start() gets what follows.
local function finish(self, state, err, code, ...)
  self.state = state
  self.core_publish = function()
    return nil, err, code
  end
  self.publish_with(self.core_publish)
  local starters = self.starters
  self.starters = {}
  for _, record in ipairs(starters) do
    self.dispatch.complete(record, ...)
  end
  publishing.end_line(self)
end

------------------------------------------------------------------------------------------------------------ states

-- What a connection's state means for its client: on_state[state](client, id, err, code, extra). These run in the
-- worker that pulls: what the user gave is called elsewhere (dispatch.call).
local on_state = {}

-- A client is connected while each of its connections is.
-- `info`: what the broker has told, where the protocol has more than yes.
function on_state.connected(self, id, _, _, info)
  self.down[id] = nil
  self.up[id] = true
  if self.state ~= "connected" and next(self.down) == nil then
    self.state = "connected"
    if self.on_connect then
      self.dispatch.call(self, self.on_connect, type(info) == "table" and info or nil)
    end
  end
end

function on_state.lost(self, id, err, code, seconds)
  if self.up[id] then
    self.up[id] = nil
    if id == self.source.id then
      subscribing.tell_lost(self)
    end
  end
  self.down[id] = true
  if self.state == "connected" then
    self.state = "reconnecting"
    if self.on_disconnect then
      self.dispatch.call(self, self.on_disconnect, err, code, seconds)
    end
    return
  end
  if self.state == "idle" then
    self.state = "connecting"
  end
  if self.on_error then
    self.dispatch.call(self, self.on_error, err, code, seconds)
  elseif self.state == "connecting" and #self.starters > 0 and not self.told_away then
    -- Whoever has just started a program and sees nothing happen should know why.
    self.told_away = true
    io.stderr:write(tostring(self), ": ", tostring(err), "; trying on\n")
  end
end

function on_state.failed(self, _, err, code)
  if self.failure then
    return
  end
  self.failure = { err, code }
  local connected = self.state == "connected"
  local told = #self.starters > 0 or self.on_disconnect
  if self.up[self.source.id] then
    subscribing.tell_lost(self)
  end
  subscribing.retire_all(self)
  if self.reader then
    self.reader:abandon()
    self.core:abandon()
  end
  finish(self, "failed", err, code, nil, err, code)
  self.dispatch.failed()
  if connected and self.on_disconnect then
    self.dispatch.call(self, self.on_disconnect, err, code)
  end
  if self.on_error then
    self.dispatch.call(self, self.on_error, err, code)
  elseif not told and connected then
    -- It had been working, nobody waits in one of its calls, nobody asked to be told.
    io.stderr:write(tostring(self), ": ", tostring(err), "\n")
  end
end

function on_state.unsubscribed(self, _, err, code, key)
  local pattern = subscribing.retire(self, key)
  err = ("the subscription to %q has ended: %s"):format(tostring(pattern), tostring(err))
  if self.on_error then
    self.dispatch.call(self, self.on_error, err, code)
  else
    io.stderr:write(tostring(self), ": ", tostring(err), "\n")
  end
end

-- The broker asks for something before it lets us in; without an answer the handshake times out.
function on_state.challenge(self, _, _, _, question)
  if self.on_auth then
    self.dispatch.call(self, function()
      local answer = self.on_auth(self, question.authentication_data, question)
      local dispatch = self.dispatch
      local ticket = dispatch.ticket()
      local record = dispatch.pending(ticket)
      if self.core:command(ticket, "authenticate", answer) then
        dispatch.answer(record)
      else
        dispatch.withdraw(ticket)
      end
    end)
  elseif self.on_error then
    self.dispatch.call(self, self.on_error, "the broker asks for authentication; give the option on_auth", "auth")
  end
end

function on_state.room(self)
  publishing.next_in_line(self)
end

function on_state.dropped(self, _, err, _, count)
  if self.on_error then
    err = err or ("the outbound queue is full: %d dropped so far, since newer messages needed the room"):format(count)
    self.dispatch.call(self, self.on_error, err, "full")
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
  subscribing.resubmit_all(self)
end

local function handle(self, id, state, err, code, extra)
  local act = on_state[state]
  if act and not self.closing then
    act(self, id, err, code, extra)
  elseif state == "room" then
    publishing.next_in_line(self)
  end
end

------------------------------------------------------------------------------------------------------- its whole life

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
  local record = {}
  if dispatches.here() == dispatch then
    self.core:connect()   -- serving is a use, too: a last will, say, needs no subscription
    table.insert(self.starters, record)
    dispatch.serve(self, true)
    dispatch.await(record)
    dispatch.serve(self, false)
  end
  if record.stuck then
    return nil, record.stuck, "invalid"
  elseif not record.done then
    return nil, "the client belongs to the process that this one was forked from", "closed"
  end
  if record[1] then
    return true
  end
  return nil, record[2], record[3]
end

-- Every connection has answered its close; what the publishing one said counts.
local function closed(self, ok, err, code)
  local dispatch = self.dispatch
  dispatch.leave(self.core.id)
  if self.reader then
    dispatch.leave(self.reader.id)
  end
  finish(self, "closed", "the client is closed", "closed", true)
  if self.failure then   -- what had ended before has told its callers
    self.failure = nil
    ok, err, code = true, nil, nil
  end
  local closing = self.closing
  for _ = 1, #closing do
    dispatch.forget()   -- first of all: where nothing else keeps the host's loop going, it may end with the call
  end
  for _, record in ipairs(closing) do
    dispatch.complete(record, ok, err, code)
  end
end

local function close_connections(self, seconds)
  local dispatch = self.dispatch
  local left, ok, err, code = 0, true, nil, nil
  for _, connection in ipairs { self.core, self.reader or nil } do
    local ticket = dispatch.ticket()
    dispatch.pending(ticket, function(record)
      left = left - 1
      if connection == self.core then
        ok, err, code = record[1], record[2], record[3]
      end
      if left == 0 then
        closed(self, ok, err, code)
      end
    end)
    left = left + 1
    if not connection:close(ticket, seconds) then
      dispatch.withdraw(ticket)
      left = left - 1
    end
  end
  if left == 0 then
    closed(self, true)
  end
end

--- Sends what is queued (at most `seconds`, 5 unless told), unsubscribes, disconnects, wakes every waiter. May be
-- called twice and from anywhere. true; nil, err, code where something could not be sent.
function Client:close(seconds)
  if not publishers[self] then
    misuse(self, "close")
  end
  check_seconds(seconds, "close")
  if self.state == "closed" then
    return true
  end
  local first = not self.closing
  self.closing = self.closing or {}
  local record = self.dispatch.expect()
  table.insert(self.closing, record)
  if first then
    subscribing.silence_all(self)
    close_connections(self, seconds or 5)
  end
  self.dispatch.await(record)
  if record[1] then
    return true
  end
  return nil, record[2] or record.stuck, record[3] or "invalid"
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

--------------------------------------------------------------------------------------------------------------- new

setmetatable(Client, { __index = object.missing(Client) })

local function address(flat)
  if flat.path then
    return flat.path
  elseif flat.hosts then
    return table.concat(flat.hosts, ",")
  end
  local host = flat.host:find(":", 1, true) and "[" .. flat.host .. "]" or flat.host
  return host .. ":" .. flat.port
end

-- The flat table that the core takes and the callbacks that it does not; or nil and what is wrong.
local function settle(protocol, given)
  local flat, err = options.check(protocol.options, given)
  if not flat then
    return nil, err
  end
  flat.port = flat.port or protocol.default_port(flat)
  local ok
  ok, err = options.settle(flat)
  if ok and protocol.settle then
    ok, err = protocol.settle(flat)
  end
  if not ok then
    return nil, err
  end
  local callbacks = {}
  for name, spec in pairs(protocol.options) do
    if spec.lua then
      callbacks[name], flat[name] = flat[name], nil
    end
  end
  return flat, callbacks
end

-- The client; or nil, err, code, and whether the caller's code is to blame.
local function make(protocol, given)
  local flat, callbacks = settle(protocol, given)
  if not flat then
    return nil, callbacks, "invalid", true
  end
  local dispatch = dispatches.here()
  local connection, err, code = core.client(protocol.name, flat)
  if not connection then
    return nil, err, code
  end
  local self = setmetatable({
    protocol = protocol,
    dispatch = dispatch,
    core = connection,          -- publishes
    source = connection,        -- subscribes: the same, or `reader`
    core_publish = connection.publish,
    raw_publish = connection.publish,
    address = address(flat),
    overflow = flat.overflow,
    timeout = flat.timeout,
    on_error = callbacks.on_error,
    on_connect = callbacks.on_connect,
    on_disconnect = callbacks.on_disconnect,
    on_auth = callbacks.on_auth,
    state = "idle",
    handle = handle,
    held = 0,                   -- messages that wait in Lua
    live = false,               -- has subscriptions
    up = {}, down = {},         -- ids of the connections that are, that have reported a loss
    subscriptions = {},
    retired = {},
    starters = {},
    blocked = {},
    make_reader = function()
      flat.role = "subscriber"
      return core.client(protocol.name, flat)
    end,
  }, protocol.metatable)
  publishing.open(self)
  dispatch.enter(connection.id, self)
  return self
end

local makers = {}

--- Makes a client of the protocol `name` from a URL's parts: options, and options as text. Like make.
local function make_from_text(name, given, texts)
  local definition = makers[name]
  options.read(definition.options, texts, given)
  return make(definition, given)
end

-- What the clients of a protocol are: everything here, and what only that protocol can do.
local function class_of(definition)
  if not definition.methods then
    return Client
  end
  local class = {}
  for _, members in ipairs { Client, definition.methods } do
    for name, member in pairs(members) do
      class[name] = member
    end
  end
  return setmetatable(class, { __index = object.missing(class) })
end

--- The module of a protocol: `definition` says its name, options and message shape (redis.lua is an example).
local function define(definition)
  local class = class_of(definition)
  definition.metatable = {
    __name = definition.module,
    __index = class,
    __tostring = function(self)
      return ("%s: %s (%s)"):format(definition.module, self.address, self.state)
    end,
  }
  makers[definition.name] = definition

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

  return setmetatable(module, {
    __index = function(_, name)
      if type(rawget(class, name)) == "function" then
        error(("%s is no client; make one: local mq = MQ:new{…}, then call mq:%s"):format(definition.module, name), 2)
      end
    end,
  })
end

return { define = define, make_from_text = make_from_text }
