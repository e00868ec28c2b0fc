-- MQ.broker: its options, ports, counts, events and end. cli_broker_spec has `mq broker` and `mq run --broker`.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"
local Broker = require "MQ.broker"

local client, misuse = tools.client, tools.misuse
local eventually = helper.eventually
local unpack = table.unpack or unpack

describe("MQ.broker", function()
  local function start(options)
    local broker, ports = tools.serve(options or { redis = 0 })
    return broker, { port = ports.redis }
  end

  after_each(tools.close_all)

  it("is loaded on demand", function()
    assert.equal(Broker, require("MQ").broker)
  end)

  it("raises at the caller's line for a wrong option, and names the remedy", function()
    for wanted, options in pairs {
      ['unknown option "rediss"; did you mean "redis"?'] = { rediss = 1 },
      ['option "redis" must be an integer from 0 to 65535'] = { redis = 65536 },
      ['option "users" must be a table of names and passwords, not a table'] = { redis = 0, users = { ann = 31415 } },
      ["which protocol is it to serve? Write redis = 6379"] = {},
    } do
      local message = misuse(function() Broker:new(options) end)
      assert.is_truthy(message:find(wanted, 1, true), message)
    end
    assert.matches("colon", misuse(function() Broker.new { redis = 0 } end))
    local broker = start()
    assert.matches("expected a function %(got 1%)", misuse(function() broker:on_connect(1) end))
    assert.matches('no "prots"; did you mean broker:ports', misuse(function() broker:prots() end))
    assert.matches("broker:stats%(…%)", misuse(function() broker.stats() end))
  end)

  it("listens on loopback alone, on a free port for 0, and tells which", function()
    local broker, at = start()
    assert.is_true(at.port > 0)
    assert.equal(("MQ.broker: redis %d (open)"):format(at.port), tostring(broker))
    assert.is_true(client(at):emit("x", ""))
    assert.is_true(client(nil, { host = "localhost", port = at.port }):emit("x", ""))
    local other = start { redis = 0, host = "localhost" }
    assert.is_true(client(nil, { host = "127.0.0.1", port = other:ports().redis }):emit("x", ""))
  end)

  it("says what is wrong with a port that is taken", function()
    local _, at = start()
    local none, err, code = Broker:new { redis = at.port }
    assert.same({ nil, "refused" }, { none, code })
    assert.matches("^cannot listen on 127.0.0.1, port " .. at.port .. ": .*in use; choose another one, or 0", err)
  end)

  it("ends when it is closed: connections, ports, start", function()
    local broker, at = start()
    local mq = client(at, { reconnect = false })
    assert(mq:emit("x", ""))
    local serving = tools.task(function() return broker:start() end)
    eventually(function() return next(broker.starters) ~= nil end)
    assert.is_true(broker:close())
    assert.is_true(tools.await(serving))
    assert.is_true(broker:close())
    assert.is_true(broker:start())
    assert.same({ "closed", 0 }, { broker:stats().state, broker:stats().connections })
    local ok, _, code = mq:emit("x", "")
    assert.same({ nil, "lost" }, { ok, code })
    -- the port is free at once
    local again = start { redis = at.port }
    assert.is_true(client({ port = again:ports().redis }):emit("x", ""))
  end)

  it("gives its port back before close returns, even where nothing of it has run yet", function()
    local port = helper.free_port()
    for _ = 1, 1000 do
      local broker = assert(Broker:new { redis = port })
      broker:close()
    end
  end)

  it("tells of connections and subscriptions, to every callback, which may wait", function()
    local broker, at = start()
    local seen = {}
    local function note(event)
      return function(from, info)
        tools.sleep(0)
        assert.equal(broker, from)
        seen[#seen + 1] = event .. " " .. info.protocol .. " " .. tostring(info.pattern)
        seen[event] = info
      end
    end
    for _, event in ipairs { "connect", "disconnect", "subscribe", "unsubscribe" } do
      assert.is_true(broker["on_" .. event](broker, note(event)))
    end
    local twice = 0
    broker:on_connect(function() twice = twice + 1 end)
    local mq = client(at)
    local function callback() end
    assert(mq:on("/a/*", callback))
    assert(mq:off("/a/*", callback))
    assert(mq:close())
    eventually(function() return seen.disconnect end)
    assert.same({
      "connect redis nil", "subscribe redis /a/*", "unsubscribe redis /a/*", "disconnect redis nil",
    }, { unpack(seen, 1, 4) })
    assert.equal(1, twice)
    assert.matches("^127.0.0.1:%d+$", seen.connect.remote)
    assert.equal(seen.connect.id, seen.disconnect.id)
    assert.matches("client", seen.disconnect.reason)
  end)

  it("leaves a forked child nothing to break", function()
    local broker, at = start()
    local mq = client(at)
    assert(mq:emit("x", ""))
    assert.equal(0, helper.forked(function()
      local ok, _, code = broker:start()
      assert(next(broker:stats()) == "state" and broker:close() and not ok and code == "closed")
      local own = assert(Broker:new { redis = 0 })
      local inner = require("MQ.redis"):new { host = "127.0.0.1", port = own:ports().redis }
      return inner:emit("x", "") and own:close()
    end))
    assert.is_true(mq:emit("x", ""))
  end)

  it("ends with its Lua state, closed or not", function()
    local code, out, err = helper.run_lua([[
      local broker = assert(require("MQ").broker:new { redis = 0 })
      local mq = require("MQ.redis"):new { host = "127.0.0.1", port = broker:ports().redis }
      assert(mq:on("a", function(msg) print(msg and msg.payload) mq:close() end))
      assert(mq:emit("a", "hello"))
      mq:start()
    ]])
    assert.same({ 0, "hello\n", "" }, { code, out, err })
  end)
end)
