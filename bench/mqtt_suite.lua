--- The benches over MQTT 5: against C programs on libmosquitto, on a private mosquitto without limits on queues.
-- Must not know: how rounds are interleaved, how the table looks.

local Mosquitto = require "spec.support.mosquitto"
local report = require "bench.report"
local runner = require "bench.runner"

local SIZE = 64
local server, prompt

local benches = {}
local suite = { name = "mqtt", order = {}, benches = benches, rows = {}, peer_names = {} }

--- Starts the brokers, which are the caller's to stop: one as it is, but for its limits; and one without Nagle's
-- algorithm, for the round trip: the C program would wait 40 ms for each answer.
function suite.start(dir)
  local function start(name, config)
    local place = dir .. "/" .. name
    os.execute("mkdir '" .. place .. "'")
    config.max_inflight_messages, config.max_queued_messages = 0, 0
    return Mosquitto.start(place, { quiet = true, config = config })
  end
  server = start("plain", {})
  local ok, second = pcall(start, "prompt", { set_tcp_nodelay = true })
  if not ok then
    server:stop()
    error(second, 0)
  end
  prompt = second
  return {
    stop = function()
      server:stop()
      prompt:stop()
    end,
  }
end

function suite.versions()
  return ("mosquitto %s; libmosquitto %s"):format(
    report.first_line("PATH=$PATH:/usr/sbin mosquitto -h"):match("version (%S+)") or "?",
    report.first_line("pkg-config --modversion libmosquitto"))
end

local function define(name, bench, rows)
  suite.order[#suite.order + 1] = name
  benches[name] = bench
  for _, row in ipairs(rows) do
    row.bench, row.peer = name, "libmosquitto"
    suite.rows[#suite.rows + 1] = row
  end
end

-- A rate, and the CPU time for each message with what bounds its ratio.
local function rows(what, unit, cpu_at_most)
  return {
    { value = "rate", unit = ("%s: %s/s"):format(what, unit), at_least = 1 },
    { value = "cpu", unit = what .. ": CPU µs each", at_most = cpu_at_most },
  }
end

-- ---- in: a callback that counts the messages of one filter ------------------------------------

local function inward(qos, count, how)
  local filter, topic = ("bench/in%d/+"):format(qos), ("bench/in%d/x"):format(qos)
  local function side(subscriber)
    runner.ready(subscriber)
    runner.results(runner.peer("mqtt_load", server.port, topic, count, SIZE, qos))
    local got = runner.results(subscriber)
    assert(got.bytes == count * SIZE, "messages are missing")
    return { rate = count / got.seconds, cpu = got.cpu / count * 1e6 }
  end
  return function()
    return {
      libmosquitto = side(runner.peer("mqtt_subscribe", server.port, filter, count, qos)),
      ours = runner.unless_left_out(side, "mqtt_subscribe", server.port, filter, count, qos, how),
    }
  end
end

define("MI0", inward(0, 500000), rows("in, QoS 0", "messages", 0.6))
define("MI0i", inward(0, 500000, "identified"), {
  { value = "rate", unit = "the same, MQ with a subscription identifier, its default: messages/s", at_least = 0.95 },
  { value = "cpu", unit = "the same, MQ with a subscription identifier: CPU µs each", at_most = 0.6 },
})
define("MI1", inward(1, 200000), rows("in, QoS 1", "messages", 0.8))
define("MI2", inward(2, 100000), rows("in, QoS 2", "messages", 0.8))

-- ---- out: publishes with so many in flight ----------------------------------------------------

local function outward(qos, count, in_flight)
  local topic = "bench/out"
  local function side(process)
    local got = runner.results(process)
    return { rate = count / got.seconds, cpu = got.cpu / count * 1e6 }
  end
  return function()
    return {
      libmosquitto = side(runner.peer("mqtt_publish", server.port, topic, count, SIZE, qos, in_flight)),
      ours = runner.unless_left_out(side, "mqtt_post", server.port, topic, count, SIZE, qos, in_flight),
    }
  end
end

-- QoS 0 knows no window: the C side holds so many that the socket has not taken
define("MO0", outward(0, 500000, 1000), rows("out, QoS 0", "posts"))
define("MO1a", outward(1, 100000, 20), rows("out, QoS 1, 20 in flight", "posts", 0.8))
define("MO1b", outward(1, 100000, 1000), rows("out, QoS 1, 1,000 in flight", "posts", 0.8))
define("MO2a", outward(2, 100000, 20), rows("out, QoS 2, 20 in flight", "posts", 0.8))
define("MO2b", outward(2, 100000, 1000), rows("out, QoS 2, 1,000 in flight", "posts", 0.8))

-- ---- there and back: a message to oneself, QoS 1, one at a time -------------------------------

define("MR", function()
  local count = 10000
  local function side(process)
    local got = runner.results(process)
    return { p50 = got.p50 * 1e6, p99 = got.p99 * 1e6, cpu = got.cpu / count * 1e6 }
  end
  return {
    libmosquitto = side(runner.peer("mqtt_pingpong", prompt.port, "bench/r", count)),
    ours = runner.unless_left_out(side, "mqtt_pingpong", prompt.port, "bench/r", count),
  }
end, {
  { value = "p50", unit = "round trip, QoS 1: µs, p50", at_most = 1.2 },
  { value = "p99", unit = "round trip, QoS 1: µs, p99" },
  { value = "cpu", unit = "round trip, QoS 1: CPU µs each" },
})

return suite
