--- `mq pub`: publishes messages.
-- Must not know: what a protocol's answer means, beyond its being a number of receivers.

local core = require "MQ.core"
local cli = require "MQ.cli"
local terminal = require "MQ.terminal"

local help = [[
usage: mq pub [--json] [--lines] [--qos N] [--retain] [--header NAME=VALUE]… URL PATTERN [DATA|-]

Publishes DATA, or what is read from standard input, as one message, and prints how many received it where the
broker tells.

  --lines               each line of standard input is a message; prints how many were sent
  --qos N               MQTT: the quality of service, 0, 1 (unless told) or 2
  --retain              MQTT: the broker keeps the message for later subscribers
  --header NAME=VALUE   STOMP: one more header
  --json                prints a JSON object: {"receivers":…} or {"failed":…,"sent":…}
]]

local function complain(text)
  terminal.clear()
  io.stderr:write("mq: ", tostring(text), "\n")
  return 1
end

local function publish(mq, pattern, data, json, opt)
  local ok, receivers = mq:emit(pattern, data, opt)
  if not ok then
    return complain(receivers)
  elseif not mq.protocol.answers_with_receivers then
    receivers = nil
  end
  if json then
    io.write(core.json_encode { receivers = receivers }, "\n")
  elseif receivers then
    io.write(("%d"):format(receivers), "\n")
  end
  return 0
end

local function publish_lines(mq, pattern, json, opt)
  local sent, refused = 0, 0
  local begun, shown = core.now(), core.now()
  for line in io.lines() do
    local ok, err, code = mq:post(pattern, line, opt)
    if ok then
      sent = sent + 1
    else
      refused = refused + 1
      if code == "closed" or code == "auth" then
        return complain(err)
      end
    end
    if sent % 1000 == 0 and core.now() - shown >= 1 then
      shown = core.now()
      terminal.progress(("%d messages, %.0f/s"):format(sent, sent / (shown - begun)))
    end
  end
  local ok, err, failed = mq:flush(60)
  terminal.clear()
  failed = refused + (ok and 0 or failed)
  if json then
    io.write(core.json_encode { sent = sent, failed = failed }, "\n")
  else
    io.write(("%d sent, %d failed\n"):format(sent, failed))
  end
  if not ok then
    return complain(err)
  end
  return failed == 0 and 0 or 1
end

local function main(arguments)
  local given, rest = cli.parse(arguments, {
    ["--json"] = true, ["--lines"] = true, ["--qos"] = cli.qos, ["--retain"] = true,
    ["--header"] = cli.pairs(),
  })
  if not given then
    return 2, rest
  elseif #rest < 2 or #rest > 3 then
    return 2, "pub: which URL, which pattern, and one message?"
  elseif given["--lines"] and rest[3] and rest[3] ~= "-" then
    return 2, "pub: --lines reads standard input, and takes no DATA"
  end
  return cli.run_command(function()
    local mq, err = cli.connect(rest[1])
    if not mq then
      complain(err)
      return 2
    end
    local opt, problem = cli.options(mq, mq.protocol.publish_options, {
      qos = given["--qos"], retain = given["--retain"], header = given["--header"],
    })
    if problem then
      complain(problem)
      return 2
    elseif given["--lines"] then
      return publish_lines(mq, rest[2], given["--json"], opt)
    end
    local data = rest[3]
    if data == nil or data == "-" then
      data = io.read("*a")
    end
    return publish(mq, rest[2], data, given["--json"], opt)
  end)
end

return { help = help, main = main }
