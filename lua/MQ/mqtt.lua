--- MQTT 3.1.1 and 5.0: its options, their defaults, the shape of its messages, how they are acknowledged.
-- Must not know: how anything is sent, received or waited for.

local acknowledge = require "MQ.acknowledge"
local client = require "MQ.client"
local options = require "MQ.options"

local floor = math.floor

local qos = { kind = "integer", min = 0, max = 2, example = "qos = 1" }
local retain = { kind = "boolean", example = "retain = true" }
local properties = { kind = "table", example = 'properties = {content_type = "text/plain"}' }
local whole = { kind = "integer", min = 0, max = 4294967295 }

local function with(spec, example, default)
  local copy = {}
  for name, value in pairs(spec) do
    copy[name] = value
  end
  copy.example, copy.default = example, default
  return copy
end

-- A name that no other client has, for whoever gives none: 18 characters that every server takes
-- (3.1.1, [MQTT-3.1.3-5]). Read anew each time, so that a forked child gets another one.
local function random_id()
  local file = io.open("/dev/urandom", "rb")
  local bytes = file and file:read(8)
  if file then
    file:close()
  end
  if not bytes then
    local core = require "MQ.core"
    bytes = ("%08x"):format((core.time() * 1e6 + core.pid()) % 2 ^ 32)
  end
  return "mq" .. bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end):sub(1, 16)
end

---------------------------------------------------------------------------------------------------------- messages

-- MQTT 3.1.1 has no word for what could not be dealt with, and takes it as dealt with.
local manual = acknowledge.class "MQ.mqtt.Message"

-- What the core gives for a message: its topic, its payload, flags (two bits of QoS, RETAIN, DUP, packet identifier
-- from bit 16), the id that an acknowledgement names or 0, and properties or nil.
local function message(pattern, topic, payload, flags, props)
  if flags == 0 then
    return {
      type = "publish", topic = topic, source = topic, pattern = pattern, payload = payload,
      qos = 0, retain = false, dup = false, properties = props,
    }
  end
  local level = flags % 4
  return {
    type = "publish", topic = topic, source = topic, pattern = pattern, payload = payload,
    qos = level, retain = flags % 8 >= 4, dup = flags % 16 >= 8,
    packet_id = level > 0 and floor(flags / 65536) or nil, properties = props,
  }
end

local function receiver(fn, pattern, _, listener, given)
  return acknowledge.receiver(fn, pattern, listener, message, given.ack == "manual" and manual or nil)
end

---------------------------------------------------------------------------------------------------------- options

local HAS_QOS, RETAIN = 8, 4

local function publish_flags(given)
  local flags = given.qos and HAS_QOS + given.qos or 0
  if given.retain then
    flags = flags + RETAIN
  end
  return flags, given.properties
end

-- The same for what most calls give, without a table for it; nil where the whole check is needed.
local function quick_flags(opt)
  local flags = 0
  for name, value in next, opt do
    if name == "qos" and (value == 0 or value == 1 or value == 2) then
      flags = flags + HAS_QOS + value
    elseif name == "retain" and (value == true or value == false) then
      flags = flags + (value and RETAIN or 0)
    else
      return nil
    end
  end
  return flags
end

local function default_port(flat)
  if flat.websocket then
    return flat.tls and 443 or 80
  end
  return flat.tls and 8883 or 1883
end

local function settle_options(flat)
  if flat.auth then
    flat.password, flat.auth = flat.password or flat.auth, nil
  end
  if flat.vhost and flat.username then
    flat.username = flat.vhost .. ":" .. flat.username   -- how RabbitMQ is told
  end
  flat.vhost, flat.db = nil, nil
  if flat.websocket then
    flat.websocket_protocols = flat.websocket_protocols or { "mqtt" }   -- section 6
  end
  flat.version = flat.version == "3.1.1" and "3.1.1" or "5"
  if flat.will and not flat.will_topic then
    return nil, 'in "will": there is no topic; write will = {topic = "clients/me", payload = "gone"}'
  elseif flat.client_id == "" and not flat.clean and flat.version == "3.1.1" then
    return nil, 'a session that is to be kept (clean = false) needs a name; write client_id = "me"'
  elseif flat.client_id == nil then
    if not flat.clean then
      return nil, 'a session that is to be kept (clean = false) needs a name that does not change; '
        .. 'write client_id = "me"'
    end
    flat.client_id = random_id()
  end
  return true
end

return client.define {
  module = "MQ.mqtt",
  name = "mqtt",

  options = options.extend {
    path = { kind = "string", example = 'path = "/run/mosquitto.sock"' },
    port = { kind = "integer", min = 1, max = 65535, digits = true, example = "port = 1883" },
    version = { kind = "choice", choices = { 5, "5", "3.1.1" }, default = 5, example = 'version = "3.1.1"' },
    client_id = { kind = "string", empty = true, example = 'client_id = "gateway-7"' },
    clean = { kind = "boolean", default = true, example = "clean = false" },
    session_expiry = with(whole, "session_expiry = 3600"),
    keepalive = { kind = "number", min = 0, max = 65535, default = 60, example = "keepalive = 60" },
    qos = with(qos, "qos = 1", 1),
    will = {
      kind = "group", bare = true, default = false, example = 'will = {topic = "clients/me", payload = "gone"}',
      members = {
        topic = { kind = "string", example = 'topic = "clients/me"' },
        payload = { kind = "string", empty = true, default = "", example = 'payload = "gone"' },
        qos = with(qos, "qos = 1", 0),
        retain = with(retain, "retain = true", false),
        delay = with(whole, "delay = 30"),
        properties = properties,
      },
    },
    receive_maximum = {
      kind = "integer", min = 1, max = 65535, default = 1000, example = "receive_maximum = 1000",
    },
    max_in_flight = { kind = "integer", min = 1, max = 65535, example = "max_in_flight = 1000" },
    topic_alias_maximum = {
      kind = "integer", min = 0, max = 65535, default = 64, example = "topic_alias_maximum = 64",
    },
    subscription_identifiers = { kind = "boolean", default = true, example = "subscription_identifiers = false" },
    properties = with(properties, "properties = {request_response_information = true}"),
    auth_method = { kind = "string", example = 'auth_method = "SCRAM-SHA-256"' },
    auth_data = { kind = "string", empty = true, secret = true, example = 'auth_data = "…"' },
    on_auth = { kind = "function", lua = true, example = "on_auth = function (mq, data) return answer end" },
    websocket = options.websocket,
    redirect = { kind = "boolean", default = false, example = "redirect = true" },
  },
  default_port = default_port,
  settle = settle_options,

  subscribe_options = {
    qos = qos,
    ack = { kind = "choice", choices = { "auto", "manual" }, default = "auto", example = 'ack = "manual"' },
    no_local = { kind = "boolean", example = "no_local = true" },
    retain_as_published = { kind = "boolean", example = "retain_as_published = true" },
    retain_handling = { kind = "integer", min = 0, max = 2, example = "retain_handling = 1" },
    properties = with(properties, 'properties = {user_properties = {name = "value"}}'),
  },
  subscribe_flags = function(given)
    return given
  end,
  publish_options = { qos = qos, retain = retain, properties = properties },
  publish_flags = publish_flags,
  quick_flags = quick_flags,

  acknowledges = true,
  receiver = receiver,
}
