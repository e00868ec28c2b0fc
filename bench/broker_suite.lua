--- The benches of the embedded broker: beside redis-server, mosquitto and RabbitMQ, with the same clients.
-- Must not know: how rounds are interleaved, how the table looks.

local Mosquitto = require "spec.support.mosquitto"
local RabbitMQ = require "spec.support.rabbitmq"
local Redis = require "spec.support.redis"
local redis_suite = require "bench.redis_suite"
local mqtt_suite = require "bench.mqtt_suite"
local runner = require "bench.runner"
local stomp_suite = require "bench.stomp_suite"

local embedded = runner.embedded
local SIZE = 64
local redis, mosquitto, rabbitmq

local benches = {}
local suite = { name = "broker", order = {}, benches = benches, rows = {}, peer_names = { redis = "redis-server" } }

--- Starts the brokers, which are the caller's to stop.
function suite.start(dir)
  local servers = {}
  local function start(module, options)
    local place = ("%s/%d"):format(dir, #servers)
    os.execute(("mkdir -m 711 '%s'"):format(place))
    servers[#servers + 1] = module.start(place, options)
    return servers[#servers]
  end
  local all = {
    stop = function()
      while #servers > 0 do
        table.remove(servers):stop()
      end
    end,
  }
  local ok, err = pcall(function()
    redis = start(Redis, {})
    mosquitto = start(Mosquitto, {
      quiet = true, config = { max_inflight_messages = 0, max_queued_messages = 0, set_tcp_nodelay = true },
    })
    rabbitmq = start(RabbitMQ, {})
  end)
  if not ok then
    all.stop()
    error(err, 0)
  end
  return all
end

function suite.versions()
  return ("%s; %s; %s"):format(redis_suite.versions(), mqtt_suite.versions(), stomp_suite.versions())
end

local function define(name, bench, ...)
  suite.order[#suite.order + 1] = name
  benches[name] = bench
  for _, row in ipairs { ... } do
    row.bench = name
    suite.rows[#suite.rows + 1] = row
  end
end

-- The numbers of side(port) on one of the brokers beside it, and on an embedded one.
local function beside(peer, port, protocol, side)
  return { [peer] = side(port), ours = embedded(function(ports) return side(ports[protocol]) end) }
end

-- ---- Redis --------------------------------------------------------------------------------------

define("BR", function()
  return beside("redis", redis.port, "redis", function(port)
    return redis_suite.benchmark(port, 50, 500000, 50)
  end)
end, { value = "rate", unit = "redis-benchmark -P 50 PUBLISH: commands/s", peer = "redis", at_least = 0.8 })

-- ---- MQTT ---------------------------------------------------------------------------------------

-- Messages to so many subscribers each.
local function delivered(subscribers, messages, qos)
  return function()
    return beside("mosquitto", mosquitto.port, "mqtt", function(port)
      local crowd = runner.ready(runner.peer("mqtt_crowd", port, subscribers, messages, qos, "bench/+/out", 0))
      runner.results(runner.peer("mqtt_load", port, "bench/x/out", messages, SIZE, qos))
      return { rate = subscribers * messages / runner.results(crowd).seconds }
    end)
  end
end

define("BF1", delivered(1, 300000, 0), {
  value = "rate", unit = "MQTT, QoS 0 to 1 subscriber: deliveries/s", peer = "mosquitto", at_least = 1,
})
define("BF10", delivered(10, 50000, 0), {
  value = "rate", unit = "MQTT, QoS 0 to 10 subscribers: deliveries/s", peer = "mosquitto", at_least = 1,
})
define("BF1000", delivered(1000, 500, 0), {
  value = "rate", unit = "MQTT, QoS 0 to 1,000 subscribers: deliveries/s", peer = "mosquitto", at_least = 1,
})

define("BI1", function()
  local count = 300000
  return beside("mosquitto", mosquitto.port, "mqtt", function(port)
    return { rate = count / runner.results(runner.peer("mqtt_load", port, "bench/in", count, SIZE, 1)).seconds }
  end)
end, { value = "rate", unit = "MQTT, QoS 1 in: messages/s", peer = "mosquitto", at_least = 1 })

define("BO1", delivered(1, 100000, 1), {
  value = "rate", unit = "MQTT, QoS 1 in and out: messages/s", peer = "mosquitto", at_least = 1,
})

local function resident_bytes(process)
  for line in io.lines("/proc/" .. process.pid .. "/status") do
    local kib = line:match("^VmRSS:%s+(%d+)")
    if kib then
      return tonumber(kib) * 1024
    end
  end
end

-- What a crowd of `clients`, each with `own` subscriptions, adds to the broker; it stays until `fn` has returned.
local function with_crowd(ports, process, clients, own, fn)
  -- what the first ones bring (buffers, the allocator's rounding) is not theirs
  local first = runner.ready(runner.holding("mqtt_crowd", ports.mqtt, 5, 0, 0, "", 0))
  first:stop()
  local before = resident_bytes(process)
  local crowd = runner.ready(runner.holding("mqtt_crowd", ports.mqtt, clients, 0, 0, "", own))
  local bytes = resident_bytes(process) - before
  local ok, result = pcall(fn, bytes)
  crowd:stop()
  if not ok then
    error(result, 0)
  end
  return result
end

define("BM", function()
  local clients = 10000
  return {
    ours = embedded(function(ports, process)
      return with_crowd(ports, process, clients, 0, function(bytes) return { kib = bytes / 1024 / clients } end)
    end),
  }
end, { value = "kib", unit = "KiB an idle MQTT connection, of 10,000", ceiling = 8 })

define("BW", function()
  local function side(own)
    return embedded(function(ports, process)
      return with_crowd(ports, process, 10, own, function(bytes)
        local count = 5000000
        local load = runner.peer("mqtt_load", ports.mqtt, "bench/no/body", count, SIZE, 1)
        return { bytes = bytes / (10 * own), rate = count / runner.results(load).seconds }
      end)
    end)
  end
  return { few = side(100), ours = side(100000) }
end, { value = "bytes", unit = "bytes an MQTT subscription, of 1,000,000", ceiling = 300 },
  { value = "rate", unit = "QoS 1 in, among 1,000,000 subscriptions: messages/s", peer = "few", at_least = 0.95 })
suite.peer_names.few = "MQ, among 1,000"

-- ---- STOMP --------------------------------------------------------------------------------------

define("BS", function()
  local count = 200000
  return beside("rabbitmq", rabbitmq.stomp_port, "stomp", function(port)
    local publisher = runner.peer("stomp_publish", port, "/topic/bench.out", count, SIZE, 0, 1000)
    return { rate = count / runner.results(publisher).seconds }
  end)
end, { value = "rate", unit = "STOMP sends/s", peer = "rabbitmq", at_least = 5 })

return suite
