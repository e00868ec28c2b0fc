-- MQ.mqtt: what each call does, returns and refuses, on a connection that works.

local helper = require "spec.helper"
local tools = require "spec.mqtt_tools"
local MQ = require "MQ.mqtt"

local client, inbox, expect, misuse, unique = tools.client, tools.inbox, tools.expect, tools.misuse, tools.unique

describe("MQ.mqtt", function()
  local server

  setup(function() server = tools.mosquitto { log = true } end)
  after_each(tools.close_all)

  describe("new", function()
    it("connects at first use", function()
      local mq = client(server, { client_id = unique() })
      tools.sleep(0.05)
      assert.equal(0, server:client_count())
      assert.equal("idle", mq:stats().state)
      assert(mq:emit("x", ""))
      assert.equal(1, server:client_count())
      assert.equal("connected", mq:stats().state)
    end)

    it("raises at the caller's line and names the nearest option", function()
      assert.matches('unknown option "hots".*"host"', misuse(function() MQ:new { hots = "localhost" } end))
      assert.matches('"client_id"', misuse(function() MQ:new { clientid = "x" } end))
      assert.matches('"keepalive"', misuse(function() MQ:new { keep_alive = 5 } end))
      assert.matches('"clean"', misuse(function() MQ:new { clear = true } end))
      assert.matches('in "will".*"topic"', misuse(function() MQ:new { will = { topik = "x" } } end))
      assert.matches('in "tls".*"verify"', misuse(function() MQ:new { tls = { verfy = false } } end))
      assert.matches("unknown option %[1%]", misuse(function() MQ:new { "localhost" } end))
    end)

    it("refuses values of the wrong kind, without repeating a secret", function()
      local cases = {
        { { port = "mqtt" }, "port" }, { { version = 4 }, "version" }, { { version = "3.1" }, "version" },
        { { client_id = 5 }, "client_id" }, { { clean = "yes" }, "clean" },
        { { session_expiry = -1 }, "session_expiry" },
        { { session_expiry = 2 ^ 32 }, "session_expiry" }, { { session_expiry = 1.5 }, "session_expiry" },
        { { keepalive = 65536 }, "keepalive" }, { { keepalive = -1 }, "keepalive" }, { { qos = 3 }, "qos" },
        { { qos = "1" }, "qos" }, { { will = true }, "will" }, { { will = "gone" }, "will" },
        { { will = {} }, "will" }, { { will = { topic = "a", qos = 3 } }, "qos" },
        { { will = { topic = "a", retain = 1 } }, "retain" }, { { will = { topic = "a", delay = -1 } }, "delay" },
        { { receive_maximum = 0 }, "receive_maximum" }, { { receive_maximum = 65536 }, "receive_maximum" },
        { { max_in_flight = 0 }, "max_in_flight" }, { { topic_alias_maximum = -1 }, "topic_alias_maximum" },
        { { subscription_identifiers = 1 }, "subscription_identifiers" },
        { { properties = "x" }, "properties" }, { { on_auth = "x" }, "on_auth" }, { { redirect = "x" }, "redirect" },
      }
      for _, case in ipairs(cases) do
        local message = misuse(function() MQ:new(case[1]) end)
        assert.is_truthy(message:find('"' .. case[2] .. '"', 1, true), message)
      end
      assert.not_matches("31415", misuse(function() MQ:new { password = 31415 } end))
      assert.not_matches("31415", misuse(function() MQ:new { auth_data = 31415 } end))
    end)

    it("raises for a session that is to be kept and has no name", function()
      assert.matches("client_id", misuse(function() MQ:new { clean = false } end))
      assert.matches("client_id", misuse(function() MQ:new { clean = false, version = "3.1.1" } end))
      assert.matches("client_id", misuse(function() MQ:new { clean = false, version = "3.1.1", client_id = "" } end))
    end)

    it("refuses what only the session's layer can judge", function()
      for _, case in ipairs {
        { { will = { topic = "a/#", payload = "x" } }, "a/#" },
        { { will = { topic = "a", payload = ("x"):rep(65536) } }, "65535" },
        { { will = { topic = "a", properties = { contenttype = "x" } } }, "content_type" },
        { { properties = { content_type = "x" } }, "content_type" },
        { { client_id = "a\255" }, "client_id" },
        { { username = "a\0b" }, "username" },
      } do
        local mq, err, code = MQ:new(case[1])
        assert.is_nil(mq)
        assert.equal("invalid", code)
        assert.is_truthy(err:find(case[2], 1, true), err)
      end
    end)

    it("raises for a dot in place of the colon, and for what is no table", function()
      assert.matches("colon", misuse(function() MQ.new { port = 1 } end))
      assert.matches("table", misuse(function() MQ:new(1883) end))
      assert.matches("^MQ.mqtt is no client; make one: ", misuse(function() MQ:emit("x", "y") end))
      assert.matches("did you mean mq:emit", misuse(function() client(server):publish("x", "y") end))
      assert.equal("idle", MQ:new():stats().state)
      assert.equal("MQ.mqtt: localhost:1883 (idle)", tostring(MQ:new()))
      assert.equal("MQ.mqtt: localhost:8883 (idle)", tostring(MQ:new { tls = true }))
    end)

    it("takes the options of the other protocols, so that one table serves three", function()
      local mq = client(server, { vhost = "/", keepalive = 60, db = "0", auth = "x", port = tostring(server.port) })
      assert.is_true(mq:emit("x", ""))
    end)

    it("makes up a client id of its own for whoever gives none", function()
      local one, other = client(server), client(server)
      assert(one:emit("x", "") and other:emit("x", ""))
      local found = {}
      for id in server:log():gmatch("New client connected from %S+ as (mq%x+) ") do
        found[#found + 1] = id
      end
      assert.is_true(#found >= 2)
      assert.not_equal(found[#found], found[#found - 1])
      assert.equal(18, #found[#found])
    end)

    it("lets the broker choose where client_id is empty", function()
      local told
      local mq = client(server, { client_id = "", on_connect = function(_, info) told = info end })
      assert(mq:emit("x", ""))
      helper.eventually(function() return told end)
      assert.matches("%S", told.client_id)
      assert.equal(told.client_id, told.properties.assigned_client_identifier)
    end)

    it("connects to a socket of the file system", helper.real_broker_only(
      "the embedded broker listens on TCP alone", function()
      local path = helper.tmpdir() .. "/broker.sock"
      local local_server = tools.mosquitto { config = { "listener 0 " .. path } }
      local mq = MQ:new { path = path }
      tools.keep(mq)
      assert.is_true((mq:emit("x", "")))
      assert.equal("MQ.mqtt: " .. path .. " (connected)", tostring(mq))
      local_server:stop()
    end))

    it("connects from a URL", function()
      local connect = require("MQ").connect
      local id = unique()
      local mq = tools.keep(connect(server.url .. "?timeout=5&version=3.1.1&clean=false&client_id=" .. id, { qos = 2 }))
      assert.is_true(mq:emit("x", ""))
      assert.is_truthy(server:log():find("as " .. id .. " (p2, c0, k60)", 1, true))   -- p2: mosquitto's name for 3.1.1
      id = unique()
      mq = tools.keep(connect(server.url, { client_id = id, keepalive = 17 }))
      assert.is_true(mq:emit("x", ""))
      assert.is_truthy(server:log():find("as " .. id .. " (p5, c1, k17)", 1, true))
      assert.matches("URL", misuse(function() connect("localhost:1883") end))
      assert.matches('"timeout"', misuse(function() connect("mqtt://localhost?timout=5") end))
      assert.matches('"version"', misuse(function() connect("mqtt://localhost?version=6") end))
      assert.matches("mqtt", misuse(function() connect("mqt://localhost") end))
      assert.not_matches("hush", misuse(function() connect("mqtt://u:hush@localhost?x=y") end))
    end)
  end)

  for _, version in ipairs(tools.versions) do
    describe("version " .. version, function()
      local function new(options)
        options = options or {}
        options.version = version
        return client(server, options)
      end

      it("emit and post deliver at every quality of service", function()
        local mq, topic = new(), unique("a/b")
        for granted = 0, 2 do
          local got = {}
          assert.is_true(mq:on(topic, function(message) got[#got + 1] = message.qos end, { qos = granted }))
          for qos = 0, 2 do
            assert.is_true((mq:emit(topic, "x", { qos = qos })))
            assert.is_true(mq:post(topic, "x", { qos = qos }))
          end
          assert.is_true(mq:emit(topic, "x"))   -- qos = 1 unless told
          expect(got, 7)
          table.sort(got)   -- flows of different quality may overtake each other
          local least = {}
          for index, qos in ipairs { 0, 0, 1, 1, 1, 2, 2 } do
            least[index] = math.min(qos, granted)
          end
          table.sort(least)
          assert.same(least, got)
          assert.is_true(mq:off(topic))
        end
      end)

      it("takes its default quality of service from the client", function()
        local mq, topic = new { qos = 2 }, unique("a/b")
        local got = tools.messages(mq, topic)
        assert(mq:emit(topic, "x"))
        expect(got, 1)
        assert.equal(2, got[1].qos)
      end)

      it("calls each callback of a filter, over one subscription", function()
        local mq, topic, first, second = new(), unique("same"), {}, {}
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
        local log, name = server:log(), topic:gsub("%p", "%%%0")
        assert.equal(1, select(2, log:gsub("%d+: mq%x+ %d " .. name, "")))
        assert.equal(1, select(2, log:gsub("Received UNSUBSCRIBE from %S+\n%d+: \t" .. name, "")))
      end)

      it("off ends the messages, and says when there was nothing", function()
        local mq, topic = new(), unique("off")
        local got = inbox(mq, topic)
        local other = inbox(mq, topic .. "/other")
        assert.is_true(mq:off(topic))
        assert(mq:emit(topic, "x"))
        tools.barrier(mq, topic .. "/other", other)
        assert.equal(0, #got)
        local ok, err, code = mq:off(topic)
        assert.same({ nil, "invalid" }, { ok, code })
        assert.is_truthy(err:find(topic, 1, true))
        assert.equal("invalid", (select(3, mq:off(topic, print))))
      end)

      it("emit and post keep call order, mixed, from one coroutine", function()
        local mq, other, topic = new(), new(), unique("order")
        local got = inbox(other, topic)
        for i = 1, 300 do
          if i % 10 == 0 then
            assert.is_true(mq:emit(topic, tostring(i)))
          else
            assert.is_true(mq:post(topic, tostring(i)))
          end
        end
        expect(got, 300)
        for i = 1, 300 do
          assert.equal(tostring(i), got[i])
        end
      end)

      it("flush waits for every post so far, at every quality of service", function()
        local mq, other, topic = new(), new(), unique("flushed")
        local got = inbox(other, topic, { qos = 2 })
        assert.is_true(mq:flush())
        for qos = 0, 2 do
          for i = 1, 500 do
            assert(mq:post(topic, tostring(i), { qos = qos }))
          end
          assert.is_true(mq:flush(10))
          local stats = mq:stats()
          assert.same({ 500 * (qos + 1), 0, 0 }, { stats.sent, stats.queued, stats.in_flight })
        end
        expect(got, 1500)
      end)

      it("flush gives up after its time, and the posts are not lost by that", function()
        local mq, topic = new(), unique("late")
        local got = inbox(mq, topic)
        server:suspend()
        assert.is_true(mq:post(topic, "x"))
        local ok, err, failed, code = mq:flush(0.05)
        server:resume()
        assert.same({ nil, 0, "timeout" }, { ok, failed, code })
        assert.is_string(err)
        assert.is_true(mq:flush(5))
        expect(got, 1)
      end)

      it("start parks until close; close may be called twice and says good-bye", function()
        local id = unique()
        local mq = new { client_id = id }
        local serving = tools.task(function() return mq:start() end)
        assert(mq:emit("x", ""))
        assert.is_nil(serving.done)
        assert.is_true(mq:close())
        assert.same({ true }, { tools.await(serving) })
        assert.is_true(mq:close())
        assert.is_true(mq:start())
        helper.eventually(function() return server:log():find("Received DISCONNECT from " .. id, 1, true) end)
      end)

      it("start serves a main chunk, and a callback may close", function()
        local mq, topic, got = new(), unique("stop"), 0
        assert(mq:on(topic, function()
          got = got + 1
          mq:close()
        end))
        mq:post(topic, "now")
        assert.is_true(mq:start())
        assert.equal(1, got)
      end)

      it("close sends what is queued", function()
        local mq, other, topic = new(), new(), unique("queued")
        local got = inbox(other, topic)
        for i = 1, 200 do
          assert(mq:post(topic, tostring(i), { qos = i % 3 }))
        end
        assert.is_true(mq:close())
        expect(got, 200)
      end)

      it("after close every call says so", function()
        local mq = new()
        assert.is_true((mq:emit("x", "")))
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
        assert.matches("MQ.mqtt: 127.0.0.1:%d+ %(closed%)", tostring(mq))
      end)

      it("refuses topics and filters that are none, and names them", function()
        local mq = new()
        for _, topic in ipairs { "a/#", "a/+/b", "+", "a\0b", "a\255b", ("x"):rep(65536) } do
          for _, name in ipairs { "emit", "post" } do
            local ok, err, code = mq[name](mq, topic, "x")
            assert.same({ nil, "invalid" }, { ok, code })
            assert.is_truthy(#topic > 100 or err:find(topic:match("^%a?/?%p?"), 1, true), err)
          end
        end
        for _, filter in ipairs { "a/#/b", "a+/b", "a#", "a\0b", "a\255b", "$share/g", "$share//a", "$share/g+/a",
          ("x"):rep(65536) } do
          local ok, err, code = mq:on(filter, print)
          assert.same({ nil, "invalid" }, { ok, code }, filter)
          assert.is_truthy(#filter > 100 or err:find(filter:match("^[%w$/+#]+"), 1, true), err)
        end
        for _, wrong in ipairs { "", 5, true, {} } do
          assert.same({ nil, "invalid" }, { (mq:on(wrong, print)), (select(3, mq:on(wrong, print))) })
          assert.same({ nil, "invalid" }, { (mq:emit(wrong, "x")), (select(3, mq:emit(wrong, "x"))) })
        end
        assert.is_true((mq:emit("still/alive", "x")))
      end)

      it("counts in stats", function()
        local mq, topic = new(), unique("stats")
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
    it("refuse payloads that are no strings", function()
      local mq = client(server)
      for _, name in ipairs { "emit", "post" } do
        for _, wrong in ipairs { 5, true, {}, print } do
          local ok, err, code = mq[name](mq, "x", wrong)
          assert.same({ nil, "invalid" }, { ok, code })
          assert.equal(("mq:%s: the payload must be a string (got a %s)"):format(name, type(wrong)), err)
          ok, err, code = mq[name](mq, "x", wrong, { properties = { content_type = "x" } })
          assert.same({ nil, "invalid" }, { ok, code })
          assert.equal(("mq:%s: the payload must be a string (got a %s)"):format(name, type(wrong)), err)
        end
      end
    end)

    it("raise at the caller's line for a wrong self or option", function()
      local mq = client(server)
      assert.matches("mq:emit", misuse(function() mq.emit("x", "y") end))
      assert.matches("mq:post", misuse(function() mq.post({}, "x", "y") end))
      assert.matches("mq:on", misuse(function() mq.on("x", print) end))
      for _, wrong in ipairs { -1, 3, 0.5, "1", true } do
        assert.matches('"qos"', misuse(function() mq:emit("x", "y", { qos = wrong }) end))
        assert.matches('"qos"', misuse(function() mq:post("x", "y", { qos = wrong }) end))
        assert.matches('"qos"', misuse(function() mq:on("x", print, { qos = wrong }) end))
      end
      for _, wrong in ipairs { 1, "true" } do
        assert.matches('"retain"', misuse(function() mq:emit("x", "y", { retain = wrong }) end))
        assert.matches('"retain"', misuse(function() mq:post("x", "y", { retain = wrong }) end))
      end
      assert.matches('"retain"', misuse(function() mq:emit("x", "y", { retained = true }) end))
      assert.matches("table", misuse(function() mq:emit("x", "y", 1) end))
      assert.matches('"ack"', misuse(function() mq:on("x", print, { ack = "never" }) end))
      assert.matches('"retain_handling"', misuse(function() mq:on("x", print, { retain_handling = 3 }) end))
      assert.matches('"no_local"', misuse(function() mq:on("x", print, { nolocal = true }) end))
      assert.matches('"properties"', misuse(function() mq:emit("x", "y", { properties = 5 }) end))
      assert.matches("function", misuse(function() mq:on("x") end))
      assert.matches("function", misuse(function() mq:off("x", "print") end))
      assert.matches("seconds", misuse(function() mq:flush("1") end))
      assert.matches("seconds", misuse(function() mq:close(0 / 0) end))
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
      assert.is_true((tools.await(emitting)))
    end)
  end)
end)
