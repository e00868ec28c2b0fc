--- `mq broker`: a broker until Ctrl-C, with a line of live counters.
-- Must not know: protocols beyond their names and ports.

local core = require "MQ.core"
local broker = require "MQ.broker"
local cli = require "MQ.cli"
local terminal = require "MQ.terminal"

local help = [[
usage: mq broker [--redis PORT] [--mqtt PORT] [--stomp PORT] [--host ADDRESS] [--user NAME:PASSWORD]

A broker for development and tests: a message published over one protocol reaches the subscribers of all. It keeps
nothing on disk. Ends with Ctrl-C (exit code 130).

  --redis PORT …   what to serve, and where; 0: a free port. Unless told, everything that this version serves, on its
                   standard port (Redis 6379, MQTT 1883, STOMP 61613)
  --host ADDRESS   where to listen: 127.0.0.1; 0.0.0.0 lets other machines in
  --user NAME:PASSWORD   lets nobody else in; the name `default` is that of a Redis password without a user

On a terminal, a line tells how many connections, subscriptions and messages there are.
]]

local function port(text)
  local number = tonumber(text)
  if number and number >= 0 and number <= 65535 and number % 1 == 0 then
    return number
  end
end

local function user(text)
  return text:find("^[^:]+:") and text or nil
end

local function show_counters(server)
  local last, before = server:stats(), core.now()
  require("MQ").loop.at(1, function()
    local stats, now = server:stats(), core.now()
    local seconds = now - before
    terminal.progress(("%d connections, %d subscriptions; %.0f messages/s in, %.0f/s out; %d in, %d out so far"):format(
      stats.connections, stats.subscriptions, (stats.received - last.received) / seconds,
      (stats.sent - last.sent) / seconds, stats.received, stats.sent))
    last, before = stats, now
  end)
end

local function serve(opt)
  core.raise_limit()   -- a connection is a descriptor
  local ok, server, err = pcall(broker.new, broker, opt)
  if not ok then
    io.stderr:write("mq: ", (tostring(server):gsub("^MQ%.broker:new: ", "")), "\n")
    return 2
  elseif not server then
    io.stderr:write("mq: ", err, "\n")
    return 1
  end
  local ports = server:ports()
  for _, name in ipairs(broker.protocols()) do
    if ports[name] then
      io.write(("%s on %s, port %d\n"):format(name, opt.host or "127.0.0.1", ports[name]))
    end
  end
  if terminal.is(2) then
    show_counters(server)
  end
  server:start()
  terminal.clear()
  return 0
end

local function main(arguments)
  if not core.broker then
    return 2, "this build of MQ has no broker; build it with `make build`, which leaves nothing out"
  end
  local given, rest = cli.parse(arguments, {
    ["--redis"] = port, ["--mqtt"] = port, ["--stomp"] = port, ["--host"] = tostring, ["--user"] = user,
  })
  if not given then
    return 2, rest
  elseif rest[1] then
    return 2, ("broker: what is %q? It takes options only"):format(rest[1])
  end
  local opt = { host = given["--host"] }
  for name in pairs(broker.standard_ports) do
    opt[name] = given["--" .. name]
  end
  if not (opt.redis or opt.mqtt or opt.stomp) then
    for _, name in ipairs(broker.protocols()) do
      opt[name] = broker.standard_ports[name]
    end
  end
  if given["--user"] then
    local name, password = given["--user"]:match("^([^:]+):(.*)$")
    opt.users = { [name] = password }
  end
  io.stdout:setvbuf("line")
  return cli.run_command(serve, opt)
end

return { help = help, main = main }
