-- MQ.redis: what each call does, returns and refuses, on a connection that works.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"
local MQ = require "MQ.redis"

local client, inbox, expect, misuse = tools.client, tools.inbox, tools.expect, tools.misuse

describe("MQ.redis", function()
  local server

  setup(function() server = helper.redis() end)
  after_each(tools.close_all)

  describe("new", function()
    it("connects at first use", function()
      local mq = client(server)
      tools.sleep(0.05)
      assert.equal(0, server:client_count())
      assert.equal("idle", mq:stats().state)
      assert(mq:emit("x", ""))
      assert.equal(1, server:client_count())
      assert.equal("connected", mq:stats().state)
    end)

    it("raises at the caller's line and names the nearest option", function()
      assert.matches('unknown option "hots".*"host"', misuse(function() MQ:new { hots = "localhost" } end))
      assert.matches('"max_queue"', misuse(function() MQ:new { maxqueue = 5 } end))
      assert.matches('"password"', misuse(function() MQ:new { pasword = "x" } end))
      assert.matches('in "tls".*"verify"', misuse(function() MQ:new { tls = { verfy = false } } end))
      assert.matches('in "reconnect".*"attempts"', misuse(function() MQ:new { reconnect = { attempt = 3 } } end))
      assert.matches("unknown option %[1%]", misuse(function() MQ:new { "localhost" } end))
    end)

    it("refuses values of the wrong kind, without repeating a secret", function()
      local cases = {
        { { port = "http" }, "port" }, { { port = 0 }, "port" }, { { port = 65536 }, "port" },
        { { port = 1.5 }, "port" },
        { { host = 5 }, "host" }, { { host = "" }, "host" }, { { db = -1 }, "db" }, { { timeout = 0 }, "timeout" },
        { { timeout = 0 / 0 }, "timeout" }, { { keepalive = -1 }, "keepalive" }, { { overflow = "drop" }, "overflow" },
        { { on_error = "print" }, "on_error" }, { { reconnect = 3 }, "reconnect" }, { { hosts = {} }, "hosts" },
        { { hosts = { "a:b:c" } }, "hosts" }, { { max_queue = 0 }, "max_queue" }, { { tls = "yes" }, "tls" },
        { { reconnect = { min = 5, max = 1 } }, "reconnect" }, { { tls = { cert = "x" } }, "tls" },
      }
      for _, case in ipairs(cases) do
        local message = misuse(function() MQ:new(case[1]) end)
        assert.is_truthy(message:find('"' .. case[2] .. '"', 1, true), message)
      end
      assert.not_matches("31415", misuse(function() MQ:new { password = 31415 } end))
      assert.not_matches("31415", misuse(function() MQ:new { auth = 31415 } end))
    end)

    it("raises for a dot in place of the colon, and for what is no table", function()
      assert.matches("colon", misuse(function() MQ.new { port = 1 } end))
      assert.matches("table", misuse(function() MQ:new(6379) end))
      assert.matches("^MQ.redis is no client; make one: ", misuse(function() MQ:emit("x", "y") end))
      assert.is_nil(MQ.publish)
      assert.equal("idle", MQ:new():stats().state)
    end)

    it("makes a client that names the nearest method for one that it does not have", function()
      local mq = client(server)
      for wrong, right in pairs {
        publish = "emit", subscribe = "on", unsubscribe = "off", emitt = "emit", Emit = "emit", pots = "post",
        flsh = "flush", stat = "stats", closed = "close",
      } do
        assert.equal(('a client has no "%s"; did you mean mq:%s?'):format(wrong, right),
          misuse(function() mq[wrong](mq, "x", "y") end))
      end
      assert.matches("mq:emit", misuse(function() mq:publish("x", "y") end))
      assert.is_nil(mq.frobnicate)
      assert.is_nil(mq[1])
      mq.count = (mq.count or 0) + 1   -- a program's own field
      assert.equal(1, mq.count)
    end)

    it("takes the options of the other protocols, so that one table serves three", function()
      local mq = client(server, { vhost = "/", keepalive = 60, db = "0", port = tostring(server.port) })
      assert.is_true(mq:emit("x", ""))
    end)

    it("connects from a URL", function()
      local connect = require("MQ").connect
      local mq = tools.keep(connect(server.url .. "/3?timeout=5", { max_queue = 10 }))
      assert.is_true(mq:emit("x", ""))
      assert.matches("db=3", server:cli("CLIENT", "LIST"))
      assert.matches("URL", misuse(function() connect("localhost:6379") end))
      assert.matches("amqp", misuse(function() connect("amqp://localhost") end))
      assert.matches('"timeout"', misuse(function() connect("redis://localhost?timout=5") end))
      assert.not_matches("hush", misuse(function() connect("redis://u:hush@localhost/x") end))
    end)
  end)

  describe("on", function()
    it("delivers exactly type, source, pattern, payload", function()
      local mq, got = client(server), {}
      assert.is_true(mq:on("/user/9/*", function(message) got[#got + 1] = message end))
      assert.same({ true, 1 }, { mq:emit("/user/9/ad", "hello") })
      assert.same({ true, 0 }, { mq:emit("/user/8/ad", "hello") })
      expect(got, 1)
      assert.same({
        { type = "pmessage", source = "/user/9/ad", pattern = "/user/9/*", payload = "hello" },
      }, got)
    end)

    it("takes a name as it is with exact = true", function()
      local mq, got = client(server), {}
      assert.is_true(mq:on("/a/*", function(message) got[#got + 1] = message end, { exact = true }))
      assert.same({ true, 0 }, { mq:emit("/a/b", "no") })
      assert.same({ true, 1 }, { mq:emit("/a/*", "yes") })
      expect(got, 1)
      assert.same({ { type = "message", source = "/a/*", pattern = "/a/*", payload = "yes" } }, got)
      assert.equal(1, server:subscribers("/a/*"))
      assert.equal("0", server:cli("PUBSUB", "NUMPAT"))
    end)

    it("calls each callback of a pattern, over one subscription", function()
      local mq, first, second = client(server), {}, {}
      local function one(message) first[#first + 1] = message.payload end
      local function two(message) second[#second + 1] = message.payload end
      assert(mq:on("/same", one))
      assert(mq:on("/same", two))
      assert.equal("1", server:cli("PUBSUB", "NUMPAT"))
      assert.same({ true, 1 }, { mq:emit("/same", "1") })
      expect(first, 1)
      expect(second, 1)
      assert.is_true(mq:off("/same", one))
      assert.equal("1", server:cli("PUBSUB", "NUMPAT"))
      mq:emit("/same", "2")
      expect(second, 2)
      assert.is_true(mq:off("/same"))
      assert.equal("0", server:cli("PUBSUB", "NUMPAT"))
      assert.same({ { "1" }, { "1", "2" } }, { first, second })
    end)

    it("calls the same function twice where it was given twice", function()
      local mq, got = client(server), {}
      local function take(message) got[#got + 1] = message.payload end
      assert(mq:on("/twice", take))
      assert(mq:on("/twice", take))
      mq:emit("/twice", "x")
      expect(got, 2)
    end)

    it("keeps a pattern and a channel of the same name apart", function()
      local mq = client(server)
      local pattern, exact = inbox(mq, "/both"), inbox(mq, "/both", { exact = true })
      local wider = inbox(mq, "/bo*")
      assert.same({ true, 3 }, { mq:emit("/both", "x") })
      for _, each in ipairs { pattern, exact, wider } do
        expect(each, 1)
      end
      mq:emit("/both", "y")
      expect(wider, 2)
      assert.same({ 2, 2, 2 }, { #pattern, #exact, #wider })
    end)

    it("waits until the server has confirmed", function()
      local mq = client(server)
      for i = 1, 20 do
        assert.is_true(mq:on("/confirmed/" .. i, function() end, { exact = true }))
        assert.equal(1, server:subscribers("/confirmed/" .. i))
      end
    end)

    it("raises at the caller's line without a callback or with a wrong option", function()
      local mq = client(server)
      assert.matches("function", misuse(function() mq:on("/x") end))
      assert.matches("function", misuse(function() mq:on("/x", "print") end))
      assert.matches('"exact"', misuse(function() mq:on("/x", print, { exakt = true }) end))
      assert.matches("mq:on", misuse(function() mq.on("/x", print) end))
    end)

    it("refuses what is no pattern", function()
      local mq = client(server)
      for _, pattern in ipairs { "", 5, true, {} } do
        local ok, err, code = mq:on(pattern, function() end)
        assert.same({ nil, "invalid" }, { ok, code })
        assert.is_string(err)
      end
    end)
  end)

  describe("off", function()
    it("ends the messages, and says when there was nothing", function()
      local mq = client(server)
      local got = inbox(mq, "/off")
      assert.is_true(mq:off("/off"))
      assert.same({ true, 0 }, { mq:emit("/off", "x") })
      local ok, err, code = mq:off("/off")
      assert.same({ nil, "invalid" }, { ok, code })
      assert.matches("/off", err)
      assert.same({ nil, "invalid" }, { mq:off("/off", print), (select(3, mq:off("/off", print))) })
      assert.equal(0, #got)
    end)

    it("raises at the caller's line for what is no function", function()
      local mq = client(server)
      assert.matches("function", misuse(function() mq:off("/x", "print") end))
      assert.matches("mq:off", misuse(function() mq.off("/x") end))
    end)
  end)

  describe("emit and post", function()
    it("keep call order, mixed, from one coroutine", function()
      local mq, other = client(server), client(server)
      local got = inbox(other, "/order")
      for i = 1, 300 do
        if i % 10 == 0 then
          assert.same({ true, 1 }, { mq:emit("/order", tostring(i)) })
        else
          assert.is_true(mq:post("/order", tostring(i)))
        end
      end
      expect(got, 300)
      for i = 1, 300 do
        assert.equal(tostring(i), got[i])
      end
    end)

    it("keep call order between coroutines", function()
      local mq, tasks = client(server), {}
      local got = inbox(mq, "/calls")
      local called = {}
      for i = 1, 100 do
        tasks[i] = tools.task(function()
          called[#called + 1] = tostring(i)
          return mq:emit("/calls", tostring(i))
        end)
      end
      for _, task in ipairs(tasks) do
        assert.same({ true, 1 }, { tools.await(task) })
      end
      expect(got, 100)
      got.lost = nil
      assert.same(called, got)
    end)

    it("emit parks its coroutine only", function()
      local mq = client(server)
      assert(mq:emit("x", ""))
      server:suspend()
      local emitting = tools.task(function() return mq:emit("x", "") end)
      for _ = 1, 5 do
        tools.sleep(0.002)
      end
      assert.is_nil(emitting.done)
      server:resume()
      assert.same({ true, 0 }, { tools.await(emitting) })
    end)

    it("refuse payloads and channels that are no strings", function()
      local mq = client(server)
      for _, wrong in ipairs { 5, true, {}, print } do
        for _, name in ipairs { "emit", "post" } do
          for _, argument in ipairs { "pattern", "payload" } do
            local pattern, data = "/x", "x"
            if argument == "pattern" then
              pattern = wrong
            else
              data = wrong
            end
            local ok, err, code = mq[name](mq, pattern, data)
            assert.same({ nil, "invalid" }, { ok, code })
            assert.equal(("mq:%s: the %s must be a string (got a %s)"):format(name, argument, type(wrong)), err)
          end
        end
      end
      assert.equal("mq:emit: the payload must be a string (got a nil)", (select(2, mq:emit("/x"))))
      assert.matches("empty", (select(2, mq:emit("", "x"))))
      assert.equal("invalid", (select(3, mq:emit("/x"))))
      assert.equal("invalid", (select(3, mq:post("/x", nil))))
      assert.equal("invalid", (select(3, mq:post("", "x"))))
    end)

    it("raise at the caller's line for a wrong self or option", function()
      local mq = client(server)
      assert.matches("mq:emit", misuse(function() mq.emit("/x", "y") end))
      assert.matches("mq:post", misuse(function() mq.post("/x", "y") end))
      assert.matches("mq:post", misuse(function() mq.post({}, "/x", "y") end))
      assert.matches('"qos"', misuse(function() mq:emit("/x", "y", { qos = 1 }) end))
      assert.matches('"qos"', misuse(function() mq:post("/x", "y", { qos = 1 }) end))
      assert.is_true(mq:emit("/x", "y", {}))
    end)

    it("flush waits for every post so far", function()
      local mq, other = client(server), client(server)
      local got = inbox(other, "/flushed")
      assert.is_true(mq:flush())
      for i = 1, 5000 do
        assert(mq:post("/flushed", tostring(i)))
      end
      assert.is_true(mq:flush(10))
      local stats = mq:stats()
      assert.same({ 5000, 0, 0 }, { stats.sent, stats.queued, stats.in_flight })
      expect(got, 5000)
      assert.is_true(tools.calls(server, "publish") >= 5000)
    end)

    it("flush gives up after its time, and the posts are not lost by that", function()
      local mq = client(server)
      local got = inbox(mq, "/late")
      server:suspend()
      assert.is_true(mq:post("/late", "x"))
      local ok, err, failed, code = mq:flush(0.05)
      server:resume()
      assert.same({ nil, 0, "timeout" }, { ok, failed, code })
      assert.is_string(err)
      assert.is_true(mq:flush(5))
      expect(got, 1)
    end)

    it("flush raises at the caller's line for what is no time", function()
      local mq = client(server)
      assert.matches("seconds", misuse(function() mq:flush("1") end))
      assert.matches("seconds", misuse(function() mq:flush(-1) end))
      assert.matches("seconds", misuse(function() mq:close(0 / 0) end))
    end)
  end)

  describe("start", function()
    it("parks a coroutine until close, and returns true", function()
      local mq = client(server)
      local serving = tools.task(function() return mq:start() end)
      assert(mq:emit("x", ""))
      assert.is_nil(serving.done)
      assert.is_true(mq:close())
      assert.same({ true }, { tools.await(serving) })
      assert.is_true(mq:start())
    end)

    it("serves a main chunk", function()
      local mq, got = client(server), 0
      assert(mq:on("/stop", function()
        got = got + 1
        mq:close()
      end))
      mq:post("/stop", "now")
      assert.is_true(mq:start())
      assert.equal(1, got)
    end)
  end)

  it("after close every call says so", function()
    local mq = client(server)
    assert.is_true(mq:emit("x", ""))
    assert.is_true(mq:close())
    for _, results in ipairs {
      { mq:emit("x", "") }, { mq:post("x", "") }, { mq:on("x", function() end) },
    } do
      assert.same({ "nil", "string", "closed" }, { type(results[1]), type(results[2]), results[3] })
    end
    local ok, err, failed, code = mq:flush()
    assert.same({ nil, 0, "closed" }, { ok, failed, code })
    assert.is_string(err)
    assert.equal("closed", mq:stats().state)
    assert.matches("MQ.redis: 127.0.0.1:%d+ %(closed%)", tostring(mq))
  end)

  it("calls that succeed return nothing besides what is documented", function()
    local mq = client(server)
    local function count(...) return select("#", ...) end
    assert.equal(1, count(mq:on("/n", function() end)))
    assert.equal(2, count(mq:emit("/n", "")))
    assert.equal(1, count(mq:post("/n", "")))
    assert.equal(1, count(mq:flush()))
    assert.equal(1, count(mq:off("/n")))
    local serving = tools.task(function() return count(mq:start()) end)
    tools.sleep(0)
    assert.equal(1, count(mq:close()))
    assert.equal(1, tools.await(serving))
  end)

  it("stats counts", function()
    local mq = client(server)
    local got = inbox(mq, "/counted")
    for _ = 1, 10 do
      mq:post("/counted", ("x"):rep(100))
    end
    assert(mq:flush())
    expect(got, 10)
    local stats = mq:stats()
    assert.same({ 10, 10, 0, 0, 0, 0, "connected" },
      { stats.sent, stats.received, stats.queued, stats.dropped, stats.reconnects, stats.in_flight, stats.state })
    assert.is_true(stats.bytes_in > 1000 and stats.bytes_out > 1000)
    assert.matches("mq:stats", misuse(function() mq.stats() end))
  end)

  it("calls on_connect with the client", function()
    local seen = {}
    local mq = client(server, { on_connect = function(...) seen[#seen + 1] = { ... } end })
    assert(mq:emit("x", ""))
    expect(seen, 1)
    assert.equal(mq, seen[1][1])
    mq:emit("x", "")
    assert.equal(1, #seen)
  end)
end)
