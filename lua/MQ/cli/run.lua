--- `mq run`: a script as a coroutine of the own loop, with cf's modules for a script that was written for cf.
-- Must not know: MQ's clients.

local cli = require "MQ.cli"
local compat = require "MQ.compat"

local help = [[
usage: mq run [--broker] SCRIPT [ARGUMENTS]

Runs a Lua script in a coroutine of a loop, so that MQ's calls wait without blocking each other, until nothing is
left to do: no coroutine that anything could wake, no timer, no subscription.

`require` finds modules beside the script, and `cf`, `json`, `logging` and `class` where there are none of these
names: a script that was written for the cf framework runs as it is. The arguments are in `arg` and `...`.

  --broker     brings a broker along, on the standard ports of this machine (Redis 6379, MQTT 1883, STOMP 61613, as far
               as this version serves them). A port that is taken is used as it is: that may be a server

Exit codes: 0; 1 after an error in the script; 2 for a wrong command line; 130 after Ctrl-C (SIGINT), which closes
every client. SIGTERM ends it at once: a service manager sends SIGINT instead (systemd: KillSignal=SIGINT).
]]

-- A port is taken or not before the broker itself is made: it is one for all protocols.
local function is_free(broker, name)
  local probe = broker:new { [name] = broker.standard_ports[name] }
  return probe and probe:close()
end

local function start_broker()
  local broker = require "MQ.broker"
  local opt = {}
  for _, name in ipairs(broker.protocols()) do
    if is_free(broker, name) then
      opt[name] = broker.standard_ports[name]
    else
      io.stderr:write(("mq: port %d is taken: what listens there is used for %s\n")
        :format(broker.standard_ports[name], name))
    end
  end
  if next(opt) then
    local made, err = broker:new(opt)
    if not made then
      io.stderr:write("mq: ", err, "\n")
    end
  end
end

local function main(arguments)
  local given, rest = cli.parse(arguments, { ["--broker"] = true }, true)
  if not given then
    return 2, rest
  elseif not rest[1] then
    return 2, "run: which script?"
  end

  local script = rest[1]
  local chunk, err = loadfile(script)
  if not chunk then
    io.stderr:write("mq: ", err, "\n")
    return 1
  end
  local folder = script:match("^(.*/)[^/]*$") or "./"
  package.path = folder .. "?.lua;" .. folder .. "?/init.lua;" .. package.path
  require "MQ.cf"
  local seen = { [0] = script }
  for index = 2, #rest do
    seen[index - 1] = rest[index]
  end
  rawset(_G, "arg", seen)
  if given["--broker"] then
    if not require("MQ.core").broker then
      return 2, "this build of MQ has no broker; build it with `make build`, which leaves nothing out"
    end
    start_broker()
  end
  io.stdout:setvbuf("line")   -- a service's log is read while it runs
  return cli.run_script(chunk, compat.unpack(seen))
end

return { help = help, main = main }
