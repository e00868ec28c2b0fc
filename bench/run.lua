-- make bench: MQ against C programs that do the same work, each suite on a private broker of its own.
-- Rounds are interleaved (peer, ours, peer, ours …); the tables show medians, and each bound beside what was
-- measured.
-- Environment: ONLY (names of suites, of benches, or how such names begin: "redis", "MI0,MR", "MO", "SP"), RUNS=5,
-- WRITE=1 (also writes bench/RESULTS.md), SIDE=peer (leaves MQ out). Exit code 1 when a bound is missed.

local sys = require "spec_sys"
local report = require "bench.report"

local suites = {}
for _, name in ipairs { "redis", "mqtt", "stomp", "httpd", "broker" } do
  suites[#suites + 1] = require("bench." .. name .. "_suite")
end

local function setting(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

local runs = tonumber(setting("RUNS") or 5)
local dir = assert(sys.mkdtemp(os.getenv("TMPDIR") or "/tmp", "mq-bench"))
os.execute("chmod 711 '" .. dir .. "'") -- RabbitMQ may run as a user of its own
local servers = {}

-- ---- which benches ---------------------------------------------------------------------------

local function all_names(fits)
  local names = {}
  for _, suite in ipairs(suites) do
    for _, name in ipairs(suite.order) do
      if fits(name, suite) then
        names[#names + 1] = name
      end
    end
  end
  return names
end

-- The benches that a word of ONLY means: one of that name, else those of that suite, else those that begin so, else
-- those that its letters name.
local function meant(word)
  local ways = {
    function(name) return name == word end,
    function(_, suite) return suite.name == word end,
    function(name) return name:sub(1, #word) == word end,
    function(name) return #name == 1 and word:find(name, 1, true) end,
  }
  for _, fits in ipairs(ways) do
    local names = all_names(fits)
    if #names > 0 then
      return names
    end
  end
  error(("ONLY=%s: there are the suites redis, mqtt, stomp, httpd and broker, and the benches %s"):format(word,
    table.concat(all_names(function() return true end), " ")), 0)
end

local function chosen()
  local only = setting("ONLY")
  local names = {}
  for word in (only or "redis mqtt stomp httpd broker"):gmatch("[^%s,]+") do
    for _, name in ipairs(meant(word)) do
      names[name] = true
    end
  end
  return names
end

-- ---- running them ----------------------------------------------------------------------------

local terminal = os.execute("test -t 2")
terminal = terminal == true or terminal == 0 -- 5.1 gives the exit code

local function progress(text)
  if terminal then
    io.stderr:write(("\r%-30s\r"):format(text))
  end
end

-- The suite's numbers, or nil where none of its benches is wanted.
local function measure(suite, wanted)
  local names = {}
  for _, name in ipairs(suite.order) do
    if wanted[name] then
      names[#names + 1] = name
    end
  end
  if #names == 0 then
    return nil
  end
  local place = dir .. "/" .. suite.name
  os.execute("mkdir '" .. place .. "'")
  local server = suite.start(place)
  servers[#servers + 1] = server
  local measured = {}
  for round = 1, runs do
    for _, name in ipairs(names) do
      progress(("round %d of %d: %s"):format(round, runs, name))
      measured[name] = measured[name] or {}
      table.insert(measured[name], suite.benches[name]())
    end
  end
  progress("")
  server:stop()
  return measured
end

local function main()
  local wanted, pieces, missed = chosen(), {}, 0
  for _, suite in ipairs(suites) do
    local measured = measure(suite, wanted)
    if measured then
      local text, misses = report.table(suite.rows, suite.peer_names, measured)
      pieces[#pieces + 1] = text .. "\n\n" .. report.machine(suite.versions(), runs) .. "\n"
      missed = missed + misses
      print((#pieces > 1 and "\n" or "") .. pieces[#pieces])
    end
  end
  if setting("WRITE") then
    local file = assert(io.open("bench/RESULTS.md", "w"))
    file:write("# The last `make bench WRITE=1`\n\n", table.concat(pieces, "\n"))
    file:close()
  end
  return missed
end

local ok, result = xpcall(main, function(err)
  return type(err) == "string" and not err:find("^%S+%.lua:%d+:") and err or debug.traceback(err)
end)
for _, server in ipairs(servers) do
  server:stop()
end
os.execute("rm -rf '" .. dir .. "'")
if not ok then
  io.stderr:write("\nbench: ", tostring(result), "\n")
  os.exit(2)
end
os.exit(result == 0 and 0 or 1)
