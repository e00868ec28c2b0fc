--- `mq pub`: publishes messages.
-- Must not know: what a protocol's answer means, beyond its being a number of receivers.

local core = require "MQ.core"
local cli = require "MQ.cli"
local terminal = require "MQ.terminal"

local help = [[
usage: mq pub [--json] [--lines] [--count N] [--qos N] [--retain] [--header NAME=VALUE]… URL PATTERN [DATA|-]

Publishes DATA, or what is read from standard input, as one message, and prints how many received it where the
broker tells.

  --lines               each line of standard input is a message; prints how many were sent
  --count N             sends the message N times, and prints how many were sent; or ends after N lines
  --qos N               MQTT: the quality of service, 0, 1 (unless told) or 2
  --retain              MQTT: the broker keeps the message for later subscribers
  --header NAME=VALUE   STOMP: one more header; may be given several times
  --json                prints a JSON object: {"receivers":…} (empty where the broker does not tell), or
                        {"failed":…,"sent":…}

Exit codes: 0; 1 where a message could not be published; 2 for a wrong command line; 130 after Ctrl-C (before Lua 5.4,
while it waits for input, after the second one).
]]

local function publish(mq, pattern, data, json, opt)
  local ok, receivers, code = mq:emit(pattern, data, opt)
  if not ok then
    cli.stop(receivers, cli.exit_code(code))
  elseif not mq.protocol.answers_with_receivers then
    receivers = nil
  end
  if json then
    cli.write(core.json_encode { receivers = receivers }, "\n")
  elseif receivers then
    cli.write(("%d\n"):format(receivers))
  end
  return 0
end

-- Publishes what the iterator gives. What is wrong with all of them ends it.
local function publish_many(mq, pattern, messages, json, opt)
  local posted, refused, reason = 0, 0, nil
  local begun = core.now()
  local shown = begun
  for data in messages do
    local ok, err, code = mq:post(pattern, data, opt)
    if ok then
      posted = posted + 1
    elseif code == "closed" or code == "auth" or code == "invalid" then
      cli.stop(err, cli.exit_code(code))
    else
      refused, reason = refused + 1, err
    end
    if posted % 1000 == 0 and core.now() - shown >= 1 then
      shown = core.now()
      terminal.progress(("%d messages, %.0f/s"):format(posted, posted / (shown - begun)))
    end
  end
  local ok, err, failed = mq:flush(60)
  terminal.clear()
  if ok then
    failed = 0
  end
  local sent = posted - failed
  failed = failed + refused
  if json then
    cli.write(core.json_encode { sent = sent, failed = failed }, "\n")
  else
    cli.write(("%d sent, %d failed\n"):format(sent, failed))
  end
  if failed > 0 then
    cli.stop(ok and reason or err)
  end
  return 0
end

local function repeated(data, count)
  return function()
    count = count - 1
    return count >= 0 and data or nil
  end
end

local function lines(count)
  return function()
    count = count - 1
    return count >= 0 and io.read("*l") or nil
  end
end

local function read_all()
  local data, err = io.read("*a")
  if not data then
    require("MQ").loop.sleep(0)   -- Ctrl-C ends a read, too; the program hears of it first
    cli.stop("cannot read standard input: " .. tostring(err))
  end
  return data
end

-- Lines may come for hours: a broker that is not there at the beginning is told at once, its restart later on is not
-- the end.
local function connect_for_lines(address)
  local loop = require("MQ").loop
  local connected, failure
  local waiter = loop.running()
  local function wake()
    if waiter then
      loop.unpark(waiter)
      waiter = nil
    end
  end
  local mq, err = cli.connect(address, {
    on_connect = function()
      connected = true
      wake()
    end,
    on_error = function(_, why)
      if connected then
        terminal.clear()
        io.stderr:write("mq: ", why, "\n")
      else
        failure = why
        wake()
      end
    end,
  })
  if not mq then
    cli.stop(err, 2)
  end
  loop.spawn(mq.start, mq)
  while waiter do
    loop.park()
  end
  if failure then
    cli.stop(failure)
  end
  return mq
end

-- A person waits for one message: a broker that is not there is told at once.
local function connect(address)
  local mq, err = cli.connect(address, { reconnect = { attempts = 1 }, on_error = function() end })
  if not mq then
    cli.stop(err, 2)
  end
  return mq
end

local function run(given, rest)
  local count, is_lines = given["--count"], given["--lines"]
  -- Made, but not connected, for the sake of its protocol.
  local mq = connect(rest[1])
  local opt, problem = cli.options(mq, mq.protocol.publish_options, {
    qos = given["--qos"], retain = given["--retain"], header = given["--header"],
  })
  if problem then
    cli.stop(problem, 2)
  elseif is_lines then
    return publish_many(connect_for_lines(rest[1]), rest[2], lines(count or math.huge), given["--json"], opt)
  end
  local data = rest[3]
  if data == nil or data == "-" then
    data = read_all()
  end
  if count then
    return publish_many(mq, rest[2], repeated(data, count), given["--json"], opt)
  end
  return publish(mq, rest[2], data, given["--json"], opt)
end

local function main(arguments)
  local given, rest = cli.parse(arguments, {
    ["--json"] = true, ["--lines"] = true, ["--count"] = cli.count, ["--qos"] = cli.qos, ["--retain"] = true,
    ["--header"] = cli.pairs "NAME=VALUE",
  })
  if not given then
    return 2, rest
  elseif #rest < 2 or #rest > 3 then
    return 2, "pub: which URL, which pattern, and one message?"
  elseif given["--lines"] and rest[3] and rest[3] ~= "-" then
    return 2, "pub: --lines reads standard input, and takes no DATA"
  end
  return cli.run_command(run, given, rest)
end

return { help = help, main = main }
