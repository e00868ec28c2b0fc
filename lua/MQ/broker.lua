--- An embedded broker: MQ.broker:new{redis = 6379}, its ports, counts and events, until it is closed.
-- Must not know: sockets, what a protocol says, how a host parks.

local core = require "MQ.core"
local dispatches = require "MQ.dispatch"
local object = require "MQ.object"
local options = require "MQ.options"

local module = {}

--- Where clients look for each protocol unless they are told otherwise.
module.standard_ports = { redis = 6379, mqtt = 1883, stomp = 61613 }

local function port(name)
  local standard = module.standard_ports[name]
  return { kind = "integer", min = 0, max = 65535, digits = true, example = ("%s = %d"):format(name, standard) }
end

local specs = {
  redis = port "redis", mqtt = port "mqtt", stomp = port "stomp",
  host = { kind = "string", default = "127.0.0.1", example = 'host = "127.0.0.1"' },
  users = {
    kind = "map", names = "", values = "", secret = true, form = "a table of names and passwords",
    example = 'users = {default = "…"}',
  },
  max_connections = { kind = "integer", min = 1, max = 2 ^ 31, default = 20000, example = "max_connections = 20000" },
  max_packet = { kind = "integer", min = 64, max = 2 ^ 31, default = 64 * 2 ^ 20, example = "max_packet = 64 * 2^20" },
  max_subscriptions = {
    kind = "integer", min = 1, max = 2 ^ 31, default = 1000000, example = "max_subscriptions = 1000000",
  },
  max_queue_bytes = {
    kind = "integer", min = 1, max = 2 ^ 40, default = 32 * 2 ^ 20, example = "max_queue_bytes = 32 * 2^20",
  },
  max_retained_bytes = {
    kind = "integer", min = 1, max = 2 ^ 40, default = 64 * 2 ^ 20, example = "max_retained_bytes = 64 * 2^20",
  },
}

local served = core.broker_protocols or {}

--- The names of the protocols that brokers of this build serve.
function module.protocols()
  local names = {}
  for index, name in ipairs(served) do
    names[index] = name
  end
  return names
end

local Broker = {
  on_error = false,   -- an error in a callback goes to standard error
  state = "open",
}

-- Every open broker: one serves until it is closed, whether or not the program has kept it.
local open = {}

local metatable   -- forward: of every broker

local function check(self, method)
  if type(self) ~= "table" or getmetatable(self) ~= metatable then
    error(("call it as broker:%s(…), on a broker that MQ.broker:new made (got a %s before the colon)")
      :format(method, type(self)), 3)
  end
end

--- The port of each protocol that is served: {redis = 6379}.
function Broker:ports()
  check(self, "ports")
  return self.core:ports()
end

--- Counts: connections, subscriptions (now), accepted, refused, received, sent, overruns, bytes_in, bytes_out (so far);
-- and its state.
function Broker:stats()
  check(self, "stats")
  local stats = self.core:stats()
  stats.state = self.state
  return stats
end

--- Ends every connection and gives the ports back. May be called twice.
function Broker:close()
  check(self, "close")
  if not open[self] or not self.core:is_ours() then
    return true
  end
  self.state = "closed"
  open[self] = nil
  self.core:close()
  local dispatch = self.dispatch
  dispatch.leave(self.core.id)
  local starters = self.starters
  self.starters = {}
  for _, record in ipairs(starters) do
    dispatch.complete(record, true)
  end
  return true
end

--- Serves until close: parks a coroutine, runs the loop in a main chunk.
function Broker:start()
  check(self, "start")
  local dispatch = self.dispatch
  if not open[self] then
    return true
  elseif dispatches.here() ~= dispatch then
    return nil, "the broker belongs to the process that this one was forked from", "closed"
  end
  local record = {}
  table.insert(self.starters, record)
  dispatch.serve(self, true)
  dispatch.await(record)
  dispatch.serve(self, false)
  if record.done then
    return true
  end
  return nil, record.stuck or "nothing is left that could end it", "invalid"
end

for _, event in ipairs { "connect", "disconnect", "subscribe", "unsubscribe" } do
  --- Has fn(broker, info) called each time, in a coroutine of its own: info has id, protocol, remote, and pattern or
  -- reason. May be called more than once.
  Broker["on_" .. event] = function(self, fn)
    check(self, "on_" .. event)
    if type(fn) ~= "function" then
      error(("broker:on_%s: expected a function (got %s)"):format(event, options.quote(fn)), 2)
    end
    local callbacks = self.callbacks[event]
    if not callbacks then
      callbacks = {}
      self.callbacks[event] = callbacks
      self.core:observe(event)
    end
    callbacks[#callbacks + 1] = fn
    return true
  end
end

local function handle(self, _, state, _, _, info)
  if state == "notice" and open[self] then
    local event = info.event
    info.event = nil
    for _, fn in ipairs(self.callbacks[event] or {}) do
      self.dispatch.call(self, fn, info)
    end
  end
end

metatable = {
  __name = "MQ.broker",
  __index = function(_, name)
    local value = Broker[name]
    if value == nil and type(name) == "string" then
      local nearest, edits = options.nearest(Broker, name)
      if edits <= math.max(1, math.floor(#name / 3)) then
        error(("a broker has no %s; did you mean broker:%s?"):format(options.quote(name), nearest), 2)
      end
    end
    return value
  end,
  __tostring = function(self)
    local ports = {}
    for name, number in pairs(self.core:ports()) do
      ports[#ports + 1] = ("%s %d"):format(name, number)
    end
    table.sort(ports)
    return ("MQ.broker: %s (%s)"):format(table.concat(ports, ", "), self.state)
  end,
}

-- What the core takes; or nil and what is wrong.
local function settle(opt)
  local flat, err = options.check(specs, opt)
  if not flat then
    return nil, err
  end
  local has = {}
  for _, name in ipairs(served) do
    has[name] = true
  end
  local some = false
  for name in pairs(module.standard_ports) do
    if flat[name] and not has[name] then
      return nil, ("this version's broker does not serve %s; it serves: %s"):format(name, table.concat(served, ", "))
    end
    some = some or flat[name] ~= nil
  end
  if not some then
    return nil, "which protocol is it to serve? Write redis = 6379, or redis = 0 for a free port"
  end
  return flat
end

--- Starts a broker. nil, err, code where a port cannot be had; a wrong option raises at the caller's line.
function module:new(opt)
  if self ~= module then
    error(("call it as MQ.broker:new{…}, with a colon (got a %s before it)"):format(type(self)), 2)
  elseif not core.broker then
    error("this build of MQ has no broker; build it with `make build`, which leaves nothing out", 2)
  end
  local flat, err = settle(opt)
  if not flat then
    error("MQ.broker:new: " .. err, 2)
  end
  local dispatch = dispatches.here()
  local handle_of_core, code
  handle_of_core, err, code = core.broker(flat)
  if not handle_of_core then
    return nil, err, code
  end
  local broker = setmetatable({
    core = handle_of_core,
    dispatch = dispatch,
    callbacks = {},
    starters = {},
    handle = handle,
    serves = true,   -- clients are closed before it
  }, metatable)
  open[broker] = true
  dispatch.enter(handle_of_core.id, broker)
  return broker
end

return setmetatable(module, { __index = object.missing { new = module.new } })
