--- `mq sub`: prints messages.
-- Must not know: what a protocol's messages hold beyond source, pattern and payload.

local core = require "MQ.core"
local cli = require "MQ.cli"
local terminal = require "MQ.terminal"

local help = [[
usage: mq sub [--json] [--exact] [--qos N] [--header NAME=VALUE]… [--count N] URL PATTERN…

Prints each message that matches: its source, a tab, its payload. Ends with Ctrl-C (exit code 130).

  --json                a JSON object a line: {"payload":…,"pattern":…,"source":…,"time":…,"type":…}; a payload that is
                        no UTF-8 text is in "payload_base64" instead
  --exact               Redis: each PATTERN is a name, not a pattern
  --qos N               MQTT: the quality of service, 0, 1 (unless told) or 2
  --header NAME=VALUE   STOMP: one more header of the subscription; may be given several times
  --count N             ends after N messages

While the broker is away, it is tried again until it is back. Exit codes: 0 after N messages; 1 where the broker
refuses; 2 for a wrong command line; 130 after Ctrl-C.
]]

local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(bytes)
  local out = {}
  for index = 1, #bytes, 3 do
    local a, b, c = bytes:byte(index, index + 2)
    local number = a * 65536 + (b or 0) * 256 + (c or 0)
    local group = {}
    for place = 4, 1, -1 do
      local digit = number % 64
      group[place] = alphabet:sub(digit + 1, digit + 1)
      number = (number - digit) / 64
    end
    if not b then
      group[3], group[4] = "=", "="
    elseif not c then
      group[4] = "="
    end
    out[#out + 1] = table.concat(group)
  end
  return table.concat(out)
end

local put   -- forward: headers hold values of their own

-- JSON holds text only: what does not come back as it went in is written in base64.
function put(object, name, value)
  local ok, text = pcall(core.json_encode, value)
  if type(value) == "table" and not ok then
    local inner = {}
    for key, each in pairs(value) do
      put(inner, key, each)
    end
    object[name] = inner
  elseif type(value) ~= "string" or (ok and core.json_decode(text) == value) then
    object[name] = value
  else
    object[name .. "_base64"] = base64(value)
  end
end

local function to_json(msg)
  local object = { time = core.time() }
  for name, value in pairs(msg) do
    if type(value) ~= "function" then
      put(object, name, value)
    end
  end
  return core.json_encode(object)
end

local function note(...)
  terminal.clear()
  io.stderr:write("mq: ", table.concat({ ... }), "\n")
end

-- A line that tells the rate, below what is printed.
local function show_rate(count)
  local loop = require("MQ").loop
  local last, before = 0, core.now()
  loop.at(1, function()
    local now, total = core.now(), count()
    terminal.progress(("%d messages, %.0f/s"):format(total, (total - last) / (now - before)))
    last, before = total, now
  end)
end

-- A client that tells a person how its connection fares: what is wrong once, however often it is tried again. Returns
-- it, and a function that says what ended the command, unless that is told already, and tells nothing more.
local function connect(address)
  local told, lost, over = {}, false, false
  local mq, err = cli.connect(address, {
    on_connect = function()
      if lost then
        note("connected again")
      end
      told, lost = {}, false
    end,
    on_disconnect = function(_, why)
      lost = true
      if not over then
        note("the connection is lost: ", why, "; connecting again")
      end
    end,
    on_error = function(_, why, code)
      if not told[why] and not over then
        told[why] = true
        note(why, (code == "lost" or code == "timeout") and "; trying again" or "")
      end
    end,
  })
  if not mq then
    cli.stop(err, 2)
  end
  return mq, function(why, code, pattern)
    over = true
    cli.stop(told[why] and "giving up" or (pattern and pattern .. ": " or "") .. why, cli.exit_code(code))
  end
end

local function subscribe(given, rest)
  local mq, give_up = connect(rest[1])
  local opt, problem = cli.options(mq, mq.protocol.subscribe_options, {
    exact = given["--exact"], qos = given["--qos"], header = given["--header"],
  })
  if problem then
    cli.stop(problem, 2)
  end
  if mq.protocol.acknowledges then
    opt = opt or {}
    opt.ack = "manual"   -- what comes behind the last one that is printed stays with the broker
  end
  local count, ended, failure = 0, false, nil
  local function finish()
    ended = true
    mq:close()
  end
  local function print_message(msg)
    if not msg or ended then
      return
    end
    terminal.clear()
    local ok, err
    if given["--json"] then
      ok, err = cli.print(to_json(msg), "\n")
    else
      ok, err = cli.print(msg.source, "\t", msg.payload, "\n")
    end
    if not ok then
      failure = err
      return finish()
    end
    if msg.ack then
      msg:ack()
    end
    count = count + 1
    if count == given["--count"] then
      finish()
    end
  end
  for index = 2, #rest do
    local ok, why, code = mq:on(rest[index], print_message, opt)
    if not ok and not ended and code ~= "timeout" then
      give_up(why, code, rest[index])
    end
  end
  if terminal.shows_progress() then
    show_rate(function()
      return count
    end)
  end
  local ok, why, code = mq:start()
  if failure or not ok then
    give_up(failure or why, code)
  end
  return 0
end

local function main(arguments)
  local given, rest = cli.parse(arguments, {
    ["--json"] = true, ["--exact"] = true, ["--qos"] = cli.qos, ["--count"] = cli.count,
    ["--header"] = cli.pairs "NAME=VALUE",
  })
  if not given then
    return 2, rest
  elseif #rest < 2 then
    return 2, "sub: which URL, and which pattern?"
  end
  return cli.run_command(subscribe, given, rest)
end

return { help = help, main = main }
