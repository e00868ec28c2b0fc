-- `mq broker` and `mq run --broker`, and what mq sub, pub and bench do with that broker: over each protocol, where it
-- is killed, where nobody reads what they print, and on Ctrl-C. The three scripts of the chapter that MQ's API comes
-- from (spec/seed/*.lua) run on a machine without any server.

local core = require "MQ.core"
local helper = require "spec.helper"

local sys = helper.sys
local PORTS = { redis = 6379, mqtt = 1883, stomp = 61613 }
local environment = { LUA = helper.interpreter, LUA_PATH = false, LUA_CPATH = false, NO_COLOR = "1" }

local function start(arguments, options)
  options = options or {}
  return helper.start_lua(helper.root .. "/bin/mq", {
    args = arguments, interp = "/bin/sh", stdin = true, env = environment, cwd = options.cwd,
  })
end

local function finish(process)
  process:close_input()
  local code, out, err = process:wait(30)
  return code, out, err
end

local function mq(...)
  return finish(start { ... })
end

-- A broker for all protocols -> the process, its ports, a URL of each.
local function start_broker(...)
  local process = start { "broker", "--redis", "0", "--mqtt", "0", "--stomp", "0", "--json", ... }
  local ports = core.json_decode(process:expect("^([^\n]*)\n", 10)).ports
  local urls = {}
  for name, port in pairs(ports) do
    urls[name] = ("%s://127.0.0.1:%d"):format(name, port)
  end
  return process, ports, urls
end

local function interrupt(process)
  process:kill("INT")
  local code, out, err = process:wait(10)
  return code, out, err
end

describe("mq broker", function()
  it("says where it serves, and serves until Ctrl-C", function()
    local process = start { "broker", "--redis", "0", "--stomp", "0", "--host", "localhost" }
    local redis, stomp = process:expect("^redis on localhost, port (%d+)\nstomp on localhost, port (%d+)\n", 10)
    assert.same({ 0, "0\n", "" }, { mq("pub", "redis://localhost:" .. redis, "x", "y") })
    assert.same({ 0, "", "" }, { mq("pub", "stomp://localhost:" .. stomp, "x", "y") })
    local code, _, err = interrupt(process)
    assert.same({ 130, "" }, { code, err })
  end)

  it("names the port that is taken, and a command line without the conflict", function()
    local process, ports = start_broker()
    local code, out, err = mq("broker", "--redis", "0", "--mqtt", tostring(ports.mqtt))
    assert.same({ 1, "" }, { code, out })
    assert.matches("^mq: cannot listen on 127.0.0.1, port " .. ports.mqtt .. ": .*; choose another one, or 0 for any "
      .. "that is free: mq broker %-%-redis 0 %-%-mqtt 0\n$", err)
    assert.equal(130, (interrupt(process)))
    code, out, err = mq("broker", "--redis", "0", "--host", "192.0.2.1")   -- an address that is nobody's
    assert.same({ 1, "" }, { code, out })
    assert.matches("^mq: cannot listen on 192.0.2.1", err)
  end)

  it("lets in those that it was told of, by each protocol", function()
    local process, ports = start_broker("--user", "ann:se:cret", "--user", "bob:b")
    for name, port in pairs(ports) do
      for _, user in ipairs { "ann:se%3Acret", "bob:b" } do
        assert.equal(0, (mq("pub", ("%s://%s@127.0.0.1:%d"):format(name, user, port), "x", "y")))
      end
      local code, out, err = mq("pub", ("%s://ann:b@127.0.0.1:%d"):format(name, port), "x", "y")
      assert.same({ 1, "" }, { code, out })
      assert.matches("^mq: [^\n]*\n$", err)
      code, out, err = mq("sub", ("%s://127.0.0.1:%d"):format(name, port), "x")
      assert.same({ 1, "" }, { code, out })
      assert.matches("^mq: [^\n]*`username` and `password`\n$", err)
    end
    assert.equal(130, (interrupt(process)))
  end)

  it("counts in JSON", function()
    local process, _, urls = start_broker()
    assert.equal(0, (mq("pub", urls.mqtt, "x", "y")))
    local counters = core.json_decode(process:expect('\n([^\n]*"received":1[^\n]*)\n', 10))
    assert.same({ "open", 0 }, { counters.state, counters.sent })
    assert.is_true(counters.accepted >= 1 and counters.time > 0)
    assert.equal(130, (interrupt(process)))
  end)
end)

describe("with mq broker,", function()
  local ports, urls

  setup(function() ports, urls = select(2, start_broker()) end)
  teardown(helper.stop_all)

  -- A subscriber of `name` that is there: it prints a message that a publisher repeats until it has come.
  local function subscriber(...)
    local process = start { "sub", ... }
    helper.eventually(function()
      mq("pub", urls.redis, "cli/ready", "ready")
      process:pump(0.01)
      return process.stdout:find "cli/ready\tready\n"
    end, 20)
    return process
  end

  it("a message of each protocol reaches the subscribers of all", function()
    local subscribers = {
      subscriber("--exact", urls.redis, "cli/ready", "cli/x"),
      subscriber("--qos", "2", urls.mqtt, "cli/+"),
      subscriber(urls.stomp .. "?prefix=/topic/", "cli/ready", "cli/x"),
    }
    assert.same({ 0, "3\n", "" }, { mq("pub", urls.redis, "cli/x", "by redis") })
    assert.same({ 0, "{}\n", "" }, { mq("pub", "--json", "--qos", "2", urls.mqtt, "cli/x", "by mqtt") })
    assert.same({ 0, "", "" }, { mq("pub", "--header", "a=b", urls.stomp, "/topic/cli/x", "by stomp") })
    for _, process in ipairs(subscribers) do
      process:expect("cli/x\tby redis\n.*cli/x\tby mqtt\n.*cli/x\tby stomp\n", 10)
      local code, _, err = interrupt(process)
      assert.same({ 130, "" }, { code, err })
    end
  end)

  for name in pairs(PORTS) do
    it("lines and repetitions are counted, over " .. name, function()
      local url = urls[name]
      local process = start { "pub", "--lines", url, "cli/lines" }
      process:write "one\ntwo\nthree"
      assert.same({ 0, "3 sent, 0 failed\n", "" }, { finish(process) })
      process = start { "pub", "--lines", "--count", "2", url, "cli/lines", "-" }
      process:write "one\ntwo\nthree\n"
      assert.same({ 0, "2 sent, 0 failed\n", "" }, { finish(process) })
      local code, out, err = mq("pub", "--count", "7", "--json", url, "cli/lines", "x")
      assert.same({ 0, "" }, { code, err })
      assert.same({ sent = 7, failed = 0 }, core.json_decode(out))
      process = start { "pub", url, "cli/lines" }
      process:write "all\nof it"
      assert.equal(0, (finish(process)))
    end)

    it("mq bench measures " .. name, function()
      local code, out, err = mq("bench", "--messages", "1000", "--size", "10", urls[name])
      assert.same({ 0, "" }, { code, err })
      assert.matches("^post +%d+/s   %d+%.%d+ µs of CPU a post\n"
        .. "subscribe +%d+/s   %d+%.%d+ µs of CPU a message, both ends\n"
        .. "emit +%d+/s   p50 %d+ µs, p99 %d+ µs; 100 coroutines\n"
        .. "latency +%d+/s   p50 %d+ µs, p99 %d+ µs\n$", out)
      code, out, err = mq("bench", "--messages", "1000", "--json", urls[name])
      assert.same({ 0, "" }, { code, err })
      local results = core.json_decode(out)
      assert.is_true(results.latency.p50 <= results.latency.p99 and results.post.rate > 0)
    end)

    it("a broker that is not there, or another one, is told at once, over " .. name, function()
      local nowhere = ("%s://127.0.0.1:%d"):format(name, helper.free_port())
      local refused = "^mq: cannot connect to 127.0.0.1:%d+: Connection refused\n$"
      for _, arguments in ipairs {
        { "pub", nowhere, "x", "y" }, { "pub", "--lines", nowhere, "x" }, { "bench", nowhere },
      } do
        local code, out, err = finish(start(arguments))
        assert.same({ 1, "" }, { code, out })
        assert.matches(refused, err)
      end
      local other = name == "stomp" and ports.redis or ports.stomp
      local code, out, err = mq("sub", ("%s://127.0.0.1:%d"):format(name, other), "x")
      assert.same({ 1, "" }, { code, out })
      assert.matches("^mq: [^\n]*does not speak[^\n]*\n$", err)
    end)

    it("mq sub outlives the broker, over " .. name, function()
      local process, at, own = start_broker()
      local pattern = name == "stomp" and "/topic/x" or "x"
      local sub = start { "sub", "--count", "1", own[name], pattern }
      process:expect('\n[^\n]*"subscriptions":1[^\n]*\n', 10)
      process:kill("KILL")
      process:wait(10)
      helper.eventually(function()
        sub:pump(0.01)
        return sub.stderr:find "^mq: the connection is lost: [^\n]*; connecting again\n[^\n]*; trying again\n"
      end, 10)
      local again = start { "broker", "--" .. name, tostring(at[name]), "--json" }
      again:expect('\n[^\n]*"subscriptions":1[^\n]*\n', 20)
      assert.equal(0, (mq("pub", own[name], pattern, "back")))
      local code, out, err = sub:wait(20)
      assert.same({ 0, pattern .. "\tback\n" }, { code, out })
      assert.matches("; trying again\n.*mq: connected again\n$", err)
      assert.equal(130, (interrupt(again)))
    end)
  end

  it("mq bench ends with 1 when the broker is killed, with 130 on Ctrl-C, and without a traceback", function()
    local process, _, own = start_broker()
    local bench = start { "bench", "--messages", "100000000", own.redis }
    process:expect('\n[^\n]*"received":[1-9][^\n]*\n', 10)
    process:kill("KILL")
    local code, out, err = bench:wait(20)
    assert.same({ 1, "" }, { code, out })
    assert.matches("^mq: [^\n]*\n$", err)
    process, _, own = start_broker()   -- one that has counted nobody else's messages: so it is the bench that runs
    bench = start { "bench", "--messages", "100000000", own.mqtt }
    process:expect('\n[^\n]*"received":[1-9]%d%d%d+', 10)
    assert.same({ 130, "", "" }, { interrupt(bench) })
    assert.equal(130, (interrupt(process)))
  end)

  it("Ctrl-C while mq starts ends it with 130, and without a traceback", function()
    for late = 0, 39 do
      local process = start { "sub", urls.mqtt, "x" }
      process:pump(late * 0.0003)   -- wherever it is then
      local code, out, err = interrupt(process)
      if not err:find("^" .. helper.interpreter .. ": ") then   -- before it has come to what is ours
        assert.same({ 130, "", "" }, { code, out, err })
      end
    end
  end)

  it("Ctrl-C ends mq pub while it reads", function()
    local sub = subscriber(urls.redis, "cli/*")
    local process = start { "pub", "--lines", urls.redis, "cli/read" }
    process:write "a line\n"
    sub:expect("cli/read\ta line\n", 10)   -- so it waits for the next
    process:kill("INT")
    process:kill("INT")   -- Lua 5.1 and LuaJIT go on reading after the first
    assert.equal(130, (process:wait(10)))
    assert.equal(130, (interrupt(sub)))
  end)

  it("nobody who reads is no traceback", function()
    for script, expected in pairs {
      ['"$@" | head -n 1'] = "^cli/ready\tready\n$",                           -- ended by SIGPIPE
      [ [[trap '' PIPE; { "$@"; echo "code $?" >&2; } | head -n 1]] ] = "^cli/ready\tready\n$",
    } do
      local process = helper.start({ "sh", "-c", script, "sh", helper.root .. "/bin/mq", "sub", urls.redis, "cli/*" },
        { env = environment })
      local deadline = sys.now() + 20
      repeat   -- a publication until it has ended
        mq("pub", urls.redis, "cli/ready", "ready")
      until not process:pump(0.02) or sys.now() > deadline
      local code, out, err = process:wait(10)
      assert.equal(0, code)
      assert.matches(expected, out)
      if err ~= "" then
        assert.matches("^mq: cannot write to standard output: [^\n]*\ncode 1\n$", err)
      end
    end
  end)
end)

describe("mq run --broker,", function()
  local give_back, taken

  setup(function()
    give_back, taken = helper.standard_ports(PORTS.redis, PORTS.mqtt, PORTS.stomp)
  end)
  after_each(helper.stop_all)   -- one that a failure leaves would have the ports of the next
  teardown(function() give_back() end)

  -- it, or pending: somebody's server may have one of the ports
  local function maybe(name, body)
    it(name, function()
      if taken then
        pending(("something listens on port %d already"):format(taken))
      else
        body()
      end
    end)
  end

  local function read(path)
    local file = assert(io.open(path))
    local text = file:read("*a")
    file:close()
    return text
  end

  local function run(text)
    local dir = helper.tmpdir()
    os.execute("mkdir " .. dir .. "/script")
    local file = assert(io.open(dir .. "/script/main.lua", "w"))
    file:write(text)
    file:close()
    return start({ "run", "--broker", "script/main.lua", "argument" }, { cwd = dir })
  end

  local greeting = [[
    local name = "spec/greeting"
    local mq = require("MQ.redis"):new { host = "127.0.0.1", timeout = 5 }
    local ok, err = mq:on(name, function(msg) print(msg.payload) mq:close() end)
    print(ok, err or "", ...)
    mq:post(name, "hello")
  ]]

  maybe("brings a broker for the script", function()
    assert.same({ 0, "true\t\targument\nhello\n", "" }, { finish(run(greeting)) })
    -- and gives the ports back
    assert.same({ 0, "true\t\targument\nhello\n", "" }, { finish(run(greeting)) })
  end)

  maybe("uses a port that is taken as it is, with a notice", function()
    local other = start { "broker", "--redis", "6379", "--stomp", "61613", "--json" }
    other:expect("^{[^\n]*}\n", 10)
    local code, out, err = finish(run(greeting))
    assert.same({ 0, "true\t\targument\nhello\n" }, { code, out })
    assert.equal("mq: port 6379 is taken: what listens there is used for redis\n"
      .. "mq: port 61613 is taken: what listens there is used for stomp\n", err)
    other:expect('\n[^\n]*"received":1[^\n]*\n', 10)
    assert.equal(130, (interrupt(other)))
  end)

  -- What each protocol wants changed in the scripts, which were written for Redis.
  local changes = {
    redis = {},
    mqtt = { ["MQ%.redis"] = "MQ.mqtt", ["6379"] = "1883", ['"/%*"'] = '"/+"' },
    -- STOMP has no wildcards
    stomp = {
      ["MQ%.redis"] = "MQ.stomp", ["6379"] = "61613", ['"/%*"'] = '"/ad"',
      ['host = "localhost"'] = '%0, prefix = "/topic"',
    },
  }

  for _, name in ipairs { "redis", "mqtt", "stomp" } do
    for _, seed in ipairs {
      { "queue", "已经消费了100个消息\n", 'pattern"%]="/queue"' },
      { "push", "\n[^\n]*接收到推送消息[^\n]*\n", 'source"%]="[^"]*/user/%d+/ad"' },
      { "broadcast", ("[^\n]*接收到消息[^\n]*\n"):rep(3), '"msg":"系统即将关闭"' },
    } do
      maybe(("the chapter's %s runs over %s without a server"):format(seed[1], name), function()
        local text = read(helper.root .. "/spec/seed/" .. seed[1] .. ".lua")
        if _VERSION < "Lua 5.3" then
          text = text:gsub("1 << 32", "2 ^ 30")   -- there is no shift, and no wider range
        end
        for from, to in pairs(changes[name]) do
          text = text:gsub(from, to)
        end
        local process = run(text)
        process:expect(seed[2], 20)
        local code, out, err = interrupt(process)
        assert.same({ 130, "" }, { code, err })
        for line in out:gmatch("[^\n]+") do
          assert.matches("^%[[^%]]+%] %[@script/main%.lua:%d+%] %[DEBUG%] : .*" .. seed[3], line)
        end
      end)
    end
  end
end)
