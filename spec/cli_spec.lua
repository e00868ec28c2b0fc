-- bin/mq: exit codes, what goes where, and how a script is run. No broker; seed_spec and redis_process_spec have one.

local helper = require "spec.helper"

local environment = { LUA = helper.interpreter, LUA_PATH = false, LUA_CPATH = false, NO_COLOR = "1" }

local function mq(arguments, options)
  options = options or {}
  local argv = { options.interp or "/bin/sh", helper.root .. "/bin/mq" }
  for _, argument in ipairs(arguments) do
    argv[#argv + 1] = argument
  end
  return helper.run(argv, { cwd = options.cwd, env = options.env or environment })
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- Runs a script called script/main.lua from the directory above it -> exit code, stdout, stderr.
local function run(text, ...)
  local dir = helper.tmpdir()
  os.execute("mkdir " .. dir .. "/script")
  write(dir .. "/script/main.lua", text)
  write(dir .. "/script/beside.lua", 'return "beside"')
  return mq({ "run", "script/main.lua", ... }, { cwd = dir })
end

describe("mq", function()
  it("prints help and version on standard output", function()
    for _, flag in ipairs { "--help", "-h", "help" } do
      local code, out, err = mq { flag }
      assert.same({ 0, "" }, { code, err })
      assert.matches("^usage: mq COMMAND", out)
    end
    local code, out = mq { "--version" }
    assert.equal(0, code)
    assert.matches("^mq %d+%.%d+%.%d+ %(Lua", out)
    for _, command in ipairs { "run", "broker", "sub", "pub", "bench" } do
      code, out = mq { command, "--help" }
      assert.equal(0, code)
      assert.matches("^usage: mq " .. command, out)
    end
    code, out = mq { "sub", "redis://localhost", "x", "-h" }
    assert.equal(0, code)
    assert.matches("^usage: mq sub", out)
    code, out = run("print(...)", "--help")
    assert.same({ 0, "--help\n" }, { code, out })
  end)

  it("ends with 2 and a message on standard error for a wrong command line", function()
    for expected, arguments in pairs {
      ["usage: mq COMMAND"] = {},
      ['unknown command "sbu"; did you mean "sub"%?'] = { "sbu" },
      ['option %-%-redis: expected a port from 0 to 65535 %(got "x"%)'] = { "broker", "--redis", "x" },
      ["option %-%-host: a value has to follow"] = { "broker", "--host" },
      ['option %-%-user: expected NAME:PASSWORD %(got "ann"%)'] = { "broker", "--user", "ann" },
      ["unknown option %-5; if it is none, write %-%- before it"] = { "pub", "redis://localhost", "x", "-5" },
      ['broker: what is "6379"%?'] = { "broker", "6379" },
      ["run: which script%?"] = { "run" },
      ["unknown option %-%-frob.*\nusage: mq run %[%-%-broker%] SCRIPT.*\n`mq run %-%-help` tells more\n$"] =
        { "run", "--frob", "x.lua" },
      ["unknown option %-%-vers; did you mean %-%-version%?"] = { "--vers" },
      ["sub: which URL"] = { "sub", "redis://localhost" },
      ["unknown option %-%-jsn; did you mean %-%-json%?\nusage: mq sub %[%-%-json%] "] =
        { "sub", "redis://localhost", "x", "--jsn" },
      ["unknown option %-%-line; did you mean %-%-lines%?\nusage: mq pub "] =
        { "pub", "--line", "redis://localhost", "x" },
      ["unknown option %-%-message; did you mean %-%-messages%?"] = { "bench", "--message=5", "redis://localhost" },
      ['option %-%-count: expected a whole number greater than 0 %(got "0"%)'] =
        { "sub", "--count", "0", "redis://localhost", "x" },
      ["option %-%-json takes no value"] = { "sub", "--json=yes", "redis://localhost", "x" },
      ["MQ.stomp has no %-%-exact"] = { "sub", "--exact", "stomp://localhost", "x" },
      ["MQ.redis has no %-%-header"] = { "pub", "--header", "a=b", "redis://localhost", "x", "y" },
      ['option %-%-header: expected NAME=VALUE %(got "a"%)'] = { "sub", "--header", "a", "stomp://h", "x" },
      ["MQ.mqtt has no %-%-exact"] = { "sub", "--exact", "mqtt://localhost", "x" },
      ["MQ.redis has no %-%-retain"] = { "pub", "--retain", "redis://localhost", "x", "y" },
      ['option %-%-qos: expected 0, 1 or 2 %(got "3"%)'] = { "pub", "--qos", "3", "mqtt://localhost", "x", "y" },
      ["that is no URL"] = { "pub", "localhost", "x", "y" },
      ["pub: which URL"] = { "pub", "redis://localhost" },
      ["takes no DATA"] = { "pub", "--lines", "redis://localhost", "x", "y" },
      ["the channel is empty"] = { "pub", "redis://localhost", "", "y" },
      ['x#: the topic filter "x#": the wildcard # must be'] = { "sub", "mqtt://localhost", "x#" },
      ["bench: which URL"] = { "bench" },
      ['did you mean "timeout"'] = { "bench", "redis://localhost?timeot=1" },
    } do
      local code, out, err = mq(arguments)
      assert.same({ 2, "" }, { code, out }, err)
      assert.matches(expected, err)
    end
  end)

  it("ends with 2 where there is no such interpreter", function()
    local code, _, err = mq({ "--version" }, { env = { LUA = "no-such-lua" } })
    assert.equal(2, code)
    assert.matches("no Lua interpreter found called no%-such%-lua", err)
  end)

  it("is a Lua script, too, and finds its files through a link", function()
    local code, out = mq({ "--version" }, { interp = helper.interpreter })
    assert.equal(0, code)
    assert.matches("^mq ", out)
    local link = helper.tmpdir() .. "/linked"
    os.execute("ln -s " .. helper.root .. "/bin/mq " .. link)
    code, out = helper.run({ link, "--version" }, { env = environment })
    assert.equal(0, code)
    assert.matches("^mq ", out)
  end)

  it("ends with 1 where nothing listens", function()
    local url = ("redis://127.0.0.1:%d?timeout=0.2"):format(helper.free_port())
    local code, out, err = mq { "pub", url, "x", "y" }
    assert.same({ 1, "" }, { code, out })
    assert.matches("^mq: ", err)
    assert.equal(1, (mq { "bench", url }))
  end)
end)

describe("mq run", function()
  it("gives a script its arguments, its neighbours and cf's modules", function()
    local code, out, err = run([[
      print(arg[0], arg[1], arg[2], #arg, ...)
      print(require "beside", type(require "cf".fork), type(require "json".encode), type(require "class"))
      print(coroutine.running() ~= nil, debug.getinfo(1, "S").source)
    ]], "one", "--two")
    assert.same({ 0, "" }, { code, err })
    assert.equal("script/main.lua\tone\t--two\t2\tone\t--two\n"
      .. "beside\tfunction\tfunction\tfunction\n"
      .. "true\t@script/main.lua\n", out)
  end)

  it("goes on until nothing is left to do", function()
    local code, out = run [[
      local cf = require "cf"
      local ticks, timer = 0, nil
      timer = cf.at(0.005, function()
        ticks = ticks + 1
        print("tick " .. ticks)
        if ticks == 2 then timer:stop() end
      end)
      cf.fork(function() cf.sleep(0.001) print "forked" end)
      print "main ends"
    ]]
    assert.equal(0, code)
    assert.equal("main ends\ntick 1\ntick 2\n", (out:gsub("forked\n", "")))
    assert.matches("forked\n", out)   -- before a tick or after it
  end)

  it("ends where everybody waits for nothing", function()
    local code, out = run 'print "a" require("cf").wait() print "b"'
    assert.same({ 0, "a\n" }, { code, out })
  end)

  it("writes a log as cf does", function()
    local _, out = run 'local Log = require("logging"):new()\nLog:WARN("x", {1})'
    assert.matches("^%[%d+%-%d+%-%d+ %d+:%d+:%d+,%d%d%d%] %[@script/main.lua:2%] %[WARN%] : x, {%[1%]=1}\n$", out)
  end)

  it("prints a traceback for an error in the script, and ends with 1", function()
    local code, out, err = run 'print "before"\nlocal function f() error("boom") end\nf()\nprint "after"'
    assert.same({ 1, "before\n" }, { code, out })
    assert.matches("^mq: script/main.lua:2: boom\nstack traceback:\n", err)
    assert.matches("script/main.lua:3:", err)
    assert.not_matches("cli.lua", err)
  end)

  it("also for an error after a wait", function()
    local code, _, err = run 'require("cf").sleep(0.001) error({})'
    assert.equal(1, code)
    assert.matches("^mq: table: ", err)
  end)

  it("ends with 1 for a script that cannot be read or compiled", function()
    local code, _, err = mq { "run", "/no/such/script.lua" }
    assert.equal(1, code)
    assert.matches("^mq: cannot open /no/such/script.lua", err)
    code, _, err = run "x = = 1"
    assert.equal(1, code)
    assert.matches("^mq: script/main.lua:1: ", err)
  end)

  it("reports an error in a forked coroutine and goes on", function()
    local code, out, err = run [[
      local cf = require "cf"
      cf.fork(function() error("lost soul") end)
      cf.sleep(0.001)
      print "still here"
    ]]
    assert.same({ 0, "still here\n" }, { code, out })
    assert.matches("script/main.lua:2: lost soul\nstack traceback:", err)
  end)

  it("leaves the exit code of os.exit", function()
    assert.equal(7, (run "os.exit(7)"))
  end)

  it("leaves a module that the program has to the program", function()
    local code, out = run 'package.preload.json = function() return "mine" end print((require "json"))'
    assert.same({ 0, "mine\n" }, { code, out })
  end)

  for name, text in pairs {
    ["in the loop"] = 'print "ready" local cf = require "cf" cf.at(60, print) cf.wait()',
    ["in a coroutine"] = 'print "ready" local cf = require "cf" while true do cf.sleep(0.0001) end',
    ["in a script that is busy"] = 'print "ready" local cf = require "cf" while true do cf.yield() end',
    ["with a client that cannot connect"] = [[
      local mq = require("MQ.redis"):new { port = 1, host = "127.0.0.1" }
      mq:post("x", "y")
      print "ready"
      mq:start()
    ]],
  } do
    it("Ctrl-C ends it with 130: " .. name, function()
      local dir = helper.tmpdir()
      write(dir .. "/main.lua", text)
      -- The interpreter is interrupted wherever it is: also inside a function of the core.
      for _ = 1, name:find "busy" and 20 or 1 do
        local process = helper.start_lua(helper.root .. "/bin/mq", {
          args = { "run", dir .. "/main.lua" }, interp = "/bin/sh", env = { LUA = helper.interpreter },
        })
        process:expect("ready\n", 5)
        process:kill("INT")
        local code, _, err = process:wait(8)
        err = err:gsub("^MQ%.redis: [^\n]* cannot connect [^\n]*; trying on\n$", "")   -- where there was time to try
        assert.same({ 130, "" }, { code, err })
      end
    end)
  end
end)
