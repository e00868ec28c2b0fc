-- MQ.stomp: when a message is acknowledged, and what RabbitMQ makes of one that is not.

local helper = require "spec.helper"
local tools = require "spec.stomp_tools"

local client, messages, expect, misuse = tools.client, tools.messages, tools.expect, tools.misuse
local eventually = helper.eventually

local function payloads(list)
  local all = {}
  for index, message in ipairs(list) do
    all[index] = message.payload
  end
  return all
end

local function redelivered(message) return message.headers.redelivered == "true" end

-- Something that waits until it is told to go on.
local function gate()
  local open = false
  return {
    wait = function() eventually(function() return open end, 10, "somebody opens the gate") end,
    open = function() open = true end,
  }
end

describe("MQ.stomp acknowledgements:", function()
  local server

  setup(function() server = helper.shared_rabbitmq() end)
  after_each(tools.close_all)

  -- A round trip behind what was sent before it.
  local function round_trip(mq) assert.is_true((mq:emit(tools.topic(), ""))) end

  for _, version in ipairs(tools.versions) do
    describe("version " .. version, function()
      local function new(options)
        options = options or {}
        options.version = version
        return client(server, options)
      end

      it("come after the callback has returned", function()
        local mq, queue, door, inside = new(), tools.queue(), gate(), false
        assert(mq:on(queue, function()
          inside = true
          door.wait()
        end, { prefetch = 1 }))
        assert(mq:emit(queue, "1"))
        eventually(function() return inside end)
        assert(mq:emit(queue, "2"))   -- the broker keeps it, as one is under way
        round_trip(mq)
        assert.equal(1, mq:stats().received)
        door.open()
        eventually(function() return mq:stats().received == 2 end)
        round_trip(mq)
        assert.is_true(mq:close())
        assert.same({}, (tools.left_in(server, queue)))
      end)

      it("are the program's with ack = manual", function()
        local mq, queue = new(), tools.queue()
        local got = messages(mq, queue, { ack = "manual" })
        for i = 1, 3 do
          assert(mq:emit(queue, tostring(i)))
        end
        expect(got, 3)
        assert.is_true(got[1]:ack())
        if version == "1.0" then   -- which knows cumulative acknowledgements only
          assert.is_true(got[2]:ack())
        else
          assert.is_true(got[3]:ack())
        end
        round_trip(mq)
        assert.is_true(mq:close())
        local left, again = tools.left_in(server, queue)
        assert.same({ { version == "1.0" and "3" or "2" }, { true } }, { left, again })
        -- the table is as bare as any
        local fields = {}
        for name in pairs(got[3]) do
          fields[#fields + 1] = name
        end
        table.sort(fields)
        assert.same({ "headers", "id", "len", "pattern", "payload", "source", "type" }, fields)
      end)

      it("of ack = client acknowledge all before", function()
        local mq, queue = new(), tools.queue()
        local got = messages(mq, queue, { ack = "client" })
        for i = 1, 5 do
          assert(mq:emit(queue, tostring(i)))
        end
        expect(got, 5)
        assert.is_true(got[3]:ack())
        assert.is_true(got[2]:ack())   -- dealt with by now, which is no error
        round_trip(mq)
        assert.is_true(mq:close())
        assert.same({ "4", "5" }, (tools.left_in(server, queue)))
      end)

      it("of ack = none are not asked for", function()
        local mq, queue = new(), tools.queue()
        local got = messages(mq, queue, { ack = "none" })
        assert(mq:emit(queue, "x"))
        expect(got, 1)
        assert.is_nil(got[1].ack)
        assert.is_nil(got[1].headers.ack)
        assert.is_true(mq:close())
        assert.same({}, (tools.left_in(server, queue)))
      end)

      it("that are missing hold the broker up: prefetch", function()
        local mq, queue = new(), tools.queue()
        for i = 1, 10 do
          assert(mq:post(queue, tostring(i)))
        end
        assert.is_true(mq:flush())
        local got = messages(mq, queue, { ack = "manual", prefetch = 3 })
        expect(got, 3)
        round_trip(mq)
        assert.equal(3, #got)
        for i = 1, 10 do
          assert.is_true(got[i]:ack())
          expect(got, math.min(3 + i, 10))
        end
        assert.same({ "1", "2", "3", "4", "5", "6", "7", "8", "9", "10" }, payloads(got))
        assert.equal(0, mq:stats().reconnects)
      end)

      it("can be given once, and not after close", function()
        local mq, queue = new(), tools.queue()
        local got = messages(mq, queue, { ack = "manual" })
        for i = 1, 2 do
          assert(mq:emit(queue, tostring(i)))
        end
        expect(got, 2)
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
      end)

      it("wait for all callbacks of a destination", function()
        local mq, queue, door, inside = new(), tools.queue(), gate(), false
        local got = messages(mq, queue, { ack = "manual", prefetch = 1 })
        assert(mq:on(queue, function()
          inside = true
          door.wait()
        end))
        local third = messages(mq, queue, { ack = "none" })
        assert(mq:emit(queue, "1"))
        assert(mq:emit(queue, "2"))
        expect(got, 1)
        expect(third, 1)
        eventually(function() return inside end)
        assert.is_true(got[1]:ack())
        round_trip(mq)
        assert.equal(1, mq:stats().received)
        door.open()
        expect(got, 2)
      end)

      it("are not given for what waits for a callback when the client is closed: it comes again", function()
        local mq, queue, door, first = new(), tools.queue(), gate(), {}
        assert(mq:on(queue, function(message)
          first[#first + 1] = message.payload
          door.wait()
        end))
        for i = 1, 10 do
          assert(mq:post(queue, tostring(i)))
        end
        assert.is_true(mq:flush())
        eventually(function() return mq:stats().received == 10 end)
        assert.same({ "1" }, first)
        assert.is_true(mq:close())
        door.open()
        local left = tools.left_in(server, queue)
        assert.same({ "1", "2", "3", "4", "5", "6", "7", "8", "9", "10" }, left)
      end)

      it("are the others' where one of several callbacks is taken off", function()
        local mq, queue, door, returned = new(), tools.queue(), gate(), false
        local function slow()
          door.wait()
          returned = true
        end
        local got = messages(mq, queue)
        assert(mq:on(queue, slow))
        for i = 1, 5 do
          assert(mq:emit(queue, tostring(i)))
        end
        expect(got, 5)
        assert.is_true(mq:off(queue, slow))
        door.open()
        eventually(function() return returned end)
        tools.barrier(mq, queue, got)
        assert.is_true(mq:close())
        assert.same({ "1", "2", "3", "4", "5" }, payloads(got))   -- none came again
        assert.same({}, (tools.left_in(server, queue)))
      end)

      it("of an earlier connection are dropped: what they were for comes again", function()
        local proxy, queue = tools.proxy(server), tools.queue()
        local mq, publisher = client(proxy, { version = version }), new()
        local got = messages(mq, queue, { ack = "manual" })
        assert(publisher:emit(queue, "1"))
        assert(publisher:emit(queue, "2"))
        expect(got, 2)
        proxy.cut()
        expect(got, 4)
        assert.equal(1, got.lost)
        assert.is_true(got[1]:ack())   -- too late, and no harm
        assert.is_true(got[2]:nack())
        assert.same({ "1", "2", true, true },
          { got[3].payload, got[4].payload, redelivered(got[3]), redelivered(got[4]) })
        assert.is_true(got[3]:ack())
        round_trip(mq)
        assert.is_true(mq:close())
        assert.same({ "2" }, (tools.left_in(server, queue)))
      end)
    end)
  end

  for _, version in ipairs { "1.2", "1.1" } do
    describe("version " .. version, function()
      local function new(options)
        options = options or {}
        options.version = version
        return client(server, options)
      end

      it("refuse a message whose callback raises: it comes once more, and the subscription lives on", function()
        -- RabbitMQ would give it for ever: MQ ends that the second time. The embedded broker does itself, the fifth.
        local times = helper.embedded and 5 or 2
        local queue, told, bad, got = tools.queue(), {}, {}, {}
        local mq = new { on_error = function(_, err) told[#told + 1] = err end }
        assert(mq:on(queue, function(message)
          if message.payload == "bad" then
            bad[#bad + 1] = redelivered(message)
            error("cannot digest it")
          end
          got[#got + 1] = message.payload
        end))
        for _, payload in ipairs { "good", "bad", "better" } do
          assert(mq:emit(queue, payload))
        end
        eventually(function() return #got == 2 and #bad == times end)
        assert.same({ { "good", "better" }, { false, true }, times }, { got, { bad[1], bad[2] }, #bad })
        eventually(function() return #told == times end)
        assert.matches("cannot digest it", told[1])
        round_trip(mq)
        assert.is_true(mq:close())
        assert.same({}, (tools.left_in(server, queue)))   -- it is discarded the last time
      end)

      it("are not given for what waits for a callback that is taken off: it goes back, once more or not", function()
        local proxy, queue, door, first = tools.proxy(server), tools.queue(), gate(), {}
        -- a callback that has begun has so long to end before the rest goes back
        local mq, publisher = client(proxy, { version = version, timeout = 0.5 }), new()
        assert(mq:on(queue, function(message)
          if message then
            first[#first + 1] = message.payload
            door.wait()
          end
        end))
        for i = 1, 5 do
          assert(publisher:emit(queue, tostring(i)))
        end
        eventually(function() return mq:stats().received == 5 end)
        proxy.cut()   -- so they come again, and a rejection would have them discarded
        eventually(function() return mq:stats().received == 10 end)
        local leaving = tools.task(function() return mq:off(queue) end)
        tools.sleep(0.01)
        door.open()
        assert.is_true((tools.await(leaving)))
        assert.same({ "1" }, first)
        local left = messages(publisher, queue)
        expect(left, 5)
        tools.barrier(publisher, queue, left)
        local all = payloads(left)
        table.sort(all)
        assert.same({ "1", "2", "3", "4", "5" }, all)
        for _, message in ipairs(left) do
          assert.is_true(redelivered(message))
        end
      end)

      it("that reject send a message to the queue for dead letters the second time", helper.real_broker_only(
        "dead letters are RabbitMQ's", function()
        local queue, dead = tools.queue(), tools.queue()
        local mq = new()
        local buried = messages(mq, dead)
        local got = messages(mq, queue, {
          ack = "manual",
          header = {
            ["x-dead-letter-exchange"] = "", ["x-dead-letter-routing-key"] = dead:match("[^/]*$"),
            durable = "true", ["auto-delete"] = "false",
          },
        })
        assert(mq:emit(queue, "x", {
          header = { ["x-dead-letter-exchange"] = "", ["x-dead-letter-routing-key"] = dead:match("[^/]*$") },
        }))
        expect(got, 1)
        assert.is_true(got[1]:nack())
        expect(got, 2)
        assert.same({ false, true }, { redelivered(got[1]), redelivered(got[2]) })
        assert.is_true(got[2]:nack())
        expect(buried, 1)
        assert.equal("x", buried[1].payload)
      end))

      it("may have headers of their own", function()
        local queue, mq = tools.queue(), new()
        local got = messages(mq, queue, { ack = "manual" })
        for i = 1, 3 do
          assert(mq:emit(queue, tostring(i)))
        end
        expect(got, 3)
        assert.is_true(got[1]:nack { header = { requeue = "false" } })
        assert.is_true(got[2]:nack { header = { requeue = false } })
        assert.is_true(got[3]:ack { header = { note = "well" } })
        round_trip(mq)
        assert.is_true(mq:close())
        assert.same({}, (tools.left_in(server, queue)))
      end)
    end)
  end

  it("STOMP 1.0 has no rejection: the message stays unacknowledged", function()
    local mq, queue, told = client(server, { version = "1.0" }), tools.queue(), {}
    mq.on_error = function(_, err) told[#told + 1] = err end
    assert(mq:on(queue, function() error("cannot digest it") end))
    assert(mq:emit(queue, "x"))
    eventually(function() return #told == 1 end)
    round_trip(mq)
    assert.is_true(mq:close())
    assert.same({ "x" }, (tools.left_in(server, queue)))
  end)

  it("do not come of a process that is killed in the callback: the message comes again", function()
    local queue = tools.queue()
    local child = helper.start_lua(([[
      local loop = require "MQ.loop".current()
      local mq = require("MQ.stomp"):new { port = %d, username = "guest", password = "guest" }
      assert(mq:on(%q, function(message)
        print("got " .. message.payload)
        io.stdout:flush()
        if message.payload == "two" then
          loop.sleep(60)
        end
      end))
      print "ready"
      io.stdout:flush()
      mq:start()
    ]]):format(server.stomp_port, queue))
    child:expect("ready\n")
    local publisher = client(server)
    for _, payload in ipairs { "one", "two", "three" } do
      assert(publisher:emit(queue, payload))
    end
    child:expect("got one\ngot two\n")
    child:kill("KILL")
    child:wait(5)
    local mq = client(server)
    local got = messages(mq, queue)
    expect(got, 2)
    assert.same({ "two", "three" }, payloads(got))
    assert.is_true(redelivered(got[1]))
  end)

  it("raise at the caller's line for what is no message, and for what is no header", function()
    local mq, queue = client(server), tools.queue()
    local got = messages(mq, queue, { ack = "manual" })
    assert(mq:emit(queue, "x"))
    expect(got, 1)
    assert.matches("msg:ack", misuse(function() got[1].ack() end))
    assert.matches("msg:nack", misuse(function() got[1].nack("x") end))
    assert.matches('msg:ack: unknown option "headr".*"header"', misuse(function() got[1]:ack { headr = {} } end))
    assert.matches('msg:nack: in "header": "id" is none', misuse(function() got[1]:nack { header = { id = "1" } } end))
    assert.is_true(got[1]:ack())
  end)

  it("change nothing of a message that is acknowledged by itself, and say so", function()
    local mq, queue = client(server), tools.queue()
    local told
    assert(mq:on(queue, function(msg) told = { msg:ack() } end))
    assert(mq:emit(queue, "x"))
    eventually(function() return told end)
    assert.is_nil(told[1])
    assert.matches('subscribe with ack = "manual"', told[2])
    assert.equal("invalid", told[3])
    assert.is_true((mq:close()))
    assert.same({}, (tools.left_in(server, queue)))
  end)
end)
