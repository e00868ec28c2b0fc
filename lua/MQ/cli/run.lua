--- `mq run`: a script as a coroutine of the own loop, with cf's modules for a script that was written for cf.
-- Must not know: MQ's clients.

local cli = require "MQ.cli"
local compat = require "MQ.compat"

local help = [[
usage: mq run SCRIPT [ARGUMENTS]

Runs a Lua script in a coroutine of a loop, so that MQ's calls wait without blocking each other, until nothing is
left to do: no coroutine that anything could wake, no timer, no subscription.

`require` finds modules beside the script, and `cf`, `httpd`, `json`, `logging` and `class` where there are none of
these names: a script that was written for the cf framework runs as it is. The arguments are in `arg` and `...`.

Exit codes: 0; 1 after an error in the script; 2 for a wrong command line; 130 after Ctrl-C (SIGINT), which closes
every client. SIGTERM ends it at once: a service manager sends SIGINT instead (systemd: KillSignal=SIGINT).
]]

local function main(arguments)
  if arguments[1] == "--broker" then
    return 2, "this version has no embedded broker yet; start a redis-server and leave --broker out"
  end
  local given, rest = cli.parse(arguments, {}, true)
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
  io.stdout:setvbuf("line")   -- a service's log is read while it runs
  return cli.run_script(chunk, compat.unpack(seen))
end

return { help = help, main = main }
