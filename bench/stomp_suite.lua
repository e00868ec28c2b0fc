--- The benches over STOMP 1.2: against C programs on raw sockets, on a private RabbitMQ, which is what limits both; and
-- on the embedded broker, which does not.
-- Must not know: how rounds are interleaved, how the table looks.

local RabbitMQ = require "spec.support.rabbitmq"
local report = require "bench.report"
local runner = require "bench.runner"

local SIZE = 64
local server

local benches = {}
local suite = { name = "stomp", order = {}, benches = benches, rows = {}, peer_names = {} }

--- Starts the broker, which is the caller's to stop.
function suite.start(dir)
  server = RabbitMQ.start(dir, {})
  return server
end

function suite.versions()
  return "rabbitmq " .. (report.first_line("dpkg-query -W -f '${Version}' rabbitmq-server"):match("^[%d.]+") or "?")
end

local function define(name, bench, rows)
  suite.order[#suite.order + 1] = name
  benches[name] = bench
  for _, row in ipairs(rows) do
    row.bench, row.peer = name, "C"
    suite.rows[#suite.rows + 1] = row
  end
end

local function outward(receipts, count, in_flight)
  local destination = "/topic/bench.out"
  local function side(process)
    local got = runner.results(process)
    return { rate = count / got.seconds, cpu = got.cpu / count * 1e6 }
  end
  return function()
    return {
      C = side(runner.peer("stomp_publish", server.stomp_port, destination, count, SIZE, receipts, in_flight)),
      ours = runner.unless_left_out(side, "stomp_post", server.stomp_port, destination, count, SIZE, receipts,
        in_flight),
    }
  end
end

define("TO0", outward(0, 200000, 1000), {
  { value = "rate", unit = "out, no receipts: posts/s", at_least = 0.95 },
  { value = "cpu", unit = "out, no receipts: CPU µs each" },
})
define("TO1", outward(1, 100000, 1000), {
  { value = "rate", unit = "out, receipts, 1,000 in flight: posts/s", at_least = 0.8 },
  { value = "cpu", unit = "out, receipts, 1,000 in flight: CPU µs each" },
})

local function inward(count)
  local destination = "/topic/bench.in"
  return function(port, subscriber)
    runner.ready(subscriber)
    runner.results(runner.peer("stomp_publish", port, destination, count, SIZE, 0, 1000))
    local got = runner.results(subscriber)
    assert(not got.bytes or got.bytes == count * SIZE, "messages are missing")
    return { rate = count / got.seconds, cpu = got.cpu / count * 1e6 }
  end
end

define("TI", function()
  local count, destination = 200000, "/topic/bench.in"
  local port, side = server.stomp_port, inward(count)
  return {
    C = side(port, runner.peer("stomp_subscribe", port, destination, count)),
    ours = not runner.peers_only and side(port, runner.ours("stomp_subscribe", port, destination, count)),
  }
end, {
  { value = "rate", unit = "in: messages/s", at_least = 0.95 },
  { value = "cpu", unit = "in: CPU µs each" },
})

-- RabbitMQ is slow enough for every message to be a wake-up of its own: what a message costs the client shows on a
-- broker that is not.
define("TE", function()
  local count, destination = 500000, "/topic/bench.in"
  local receive = inward(count)
  local function side(start)
    return runner.embedded(function(ports)
      local publisher = start("publish", ports.stomp, "/topic/bench.out", count, SIZE, 0, 1000)
      local out = runner.results(publisher).cpu / count * 1e6
      return { cpu_out = out, cpu_in = receive(ports.stomp, start("subscribe", ports.stomp, destination, count)).cpu }
    end)
  end
  return {
    C = side(function(what, ...) return runner.peer("stomp_" .. what, ...) end),
    ours = side(function(what, ...)
      return runner.ours(what == "publish" and "stomp_post" or "stomp_subscribe", ...)
    end),
  }
end, {
  { value = "cpu_out", unit = "out, no receipts, embedded broker: CPU µs each", ceiling = 0.5 },
  { value = "cpu_in", unit = "in, embedded broker: CPU µs each", ceiling = 1.2 },
})

return suite
