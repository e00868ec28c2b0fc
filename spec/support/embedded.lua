-- MQ.broker in a process of its own, in the place of a real broker: MQ_SPEC_BROKER=embedded (see spec/helper.lua). It
-- serves all three protocols on free ports and has the fields and methods of the one whose place it takes. It keeps
-- nothing on disk: after a restart there is no session, no queue, no retained message.

local Broker = require "spec.support.broker"
local Mosquitto = require "spec.support.mosquitto"
local Process = require "spec.support.process"
local sys = require "spec_sys"

local Embedded = { name = "the embedded broker", __name = "embedded broker", start_limit = 10, stop_limit = 5 }

-- What a real broker can be told, and how the embedded one is told the same; nothing: it is so anyway.
local function nothing() end

local settings = {
  redis = {
    databases = function(value) return value == 16 end,
    maxclients = function(value, options) options.max_connections = value end,
    [1] = function(line, options)
      local name, password = line:match("^user (%S+) on >(%S+) ~%* &%* %+@all$")   -- who may do everything
      if not name then
        return false
      end
      options.users = options.users or {}
      options.users[name] = password
    end,
    ["client-output-buffer-limit pubsub"] = function(value, options)
      options.max_queue_bytes = assert(value == "0 0 0" and 2 ^ 40, value)
    end,
  },
  mosquitto = {
    -- it has no limits on their number but those that the client gives
    max_inflight_messages = nothing, max_queued_messages = nothing, set_tcp_nodelay = nothing, log_type = nothing,
    max_packet_size = function(value, options) options.max_packet = value end,
  },
}

-- Options of helper.redis, helper.mosquitto that mean nothing here.
local ignored = { config = true, port = true, users = true, password = true, quiet = true, log = true, resp2 = true }

local function refuse(name, what)
  error(("the embedded broker in the place of %s cannot be told %s: leave the spec to real brokers "
    .. "(helper.real_broker_only)"):format(name, tostring(what)), 0)
end

-- given: kind (whose place it takes: redis, mosquitto, rabbitmq), options (as for that), environment (of the process).
function Embedded:configure(given)
  local options = given.options
  self.kind, self.environment = given.kind, given.environment
  for name in pairs(options) do
    if not ignored[name] then
      refuse(self.kind, name)
    end
  end
  local own = { users = options.users, host = "127.0.0.1" }
  for name, value in pairs(options.config or {}) do
    local setting = (settings[self.kind] or {})[name]
    if not setting or setting(value, own) == false then
      refuse(self.kind, name)
    end
  end
  self.redis_port, self.mqtt_port, self.stomp_port = Broker.free_port(), Broker.free_port(), Broker.free_port()
  if self.kind == "redis" then
    self.redis_port = not options.resp2 and options.port or self.redis_port
    -- what does not know HELLO has a proxy before it that changes the word
    self.proxy_port = options.resp2 and (options.port or Broker.free_port()) or nil
    self.port, self.password = self.proxy_port or self.redis_port, options.password
    if self.password then
      own.users = own.users or {}
      own.users.default = self.password
    end
    local login = self.password and ":" .. self.password:gsub("%%", "%%25") .. "@" or ""
    self.url = ("redis://%s127.0.0.1:%d"):format(login, self.port)
  else
    self.mqtt_port = not options.log and options.port or self.mqtt_port
    -- who wants a log gets one from a proxy that clients go through
    self.proxy_port = options.log and (options.port or Broker.free_port()) or nil
    self.log_path = options.log and self.dir .. "/watch" or nil
    self.port = self.proxy_port or self.mqtt_port
    self.url = "mqtt://127.0.0.1:" .. self.port
  end
  if self.kind == "rabbitmq" then
    self.user, self.password = "guest", "guest"
    own.users = { guest = "guest" }
    self.url = "mqtt://guest:guest@127.0.0.1:" .. self.port
    self.stomp_url = "stomp://guest:guest@127.0.0.1:" .. self.stomp_port
  end
  self.login, self.options = own.users, own
end

local function literal(value)
  if type(value) ~= "table" then
    return type(value) == "string" and ("%q"):format(value) or ("%.0f"):format(value)
  end
  local parts = {}
  for name, each in pairs(value) do
    parts[#parts + 1] = ("[%q] = %s"):format(name, literal(each))
  end
  return "{" .. table.concat(parts, ", ") .. "}"
end

function Embedded:command()
  local options = { redis = self.redis_port, mqtt = self.mqtt_port, stomp = self.stomp_port }
  for name, value in pairs(self.options) do
    options[name] = value
  end
  return { sys.exe(), sys.cwd() .. "/spec/support/embedded_main.lua", literal(options) }, self.environment
end

function Embedded:before()
  if self.proxy_port then
    local target = self.kind == "redis" and self.redis_port or self.mqtt_port
    self.proxy = Process.start({
      sys.exe(), sys.cwd() .. "/spec/support/proxy_main.lua", target, self.proxy_port,
      self.log_path and "log=" .. self.log_path or "change=HELLO=OLLEH",
    }, { env = self.environment, stdin = true })
    self.proxy:expect("port")
  end
end

function Embedded:after()
  if self.proxy then
    self.proxy:stop()
    self.proxy = nil
  end
end

-- All ports listen at once.
function Embedded:ready()
  local answer = Broker.ask(self.redis_port, "PING\r\n", 1, self.options.host)
  return answer ~= nil and answer:find("^[+-]") ~= nil
end

-- redis-cli with these arguments -> its output without the last newline
function Embedded:cli(...)
  local argv = { "redis-cli", "-h", self.options.host, "-p", self.redis_port }
  local logins = self.login or {}
  local user = logins.default and "default" or next(logins)
  local password = user and logins[user]
  if user and user ~= "default" then
    argv[#argv + 1], argv[#argv + 2] = "--user", user
  end
  for _, word in ipairs { ... } do
    argv[#argv + 1] = word
  end
  local code, out, err = Process.start(argv, { env = { REDISCLI_AUTH = password } }):wait(10)
  if code ~= 0 then
    error(("redis-cli %s: %s\n%s%s"):format(table.concat({ ... }, " "), code, out, err), 2)
  end
  return (out:gsub("\n$", ""))
end

-- Has it listen on this address alone. Starts it anew for that.
function Embedded:listen_on(address)
  self.options.host = address
  self:restart()
end

-- How many clients are connected, not counting the redis-cli that asks.
function Embedded:client_count()
  return tonumber(self:cli("INFO", "clients"):match("connected_clients:(%d+)")) - 1
end

-- How many connections are subscribed to this channel or to this very pattern? (exact = channel)
function Embedded:subscribers(channel)
  return tonumber(self:cli("PUBSUB", "NUMSUB", channel):match("(%d+)%s*$"))
end

Embedded.publish, Embedded.subscribe = Mosquitto.publish, Mosquitto.subscribe

local class = Broker.define(Embedded)
local log = class.log

-- What it has printed, and what its clients have said, where a spec wants to know that (log = true).
function class:log()
  if self.pid and not self.log_path then
    error("the embedded broker writes no log of its clients: say log = true (MQTT) or helper.real_broker_only", 2)
  end
  return log(self)
end

return class
