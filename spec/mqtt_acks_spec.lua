-- MQ.mqtt: when a message is acknowledged, and what the broker makes of one that is not.

local helper = require "spec.helper"
local tools = require "spec.mqtt_tools"

local client, messages, expect, misuse, unique = tools.client, tools.messages, tools.expect, tools.misuse, tools.unique
local eventually = helper.eventually

local function payloads(list)
  local all = {}
  for index, message in ipairs(list) do
    all[index] = message.payload
  end
  return all
end

-- Something that waits until it is told to go on.
local function gate()
  local open = false
  return {
    wait = function() eventually(function() return open end, 10, "somebody opens the gate") end,
    open = function() open = true end,
  }
end

describe("MQ.mqtt acknowledgements:", function()
  local server

  setup(function() server = tools.mosquitto { log = true } end)
  after_each(tools.close_all)

  -- How many acknowledgements of messages the broker's log shows of a client, and the last one's reason.
  local function acknowledged(id)
    local count, reason = 0, nil
    for code in server:log():gmatch("Received PUBACK from " .. id:gsub("%p", "%%%0") .. " %(Mid: %d+, RC:(%d+)%)") do
      count, reason = count + 1, tonumber(code)
    end
    return count, reason
  end

  local function has_acknowledged(id, count)
    eventually(function() return acknowledged(id) >= count end, 5, count .. " acknowledgements")
    local all, reason = acknowledged(id)
    assert.equal(count, all)
    return reason
  end

  -- Something that the broker answers, so that what was sent before has reached its log.
  local function round_trip(mq)
    assert(mq:emit("round/trip", "", { qos = 1 }))
  end

  for _, version in ipairs(tools.versions) do
    describe("version " .. version, function()
      local function new(options)
        options = options or {}
        options.version = version
        return client(server, options)
      end

      it("come after the callback has returned", function()
        local id, topic, door, inside = unique(), unique("t"), gate(), false
        local mq = new { client_id = id }
        assert(mq:on(topic, function()
          inside = true
          door.wait()
        end))
        assert(mq:emit(topic, "x"))
        eventually(function() return inside end)
        round_trip(mq)
        assert.equal(0, (acknowledged(id)))
        door.open()
        assert.equal(0, has_acknowledged(id, 1))
      end)

      it("do not come of a process that is killed in the callback: the message comes again", function()
        local id, topic = unique(), unique("t")
        local script = ([[
          local loop = require "MQ.loop".current()
          local mq = require("MQ.mqtt"):new {
            port = %d, version = %q, client_id = %q, clean = false, session_expiry = 60,
          }
          assert(mq:on(%q, function(message)
            print("got " .. message.payload .. (message.dup and " again" or ""))
            io.stdout:flush()
            if message.payload == "two" then
              loop.sleep(60)
            end
          end))
          print "ready"
          io.stdout:flush()
          mq:start()
        ]]):format(server.port, tostring(version), id, topic)
        local child = helper.start_lua(script)
        child:expect("ready\n")
        local publisher = new()
        assert(publisher:emit(topic, "one"))
        assert(publisher:emit(topic, "two"))
        assert(publisher:emit(topic, "three"))
        child:expect("got one\ngot two\n")
        has_acknowledged(id, 1)
        child:kill("KILL")
        child:wait(5)
        local mq = new { client_id = id, clean = false, session_expiry = 60 }
        local got = messages(mq, topic)
        expect(got, 2)
        assert.same({ "two", "three" }, payloads(got))
        assert.is_true(got[1].dup)
        tools.barrier(publisher, topic, got)
        assert.equal(2, #got)
      end)

      it("refuse a message whose callback raises, and the subscription lives on", function()
        local id, topic, told, got = unique(), unique("t"), {}, {}
        local mq = new { client_id = id, on_error = function(_, err) told[#told + 1] = err end }
        assert(mq:on(topic, function(message)
          if message.payload == "bad" then
            error("cannot digest it")
          end
          got[#got + 1] = message.payload
        end))
        assert(mq:emit(topic, "good"))
        assert.equal(0, has_acknowledged(id, 1))
        assert(mq:emit(topic, "bad"))
        -- version 3.1.1 has no word for it
        assert.equal(version == 5 and 128 or 0, has_acknowledged(id, 2))
        assert(mq:emit(topic, "better"))
        assert.equal(0, has_acknowledged(id, 3))
        assert.same({ "good", "better" }, got)
        assert.equal(1, #told)
        assert.matches("cannot digest it", told[1])
      end)

      it("are the program's with ack = manual", function()
        local id, topic = unique(), unique("t")
        local mq = new { client_id = id }
        local got = messages(mq, topic, { ack = "manual" })
        for i = 1, 3 do
          assert(mq:emit(topic, tostring(i)))
        end
        expect(got, 3)
        round_trip(mq)
        assert.equal(0, (acknowledged(id)))
        assert.is_true(got[1]:ack())
        assert.equal(0, has_acknowledged(id, 1))
        assert.is_true(got[2]:nack())
        assert.equal(version == 5 and 128 or 0, has_acknowledged(id, 2))
        tools.within(5, function() assert.is_true(got[3]:ack()) end)
        assert.equal(0, has_acknowledged(id, 3))
        -- the table is as bare as any
        local fields = {}
        for name in pairs(got[3]) do
          fields[#fields + 1] = name
        end
        table.sort(fields)
        assert.same({ "dup", "packet_id", "pattern", "payload", "qos", "retain", "source", "topic", "type" }, fields)
      end)

      it("leave in the order of the messages", function()
        local id, topic = unique(), unique("t")
        local mq = new { client_id = id }
        local got = messages(mq, topic, { ack = "manual" })
        for i = 1, 3 do
          assert(mq:emit(topic, tostring(i)))
        end
        expect(got, 3)
        assert.is_true(got[3]:ack())
        assert.is_true(got[2]:ack())
        round_trip(mq)
        assert.equal(0, (acknowledged(id)))
        assert.is_true(got[1]:ack())
        has_acknowledged(id, 3)
      end)

      it("can be given once, and not after close", function()
        local topic = unique("t")
        local mq = new()
        local got = messages(mq, topic, { ack = "manual", qos = 2 })
        for i = 1, 2 do
          assert(mq:emit(topic, tostring(i), { qos = 2 }))
        end
        assert(mq:emit(topic, "0", { qos = 0 }))
        expect(got, 3)
        assert.is_true(got[1]:ack())
        for _, method in ipairs { "ack", "nack" } do
          local ok, err, code = got[1][method](got[1])
          assert.same({ nil, "invalid" }, { ok, code })
          assert.matches("already", err)
        end
        assert.is_true(mq:close())
        local ok, err, code = got[2]:ack()
        assert.same({ nil, "closed" }, { ok, code })
        assert.is_string(err)
        assert.equal("invalid", (select(3, got[2]:ack())))
      end)

      it("are taken of a QoS 0 message, and sent of none", function()
        local id, topic = unique(), unique("t")
        local mq = new { client_id = id }
        local got = messages(mq, topic, { ack = "manual", qos = 0 })
        assert(mq:emit(topic, "x"))
        expect(got, 1)
        assert.is_true(got[1]:ack())
        assert.equal("invalid", (select(3, got[1]:ack())))
        round_trip(mq)
        assert.equal(0, (acknowledged(id)))
      end)

      it("wait for all callbacks of a filter", function()
        local id, topic, door, inside = unique(), unique("t"), gate(), false
        local mq = new { client_id = id }
        local got = messages(mq, topic, { ack = "manual" })
        assert(mq:on(topic, function()
          inside = true
          door.wait()
        end))
        assert(mq:emit(topic, "x"))
        expect(got, 1)
        eventually(function() return inside end)
        assert.is_true(got[1]:ack())
        round_trip(mq)
        assert.equal(0, (acknowledged(id)))
        door.open()
        has_acknowledged(id, 1)
      end)

      it("that are not given come due again with the next connection of the session", function()
        local id, topic = unique(), unique("t")
        local options = { client_id = id, clean = false, session_expiry = 60 }
        local mq = new(options)
        local got = messages(mq, topic, { ack = "manual" })
        for i = 1, 3 do
          assert(mq:emit(topic, tostring(i)))
        end
        expect(got, 3)
        assert.is_true(got[1]:ack())
        has_acknowledged(id, 1)
        assert.is_true(mq:close())
        got = messages(new(options), topic, { ack = "manual" })
        expect(got, 2)
        assert.same({ "2", "3", true, true }, { got[1].payload, got[2].payload, got[1].dup, got[2].dup })
      end)

      it("are not given for what waits for a callback when the client is closed: it comes again", function()
        local id, topic, door, first = unique(), unique("t"), gate(), {}
        local options = { client_id = id, clean = false, session_expiry = 60 }
        local mq = new(options)
        assert(mq:on(topic, function(message)
          first[#first + 1] = message.payload
          door.wait()
        end))
        local beside = messages(mq, topic .. "/beside")
        local publisher = new()
        for i = 1, 10 do
          assert(publisher:emit(topic, tostring(i)))
        end
        tools.barrier(publisher, topic .. "/beside", beside)
        assert.same({ "1" }, first)
        assert.is_true(mq:close())
        door.open()
        local got = messages(new(options), topic)
        tools.barrier(publisher, topic, got)
        assert.same({ "1", "2", "3", "4", "5", "6", "7", "8", "9", "10" }, payloads(got))
      end)

      it("are not given for what waits behind an acknowledged message either", function()
        local id, topic, door, first = unique(), unique("t"), gate(), {}
        local options = { client_id = id, clean = false, session_expiry = 60 }
        local mq = new(options)
        assert(mq:on(topic, function(message)
          first[#first + 1] = message.payload
          message:ack()
          door.wait()
        end, { ack = "manual" }))
        local beside = messages(mq, topic .. "/beside")
        local publisher = new()
        for i = 1, 10 do
          assert(publisher:emit(topic, tostring(i)))
        end
        tools.barrier(publisher, topic .. "/beside", beside)
        assert.same({ "1" }, first)
        assert.is_true(mq:close())
        door.open()
        local got = messages(new(options), topic)
        tools.barrier(publisher, topic, got)
        assert.same({ "2", "3", "4", "5", "6", "7", "8", "9", "10" }, payloads(got))
      end)

      it("given after a broken connection count: the message does not come twice", function()
        local id, topic = unique(), unique("t")
        local proxy = helper.proxy(server.port)
        local mq = client(proxy, {
          version = version, client_id = id, clean = false, session_expiry = 60, reconnect = { min = 0.01 },
        })
        local got = messages(mq, topic, { ack = "manual" })
        assert(mq:emit(topic, "1"))
        assert(mq:emit(topic, "2"))
        expect(got, 2)
        proxy.cut()
        eventually(function() return got.lost == 1 end)
        eventually(function() return mq:stats().state == "connected" end)
        assert.is_true(got[1]:ack())
        assert.is_true(got[2]:ack())
        has_acknowledged(id, 2)
        assert(mq:emit(topic, "3"))
        expect(got, 3)
        assert.same({ "1", "2", "3" }, payloads(got))
        proxy.stop()
      end)

      it("of a subscription that is taken off are given for it", function()
        local id, topic = unique(), unique("t")
        local mq = new { client_id = id }
        local got = messages(mq, topic, { ack = "manual" })
        local kept = messages(mq, topic .. "/kept")
        assert(mq:emit(topic, "x"))
        expect(got, 1)
        assert.is_true(mq:off(topic))
        has_acknowledged(id, 1)
        assert.is_true(got[1]:ack())   -- too late, and no harm
        assert(mq:emit(topic .. "/kept", "y"))
        expect(kept, 1)
        has_acknowledged(id, 2)
      end)
    end)
  end

  it("that are missing hold the broker up: receive_maximum", function()
    local id, topic = unique(), unique("t")
    local mq, publisher = client(server, { client_id = id, receive_maximum = 3 }), client(server)
    local got = messages(mq, topic, { ack = "manual", qos = 2 })
    for i = 1, 10 do
      assert(publisher:emit(topic, tostring(i), { qos = 1 + i % 2 }))
    end
    expect(got, 3)
    local function no_more()
      -- QoS 0 is not held up: it shows that nothing else was on its way
      assert(publisher:emit(topic, "mark", { qos = 0 }))
      eventually(function() return got[#got].payload == "mark" end)
      table.remove(got)
    end
    no_more()
    assert.equal(3, #got)
    -- Each lets at least one more in. Mosquitto 2.0.11 lets in more than that, which is borne.
    for i = 1, 10 do
      assert.is_true(got[i]:ack())
      expect(got, math.min(3 + i, 10))
    end
    no_more()
    local all = payloads(got)
    table.sort(all, function(a, b) return tonumber(a) < tonumber(b) end)
    assert.same({ "1", "2", "3", "4", "5", "6", "7", "8", "9", "10" }, all)
    assert.equal(0, mq:stats().reconnects)
  end)

  it("a slow callback holds the broker up by itself", function()
    local id, topic, door, count = unique(), unique("t"), gate(), 0
    local mq, publisher = client(server, { client_id = id, receive_maximum = 5 }), client(server)
    assert(mq:on(topic, function()
      door.wait()
      count = count + 1
    end))
    local beside = messages(mq, topic .. "/beside", { qos = 0 })
    for i = 1, 50 do
      assert(publisher:emit(topic, tostring(i)))
    end
    tools.barrier(publisher, topic .. "/beside", beside)
    assert.equal(6, mq:stats().received)
    assert.equal(0, (acknowledged(id)))
    door.open()
    eventually(function() return count == 50 end)
    has_acknowledged(id, 50)
    assert.equal(0, mq:stats().reconnects)
  end)

  it("raise at the caller's line for what is no message", function()
    local mq, topic = client(server), unique("t")
    local got = messages(mq, topic, { ack = "manual" })
    assert(mq:emit(topic, "x"))
    expect(got, 1)
    assert.matches("msg:ack", misuse(function() got[1].ack() end))
    assert.matches("msg:nack", misuse(function() got[1].nack("x") end))
    assert.is_true(got[1]:ack())
  end)

  it("change nothing of a message that is acknowledged by itself, and say so", function()
    local mq, topic = client(server), unique("t")
    local got = messages(mq, topic)
    assert(mq:emit(topic, "x"))
    expect(got, 1)
    local ok, err, code = got[1]:ack()
    assert.same({ nil, "invalid" }, { ok, code })
    assert.matches('subscribe with ack = "manual"', err)
  end)
end)
