--- The benches over Redis: against C programs on hiredis and redis-benchmark, on a private redis-server.
-- Must not know: how rounds are interleaved, how the table looks.

local Redis = require "spec.support.redis"
local report = require "bench.report"
local runner = require "bench.runner"

local peer, ours, results = runner.peer, runner.ours, runner.results
local SIZE = 64
local server

local benches = {}
local suite = { name = "redis", order = { "S", "SL", "SC", "P", "E", "L", "M" }, benches = benches }

--- Starts the broker, which is the caller's to stop.
function suite.start(dir)
  server = Redis.start(dir, { config = { "client-output-buffer-limit pubsub 0 0 0" } })
  return server
end

function suite.versions()
  return ("redis %s; hiredis %s"):format(report.first_line("redis-server --version"):match("v=(%S+)") or "?",
    report.first_line("pkg-config --modversion hiredis"))
end

-- Each bench returns its peers' and our numbers of one round.

local MESSAGES = 500000

local function receive(subscriber)
  runner.ready(subscriber)
  results(peer("load", server.port, "/bench/s", MESSAGES, SIZE))
  local got = results(subscriber)
  assert(got.bytes == MESSAGES * SIZE, "messages are missing")
  return { rate = MESSAGES / got.seconds, cpu = got.cpu / MESSAGES * 1e6 }
end

function benches.S()
  return {
    hiredis = receive(peer("subscribe", server.port, "/bench/*", MESSAGES)),
    ours = not runner.peers_only and receive(ours("subscribe", server.port, "/bench/*", MESSAGES)),
  }
end

-- The same inside the loop of another program, beside MQ's own.
local function inside(host)
  return function()
    if runner.peers_only then
      return {}
    end
    return {
      own = receive(ours("subscribe", server.port, "/bench/*", MESSAGES)),
      ours = receive(ours("subscribe", server.port, "/bench/*", MESSAGES, host)),
    }
  end
end

benches.SL, benches.SC = inside "luv", inside "cqueues"

--- What redis-benchmark reaches with so many commands at a time on so many connections: { rate }.
function suite.benchmark(port, pipelined, count, connections)
  local process = runner.start("redis-benchmark", { "redis-benchmark", "-p", port, "-P", pipelined, "-n", count,
    "-c", connections, "--csv", "PUBLISH", "/bench/p", ("x"):rep(SIZE) })
  return { rate = assert(tonumber(runner.output(process):match('\n"[^\n]-","([%d.]+)"'))) }
end

function benches.P()
  local count = 500000
  local function side(process)
    local got = results(process)
    return { rate = count / got.seconds, cpu = got.cpu / count * 1e6, post = got.post and got.post * 1e9 }
  end
  return {
    benchmark = suite.benchmark(server.port, 500, count, 50),
    benchmark_1 = suite.benchmark(server.port, 500, count, 1),
    hiredis = side(peer("publish", server.port, "/bench/p", count, SIZE, 500)),
    ours = not runner.peers_only and side(ours("post", server.port, "/bench/p", count, SIZE)),
  }
end

function benches.E()
  if runner.peers_only then
    return {}
  end
  local coroutines, each = 100, 1000
  local got = results(ours("emit", server.port, "/bench/e", coroutines, each, SIZE))
  local count = coroutines * each
  return { ours = { rate = count / got.seconds, cpu = got.cpu / count * 1e6 } }
end

function benches.L()
  local count = 20000
  local function side(process)
    local got = results(process)
    return { p50 = got.p50 * 1e6, p99 = got.p99 * 1e6, cpu = got.cpu / count * 1e6 }
  end
  return {
    hiredis = side(peer("pingpong", server.port, "/bench/l", count)),
    ours = not runner.peers_only and side(ours("pingpong", server.port, "/bench/l", count)),
  }
end

function benches.M()
  return { ours = not runner.peers_only and { kib = results(ours("memory", server.port, 1000)).kib } }
end

suite.rows = {
  { bench = "S", value = "rate", unit = "messages/s", peer = "hiredis", at_least = 0.9 },
  { bench = "S", value = "cpu", unit = "CPU µs a message", peer = "hiredis", at_most = 2.2, ceiling = 0.8 },
  { bench = "SL", value = "rate", unit = "inside luv: messages/s", peer = "own", at_least = 0.8 },
  { bench = "SL", value = "cpu", unit = "inside luv: CPU µs a message", peer = "own" },
  { bench = "SC", value = "rate", unit = "inside cqueues: messages/s", peer = "own", at_least = 0.8 },
  { bench = "SC", value = "cpu", unit = "inside cqueues: CPU µs a message", peer = "own" },
  { bench = "P", value = "rate", unit = "posts/s", peer = "benchmark", at_least = 0.9 },
  { bench = "P", value = "rate", unit = "posts/s", peer = "benchmark_1" },
  { bench = "P", value = "rate", unit = "posts/s", peer = "hiredis" },
  { bench = "P", value = "cpu", unit = "CPU µs a post", peer = "hiredis" },
  { bench = "P", value = "post", unit = "ns a post, as Lua sees it", ceiling = 180 },
  { bench = "E", value = "rate", unit = "emits/s", floor = 150000 },
  { bench = "E", value = "cpu", unit = "CPU µs an emit" },
  { bench = "L", value = "p50", unit = "µs, p50", peer = "hiredis", at_most = 1.3 },
  { bench = "L", value = "p99", unit = "µs, p99", peer = "hiredis", at_most = 2 },
  { bench = "L", value = "cpu", unit = "CPU µs a round trip", peer = "hiredis" },
  { bench = "M", value = "kib", unit = "KiB a client", ceiling = 32 },
}

suite.peer_names = {
  own = "MQ's own loop",
  benchmark = "redis-benchmark -P 500",     -- 50 connections, its default
  benchmark_1 = "redis-benchmark -P 500 -c 1",
}

return suite
