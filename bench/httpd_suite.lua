--- The benches of httpd: a Redis message to a thousand browsers, against a server in plain Rust on the same crate; and
-- what an idle browser costs.
-- Must not know: how rounds are interleaved, how the table looks.

local Redis = require "spec.support.redis"
local report = require "bench.report"
local runner = require "bench.runner"

local CHANNEL, SIZE = "/bench/fanout", 64
local server

local benches = {}
local suite = {
  name = "httpd", order = { "H", "W" }, benches = benches, peer_names = { rust = "the same crate in Rust" },
}

--- Starts the broker, which is the caller's to stop.
function suite.start(dir)
  server = Redis.start(dir, { config = { "client-output-buffer-limit pubsub 0 0 0" } })
  return server
end

function suite.versions()
  return ("redis %s; tungstenite %s"):format(report.first_line("redis-server --version"):match("v=(%S+)") or "?",
    report.first_line("sed -n '/name = \"tungstenite\"/{n;p}' Cargo.lock"):match('"(.+)"') or "?")
end

-- A server that listens -> its process, with the port.
local function listening(process)
  local ok, port = pcall(process.expect, process, "port (%d+)\n", 30)
  if not ok then
    process:stop()
    error(port, 0)
  end
  return process, port
end

function benches.H()
  local browsers, messages = 1000, 300
  local function side(program)
    local process, port = listening(program)
    local crowd = runner.ready(runner.peer("websocket_clients", port, browsers, messages))
    runner.results(runner.peer("load", server.port, CHANNEL, messages, SIZE))
    local got = runner.results(crowd)
    process:kill("TERM")
    local _, _, _, cpu = process:wait(10)
    return { rate = browsers * messages / got.seconds, cpu = cpu / (browsers * messages) * 1e6 }
  end
  return {
    rust = side(runner.peer("fanout", server.port, CHANNEL)),
    ours = runner.unless_left_out(side, "fanout", server.port, CHANNEL),
  }
end

local function resident_kib(pid)
  for line in io.lines("/proc/" .. pid .. "/status") do
    local kib = line:match("^VmRSS:%s+(%d+)")
    if kib then
      return tonumber(kib)
    end
  end
end

function benches.W()
  local browsers = 10000
  if runner.peers_only then
    return {}
  end
  local process, port = listening(runner.ours("fanout", server.port, CHANNEL))
  -- what the first ones bring (buffers, the allocator's rounding) is not per browser
  local first = runner.ready(runner.holding("websocket_clients", port, 10, 0))
  local before = resident_kib(process.pid)
  local crowd = runner.ready(runner.holding("websocket_clients", port, browsers, 0))
  local kib = (resident_kib(process.pid) - before) / browsers
  for _, each in ipairs { first, crowd, process } do
    each:stop()
  end
  return { ours = { kib = kib } }
end

suite.rows = {
  { bench = "H", value = "rate", unit = "a message to 1,000 browsers: frames/s", peer = "rust", at_least = 0.7 },
  { bench = "H", value = "cpu", unit = "CPU µs a frame", peer = "rust" },
  { bench = "W", value = "kib", unit = "KiB an idle browser, of 10,000", ceiling = 24 },
}

return suite
