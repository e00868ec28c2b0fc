--- Runs the programs of the benches: C peers and MQ's Lua clients, each a process that prints "name value" lines.
-- Must not know: brokers, which benches there are.

local sys = require "spec_sys"
local Process = require "spec.support.process"

local runner = {
  --- SIDE=peer leaves MQ out.
  peers_only = os.getenv("SIDE") == "peer",
}

local lua = sys.exe()

local function fail(process)
  local code, out, err = process:wait(0)
  process:stop()
  error(("%s: exit code %s\n%s%s"):format(process.label, code, out, err), 0)
end

--- Starts a program -> the process (spec/support/process.lua); `stdin`: with a pipe to it.
function runner.start(label, argv, stdin)
  -- ten thousand clients need more descriptors than the usual soft limit
  local command = { "sh", "-c", 'ulimit -n 20000 2>/dev/null || ulimit -n 8192 2>/dev/null; exec "$@"', "sh" }
  for _, argument in ipairs(argv) do
    command[#command + 1] = argument
  end
  local process = Process.start(command, { stdin = stdin })
  process.label = label
  return process
end

--- What a program has printed once it has ended; raises where it failed.
function runner.output(process)
  if process:wait(300) ~= 0 then
    fail(process)
  end
  return process.stdout
end

--- The "name value" lines of a program's output as a table.
function runner.results(process)
  local values = {}
  for name, value in runner.output(process):gmatch("(%w+) ([%d.e+-]+)\n") do
    values[name] = tonumber(value)
  end
  return values
end

--- Waits until a subscriber says that it is ready.
function runner.ready(process)
  local ok, err = pcall(process.expect, process, "ready\n", 30)
  if not ok then
    process:stop()
    error(process.label .. " does not get ready: " .. tostring(err), 0)
  end
  return process
end

--- Starts a C program from bench/peers.
function runner.peer(name, ...)
  return runner.start(name, { "build/bench/" .. name, ... })
end

--- The same, one that goes on until its input ends.
function runner.holding(name, ...)
  return runner.start(name, { "build/bench/" .. name, ... }, true)
end

--- Starts a Lua program from bench.
function runner.ours(name, ...)
  return runner.start(name .. ".lua", { lua, "bench/" .. name .. ".lua", ... })
end

--- What side(…) gives for MQ, nil where it is left out.
function runner.unless_left_out(side, name, ...)
  if not runner.peers_only then
    return side(runner.ours(name, ...))
  end
end

--- What fn(ports, process) gives with an embedded broker of its own, nil where MQ is left out.
function runner.embedded(fn)
  if runner.peers_only then
    return nil
  end
  local process = runner.ready(runner.ours("broker"))
  local ports = {}
  for name, port in process.stdout:gmatch("port (%w+) (%d+)\n") do
    ports[name] = port
  end
  local ok, result = pcall(fn, ports, process)
  process:stop()
  if not ok then
    error(result, 0)
  end
  return result
end

return runner
