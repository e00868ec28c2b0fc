--- STOMP 1.0, 1.1 and 1.2: its options, their defaults, the shape of its messages, how they are acknowledged.
-- Must not know: how anything is sent, received or waited for.

local core = require "MQ.core"
local acknowledge = require "MQ.acknowledge"
local client = require "MQ.client"
local options = require "MQ.options"
local transaction = require "MQ.transaction"

---------------------------------------------------------------------------------------------------------- headers

-- An option `header`: headers of one kind of frame besides those that MQ writes, which are `reserved`.
local function header(example, reserved)
  reserved.receipt = reserved.receipt or "MQ asks for receipts where it needs them"
  return {
    kind = "map", scalars = true, reserved = reserved, names = ".", values = "",
    form = "a table of headers: names that are not empty, strings, numbers or truth values", example = example,
  }
end

local connect_header = header('header = {["client-type"] = "gateway"}', {
  login = 'write username = "…"', passcode = 'write password = "…"', host = 'write vhost = "/"',
  ["accept-version"] = 'write version = "1.2"', ["heart-beat"] = "write heartbeat = {10, 10}",
  ["client-id"] = 'write client_id = "…"',
})

local send_header = header('header = {persistent = "true"}', {
  destination = "it is the first argument", receipt = "write receipt = true or receipt = false",
  transaction = "send in mq:transaction(function (tx) … end)", ["content-length"] = "MQ counts",
})

local subscribe_header = header('header = {selector = "price > 10"}', {
  destination = "it is the first argument", id = 'write id = "…"', ack = 'write ack = "manual"',
})

local acknowledge_header = header('header = {requeue = "false"}', {
  id = "the message has it", ["message-id"] = "the message has it", subscription = "the message has it",
  transaction = "acknowledge in mq:transaction(function (tx) … end)",
})

---------------------------------------------------------------------------------------------------------- messages

local acknowledge_options = { header = acknowledge_header }

-- What tells the broker of an acknowledgement with headers of its own, or in a transaction.
local function tell_by_command(mq, headers, number)
  return function(id, ok)
    return mq.source:command(mq.dispatch.ticket(), "acknowledge", {
      id = id, accept = ok, header = headers, transaction = number,
    })
  end
end

local function telling(mq, opt, method)
  local given, err = options.check(acknowledge_options, opt)
  if not given then
    error(("msg:%s: %s"):format(method, err), 3)
  end
  return given.header and tell_by_command(mq, given.header)
end

-- What a message lacks: with lazy_headers it gets all that its headers hold when somebody asks for the first of it.
local function unpacked(msg, name)
  local packed = rawget(msg, "packed")
  if packed and (name == "headers" or name == "id" or name == "session") then
    local headers = core.headers(packed)
    msg.packed, msg.headers, msg.id, msg.session = nil, headers, headers["message-id"], headers.session
    return rawget(msg, name)
  end
end

local function whole_pairs(msg)
  unpacked(msg, "headers")
  return next, msg, nil
end

local manual = acknowledge.class("MQ.stomp.Message", telling, unpacked)
manual.__pairs = whole_pairs

local lazy = { __index = unpacked, __pairs = whole_pairs, __name = "MQ.stomp.Message" }

local function message(pattern, source, payload, _, headers)
  if type(headers) == "string" then
    return setmetatable({
      type = "message", pattern = pattern, source = source, payload = payload, len = #payload, packed = headers,
    }, lazy)
  end
  return {
    type = "message", pattern = pattern, source = source, payload = payload,
    id = headers["message-id"], session = headers.session, len = #payload, headers = headers,
  }
end

local by_program = { manual = true, client = true, ["client-individual"] = true }

local function receiver(fn, pattern, _, listener, given)
  if given.ack ~= "none" then
    return acknowledge.receiver(fn, pattern, listener, message, by_program[given.ack] and manual or nil)
  end
  local settle = listener.settle
  return function(source, payload, _, id, headers)
    if id ~= 0 then   -- another callback, the first one, has asked for acknowledgements
      settle(id, true)
    end
    fn(message(pattern, source, payload, nil, headers))
  end
end

---------------------------------------------------------------------------------------------------------- options

local HAS_RECEIPT, RECEIPT = 1, 2

local function publish_flags(given)
  local flags = 0
  if given.receipt ~= nil then
    flags = HAS_RECEIPT + (given.receipt and RECEIPT or 0)
  end
  return flags, given.header and { header = given.header }
end

-- Headers that the whole check would leave as they are.
local function is_plain(headers)
  local reserved = send_header.reserved
  for name, value in next, headers do
    if type(name) ~= "string" or name == "" or reserved[name] or type(value) ~= "string" then
      return false
    end
  end
  return true
end

-- The same for what most calls give, without a table for it; nil where the whole check is needed.
local function quick_flags(opt)
  local flags, extra = 0, nil
  for name, value in next, opt do
    if name == "receipt" and (value == true or value == false) then
      flags = HAS_RECEIPT + (value and RECEIPT or 0)
    elseif name == "header" and type(value) == "table" and is_plain(value) then
      extra = { header = value }
    else
      return nil
    end
  end
  return flags, extra
end

local function default_port(flat)
  if flat.websocket then
    return flat.tls and 443 or 80
  end
  return flat.tls and 61614 or 61613
end

local function settle_options(flat)
  if flat.auth then
    flat.password, flat.auth = flat.password or flat.auth, nil
  end
  flat.db = nil
  flat.packed_headers, flat.lazy_headers = flat.lazy_headers, nil
  -- RabbitMQ takes the name of a virtual host of its own only, and "/" is the one that it always has; other brokers do
  -- not look at it.
  flat.vhost = flat.vhost or "/"
  flat.version = flat.version and ("%.1f"):format(flat.version)
  local heartbeat = flat.heartbeat or { flat.keepalive or 10, flat.keepalive or 10 }
  flat.heartbeat_send, flat.heartbeat_receive = heartbeat[1], heartbeat[2]
  flat.heartbeat, flat.keepalive = nil, nil
  if flat.websocket and not flat.websocket_protocols then
    flat.websocket_protocols = flat.version and { "v" .. flat.version:gsub("%.", "") .. ".stomp" }
      or { "v12.stomp", "v11.stomp", "v10.stomp" }
  end
  return true
end

local receipt = { kind = "boolean", example = "receipt = false" }

return client.define {
  module = "MQ.stomp",
  name = "stomp",

  options = options.extend {
    port = { kind = "integer", min = 1, max = 65535, digits = true, example = "port = 61613" },
    path = { kind = "string", example = 'path = "/run/broker.sock"' },
    version = {
      kind = "choice", choices = { "1.2", "1.1", "1.0", 1.2, 1.1, 1 }, example = 'version = "1.2"',
    },
    client_id = { kind = "string", example = 'client_id = "gateway-7"' },
    keepalive = { kind = "number", min = 0, max = 65535, example = "keepalive = 10" },
    heartbeat = { kind = "pair", min = 0, max = 65535, example = "heartbeat = {10, 10}" },
    header = connect_header,
    prefix = { kind = "string", empty = true, example = 'prefix = "/topic"' },
    receipt = { kind = "boolean", default = true, example = "receipt = false" },
    content_length = { kind = "boolean", default = true, example = "content_length = false" },
    lazy_headers = { kind = "boolean", default = false, example = "lazy_headers = true" },
    max_in_flight = { kind = "integer", min = 1, max = 65535, default = 1000, example = "max_in_flight = 1000" },
    websocket = options.websocket,
  },
  default_port = default_port,
  settle = settle_options,

  subscribe_options = {
    ack = {
      kind = "choice", choices = { "auto", "manual", "client", "client-individual", "none" }, default = "auto",
      example = 'ack = "manual"',
    },
    id = { kind = "string", example = 'id = "orders"' },
    prefetch = { kind = "integer", min = 1, max = 65535, example = "prefetch = 10" },
    durable = { kind = "string", example = 'durable = "orders"' },
    header = subscribe_header,
  },
  subscribe_flags = function(given)
    given.ack = given.ack == "client-individual" and "manual" or given.ack
    return given
  end,
  publish_options = { receipt = receipt, header = send_header },
  publish_flags = publish_flags,
  quick_flags = quick_flags,

  acknowledges = true,
  gives_back = true,   -- what a subscription that ends has not acknowledged
  receiver = receiver,

  methods = {
    transaction = transaction.method {
      class = manual, tell = tell_by_command, publish_options = { header = send_header },
      acknowledge_options = acknowledge_options,
    },
  },
}
