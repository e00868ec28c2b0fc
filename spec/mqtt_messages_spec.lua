-- MQ.mqtt: what a callback gets, for which filters, how often; retained messages; shared subscriptions; wills.

local helper = require "spec.helper"
local tools = require "spec.mqtt_tools"

local client, inbox, messages, expect, unique = tools.client, tools.inbox, tools.messages, tools.expect, tools.unique

local function payloads(list)
  local all = {}
  for index, message in ipairs(list) do
    all[index] = message.payload
  end
  return all
end

local every_byte = {}
for byte = 0, 255 do
  every_byte[byte + 1] = string.char(byte)
end
every_byte = table.concat(every_byte)

describe("MQ.mqtt messages:", function()
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

      it("have exactly the documented fields", function()
        local mq, topic = new(), unique("m")
        local got = messages(mq, topic .. "/+", { qos = 2 })
        for qos = 0, 2 do
          assert(mq:emit(topic .. "/x", "hello", { qos = qos }))
          expect(got, qos + 1)
        end
        local identifiers = {}
        for index, message in ipairs(got) do
          identifiers[index] = message.packet_id or false
          assert.same({
            type = "publish", topic = topic .. "/x", source = topic .. "/x", pattern = topic .. "/+", payload = "hello",
            qos = index - 1, retain = false, dup = false, packet_id = message.packet_id,
          }, message)
          assert.is_nil((getmetatable(message) or {}).__pairs)   -- it hides nothing
        end
        assert.is_false(identifiers[1])
        for index = 2, 3 do
          assert.is_true(identifiers[index] >= 1 and identifiers[index] <= 65535)
          assert.equal("number", type(identifiers[index]))
        end
      end)

      it("carry payloads of no byte, one byte, a megabyte, and of every byte", function()
        local mq, topic = new(), unique("m")
        local sizes = { "", "\0", every_byte, every_byte:rep(4096) }
        for qos = 0, 2 do
          local got = messages(mq, topic, { qos = qos })
          for index, payload in ipairs(sizes) do
            assert(mq:emit(topic, payload, { qos = qos }))
            expect(got, index, 10)
            assert.is_true(got[index].payload == payload)
          end
          assert(mq:off(topic))
        end
      end)

      it("come for the filters that match", function()
        local mq, root = new(), unique("w")
        local cases = {
          ["/#"] = { "", "/a", "/a/b", "/a/b/c", "//", "/é/x" },
          ["/+"] = { "/a" },
          ["/+/b"] = { "/a/b" },
          ["/a/#"] = { "/a", "/a/b", "/a/b/c" },
          ["/+/+"] = { "/a/b", "//", "/é/x" },
          ["/+/b/#"] = { "/a/b", "/a/b/c" },
          ["/a/b"] = { "/a/b" },
          ["/é/+"] = { "/é/x" },
        }
        local lists = {}
        for filter in pairs(cases) do
          -- a client for each: overlapping filters are another spec's matter
          lists[filter] = messages(new(), root .. filter)
        end
        for _, topic in ipairs { "", "/a", "/a/b", "/a/b/c", "//", "/é/x" } do
          assert(mq:emit(root .. topic, ""))
        end
        for filter, topics in pairs(cases) do
          expect(lists[filter], #topics)
          for index, topic in ipairs(topics) do
            assert.equal(root .. topic, lists[filter][index].topic)
            assert.equal(root .. filter, lists[filter][index].pattern)
          end
        end
        for filter, topics in pairs(cases) do
          assert.equal(#topics, #lists[filter], filter)
        end
      end)

      it("of $-topics do not come for # and +", function()
        local mq = new()
        local all, system = messages(mq, "#"), messages(new(), "$SYS/broker/version")
        expect(system, 1)
        assert.matches(helper.embedded and "^MQ %d" or "mosquitto", system[1].payload)
        assert.equal("$SYS/broker/version", system[1].pattern)
        tools.barrier(mq, unique("x"), all)
        for _, message in ipairs(all) do
          assert.not_matches("^%$", message.topic)
        end
      end)

      it("are shared out among the subscribers of a share: each comes once", function()
        local publisher, topic = new(), unique("work")
        local counts, total = {}, 0
        local seen = {}
        for worker = 1, 2 do
          counts[worker] = 0
          assert(new():on("$share/crew/" .. topic .. "/+", function(message)
            assert.equal("$share/crew/" .. topic .. "/+", message.pattern)
            assert.equal(topic .. "/x", message.topic)
            counts[worker] = counts[worker] + 1
            seen[message.payload] = (seen[message.payload] or 0) + 1
            total = total + 1
          end))
        end
        local everyone = inbox(new(), topic .. "/#")
        for i = 1, 200 do
          assert(publisher:post(topic .. "/x", tostring(i)))
        end
        assert.is_true(publisher:flush())
        expect(everyone, 200)
        helper.eventually(function() return total >= 200 end)
        for i = 1, 200 do
          assert.equal(1, seen[tostring(i)])
        end
        assert.equal(200, total)
        assert.is_true(counts[1] > 0 and counts[2] > 0)
      end)

      it("that are retained come to new subscriptions, marked, until they are cleared", function()
        local mq, topic = new(), unique("state")
        assert(mq:emit(topic, "old", { retain = true }))
        assert(mq:emit(topic, "kept", { retain = true }))
        local got = messages(mq, topic)
        expect(got, 1)
        assert.same({ "kept", true, topic }, { got[1].payload, got[1].retain, got[1].topic })
        assert(mq:emit(topic, "live", { retain = true }))
        expect(got, 2)
        assert.same({ "live", false }, { got[2].payload, got[2].retain })   -- it was subscribed already
        assert(mq:post(topic, "", { retain = true, qos = 0 }))
        expect(got, 3)
        assert.same({ "", false }, { got[3].payload, got[3].retain })
        local later = new()
        tools.barrier(later, topic, messages(later, topic))
        local list = messages(new(), topic)
        tools.barrier(mq, topic, list)
        assert.equal(0, #list)
      end)

      it("of the will come when the connection breaks, and not when it is closed", function()
        local watcher, topic = new(), unique("presence")
        local got = messages(watcher, topic)
        local proxy = helper.proxy(server.port)
        local function mortal(options)
          local all = { version = version, reconnect = false, will = { topic = topic, payload = "gone" } }
          for name, value in pairs(options or {}) do
            all[name] = value
          end
          return client(proxy, all)
        end
        local mq = mortal()
        assert(mq:emit(topic, "here"))
        assert.is_true(mq:close())
        tools.barrier(watcher, topic, got)
        assert.same({ "here" }, payloads(got))

        mq = mortal { will = { topic = topic, payload = "cut", qos = 2, retain = true } }
        assert(mq:emit(topic, "again"))
        proxy.cut()
        expect(got, 3)
        assert.same({ "here", "again", "cut" }, payloads(got))
        local late = messages(new(), topic)
        expect(late, 1)
        assert.same({ "cut", true, 1 }, { late[1].payload, late[1].retain, late[1].qos })
        proxy.stop()
      end)

      it("of the will come when the process is killed", function()
        local topic = unique("presence")
        local got = messages(new(), topic)
        local child = helper.start_lua(([[
          local mq = require("MQ.mqtt"):new { port = %d, version = %q, will = { topic = %q, payload = "killed" } }
          assert(mq:emit("x", "x"))
          print "ready"
          io.stdout:flush()
          mq:start()
        ]]):format(server.port, tostring(version), topic))
        child:expect("ready\n")
        child:kill("KILL")
        expect(got, 1)
        assert.equal("killed", got[1].payload)
      end)
    end)
  end

  it("of overlapping filters come once for each (version 5)", function()
    local mq, topic = client(server), unique("over")
    local filters = { topic .. "/#", topic .. "/+", topic .. "/a", "$share/g/" .. topic .. "/a" }
    local lists = {}
    for index, filter in ipairs(filters) do
      lists[index] = messages(mq, filter, { qos = index % 3 })
    end
    local second = messages(mq, topic .. "/+")
    for i = 1, 20 do
      assert(mq:post(topic .. "/a", tostring(i), { qos = i % 3 }))
    end
    assert.is_true(mq:flush())
    assert(mq:emit(topic .. "/b", "b"))
    expect(lists[1], 21)
    expect(lists[2], 21)
    expect(second, 21)
    expect(lists[3], 20)
    expect(lists[4], 20)
    tools.barrier(mq, topic .. "/b", lists[1])
    assert.same({ 21, 20, 20 }, { #lists[1], #lists[3], #lists[4] })
    for index, filter in ipairs(filters) do
      for _, message in ipairs(lists[index]) do
        assert.equal(filter, message.pattern)
        assert.is_true(message.qos <= index % 3)
      end
    end
  end)

  it("of overlapping filters come at least once for each (version 3.1.1)", function()
    local mq, topic = client(server, { version = "3.1.1" }), unique("over")
    local wide, narrow, other = inbox(mq, topic .. "/#"), inbox(mq, topic .. "/a"), inbox(mq, topic .. "/b")
    assert(mq:emit(topic .. "/a", "x"))
    expect(wide, 1)
    expect(narrow, 1)
    tools.barrier(mq, topic .. "/b", other)
    assert.equal(0, #other)
  end)

  it("of overlapping filters come at least once for each (no identifiers)", function()
    local mq, topic = client(server, { subscription_identifiers = false }), unique("over")
    local wide, narrow, other = inbox(mq, topic .. "/#"), inbox(mq, topic .. "/a"), inbox(mq, topic .. "/b")
    assert(mq:emit(topic .. "/a", "x"))
    expect(wide, 1)
    expect(narrow, 1)
    assert(mq:emit(topic .. "/b", "y"))
    expect(other, 1)
    helper.eventually(function() return wide[#wide] == "y" end, 5, "the other topic's message")
    -- a broker may send a copy for each filter, but none of the other topic's
    for _, payload in ipairs(other) do
      assert.equal("y", payload)
    end
  end)

  it("that are retained come once, though another subscription overlaps theirs later", function()
    local publisher, topic = client(server), unique("state")
    assert(publisher:emit(topic, "kept", { retain = true }))
    local mq = client(server)
    local first = expect(messages(mq, topic), 1)
    local second = expect(messages(mq, topic .. "/#"), 1)
    assert(publisher:emit(topic, "live"))
    expect(first, 2)
    expect(second, 2)
    tools.barrier(mq, topic, first)
    assert.equal(2, #first)
    assert.same({ "kept", "live" }, { first[1].payload, first[2].payload })
    assert.same({ "kept", "live" }, { second[1].payload, second[2].payload })
  end)

  it("that are retained obey retain_handling and retain_as_published", function()
    local publisher, topic = client(server), unique("state")
    assert(publisher:emit(topic, "kept", { retain = true }))
    for handling, arrivals in pairs { [0] = 1, [1] = 1, [2] = 0 } do
      local mq = client(server)
      local got = messages(mq, topic, { retain_handling = handling })
      tools.barrier(mq, topic, got)
      assert.equal(arrivals, #got)
    end
    -- 1: only where the subscription is new to the session
    local id = unique()
    local mq = client(server, { client_id = id, clean = false, session_expiry = 60 })
    assert.equal(1, #expect(messages(mq, topic, { retain_handling = 1 }), 1))
    assert.is_true(mq:close())
    mq = client(server, { client_id = id, clean = false, session_expiry = 60 })
    local got = messages(mq, topic, { retain_handling = 1 })
    tools.barrier(mq, topic, got)
    assert.equal(0, #got)

    mq = client(server)
    got = messages(mq, topic, { retain_as_published = true, retain_handling = 2 })
    assert(publisher:emit(topic, "a", { retain = true }))
    assert(publisher:emit(topic, "b"))
    expect(got, 2)
    assert.same({ { "a", true }, { "b", false } },
      { { got[1].payload, got[1].retain }, { got[2].payload, got[2].retain } })
    assert(publisher:emit(topic, "", { retain = true }))
  end)

  it("of the client itself do not come with no_local", function()
    local mq, other, topic = client(server), client(server), unique("self")
    local got, all = inbox(mq, topic, { no_local = true }), inbox(mq, topic .. "/#")
    assert(mq:emit(topic, "mine"))
    assert(other:emit(topic, "theirs"))
    expect(got, 1)
    expect(all, 2)
    assert.same({ "theirs" }, { got[1], got[2] })
    local ok, err, code = mq:on("$share/g/" .. topic, print, { no_local = true })
    assert.same({ nil, "invalid" }, { ok, code })
    assert.is_truthy(err:find("$share/g/" .. topic, 1, true))
  end)

  it("of the will carry their properties, and wait for their delay", function()
    local topic = unique("presence")
    local watcher = client(server)
    local got = messages(watcher, topic)
    local proxy = helper.proxy(server.port)
    local function mortal(delay)
      return client(proxy, {
        reconnect = false, session_expiry = 60,
        will = {
          topic = topic, payload = "gone", delay = delay,
          properties = { content_type = "text/plain", user_properties = { who = "me" } },
        },
      })
    end
    assert(mortal(nil):emit("x", ""))
    proxy.cut()
    expect(got, 1)
    assert.same({ content_type = "text/plain", user_properties = { who = "me" } }, got[1].properties)
    assert(mortal(1):emit("x", ""))
    local before = helper.sys.now()
    proxy.cut()
    expect(got, 2)
    assert.is_true(helper.sys.now() - before > 0.5)   -- the broker counts whole seconds
    proxy.stop()
  end)

  it("of the will do not come where the client is back before the delay is over", function()
    local topic, id = unique("presence"), unique()
    local watcher = client(server)
    local got = messages(watcher, topic)
    local proxy = helper.proxy(server.port)
    local mq = client(proxy, {
      client_id = id, reconnect = { min = 0.01 }, will = { topic = topic, payload = "gone", delay = 2 },
    })
    assert(mq:emit(topic, "here"))
    proxy.cut()
    helper.eventually(function() return mq:stats().reconnects >= 1 end)
    assert(mq:emit(topic, "back"))
    -- another client's will with a shorter delay shows that the time of this one went by
    local sign = messages(watcher, topic .. "/sign")
    local other = client(proxy, {
      reconnect = false, session_expiry = 60, will = { topic = topic .. "/sign", payload = "sign", delay = 3 },
    })
    assert(other:emit("x", ""))
    proxy.cut()
    expect(sign, 1, 10)
    assert.same({ "here", "back" }, payloads(got))
    proxy.stop()
  end)
end)
