-- MQ.stomp: what each call does, returns and refuses, on a connection that works.

local helper = require "spec.helper"
local tools = require "spec.stomp_tools"
local MQ = require "MQ.stomp"

local client, inbox, expect, misuse = tools.client, tools.inbox, tools.expect, tools.misuse
local connect = require("MQ").connect

describe("MQ.stomp", function()
  local server

  setup(function() server = helper.shared_rabbitmq() end)
  after_each(tools.close_all)

  describe("new", function()
    it("connects at first use", function()
      local proxy = tools.proxy(server)
      local mq = client(proxy)
      tools.sleep(0.05)
      assert.same({ 0, "idle" }, { (proxy.count()), mq:stats().state })
      assert.is_true((mq:emit(tools.topic(), "")))
      assert.same({ 1, "connected" }, { (proxy.count()), mq:stats().state })
    end)

    it("raises at the caller's line and names the nearest option", function()
      assert.matches('unknown option "hots".*"host"', misuse(function() MQ:new { hots = "localhost" } end))
      assert.matches('"heartbeat"', misuse(function() MQ:new { heart_beat = 5 } end))
      assert.matches('"header"', misuse(function() MQ:new { headers = {} } end))
      assert.matches('"receipt"', misuse(function() MQ:new { receipts = true } end))
      assert.matches('"vhost"', misuse(function() MQ:new { vhots = "x" } end))
    end)

    it("refuses values of the wrong kind, without repeating a secret", function()
      local cases = {
        { { port = "stomp" }, "port" }, { { version = "1.3" }, "version" }, { { version = 2 }, "version" },
        { { client_id = "" }, "client_id" }, { { vhost = 5 }, "vhost" }, { { heartbeat = "10" }, "heartbeat" },
        { { heartbeat = true }, "heartbeat" }, { { heartbeat = { 10 } }, "heartbeat" },
        { { heartbeat = { 1, 2, 3 } }, "heartbeat" }, { { heartbeat = { 10, -1 } }, "heartbeat" },
        { { heartbeat = { 10, 10, x = 1 } }, "heartbeat" }, { { prefix = 5 }, "prefix" },
        { { receipt = "yes" }, "receipt" }, { { content_length = 1 }, "content_length" },
        { { max_in_flight = 0 }, "max_in_flight" }, { { header = "a:b" }, "header" },
        { { header = { "x" } }, "header" }, { { header = { a = {} } }, "header" },
        { { header = { [""] = "x" } }, "header" },
      }
      for _, case in ipairs(cases) do
        local message = misuse(function() MQ:new(case[1]) end)
        assert.is_truthy(message:find('"' .. case[2] .. '"', 1, true), message)
      end
      assert.not_matches("31415", misuse(function() MQ:new { password = 31415 } end))
    end)

    it("says which option stands for a header that is not the program's to write", function()
      for name, remedy in pairs {
        login = "username", passcode = "password", host = "vhost", ["accept-version"] = "version",
        ["heart-beat"] = "heartbeat", ["client-id"] = "client_id",
      } do
        local message = misuse(function() MQ:new { header = { [name] = "x" } } end)
        assert.is_truthy(message:find('in "header": "' .. name .. '"', 1, true), message)
        assert.is_truthy(message:find("write " .. remedy .. " = ", 1, true), message)
      end
    end)

    it("has default ports, and a name", function()
      assert.equal("MQ.stomp: localhost:61613 (idle)", tostring(MQ:new()))
      assert.equal("MQ.stomp: localhost:61614 (idle)", tostring(MQ:new { tls = true }))
      assert.equal("MQ.stomp: localhost:80 (idle)", tostring(MQ:new { websocket = true }))
      assert.equal("MQ.stomp: localhost:443 (idle)", tostring(MQ:new { websocket = true, tls = true }))
      for url, address in pairs {
        ["stomp://h"] = "h:61613", ["stomps://h"] = "h:61614", ["stomp+ssl://h"] = "h:61614",
        ["stomp://h:1/v"] = "h:1", ["ws://h/ws?protocol=stomp"] = "h:80", ["STOMP://[::1]:5"] = "[::1]:5",
      } do
        assert.equal(address, connect(url).address)
      end
      assert.equal(MQ, require("MQ").stomp)
      assert.matches("^MQ.stomp is no client; make one: ", misuse(function() MQ:transaction(print) end))
      assert.matches("did you mean mq:emit", misuse(function() client(server):send("x", "y") end))
    end)

    it("takes the options of the other protocols, so that one table serves three", function()
      local mq = client(server, { vhost = "/", keepalive = 60, db = "0", port = tostring(server.stomp_port) })
      assert.is_true((mq:emit(tools.topic(), "")))
      mq = client({ port = server.stomp_port, user = server.user }, { auth = server.password })
      assert.is_true((mq:emit(tools.topic(), "")))
    end)

    it("connects from a URL", function()
      local told
      local at = "127.0.0.1:" .. server.stomp_port
      local options = { on_connect = function(_, info) told = info end }
      for url, version in pairs {
        ["stomp://guest:guest@" .. at] = "1.2", ["stomp://guest:guest@" .. at .. "/"] = "1.2",
        ["stomp://guest:guest@" .. at .. "/%2F?version=1.0"] = "1.0",
        ["stomp://guest:g%75est@" .. at .. "?version=1.1&heartbeat=5,20&timeout=5&receipt=false"] = "1.1",
      } do
        told = nil
        local mq = tools.keep(connect(url, options))
        assert.is_true((mq:emit(tools.topic(), "x")))
        helper.eventually(function() return told end)
        assert.equal(version, told.version)
      end
      assert.matches('"version"', misuse(function() connect("stomp://h?version=3") end))
      assert.matches('"heartbeat"', misuse(function() connect("stomp://h?heartbeat=often") end))
      assert.matches('"header"', misuse(function() connect("stomp://h?header=a") end))
      assert.not_matches("hush", misuse(function() connect("stomp://u:hush@localhost?x=y") end))
    end)

    it("tells what was agreed on", function()
      local told
      local mq = client(server, { on_connect = function(_, info) told = info end })
      assert.is_true((mq:emit(tools.topic(), "")))
      helper.eventually(function() return told end)
      assert.equal("1.2", told.version)
      assert.matches(helper.embedded and "^MQ/%d" or "^RabbitMQ/", told.server)
      assert.matches(helper.embedded and "^%d+$" or "^session%-", told.session)
    end)
  end)

  for _, version in ipairs(tools.versions) do
    describe("version " .. version, function()
      local function new(options)
        options = options or {}
        options.version = version
        return client(server, options)
      end

      it("emit and post deliver, with a receipt and without", function()
        local mq, topic = new(), tools.topic()
        local got = inbox(mq, topic)
        for number, options in ipairs { { receipt = true }, { receipt = false }, {} } do
          assert.same({ true }, { mq:emit(topic, "emit " .. number, options) })
          assert.is_true(mq:post(topic, "post " .. number, options))
        end
        assert.is_true((mq:emit(topic, "emit")))
        expect(got, 7)
        assert.same({ "emit 1", "post 1", "emit 2", "post 2", "emit 3", "post 3", "emit", lost = 0 }, got)
        assert.equal(0, mq:stats().reconnects)
      end)

      it("calls each callback of a destination, over one subscription", function()
        local mq, topic, first, second = new(), tools.topic(), {}, {}
        local function one(message) first[#first + 1] = message.payload end
        local function two(message) second[#second + 1] = message.payload end
        assert(mq:on(topic, one))
        assert(mq:on(topic, two))
        assert(mq:emit(topic, "1"))
        expect(first, 1)
        expect(second, 1)
        assert.is_true(mq:off(topic, one))
        assert(mq:emit(topic, "2"))
        expect(second, 2)
        assert.is_true(mq:off(topic))
        assert.same({ { "1" }, { "1", "2" } }, { first, second })
      end)

      it("off ends the messages, and says when there was nothing", function()
        local mq, topic = new(), tools.topic()
        local got = inbox(mq, topic)
        local other = inbox(mq, topic .. "-other")
        assert.is_true(mq:off(topic))
        assert(mq:emit(topic, "x"))
        tools.barrier(mq, topic .. "-other", other)
        assert.equal(0, #got)
        local ok, err, code = mq:off(topic)
        assert.same({ nil, "invalid" }, { ok, code })
        assert.is_truthy(err:find(topic, 1, true))
        got = inbox(mq, topic)
        tools.barrier(mq, topic, got)
        assert.equal(0, #got)
      end)

      it("emit and post keep call order, mixed, from one coroutine", function()
        local mq, other, queue = new(), new(), tools.queue()
        local got = inbox(other, queue)
        for i = 1, 300 do
          if i % 10 == 0 then
            assert.is_true((mq:emit(queue, tostring(i), { receipt = i % 20 == 0 })))
          else
            assert.is_true(mq:post(queue, tostring(i), i % 3 == 0 and { receipt = false } or nil))
          end
        end
        expect(got, 300)
        for i = 1, 300 do
          assert.equal(tostring(i), got[i])
        end
      end)

      it("flush waits for every post so far, with a receipt and without", function()
        local mq, other, topic = new(), new(), tools.topic()
        local got = inbox(other, topic)
        assert.is_true(mq:flush())
        for round, options in ipairs { { receipt = true }, { receipt = false } } do
          for i = 1, 500 do
            assert(mq:post(topic, tostring(i), options))
          end
          assert.is_true(mq:flush(10))
          local stats = mq:stats()
          assert.same({ 500 * round, 0, 0 }, { stats.sent, stats.queued, stats.in_flight })
        end
        expect(got, 1000)
      end)

      it("start parks until close; close may be called twice", function()
        local mq = new()
        local serving = tools.task(function() return mq:start() end)
        assert(mq:emit(tools.topic(), ""))
        assert.is_nil(serving.done)
        assert.is_true(mq:close())
        assert.same({ true }, { tools.await(serving) })
        assert.is_true(mq:close())
        assert.is_true(mq:start())
      end)

      it("close sends what is queued", function()
        local mq, other, queue = new(), new(), tools.queue()
        local got = inbox(other, queue)
        for i = 1, 200 do
          assert(mq:post(queue, tostring(i), { receipt = i % 2 == 0 }))
        end
        assert.is_true(mq:close())
        expect(got, 200)
      end)

      it("after close every call says so", function()
        local mq = new()
        assert.is_true((mq:emit(tools.topic(), "")))
        assert.is_true(mq:close())
        for _, results in ipairs {
          { mq:emit("/topic/x", "") }, { mq:post("/topic/x", "") }, { mq:on("/topic/x", print) },
          { mq:transaction(print) },
        } do
          assert.same({ "nil", "string", "closed" }, { type(results[1]), type(results[2]), results[3] })
        end
        assert.matches("MQ.stomp: 127.0.0.1:%d+ %(closed%)", tostring(mq))
      end)

      it("counts in stats", function()
        local mq, topic = new(), tools.topic()
        local got = inbox(mq, topic)
        for i = 1, 10 do
          assert(mq:post(topic, tostring(i)))
        end
        assert.is_true(mq:flush())
        expect(got, 10)
        local stats = mq:stats()
        assert.same({ 10, 10, 0, 0, 0, 0, "connected" }, { stats.sent, stats.received, stats.queued, stats.dropped,
          stats.reconnects, stats.in_flight, stats.state })
        assert.is_true(stats.bytes_in > 0 and stats.bytes_out > 0)
      end)
    end)
  end

  describe("calls", function()
    it("refuse destinations and payloads that are none", function()
      local mq = client(server)
      for _, name in ipairs { "emit", "post" } do
        for _, wrong in ipairs { 5, true, {}, print } do
          for _, options in ipairs { false, { header = { a = "b" } } } do
            local ok, err, code = mq[name](mq, "/topic/x", wrong, options or nil)
            assert.same({ nil, "invalid" }, { ok, code })
            assert.equal(("mq:%s: the payload must be a string (got a %s)"):format(name, type(wrong)), err)
          end
          assert.equal("invalid", (select(3, mq[name](mq, wrong, "x"))))
        end
        assert.equal("invalid", (select(3, mq[name](mq, "", "x"))))
        assert.equal("invalid", (select(3, mq[name](mq, "/topic/a\0b", "x"))))
        assert.equal("invalid", (select(3, mq[name](mq, "/topic/x", "x", { header = { a = "\0" } }))))
      end
      assert.equal("invalid", (select(3, mq:on("", print))))
      assert.equal("invalid", (select(3, mq:on("/topic/a\0", print))))
      assert.is_true((mq:emit(tools.topic(), "still alive")))
    end)

    it("raise at the caller's line for a wrong self or option", function()
      local mq = client(server)
      assert.matches("mq:emit", misuse(function() mq.emit("x", "y") end))
      assert.matches("mq:post", misuse(function() mq.post({}, "x", "y") end))
      assert.matches("mq:on", misuse(function() mq.on("x", print) end))
      assert.matches("mq:transaction", misuse(function() mq.transaction(print) end))
      for _, name in ipairs { "emit", "post" } do
        assert.matches('"receipt"', misuse(function() mq[name](mq, "x", "y", { receipt = 1 }) end))
        assert.matches('"receipt"', misuse(function() mq[name](mq, "x", "y", { reciept = true }) end))
        assert.matches('"header"', misuse(function() mq[name](mq, "x", "y", { header = "a:b" }) end))
        assert.matches('"header"', misuse(function() mq[name](mq, "x", "y", { header = { a = print } }) end))
        for _, reserved in ipairs { "destination", "receipt", "transaction", "content-length" } do
          local options = { header = { [reserved] = "1" } }
          assert.matches('in "header": ".*" is none', misuse(function() mq[name](mq, "x", "y", options) end))
        end
      end
      assert.matches('"ack"', misuse(function() mq:on("x", print, { ack = "never" }) end))
      assert.matches('"prefetch"', misuse(function() mq:on("x", print, { prefetch = 0 }) end))
      assert.matches('"durable"', misuse(function() mq:on("x", print, { durable = true }) end))
      assert.matches('"header"', misuse(function() mq:on("x", print, { header = { ack = "client" } }) end))
      assert.matches('write ack = "manual"', misuse(function() mq:on("x", print, { header = { ack = "client" } }) end))
      assert.matches("function", misuse(function() mq:on("x") end))
      assert.matches("function", misuse(function() mq:transaction() end))
      assert.matches("function", misuse(function() mq:transaction {} end))
    end)

    it("of a transaction are no other protocol's", function()
      local redis = require("MQ.redis"):new()
      assert.matches('no "transaction".*MQ.stomp', misuse(function() redis:transaction(print) end))
    end)

    it("emit parks its coroutine only", function()
      local proxy = tools.proxy(server)
      local mq = client(proxy)
      assert(mq:emit(tools.topic(), ""))
      proxy.stall()
      local emitting = tools.task(function() return mq:emit(tools.topic(), "") end)
      for _ = 1, 5 do
        tools.sleep(0.002)
      end
      assert.is_nil(emitting.done)
      proxy.resume()
      assert.is_true((tools.await(emitting)))
    end)
  end)
end)
