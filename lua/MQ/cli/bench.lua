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

Prints a line for each, and while it runs the rate, where there is a terminal. With --json, one JSON object:
{"post":{"rate":…,"cpu":…},"subscribe":{…},"emit":{"rate":…,"p50":…,"p99":…},"latency":{…}}; a rate is messages a
second, the rest is seconds: of CPU a message, and how long half of them, and all but 1 %, took.

Exit codes: 0; 1 where the broker cannot be reached or ends the connection; 2 for a wrong command line; 130 after
Ctrl-C.
]]

local EACH = 1000       -- messages between looks at the clock
local SHOWN = 0.25      -- seconds between progress lines

local function ensure(ok, err)
  if not ok then
    cli.stop(err)
  end
  return ok
end

-- A broker that is gone is the end of a measurement.
local function connect(url)
  local mq, err = cli.connect(url, { reconnect = { attempts = 1 }, on_error = function() end })
  if not mq then
    cli.stop(err, 2)
  end
  return mq
end

-- The time that half of them, and all but one in a hundred, took.
local function percentiles(result, times)
  table.sort(times)
  local function at(share)
    return times[math.max(1, math.ceil(#times * share))]
  end
  result.p50, result.p99 = at(0.5), at(0.99)
  return result
end

-- Each takes the channel, how many, the payload, and a meter that wants to know how many it has done. It returns a rate
-- and what else it found.
local bench = {}

function bench.post(url, channel, count, payload, meter)
  local mq = connect(url)
  ensure(mq:emit(channel, payload))
  local begun, cpu = core.now(), os.clock()
  for index = 1, count do
    ensure(mq:post(channel, payload))
    if index % EACH == 0 then
      meter(index)
    end
  end
  local posted = os.clock() - cpu
  ensure(mq:flush())
  local seconds = core.now() - begun
  mq:close()
  return { rate = count / seconds, cpu = posted / count }
end

function bench.subscribe(url, channel, count, payload, meter)
  local loop = require("MQ").loop
  local receiver, sender = connect(url), connect(url)
  local received, lost = 0, nil
  ensure(receiver:on(channel, function(msg)
    received = received + 1
    lost = lost or not msg and "the broker cut the subscriber's connection"
  end))
  ensure(sender:emit(channel, payload))
  local begun, cpu = core.now(), os.clock()
  loop.spawn(function()
    for index = 1, count do
      local ok, err = sender:post(channel, payload)
      if not ok then
        lost = lost or err
        return
      elseif index % EACH == 0 then
        loop.sleep(0)
      end
    end
  end)
  while received <= count and not lost do
    loop.sleep(0.002)
    meter(received)
  end
  local seconds = core.now() - begun
  cpu = os.clock() - cpu
  receiver:close()
  sender:close()
  ensure(not lost, lost)
  return { rate = count / seconds, cpu = cpu / count }
end

function bench.emit(url, channel, count, payload, meter)
  local loop = require("MQ").loop
  local mq = connect(url)
  ensure(mq:emit(channel, payload))
  local each = math.max(math.floor(count / 5 / 100), 1)
  local left, times, failure = 100, {}, nil
  local waiter = loop.running()
  local begun = core.now()
  for _ = 1, left do
    loop.spawn(function()
      for _ = 1, each do
        local sent = core.now()
        local ok, err = mq:emit(channel, payload)
        if not ok then
          failure = failure or err
          break
        end
        times[#times + 1] = core.now() - sent
        if #times % EACH == 0 then
          meter(#times)
        end
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
  ensure(not failure, failure)
  return percentiles({ rate = #times / seconds }, times)
end

function bench.latency(url, channel, count, payload, meter)
  local loop = require("MQ").loop
  local mq = connect(url)
  local rounds = math.max(math.floor(count / 20), 1)
  local times, sent, failure = {}, nil, nil
  local waiter = loop.running()
  local function send()
    sent = core.now()
    local ok, err = mq:post(channel, payload)
    failure = failure or not ok and err
  end
  ensure(mq:on(channel, function(msg)
    local now = core.now()
    if not msg then
      failure = failure or "the connection is lost"
    elseif not failure then
      times[#times + 1] = now - sent
      if #times % EACH == 0 then
        meter(#times)
      end
      if #times < rounds then
        send()
      end
    end
    if failure or #times == rounds then
      loop.unpark(waiter)
    end
  end))
  local begun = core.now()
  send()
  while #times < rounds and not failure do
    loop.park()
  end
  local seconds = core.now() - begun
  mq:close()
  ensure(not failure, failure)
  return percentiles({ rate = rounds / seconds }, times)
end

local function note(name, result)
  if result.p50 then
    return ("p50 %.0f µs, p99 %.0f µs%s"):format(result.p50 * 1e6, result.p99 * 1e6,
      name == "emit" and "; 100 coroutines" or "")
  end
  return ("%.2f µs of CPU a %s"):format(result.cpu * 1e6, name == "post" and "post" or "message, both ends")
end

-- Shows how far it is, and the rate since the last time.
local function new_meter(name, number)
  local last, before = 0, core.now()
  terminal.progress(("%d of 4: %s"):format(number, name))
  return function(done)
    local now = core.now()
    if now - before >= SHOWN then
      terminal.progress(("%d of 4: %s: %d messages, %.0f/s"):format(number, name, done, (done - last) / (now - before)))
      last, before = done, now
    end
  end
end

local function run(given, url)
  local mq = connect(url)
  ensure(mq:emit("mq:bench", ""))
  mq:close()
  local count = given["--messages"] or 200000
  local payload = ("x"):rep(given["--size"] or 64)
  local results = {}
  for number, name in ipairs { "post", "subscribe", "emit", "latency" } do
    local channel = ("mq:bench:%d:%s"):format(core.pid(), name)
    local result = bench[name](url, channel, count, payload, new_meter(name, number))
    terminal.clear()
    results[name] = result
    if not given["--json"] then
      cli.write(("%-10s %10.0f/s   %s\n"):format(name, result.rate, note(name, result)))
    end
  end
  if given["--json"] then
    cli.write(core.json_encode(results), "\n")
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
  return cli.run_command(run, given, rest[1])
end

return { help = help, main = main }
