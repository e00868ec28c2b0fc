--- `mq broker`: a broker until Ctrl-C, with a line of live counters.
-- Must not know: protocols beyond their names and ports.

local core = require "MQ.core"
local broker = require "MQ.broker"
local cli = require "MQ.cli"
local terminal = require "MQ.terminal"

local help = [[
usage: mq broker [--redis PORT] [--mqtt PORT] [--stomp PORT] [--host ADDRESS] [--user NAME:PASSWORD]… [--json]

A broker for development and tests: a message published over one protocol reaches the subscribers of all. It keeps
nothing on disk. Ends with Ctrl-C (exit code 130).

  --redis PORT, --mqtt PORT, --stomp PORT
                   what to serve, and where; 0: a free port. Without any of them, everything on its standard port (Redis
                   6379, MQTT 1883, STOMP 61613)
  --host ADDRESS   where to listen: 127.0.0.1; 0.0.0.0 lets other machines in
  --user NAME:PASSWORD   lets nobody else in; may be given several times. The name `default` is that of a Redis password
                   without a user
  --json           prints JSON objects, one a line: {"host":…,"ports":{"redis":6379,…}}, then the counters after each
                   second in which they have changed

Prints where it listens; on a terminal, a line tells how many connections, subscriptions and messages there are.
]]

local function each_second(server, fn)
  local last, before = server:stats(), core.now()
  require("MQ").loop.at(1, function()
    local stats, now = server:stats(), core.now()
    fn(stats, last, now - before)
    last, before = stats, now
  end)
end

local function show_counters(server)
  each_second(server, function(stats, last, seconds)
    terminal.progress(("%d connections, %d subscriptions; in %.0f/s, out %.0f/s; %d in, %d out so far"):format(
      stats.connections, stats.subscriptions, (stats.received - last.received) / seconds,
      (stats.sent - last.sent) / seconds, stats.received, stats.sent))
  end)
end

-- Until nobody reads them: the broker goes on.
local function print_counters(server)
  each_second(server, function(stats, last)
    for name, value in pairs(stats) do
      if value ~= last[name] then
        stats.time = core.time()
        cli.print(core.json_encode(stats), "\n")
        stats.time = nil
        return
      end
    end
  end)
end

-- A command line without the conflict: the same, with a free port in place of the one that is taken.
local function remedy(opt, err)
  local taken = err:match(", port (%d+): .*in use")
  if not taken then
    return ""
  end
  local words = { "mq broker" }
  for _, name in ipairs(broker.protocols()) do
    if opt[name] then
      words[#words + 1] = ("--%s %d"):format(name, opt[name] == tonumber(taken) and 0 or opt[name])
    end
  end
  return ": " .. table.concat(words, " ")
end

local function serve(given, opt)
  core.raise_limit()   -- a connection is a descriptor
  local ok, server, err, code = pcall(broker.new, broker, opt)
  if not ok then
    cli.stop((tostring(server):gsub("^MQ%.broker:new: ", "")), 2)
  elseif not server then
    cli.stop(err .. remedy(opt, err), cli.exit_code(code))
  end
  local host, ports = opt.host or "127.0.0.1", server:ports()
  if given["--json"] then
    cli.write(core.json_encode { host = host, ports = ports }, "\n")
    print_counters(server)
  else
    for _, name in ipairs(broker.protocols()) do
      if ports[name] then
        cli.write(("%s on %s, port %d\n"):format(name, host, ports[name]))
      end
    end
  end
  if terminal.shows_progress() then
    show_counters(server)
  end
  server:start()
  return 0
end

local function main(arguments)
  if not core.broker then
    return 2, "this build of MQ has no broker; build it with `make build`, which leaves nothing out"
  end
  local given, rest = cli.parse(arguments, {
    ["--redis"] = cli.port, ["--mqtt"] = cli.port, ["--stomp"] = cli.port, ["--host"] = tostring,
    ["--user"] = cli.pairs "NAME:PASSWORD", ["--json"] = true,
  })
  if not given then
    return 2, rest
  elseif rest[1] then
    return 2, ("broker: what is %q? It takes options only"):format(rest[1])
  end
  local opt = { host = given["--host"], users = given["--user"] }
  for name in pairs(broker.standard_ports) do
    opt[name] = given["--" .. name]
  end
  if not (opt.redis or opt.mqtt or opt.stomp) then
    for _, name in ipairs(broker.protocols()) do
      opt[name] = broker.standard_ports[name]
    end
  end
  return cli.run_command(serve, given, opt)
end

return { help = help, main = main }
