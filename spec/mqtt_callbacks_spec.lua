-- MQ.mqtt: in which order and how many at a time callbacks run; what they may do; what they and the client's own
-- callbacks are told when the connection comes and goes.

local helper = require "spec.helper"
local tools = require "spec.mqtt_tools"

local client, inbox, messages, expect, unique = tools.client, tools.inbox, tools.messages, tools.expect, tools.unique
local eventually = helper.eventually

describe("MQ.mqtt callbacks:", function()
  local server

  setup(function() server = tools.mosquitto() end)
  after_each(tools.close_all)

  for _, version in ipairs(tools.versions) do
    describe("version " .. version, function()
      local function new(options)
        options = options or {}
        options.version = version
        return client(server, options)
      end

      it("one subscription's messages come one at a time and in order, however long each takes", function()
        local mq, topic, got, inside, most = new(), unique("slow"), {}, 0, 0
        assert(mq:on(topic, function(message)
          inside = inside + 1
          most = math.max(most, inside)
          local n = tonumber(message.payload)
          tools.sleep(n % 5 == 0 and 0.004 or n % 3 == 0 and 0 or 0.001)
          got[#got + 1] = n
          inside = inside - 1
        end))
        for i = 1, 60 do
          mq:post(topic, tostring(i))
        end
        expect(got, 60)
        assert.equal(1, most)
        for i = 1, 60 do
          assert.equal(i, got[i])
        end
      end)

      it("different subscriptions, and several callbacks of one, do not wait for each other", function()
        local mq, topic, opened = new(), unique("gate"), false
        local slow = {}
        assert(mq:on(topic .. "/a", function(message)
          eventually(function() return opened end, 10)
          slow[#slow + 1] = message.payload
        end))
        local quick, other = inbox(mq, topic .. "/a"), inbox(mq, topic .. "/b")
        for i = 1, 5 do
          mq:post(topic .. "/a", tostring(i))
          mq:post(topic .. "/b", tostring(i))
        end
        expect(quick, 5)
        expect(other, 5)
        assert.equal(0, #slow)
        opened = true
        expect(slow, 5)
        assert.same({ "1", "2", "3", "4", "5" }, slow)
      end)

      it("each callback of a filter gets a message of its own", function()
        local mq, topic, seen = new(), unique("own"), {}
        for i = 1, 2 do
          assert(mq:on(topic, function(message)
            seen[i] = message.payload
            message.payload = "changed"
          end))
        end
        mq:emit(topic, "x")
        eventually(function() return seen[1] and seen[2] end)
        assert.same({ "x", "x" }, seen)
      end)

      it("may emit, subscribe, unsubscribe and make clients", function()
        local mq, topic = new(), unique("busy")
        local results, got = {}, {}
        assert(mq:on(topic, function(message)
          if message.payload == "go" then
            results[1] = mq:emit(topic .. "/elsewhere", "x")
            results[2] = mq:on(topic .. "/inner", function(inner) got[#got + 1] = inner.payload end)
            local other = new()
            results[3] = other:emit(topic .. "/inner", "from another client")
            results[4] = other:close()
            results[5] = mq:off(topic)
          end
        end))
        assert(mq:emit(topic, "go"))
        expect(got, 1)
        eventually(function() return results[5] ~= nil end)
        assert.same({ true, true, true, true, true }, results)
        assert.same({ "from another client" }, got)
      end)

      it("a subscription made in a callback of the same filter joins", function()
        local mq, topic, second = new(), unique("join"), {}
        assert(mq:on(topic, function(message)
          if message.payload == "1" then
            assert(mq:on(topic, function(again) second[#second + 1] = again.payload end))
          end
        end))
        assert(mq:emit(topic, "1"))
        assert(mq:emit(topic, "2"))
        expect(second, 1)
        assert.same({ "2" }, { second[1], second[2] })
      end)

      it("are called with nil when the connection is lost, and go on afterwards", function()
        local proxy = helper.proxy(server.port)
        local topic, states = unique("lost"), {}
        local mq = client(proxy, {
          version = version, reconnect = { min = 0.01 },
          on_connect = function(_, info) states[#states + 1] = "up " .. tostring(info.version) end,
          on_disconnect = function(_, err, code, seconds)
            states[#states + 1] = "down " .. code
            assert(type(err) == "string" and type(seconds) == "number")
          end,
        })
        local got, kept = inbox(mq, topic), messages(mq, topic .. "/#", { qos = 2 })
        assert(mq:emit(topic, "1"))
        expect(got, 1)
        expect(kept, 1)
        proxy.cut()
        eventually(function() return got.lost == 1 and kept.lost == 1 end)
        eventually(function() return #states == 3 end)
        assert(mq:emit(topic, "2"))
        eventually(function() return got[#got] == "2" and kept[#kept].payload == "2" end)
        assert.same({ "up " .. version, "down lost", "up " .. version }, states)
        assert.same({ 1, 1, 1 }, { got.lost, kept.lost, mq:stats().reconnects })
        proxy.stop()
      end)

      it("that raise without on_error are reported, and do no harm", function()
        local code, out, err = helper.run_lua(([[
          local mq = require("MQ.mqtt"):new { port = %d, version = %q }
          local count = 0
          mq:on(%q, function(message)
            count = count + 1
            if count == 2 then
              print "two"
              mq:close()
            end
            error "no good"
          end)
          mq:post(%q, "1")
          mq:post(%q, "2")
          print(mq:start())
        ]]):format(server.port, tostring(version), "raise" .. version, "raise" .. version, "raise" .. version))
        assert.equal(0, code, err)
        assert.matches("two\n", out)
        assert.matches("true\n", out)
        assert.matches("MQ: error in a callback: .*no good", err)
      end)

      it("of a closed client are not called any more", function()
        local topic, calls = unique("forgotten"), 0
        do
          local mq = new { client_id = topic }
          assert(mq:on(topic, function() calls = calls + 1 end))
          assert.is_true(mq:close())
        end
        assert(new():emit(topic, "x"))
        assert.equal(0, calls)
      end)
    end)
  end

  it("a callback that starves the loop does not end the connection: the keepalive goes on", function()
    local topic = unique("busy")
    local mq = client(server, { keepalive = 1, timeout = 1 })
    local got = {}
    assert(mq:on(topic, function(message)
      if message.payload == "block" then
        helper.sys.sleep(2.2)   -- the whole interpreter; mosquitto gives a client one and a half keepalives
      end
      got[#got + 1] = message.payload
    end))
    assert(mq:emit(topic, "block"))
    expect(got, 1)
    assert(mq:emit(topic, "after"))
    expect(got, 2)
    assert.equal(0, mq:stats().reconnects)
  end)
end)
