--- `mq run`: a script as a coroutine of the own loop, with cf's modules for a script that was written for cf.
-- Must not know: MQ's clients.

local cli = require "MQ.cli"
local compat = require "MQ.compat"

local help = [[
usage: mq run [--broker] SCRIPT [ARGUMENTS]

Runs a Lua script in a coroutine of a loop, so that MQ's calls wait without blocking each other, until nothing is
left to do: no coroutine that anything could wake, no timer, no subscription.

`require` finds modules beside the script, and `cf`, `httpd`, `json`, `logging` and `class` where there are none of
these names: a script that was written for the cf framework runs as it is. The arguments are in `arg` and `...`.

  --broker     brings a broker along, on the standard ports of this machine (Redis 6379, MQTT 1883, STOMP 61613). A
               port that is taken is used as it is, with a notice: a server may be there

Exit codes: 0; 1 after an error in the script; 2 for a wrong command line; 130 after Ctrl-C (SIGINT), which closes
every client. SIGTERM ends it at once: a service manager sends SIGINT instead (systemd: KillSignal=SIGINT).
]]

-- It is one broker for all protocols, or none of them starts: the ports that are taken are left out one after the
-- other. True; or nil and what is wrong.
local function start_broker()
  local broker = require "MQ.broker"
  local opt = {}
  for _, name in ipairs(broker.protocols()) do
    opt[name] = broker.standard_ports[name]
  end
  while next(opt) do
    local made, err = broker:new(opt)
    if made then
      return true
    end
    local taken = tonumber(err:match(", port (%d+): .*in use"))
    local protocol
    for name, port in pairs(opt) do
      if port == taken then
        protocol = name
      end
    end
    if not protocol then
      return nil, err
    end
    io.stderr:write(("mq: port %d is taken: what listens there is used for %s\n"):format(taken, protocol))
    opt[protocol] = nil
  end
  return true
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
    local ok, problem = start_broker()
    if not ok then
      io.stderr:write("mq: ", problem, "\n")
      return 1
    end
  end
  io.stdout:setvbuf("line")   -- a service's log is read while it runs
  return cli.run_script(chunk, compat.unpack(seen))
end

return { help = help, main = main }
