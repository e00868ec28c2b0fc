-- make bench: MQ against C programs on hiredis and redis-benchmark, on a private redis-server.
-- Rounds are interleaved (peer, ours, peer, ours …); the table shows medians, and each bound beside
-- what was measured. Environment: ONLY=S|P|E|L|M, RUNS=5, WRITE=1 (also writes bench/RESULTS.md),
-- SIDE=peer (leaves MQ out). Exit code 1 when a bound is missed.

local sys = require "spec_sys"
local Process = require "spec.support.process"
local Redis = require "spec.support.redis"

local function setting(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

local only, runs = setting("ONLY"), tonumber(setting("RUNS") or 5)
local peers_only = setting("SIDE") == "peer"
local lua = sys.exe()
local dir = assert(sys.mkdtemp(os.getenv("TMPDIR") or "/tmp", "mq-bench"))
local server

-- ---- running things --------------------------------------------------------------------------

local function fail(process)
  local code, out, err = process:wait(0)
  process:stop()
  error(("%s: exit code %s\n%s%s"):format(process.label, code, out, err), 0)
end

local function start(label, argv)
  -- a thousand clients need more descriptors than the usual soft limit
  local command = { "sh", "-c", 'ulimit -n 8192 2>/dev/null; exec "$@"', "sh" }
  for _, argument in ipairs(argv) do
    command[#command + 1] = argument
  end
  local process = Process.start(command)
  process.label = label
  return process
end

-- The "name value" lines of a program's output as a table.
local function results(process)
  if process:wait(300) ~= 0 then
    fail(process)
  end
  local values = {}
  for name, value in process.stdout:gmatch("(%w+) ([%d.e+-]+)\n") do
    values[name] = tonumber(value)
  end
  return values
end

local function peer(name, ...)
  return start(name, { "build/bench/" .. name, ... })
end

local function ours(name, ...)
  return start(name .. ".lua", { lua, "bench/" .. name .. ".lua", ... })
end

-- ---- the benches: each returns its peers' and our numbers of one round -----------------------

local SIZE = 64
local benches = {}

function benches.S()
  local count = 500000
  local function side(subscriber)
    subscriber:expect("ready\n", 30)
    results(peer("load", server.port, "/bench/s", count, SIZE))
    local got = results(subscriber)
    assert(got.bytes == count * SIZE, "messages are missing")
    return { rate = count / got.seconds, cpu = got.cpu / count * 1e6 }
  end
  return {
    hiredis = side(peer("subscribe", server.port, "/bench/*", count)),
    ours = not peers_only and side(ours("subscribe", server.port, "/bench/*", count)),
  }
end

-- What redis-benchmark -P 500 reaches with so many connections.
local function redis_benchmark(count, connections)
  local process = start("redis-benchmark", { "redis-benchmark", "-p", server.port, "-P", 500, "-n", count,
    "-c", connections, "--csv", "PUBLISH", "/bench/p", ("x"):rep(SIZE) })
  if process:wait(300) ~= 0 then
    fail(process)
  end
  return { rate = assert(tonumber(process.stdout:match('\n"[^\n]-","([%d.]+)"'))) }
end

function benches.P()
  local count = 500000
  local function side(process)
    local got = results(process)
    return { rate = count / got.seconds, cpu = got.cpu / count * 1e6, post = got.post and got.post * 1e9 }
  end
  return {
    benchmark = redis_benchmark(count, 50),
    benchmark_1 = redis_benchmark(count, 1),
    hiredis = side(peer("publish", server.port, "/bench/p", count, SIZE, 500)),
    ours = not peers_only and side(ours("post", server.port, "/bench/p", count, SIZE)),
  }
end

function benches.E()
  if peers_only then
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
    ours = not peers_only and side(ours("pingpong", server.port, "/bench/l", count)),
  }
end

function benches.M()
  return { ours = not peers_only and { kib = results(ours("memory", server.port, 1000)).kib } }
end

-- ---- the table -------------------------------------------------------------------------------

-- at_least and at_most bound the ratio to the peer; floor and ceiling our own number.
local rows = {
  { bench = "S", value = "rate", unit = "messages/s", peer = "hiredis", at_least = 0.9 },
  { bench = "S", value = "cpu", unit = "CPU µs a message", peer = "hiredis", at_most = 2.2, ceiling = 0.8 },
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

local peer_names = {
  benchmark = "redis-benchmark -P 500",     -- 50 connections, its default
  benchmark_1 = "redis-benchmark -P 500 -c 1",
}

local function median(list)
  table.sort(list)
  local middle = math.floor(#list / 2)
  return #list % 2 == 1 and list[middle + 1] or (list[middle] + list[middle + 1]) / 2
end

local function median_of(rounds, side, value)
  local list = {}
  for _, round in ipairs(rounds) do
    local numbers = round[side]
    if numbers and numbers[value] then
      list[#list + 1] = numbers[value]
    end
  end
  return #list > 0 and median(list) or nil
end

local function pretty(number)
  if not number then
    return "–"
  elseif number < 1000 then
    return ("%.3g"):format(number)
  end
  local text = ("%d"):format(math.floor(number + 0.5))
  repeat
    local grouped, n = text:gsub("^(%d+)(%d%d%d)", "%1,%2")
    text = grouped
  until n == 0
  return text
end

-- The bound as text and whether it is met; nil where there is none.
local function judge(row, our, ratio)
  local bounds, met = {}, true
  local function bound(text, ok)
    bounds[#bounds + 1] = text
    met = met and ok
  end
  if row.at_least then bound(("≥ %g ×"):format(row.at_least), ratio and ratio >= row.at_least) end
  if row.at_most then bound(("≤ %g ×"):format(row.at_most), ratio and ratio <= row.at_most) end
  if row.floor then bound("≥ " .. pretty(row.floor), our and our >= row.floor) end
  if row.ceiling then bound(("≤ %g"):format(row.ceiling), our and our <= row.ceiling) end
  if #bounds > 0 then
    return table.concat(bounds, ", "), met
  end
  return ""
end

local function first_line(command)
  local pipe = io.popen(command .. " 2>&1")
  local line = pipe:read("*l") or "?"
  pipe:close()
  return line
end

local function machine()
  local model, cores = "?", 0
  for line in io.lines("/proc/cpuinfo") do
    model = line:match("^model name%s*:%s*(.+)") or model
    cores = cores + (line:match("^processor") and 1 or 0)
  end
  local jit = rawget(_G, "jit")
  return ("%s, %d cores; %s; %s; redis %s; hiredis %s; %s; medians of %d interleaved rounds"):format(
    model, cores, first_line("uname -sr"), jit and jit.version or _VERSION,
    first_line("redis-server --version"):match("v=(%S+)") or "?",
    first_line("pkg-config --modversion hiredis"), first_line("rustc --version"):match("rustc %S+") or "rustc ?", runs)
end

local function report(measured)
  local lines, missed = {}, 0
  lines[#lines + 1] = "| bench | what | peer | its number | MQ | ratio | must reach | |"
  lines[#lines + 1] = "| --- | --- | --- | ---: | ---: | ---: | --- | --- |"
  for _, row in ipairs(rows) do
    local rounds = measured[row.bench]
    if rounds then
      local our = median_of(rounds, "ours", row.value)
      local its = row.peer and median_of(rounds, row.peer, row.value)
      local ratio = our and its and our / its
      local bound, met = judge(row, our, ratio)
      local verdict = met == nil and "" or not our and "not run" or met and "ok" or "MISSED"
      missed = missed + (verdict == "MISSED" and 1 or 0)
      lines[#lines + 1] = ("| %s | %s | %s | %s | %s | %s | %s | %s |"):format(row.bench, row.unit,
        peer_names[row.peer] or row.peer or "", its and pretty(its) or "", pretty(our),
        ratio and ("%.2f"):format(ratio) or "", bound, verdict)
    end
  end
  return table.concat(lines, "\n"), missed
end

local terminal = os.execute("test -t 2")
terminal = terminal == true or terminal == 0 -- 5.1 gives the exit code

local function progress(text)
  if terminal then
    io.stderr:write(("\r%-30s\r"):format(text))
  end
end

local function main()
  server = Redis.start(dir, { config = { "client-output-buffer-limit pubsub 0 0 0" } })
  local measured = {}
  for round = 1, runs do
    for _, name in ipairs { "S", "P", "E", "L", "M" } do
      if not only or only:find(name, 1, true) then
        progress(("round %d of %d: %s"):format(round, runs, name))
        measured[name] = measured[name] or {}
        table.insert(measured[name], benches[name]())
      end
    end
  end
  progress("")
  local text, missed = report(measured)
  print(text)
  print("\n" .. machine())
  if setting("WRITE") then
    local file = assert(io.open("bench/RESULTS.md", "w"))
    file:write("# The last `make bench WRITE=1`\n\n", machine(), "\n\n", text, "\n")
    file:close()
  end
  return missed
end

local ok, result = xpcall(main, function(err)
  return type(err) == "string" and not err:find("^%S+%.lua:%d+:") and err or debug.traceback(err)
end)
if server then
  server:stop()
end
os.execute("rm -rf '" .. dir .. "'")
if not ok then
  io.stderr:write("\nbench: ", tostring(result), "\n")
  os.exit(2)
end
os.exit(result == 0 and 0 or 1)
