--- The command line: `mq COMMAND …`. Finds the command, reads its arguments, turns what happened into an exit code:
-- 0, 1 for an error in a script or while running, 2 for a wrong command line, 130 after Ctrl-C.
-- Must not know: what a command does.

local compat = require "MQ.compat"

local cli = {}

local commands = { "run", "broker", "sub", "pub", "bench" }

local help = [[
usage: mq COMMAND [OPTIONS] …

  mq run SCRIPT [ARGUMENTS]     runs a Lua script, or a script written for cf, in a coroutine of a loop; with --broker,
                                beside a broker of its own
  mq broker                     serves: a broker for development and tests
  mq sub URL PATTERN…           prints the messages that match
  mq pub URL PATTERN [DATA|-]   publishes a message
  mq bench URL                  measures a broker and this machine

  mq COMMAND --help             tells more
  mq --version

A URL is redis://[user:password@]host[:port][/db], rediss://… (TLS), unix:///path/to/socket,
mqtt://[user:password@]host[:port], mqtts://… (TLS), stomp://[user:password@]host[:port][/vhost], stomps://… (TLS),
ws://host[:port]/path or wss://… (MQTT over WebSocket; STOMP with ?protocol=stomp).
Options of the client may follow: redis://localhost?timeout=5, mqtt://localhost?version=3.1.1&qos=0.
]]

local function fail(text)
  io.stderr:write("mq: ", text, "\n")
  return 2
end

local HELP = {}   -- in place of what is wrong: somebody asked for help

local function unknown_flag(flags, name)
  if name:find("^%-[^-]") then
    return ("unknown option %s; if it is none, write -- before it"):format(name)
  end
  local known = { ["--help"] = true }
  for flag in pairs(flags) do
    known[flag] = true
  end
  return ("unknown option %s; did you mean %s?"):format(name, (require("MQ.options").nearest(known, name)))
end

--- Reads arguments. `flags`: "--name" → true, or a function (text → value; or nil and what it expects) where a value
-- follows. What does not begin with "-" is positional, and so is everything after "--" and, with `stop`, after the
-- first positional one. Returns the flags that were given and a list of the others; or nil and what is wrong, for main.
function cli.parse(arguments, flags, stop)
  local given, rest = {}, {}
  local index = 1
  while index <= #arguments do
    local argument = arguments[index]
    if argument == "--" or (stop and #rest > 0) then
      for position = argument == "--" and index + 1 or index, #arguments do
        rest[#rest + 1] = arguments[position]
      end
      break
    elseif argument:sub(1, 1) ~= "-" or argument == "-" then
      rest[#rest + 1] = argument
    else
      local name, value = argument:match("^(%-%-[^=]+)=(.*)$")
      name = name or argument
      local kind = flags[name]
      if name == "--help" or name == "-h" then
        return nil, HELP
      elseif kind == nil then
        return nil, unknown_flag(flags, name)
      elseif kind == true then
        if value then
          return nil, ("option %s takes no value"):format(name)
        end
        given[name] = true
      else
        if not value then
          index = index + 1
          value = arguments[index]
        end
        if not value then
          return nil, ("option %s: a value has to follow"):format(name)
        end
        local parsed, expected = kind(value)
        if parsed == nil then
          return nil, ("option %s: expected %s (got %q)"):format(name, expected, value)
        end
        given[name] = parsed
      end
    end
    index = index + 1
  end
  return given, rest
end

--- For a flag that takes a whole number greater than 0.
function cli.count(text)
  local number = tonumber(text)
  if number and number >= 1 and number % 1 == 0 then
    return number
  end
  return nil, "a whole number greater than 0"
end

--- For a flag that takes a port, or 0 for any that is free.
function cli.port(text)
  local number = tonumber(text)
  if number and number >= 0 and number <= 65535 and number % 1 == 0 then
    return number
  end
  return nil, "a port from 0 to 65535"
end

--- For a flag that takes a quality of service.
function cli.qos(text)
  local number = tonumber(text)
  if number == 0 or number == 1 or number == 2 then
    return number
  end
  return nil, "0, 1 or 2"
end

--- For a flag that takes two words with a mark between them, such as NAME=VALUE, and may be given several times.
function cli.pairs(form)
  local all = {}
  local pattern = ("^([^%s]+)%s(.*)$"):gsub("%%s", form:match("%p"))
  return function(text)
    local name, value = text:match(pattern)
    if name then
      all[name] = value
      return all
    end
    return nil, form
  end
end

--- Options of a call that were given as flags (name → value), or nil for none; or nil and which of them the client's
-- protocol does not have. `known` is its table of options.
function cli.options(mq, known, wanted)
  for name in pairs(wanted) do
    if not known[name] then
      return nil, ("%s has no --%s"):format(mq.protocol.module, name)
    end
  end
  return next(wanted) and wanted or nil
end

--- Makes a client from a URL that a person wrote. The client; or nil and what is wrong.
function cli.connect(address, opt)
  local MQ = require "MQ"
  local ok, mq, err = pcall(MQ.connect, address, opt)
  if not ok then
    if compat.interrupted(mq) then
      error(mq, 0)
    end
    return nil, (tostring(mq):gsub("^MQ%.connect: ", ""))
  end
  return mq, err
end

--- The exit code of a call that failed with such a code: 2 where the command line asked for what cannot be.
function cli.exit_code(code)
  return code == "invalid" and 2 or 1
end

--- Ends the command from within: with a message instead of a traceback.
function cli.stop(problem, code)
  error({ problem = problem, code = code or 1 }, 0)
end

--- Writes to standard output at once. True; or nil and what is wrong: whoever reads it has gone, or the disk is full.
function cli.print(...)
  local ok, err = io.write(...)
  if ok then
    ok, err = io.stdout:flush()
  end
  if not ok then
    return nil, "cannot write to standard output: " .. err
  end
  return true
end

--- The same, where a failure ends the command.
function cli.write(...)
  local ok, err = cli.print(...)
  if not ok then
    cli.stop(err)
  end
end

--- Closes every client, each at most so many seconds, then every broker: it may be theirs.
function cli.close_all(seconds)
  local loaded = package.loaded["MQ.dispatch"]   -- not a table where Ctrl-C came while it was loaded
  local dispatch = type(loaded) == "table" and loaded.opened()
  if not dispatch then
    return
  end
  local loop = require("MQ.loop").current()
  for _, serves in ipairs { false, true } do
    local are_closed = require("MQ.closing").begin(dispatch, loop, serves, seconds)
    local late = false
    loop.after(seconds + 1, function()
      late = true
    end)
    pcall(loop.run_until, function()
      return late or are_closed()
    end)
  end
end

-- Runs the loop until `exit.code` is there or nothing is left to do, and closes every client. Returns the exit code.
local function serve(exit)
  local ok, err = pcall(require("MQ.loop").current().run, function()
    return exit.code ~= nil
  end)
  local code = exit.code or 0   -- before the clients are closed, which makes a waiting command return
  exit.over = true
  require("MQ.terminal").clear()
  if not ok then
    code = 130
    if not compat.interrupted(err) then
      io.stderr:write("mq: ", tostring(err), "\n")
      code = 1
    end
  end
  cli.close_all(ok and 5 or 2)
  return code
end

local function fails(exit)
  return function(_, err, traceback)
    if exit.over then
      return   -- of a command that has been ended: it fails because its clients are closed
    end
    require("MQ.terminal").clear()
    io.stdout:flush()
    local stopped = type(err) == "table" and rawget(err, "problem")
    io.stderr:write("mq: ", stopped or traceback, "\n")
    exit.code = stopped and err.code or 1
  end
end

--- Runs a script in a coroutine of the loop until nothing is left to do; an error in it ends the program.
function cli.run_script(chunk, ...)
  local exit = {}
  require("MQ.loop").current().guard(fails(exit), chunk, ...)
  return serve(exit)
end

--- Runs a command in a coroutine of the loop. It returns the exit code.
function cli.run_command(command, ...)
  io.stdout:setvbuf "full"   -- and cli.print flushes: glibc hides that a buffered line could not be written
  local exit = {}
  require("MQ.loop").current().guard(fails(exit), function(...)
    exit.code = command(...)
  end, ...)
  return serve(exit)
end

--- The whole program. Returns the exit code.
function cli.main(arguments)
  local name = arguments[1]
  if name == "--help" or name == "-h" or name == "help" then
    io.write(help)
    return 0
  elseif name == "--version" then
    io.write("mq ", require("MQ.core").version, " (", jit and jit.version or _VERSION, ")\n")
    return 0
  elseif not name then
    io.stderr:write(help)
    return 2
  end
  for _, each in ipairs(commands) do
    if each == name then
      local command = require("MQ.cli." .. name)
      local rest = {}
      for index = 2, #arguments do
        rest[index - 1] = arguments[index]
      end
      local code, problem = command.main(rest)
      if problem == HELP then
        io.write(command.help)
        return 0
      elseif problem then
        fail(problem)
        io.stderr:write(command.help:match("^[^\n]*\n"), "`mq ", name, " --help` tells more\n")
      end
      return code
    end
  end
  if name:sub(1, 1) == "-" then
    return fail(unknown_flag({ ["--version"] = true }, name) .. " `mq --help` lists the commands")
  end
  local nearest = {}
  for _, each in ipairs(commands) do
    nearest[each] = true
  end
  return fail(("unknown command %q; did you mean %q? `mq --help` lists them")
    :format(name, (require("MQ.options").nearest(nearest, name))))
end

return cli
