--- `mq bench`: what a broker and this machine can do, through MQ's own API.
-- Must not know: protocols.

local core = require "MQ.core"
local cli = require "MQ.cli"
local terminal = require "MQ.terminal"

local help = [[
usage: mq bench [--json] [--messages N] [--size BYTES] URL

Measures, with messages of BYTES bytes (64):
  post        N messages (200,000) without waiting, then a flush; nobody is subscribed
  subscribe   the same, received by one callback of this process
  emit        N/5 messages from 100 coroutines, each waiting for its answer
  latency     N/20 messages one after the other, from post to callback
]]

local function percentile(sorted, share)
  return sorted[math.max(1, math.ceil(#sorted * share))]
end

local bench = {}

function bench.post(loop, url, channel, count, payload)
  local mq = assert(cli.connect(url))
  assert(mq:emit(channel, payload))
  local begun, cpu = core.now(), os.clock()
  for _ = 1, count do
    assert(mq:post(channel, payload))
  end
  local posted = os.clock() - cpu
  assert(mq:flush())
  local seconds = core.now() - begun
  mq:close()
  loop.sleep(0)
  return { rate = count / seconds, note = ("%.0f ns of CPU a post"):format(posted / count * 1e9) }
end

function bench.subscribe(loop, url, channel, count, payload)
  local receiver, sender = assert(cli.connect(url)), assert(cli.connect(url))
  local received, lost = 0, false
  assert(receiver:on(channel, function(msg)
    received = received + 1
    lost = lost or not msg
  end))
  assert(sender:emit(channel, payload))
  local begun, cpu = core.now(), os.clock()
  loop.spawn(function()
    for index = 1, count do
      assert(sender:post(channel, payload))
      if index % 1000 == 0 then
        loop.sleep(0)
      end
    end
  end)
  while received <= count and not lost do
    loop.sleep(0.002)
  end
  local seconds = core.now() - begun
  cpu = os.clock() - cpu
  receiver:close()
  sender:close()
  assert(not lost, "the broker cut the subscriber's connection")
  return { rate = count / seconds, note = ("%.2f µs of CPU a message, both ends"):format(cpu / count * 1e6) }
end

function bench.emit(loop, url, channel, count, payload)
  local mq = assert(cli.connect(url))
  assert(mq:emit(channel, payload))
  local each = math.max(math.floor(count / 5 / 100), 1)
  local waiter, left = loop.running(), 100
  local begun = core.now()
  for _ = 1, 100 do
    loop.spawn(function()
      for _ = 1, each do
        assert(mq:emit(channel, payload))
      end
      left = left - 1
      if left == 0 then
        loop.unpark(waiter)
      end
    end)
  end
  while left > 0 do
    loop.park()
  end
  local seconds = core.now() - begun
  mq:close()
  return { rate = each * 100 / seconds, note = "100 coroutines" }
end

function bench.latency(loop, url, channel, count, payload)
  local mq = assert(cli.connect(url))
  local rounds = math.max(math.floor(count / 20), 1)
  local times, sent = {}, nil
  local waiter = loop.running()
  assert(mq:on(channel, function(msg)
    assert(msg, "the connection is lost")
    local now = core.now()
    times[#times + 1] = now - sent
    if #times < rounds then
      sent = core.now()
      mq:post(channel, payload)
    else
      loop.unpark(waiter)
    end
  end))
  sent = core.now()
  local begun = sent
  mq:post(channel, payload)
  while #times < rounds do
    loop.park()
  end
  local seconds = core.now() - begun
  mq:close()
  table.sort(times)
  return {
    rate = rounds / seconds,
    note = ("p50 %.0f µs, p99 %.0f µs"):format(percentile(times, 0.5) * 1e6, percentile(times, 0.99) * 1e6),
  }
end

local function run(given, url)
  local loop = require("MQ").loop
  local count = given["--messages"] or 200000
  local payload = ("x"):rep(given["--size"] or 64)
  local results = {}
  for index, name in ipairs { "post", "subscribe", "emit", "latency" } do
    terminal.progress(("%d of 4: %s"):format(index, name))
    local channel = ("mq:bench:%d:%s"):format(core.pid(), name)
    local result = bench[name](loop, url, channel, count, payload)
    terminal.clear()
    results[name] = result
    if not given["--json"] then
      io.write(("%-10s %10.0f/s   %s\n"):format(name, result.rate, result.note))
      io.flush()
    end
  end
  if given["--json"] then
    io.write(core.json_encode(results), "\n")
  end
  return 0
end

local function main(arguments)
  local given, rest = cli.parse(arguments, {
    ["--json"] = true, ["--messages"] = cli.count, ["--size"] = cli.count,
  })
  if not given then
    return 2, rest
  elseif #rest ~= 1 then
    return 2, "bench: which URL?"
  end
  return cli.run_command(function()
    local mq, err = cli.connect(rest[1])
    if not mq then
      io.stderr:write("mq: ", err, "\n")
      return 2
    end
    local ok, why = mq:emit("mq:bench", "")
    mq:close()
    if not ok then
      io.stderr:write("mq: ", why, "\n")
      return 1
    end
    return run(given, rest[1])
  end)
end

return { help = help, main = main }
