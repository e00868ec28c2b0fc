-- MQ.mqtt: callbacks that take their time or use their own client; how clients end: closed, forgotten, in a fork.

local helper = require "spec.helper"
local tools = require "spec.mqtt_tools"

local MQ = tools.MQ
local client, inbox, expect, task, await = tools.client, tools.inbox, tools.expect, tools.task, tools.await
local eventually, sys = helper.eventually, helper.sys
local quick = { min = 0.01, max = 0.05 }

describe("MQ.mqtt:", function()
  local server

  setup(function()
    -- quiet, but for the line that client_count begins with
    server = helper.mosquitto { quiet = true, config = { max_queued_messages = 0, log_type = "information" } }
  end)
  after_each(tools.close_all)

  local function clients_are(count)
    eventually(function() return server:client_count() == count end, 5, count .. " clients are connected")
  end

  describe("a callback", function()
    -- mosquitto ends a connection that is silent for 1.5 times its keepalive.
    for how, wait in pairs {
      sleeps = tools.sleep,
      computes = function(seconds)
        local till = sys.now() + seconds
        while sys.now() < till do
          math.sqrt(2)
        end
      end,
    } do
      it("that " .. how .. " for longer than keepalive does not lose the connection", function()
        local mq, got = client(server, { keepalive = 1, timeout = 1 }), {}
        assert(mq:on("slow", function(message)
          wait(2)
          got[#got + 1] = message.payload
        end))
        assert.is_true((mq:emit("slow", "x")))
        expect(got, 1, 10)
        assert.is_true((mq:emit("other", "")))
        assert.same({ 0, "connected" }, { mq:stats().reconnects, mq:stats().state })
      end)
    end

    it("that is behind holds the broker up at max_pending, and loses nothing", function()
      local mq, publisher, got, most = client(server, { max_pending = 50 }), client(server), {}, 0
      assert(mq:on("behind", function(message)
        if #got % 100 == 0 then
          tools.sleep(0.01)
        end
        most = math.max(most, mq:stats().received - #got)
        got[#got + 1] = message.payload
      end, { qos = 1 }))
      for number = 1, 3000 do
        assert.is_true((publisher:post("behind", tostring(number))))
      end
      assert.is_true((publisher:flush(5)))
      expect(got, 3000)
      for number = 1, 3000 do
        assert.equal(tostring(number), got[number])
      end
      assert.is_true(most <= 100, most)
      assert.equal(0, mq:stats().reconnects)
    end)

    for _, kind in ipairs { 1, 2 } do
      -- mosquitto 2.0.11 sends two messages for each acknowledgement, whatever receive maximum it was given
      it("that is behind keeps its connection though the broker goes beyond receive_maximum (QoS " .. kind .. ")",
        function()
          local mq, publisher, got = client(server, { receive_maximum = 5 }), client(server), {}
          assert(mq:on("beyond", function(message)
            if #got % 100 == 0 then
              tools.sleep(0.005)
            end
            got[#got + 1] = message.payload
          end, { qos = kind }))
          for number = 1, 3000 do
            assert.is_true((publisher:post("beyond", tostring(number), { qos = kind })))
          end
          assert.is_true((publisher:flush(10)))
          expect(got, 3000)
          for number = 1, 3000 do
            assert.equal(tostring(number), got[number])
          end
          assert.equal(0, mq:stats().reconnects)
        end)
    end

    it("may emit, subscribe, unsubscribe and close on its own client", function()
      local mq, told, other = client(server), {}, {}
      assert(mq:on("own/start", function()
        told[#told + 1] = { mq:emit("own/answer", "1", { qos = 2 }) }
        told[#told + 1] = { mq:on("own/more", function(message) other[#other + 1] = message.payload end) }
        told[#told + 1] = { mq:emit("own/more", "2") }
        eventually(function() return other[1] == "2" end)
        told[#told + 1] = { mq:off("own/more") }
        told[#told + 1] = { mq:off("own/start") }
        told[#told + 1] = { mq:post("own/answer", "3") }
        told[#told + 1] = { mq:close() }
        told[#told + 1] = { mq:close() }
        told[#told + 1] = { select(3, mq:emit("own/answer", "4")) }
      end))
      local answers = inbox(client(server), "own/answer", { qos = 2 })
      assert.is_true((mq:emit("own/start", "")))
      expect(told, 9)
      for index = 1, 8 do
        assert.is_true(told[index][1], index)
      end
      assert.same({ "closed" }, told[9])
      expect(answers, 2)
      assert.same({ "1", "3", lost = 0 }, answers)
    end)

    it("may close in on_connect and on_disconnect", function()
      local mortal, ended = helper.mosquitto(), {}
      local first = client(mortal, { on_connect = function(mq) ended[#ended + 1] = (mq:close()) end })
      first:post("x", "")
      expect(ended, 1)
      local second = client(mortal, { on_disconnect = function(mq) ended[#ended + 1] = (mq:close()) end })
      assert(second:emit("x", ""))
      mortal:kill()
      expect(ended, 2)
      assert.same({ true, true }, ended)
    end)
  end)

  describe("close", function()
    it("may be called twice, and by several at once", function()
      local mq = client(server)
      inbox(mq, "x")
      local first, second = task(mq.close, mq), task(mq.close, mq)
      assert.same({ true }, { await(first) })
      assert.same({ true }, { await(second) })
      assert.is_true((mq:close()))
      clients_are(0)
    end)

    for _, version in ipairs(tools.versions) do
      for qos = 0, 2 do
        it(("delivers what is queued, and its DISCONNECT is no loss (MQTT %s, QoS %d)"):format(version, qos), function()
          local watcher = client(server)
          local got, wills = inbox(watcher, "queued", { qos = 2 }), inbox(watcher, "will")
          local mq = client(server, { version = version, will = { topic = "will", payload = "gone" } })
          for number = 1, 3000 do
            assert.is_true((mq:post("queued", tostring(number), { qos = qos })))
          end
          assert.is_true((mq:close()))   -- no connection had been made
          expect(got, 3000)
          tools.barrier(watcher, "queued", got)
          assert.equal(3000, #got)
          for number = 1, 3000 do
            assert.equal(tostring(number), got[number])
          end
          assert.equal(0, #wills)
        end)
      end
    end

    it("gives up after its time, and says how many are not delivered", function()
      local mq = client({ port = helper.free_port() }, { reconnect = quick })
      for qos = 0, 2 do
        mq:post("x", "", { qos = qos })
      end
      local ok, err, code = mq:close(0.2)
      assert.same({ "nil", "lost" }, { type(ok), code })
      assert.matches("3 messages", err)
    end)

    it("counts what a broker that hangs has not acknowledged", function()
      local mortal = helper.mosquitto()
      local mq = client(mortal, { reconnect = quick })
      assert.is_true((mq:emit("x", "")))
      mortal:suspend()
      for qos = 1, 2 do
        mq:post("x", "", { qos = qos })
      end
      eventually(function() return mq:stats().in_flight == 2 end)
      local ok, err, code = mq:close(0.2)
      mortal:resume()
      assert.same({ "nil", "lost" }, { type(ok), code })
      assert.matches("2 messages", err)
    end)

    it("stops the messages; what is not acknowledged stays in a session that is kept", function()
      local id = tools.unique("kept")
      local function subscriber() return client(server, { client_id = id, clean = false }) end
      local publisher, mq = client(server), subscriber()
      local got = {}
      assert(mq:on("stop", function(message)
        got[#got + 1] = message.payload
        if #got == 5 then
          mq:close()
        end
      end, { qos = 1 }))
      for number = 1, 100 do
        publisher:post("stop", tostring(number))
      end
      assert.is_true((publisher:flush(5)))
      eventually(function() return mq:stats().state == "closed" end)
      assert.equal(5, #got)
      local rest = inbox(subscriber(), "stop", { qos = 1 })
      eventually(function() return rest[#rest] == "100" end)
      assert.is_true(tonumber(rest[1]) <= 6)   -- nothing between the two
      for index = 2, #rest do
        assert.equal(tonumber(rest[index - 1]) + 1, tonumber(rest[index]))
      end
    end)
  end)

  describe("a client that is forgotten", function()
    local function forgotten(use)
      clients_are(0)
      use(MQ:new { port = server.port })
      assert.equal(1, server:client_count())
      eventually(function()
        if rawget(_G, "jit") then
          rawget(_G, "jit").flush()   -- a compiled trace keeps the objects that it was specialised to
        end
        collectgarbage()
        return server:client_count() == 0
      end, 5, "the connection ends")
    end

    it("after an emit", function()
      forgotten(function(mq) assert(mq:emit("x", "")) end)
    end)

    it("with a subscription, and messages acknowledged by hand, one of them not", function()
      forgotten(function(mq)
        local count = 0
        assert(mq:on("x", function(message)
          count = count + 1
          if count < 3 then
            message:ack()
          end
        end, { ack = "manual", qos = 2 }))
        for _ = 1, 3 do
          assert(mq:emit("x", ""))
        end
        eventually(function() return count == 3 end)
      end)
    end)

    it("with a callback that refers to it, and handlers", function()
      forgotten(function(mq)
        local got = {}
        local function take(message)
          tools.sleep(0.001)
          got[#got + 1] = message
          mq:emit("answer", "")
        end
        assert(mq:on("x", take))
        assert(mq:on("x", take))
        mq:emit("x", "")
        expect(got, 2)
        tools.sleep(0.02)
      end)
    end)
  end)

  describe("fork", function()
    it("after new: the child's client has another name, and does not disturb the parent's", function()
      local infos = {}
      local function options() return { timeout = 5, on_connect = function(_, info) infos[#infos + 1] = info end } end
      local mq = client(server, options())
      local got = inbox(mq, "parent")
      assert.equal(0, helper.forked(function()
        assert(select(3, mq:emit("parent", "x")) == "closed")
        local own = client(server, options())
        local list = inbox(own, "child")
        assert(own:emit("child", "hello"))
        expect(list, 1)
        expect(infos, 2)
        assert(own:close())
        return infos[1].client_id ~= infos[2].client_id
      end))
      assert.is_true((mq:emit("parent", "x")))
      expect(got, 1)
      assert.same({ 0, 0 }, { mq:stats().reconnects, got.lost })
    end)

    it("before new: siblings have names of their own", function()
      local watcher = client(server)
      local names = inbox(watcher, "names")
      for _ = 1, 2 do
        assert.equal(0, helper.forked(function()
          local name
          local mq = client(server, { on_connect = function(_, info) name = info.client_id end })
          assert(mq:emit("x", ""))
          eventually(function() return name end)
          assert(mq:emit("names", name))
          assert(mq:close())
          return true
        end))
      end
      expect(names, 2)
      assert.not_equal(names[1], names[2])
      assert.matches("^mq%x+$", names[1])
    end)
  end)
end)
