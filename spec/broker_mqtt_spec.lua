-- MQ.broker as an MQTT server: mosquitto's clients, Python's paho, MQ's own; beside Redis; and its limits.

local helper = require "spec.helper"
local tools = require "spec.mqtt_tools"
local redis_tools = require "spec.redis_tools"

local client, messages, unique = tools.client, tools.messages, tools.unique
local eventually, sys, expect = helper.eventually, helper.sys, tools.expect

describe("MQ.broker as an MQTT server", function()
  -- A broker on free ports; `port` is that of MQTT, and there is one for each protocol.
  local function start(options)
    local broker, ports = tools.serve({ mqtt = 0, redis = 0 }, options)
    return broker, { port = ports.mqtt, redis = { port = ports.redis } }
  end

  after_each(tools.close_all)

  -- A bare connection; what comes back until it ends, or there are so many bytes.
  local function connect(at)
    return assert(sys.connect("127.0.0.1", at.port, 5))
  end

  local function read(fd, bytes)
    local text = ""
    while #text < (bytes or math.huge) do
      local more = sys.read(fd, 65536, 10)
      if not more or more == "" then
        break
      end
      text = text .. more
    end
    return text
  end

  local function talk(at, bytes)
    local fd = connect(at)
    assert(sys.write(fd, bytes, 5))
    local text = read(fd)
    sys.close(fd)
    return text
  end

  local CONNECT = "\16\14\0\4MQTT\5\2\0\60\0\0\1a"

  describe("serves", function()
    for _, version in ipairs { "mqttv5", "mqttv311" } do
      it("mosquitto_pub and mosquitto_sub: " .. version, function()
        local _, at = start()
        local function argv(program, ...)
          return { "stdbuf", "-oL", program, "-h", "127.0.0.1", "-p", at.port, "-V", version, ... }
        end
        local function pub(...)
          local code, out, err = helper.run(argv("mosquitto_pub", ...))
          assert.same({ 0, "", "" }, { code, out, err })
        end
        pub("-t", "kept/1", "-r", "-m", "retained")
        pub("-t", "kept/2", "-r", "-q", "2", "-m", "two")
        pub("-t", "kept/2", "-r", "-n")
        local code, out = helper.run(argv("mosquitto_sub", "-t", "kept/#", "-v", "-C", "1", "-W", "5"))
        assert.same({ 0, "kept/1 retained\n" }, { code, out })

        for qos = 0, 2 do
          local topic = unique("t")
          local subscriber = helper.start(argv("mosquitto_sub", "-t", topic .. "/+", "-q", qos, "-v", "-d"))
          subscriber:expect("Subscribed %(mid: 1%): " .. qos, 5)
          pub("-t", topic .. "/x", "-q", qos, "-m", "hello " .. qos)
          subscriber:expect("\n" .. topic:gsub("%-", "%%-") .. "/x hello " .. qos .. "\n", 5)
          subscriber:stop()
        end

        -- a session that waits
        local name = unique("c")
        local keeper = argv("mosquitto_sub", "-t", "away", "-q", "1", "-i", name, "-c", "-W", "5")
        if version == "mqttv5" then
          keeper[#keeper + 1], keeper[#keeper + 2] = "-x", "1000"
        end
        keeper[#keeper + 1] = "-E"
        assert.equal(0, (helper.run(keeper)))
        pub("-t", "away", "-q", "1", "-m", "meanwhile")
        keeper[#keeper], keeper[#keeper + 1] = "-C", "1"
        code, out = helper.run(keeper)
        assert.same({ 0, "meanwhile\n" }, { code, out })

        local told
        code, told = helper.run(argv("mosquitto_sub", "-t", "$SYS/broker/version", "-C", "1", "-W", "5"))
        assert.equal(0, code)
        assert.matches("^MQ %d+%.%d+%.%d+\n$", told)
      end)
    end

    for number, version in pairs { [4] = "3.1.1", [5] = "5" } do
      it("Python's paho, version " .. version, function()
        local _, at = start()
        local code, out, err = helper.run(
          { "/usr/bin/python3", helper.root .. "/spec/support/paho_main.py", at.port, number }, { timeout = 60 })
        assert.same({ 0, "" }, { code, err })
        local expected = { "qos 0", "qos 1", "qos 2", "two megabytes", "retained", "the end of what was retained",
          "will of a client that is taken over", "will of a client that is gone", "session" }
        if number == 5 then
          table.insert(expected, "properties")
          table.insert(expected, "shared")
        end
        assert.equal(table.concat(expected, "\n") .. "\nnothing else\n", out)
      end)
    end

    for _, version in ipairs(tools.versions) do
      it("MQ's own client in the same process, version " .. version, function()
        local broker, at = start()
        local to, from = client(at, { version = version }), client(at, { version = version })
        local got = messages(to, "user/+", { qos = 2 })
        for qos = 0, 2 do
          for index = 1, 500 do
            assert(from:post("user/" .. qos, qos .. " " .. index, { qos = qos }))
          end
        end
        assert(from:flush(20))
        expect(got, 1500, 20)
        for index, message in ipairs(got) do
          local qos = math.floor((index - 1) / 500)
          assert.same({ "user/" .. qos, qos .. " " .. (index - 1) % 500 + 1, qos },
            { message.source, message.payload, message.qos })
        end
        assert(to:off("user/+"))
        local ok, reason = from:emit("user/9", "", { qos = 1 })
        assert.same({ true, version == 5 and 16 or nil }, { ok, reason })
        local stats = broker:stats()
        assert.same({ 0, 1501 }, { stats.subscriptions, stats.received })
        assert.is_true(stats.sent >= 1500)
      end)

      it("a client that comes back to its session, version " .. version, function()
        local _, at = start()
        local name = unique("me")
        local function me()
          return client(at, { version = version, client_id = name, clean = false })
        end
        local first = me()
        assert(first:on("away", function() end, { qos = 2 }))
        assert(first:close())
        local from = client(at)
        for qos = 0, 2 do
          assert(from:emit("away", "of QoS " .. qos, { qos = qos }))
        end
        local got = messages(me(), "away", { qos = 2 })
        expect(got, 2)
        assert.same({ "of QoS 1", "of QoS 2" }, { got[1].payload, got[2].payload })
        tools.barrier(from, "away", got)
        assert.equal(2, #got)
      end)
    end

    it("wills, overlapping filters and shared subscriptions of MQ's own client", function()
      local _, at = start()
      local watcher = client(at)
      local wills = messages(watcher, "will")
      assert.is_true(client(at, { client_id = "w", will = { topic = "will", payload = "gone" } }):emit("x", ""))
      assert.is_true(client(at, { client_id = "w" }):emit("x", ""))   -- takes the session over
      expect(wills, 1)
      assert.equal("gone", wills[1].payload)

      local seen = {}
      for _, filter in ipairs { "a/#", "a/+", "a/b" } do
        assert(watcher:on(filter, function(message) seen[#seen + 1] = message and message.pattern end))
      end
      local from = client(at)
      assert(from:emit("a/b", ""))
      expect(seen, 3)
      table.sort(seen)
      assert.same({ "a/#", "a/+", "a/b" }, seen)

      local lists = {}
      for index = 1, 3 do
        lists[index] = messages(client(at), "$share/g/work", { qos = 1 })
      end
      for index = 1, 30 do
        assert(from:emit("work", tostring(index), { qos = 1 }))
      end
      eventually(function() return #lists[1] + #lists[2] + #lists[3] == 30 end)
      assert.same({ 10, 10, 10 }, { #lists[1], #lists[2], #lists[3] })
    end)

    it("Redis in the same name space", function()
      local _, at = start()
      local mqtt, redis = client(at), redis_tools.client(at.redis)
      local to_mqtt, to_redis = messages(mqtt, "room/+", { qos = 1 }), redis_tools.inbox(redis, "room/*")
      assert.same({ true, 2 }, { redis:emit("room/1", "from Redis") })
      assert(mqtt:emit("room/2", "from MQTT", { qos = 2 }))
      expect(to_mqtt, 2)
      expect(to_redis, 2)
      assert.same({ "room/1", "from Redis", 0 }, { to_mqtt[1].topic, to_mqtt[1].payload, to_mqtt[1].qos })
      assert.same({ "room/2", "from MQTT", 1 }, { to_mqtt[2].topic, to_mqtt[2].payload, to_mqtt[2].qos })
      assert.same({ "from Redis", "from MQTT" }, { to_redis[1], to_redis[2] })
      -- what is no topic name stays where it is
      assert.same({ true, 1 }, { redis:emit("room/+", "") })
      assert.is_true(mqtt:emit("room/3", "", { qos = 1 }))
      expect(to_mqtt, 3)
      assert.equal("room/3", to_mqtt[3].topic)
    end)

    it("payloads of any bytes and sizes", function()
      local _, at = start()
      local mq = client(at)
      local got, bytes = messages(mq, "c", { qos = 2 }), {}
      for byte = 0, 255 do
        bytes[#bytes + 1] = string.char(byte)
      end
      for index, payload in ipairs { "", table.concat(bytes), ("x"):rep(3 * 2 ^ 20) } do
        assert(mq:emit("c", payload, { qos = index - 1 }))
        expect(got, index, 20)
        assert.is_true(got[index].payload == payload)
      end
    end)

    it("a thousand connections", function()
      local broker, at = start()
      local fds = {}
      for index = 1, 1000 do
        fds[index] = connect(at)
        local name = ("%04d"):format(index)
        assert(sys.write(fds[index], "\16\16\0\4MQTT\4\2\0\0\0\4" .. name .. "\130\8\0\1\0\3all\0", 5))
      end
      for _, fd in ipairs(fds) do
        assert.equal("\32\2\0\0\144\3\0\1\0", read(fd, 9))
      end
      assert.equal(1000, broker:stats().subscriptions)
      assert.is_true(client(at):emit("all", "x"))
      for _, fd in ipairs(fds) do
        assert.equal("\48\6\0\3allx", read(fd, 8))
        sys.close(fd)
      end
      eventually(function() return broker:stats().subscriptions == 0 end, 10)
    end)
  end)

  describe("lets in", function()
    it("nobody but its users", function()
      local _, at = start { users = { default = "common", ann = "secret" } }
      for _, version in ipairs(tools.versions) do
        local ann = { version = version, username = "ann", password = "secret" }
        assert.is_true(client(at, ann):emit("x", ""))
        local wrong = { {}, { username = "ann", password = "common" }, { username = "bob", password = "x" } }
        for _, options in ipairs(wrong) do
          options.version = version
          local ok, _, code = client(at, options):emit("x", "")
          assert.same({ nil, "auth" }, { ok, code })
        end
      end
    end)

    it("no more connections than it may have", function()
      local broker, at = start { max_connections = 1 }
      local fd = connect(at)
      eventually(function() return broker:stats().connections == 1 end)
      assert.equal("\32\2\0\3", talk(at, CONNECT))
      local _, err = client(at, { reconnect = false }):emit("x", "")
      assert.matches("server unavailable", err)
      sys.close(fd)
      eventually(function() return broker:stats().connections == 0 end)
      assert.is_true(client(at):emit("x", ""))
    end)
  end)

  describe("cuts off, with the protocol's own reason,", function()
    it("what is too large, and what is no MQTT", function()
      local _, at = start { max_packet = 1000 }
      local connack = "\32\14\0\0\11\33\4\0\34\0\64\39\0\0\3\232"
      assert.equal(connack .. "\224\1\149", talk(at, CONNECT .. "\48\233\7"))
      assert.equal(connack .. "\224\1\129", talk(at, CONNECT .. "\54\0"))
      assert.equal(connack .. "\224\1\130", talk(at, CONNECT .. CONNECT))
      assert.equal("\32\2\0\1", talk(at, "\16\15\0\6MQIsdp\3\2\0\60\0\1a"))
      assert.equal("", talk(at, "GET / HTTP/1.1\r\n\r\n"))
    end)

    it("a subscriber that does not read, and only that", function()
      local broker, at = start { max_queue_bytes = 2 ^ 20 }
      local slow = connect(at)
      assert(sys.write(slow, CONNECT .. "\130\11\0\1\0\0\5flood\0", 5))
      assert.equal(16 + 6, #read(slow, 22))
      local mq = client(at)
      local got, sent = messages(client(at), "flood", { qos = 0 }), 0
      local payload = ("x"):rep(10000)
      eventually(function()
        for _ = 1, 20 do
          assert(mq:emit("flood", payload, { qos = 1 }))
          sent = sent + 1
        end
        return broker:stats().overruns == 1
      end, 30)
      expect(got, sent, 20)
      sys.close(slow)
    end)

    it("retained messages for which there is no room", function()
      local _, at = start { max_retained_bytes = 2000 }
      local mq = client(at)
      assert.is_true(mq:emit("a", ("x"):rep(1000), { retain = true, qos = 1 }))
      local ok, err, code = mq:emit("b", ("x"):rep(1000), { retain = true, qos = 1 })
      assert.same({ nil, "refused" }, { ok, code })
      assert.matches("quota exceeded %(0x97%)", err)
      assert.is_true(mq:emit("a", "", { retain = true, qos = 1 }))
      assert.is_true(mq:emit("b", ("x"):rep(1000), { retain = true, qos = 1 }))
    end)
  end)
end)
