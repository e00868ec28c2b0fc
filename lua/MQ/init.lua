--- MQ: message queues for Lua. MQ.redis, MQ.mqtt, MQ.stomp and MQ.broker are loaded on demand, so are MQ.loop and
-- MQ.connect's protocol.
-- Must not know: anything that a protocol's module knows.

local host_loop = require "MQ.loop"
local options = require "MQ.options"
local url = require "MQ.url"

local MQ = {}

local modules = { mqtt = "MQ.mqtt", redis = "MQ.redis", stomp = "MQ.stomp" }

--- Makes a client from a URL: redis://user:password@host:6379/0?timeout=5, rediss://…, unix:///run/redis.sock;
-- mqtt://user:password@host:1883?client_id=x, mqtts://…; stomp://user:password@host:61613/vhost, stomps://…;
-- ws://host/path and wss://… (MQTT unless protocol = "stomp").
-- `opt` may add options that no URL can hold, and wins. A wrong URL or option raises at the caller's line.
function MQ.connect(address, opt)
  local wanted = type(opt) == "table" and opt.protocol or nil
  local protocol, given, query = url.parse(address, wanted)
  if not protocol then
    error("MQ.connect: " .. given, 2)
  end
  if opt ~= nil and type(opt) ~= "table" then
    error(("MQ.connect: expected a table of options after the URL (got a %s)"):format(type(opt)), 2)
  end
  options.complete(given, query, opt or {}, given.websocket and "protocol")   -- which is heeded by now
  require(modules[protocol])
  local mq, err, code, blame = require("MQ.client").make_from_text(protocol, given, query)
  if blame then
    error("MQ.connect: " .. err, 2)
  end
  return mq, err, code
end

--- Chooses the host loop by name, before the first client is made.
function MQ.use(name)
  local ok, result = pcall(host_loop.use, name)
  if not ok then
    error(result, 2)
  end
  return result
end

return setmetatable(MQ, {
  __index = function(_, name)
    if modules[name] then
      return require(modules[name])
    elseif name == "broker" then
      return require "MQ.broker"
    elseif name == "loop" then
      return host_loop.current()
    elseif name == "_VERSION" then
      return require("MQ.core").version
    end
  end,
})
