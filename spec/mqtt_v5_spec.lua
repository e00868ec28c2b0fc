-- MQ.mqtt: what only version 5 of MQTT has, properties above all.

local helper = require "spec.helper"
local tools = require "spec.mqtt_tools"

local client, inbox, messages, expect, unique = tools.client, tools.inbox, tools.messages, tools.expect, tools.unique

describe("MQ.mqtt of version 5:", function()
  local server

  setup(function() server = tools.mosquitto() end)
  after_each(tools.close_all)

  it("properties travel from emit and post to the callback", function()
    local mq, topic = client(server), unique("p")
    local got = messages(mq, topic, { qos = 2 })
    local properties = {
      content_type = "application/json", response_topic = "answers/me", correlation_data = "\0\1\255",
      payload_format_indicator = 1, message_expiry_interval = 600,
      user_properties = { one = "1", two = { "a", "b" }, [""] = "", ["é"] = "ü" },
    }
    for qos = 0, 2 do
      assert(mq:emit(topic, "{}", { qos = qos, properties = properties }))
      assert(mq:post(topic, "{}", { qos = qos, properties = properties }))
    end
    expect(got, 6)
    for _, message in ipairs(got) do
      -- the broker subtracts the seconds that it kept it
      assert.is_true(message.properties.message_expiry_interval >= 590)
      message.properties.message_expiry_interval = 600
      assert.same(properties, message.properties)
    end
    assert(mq:emit(topic, "bare", { properties = {} }))
    expect(got, 7)
    assert.is_nil(got[7].properties)
  end)

  it("properties that there are not, or of a wrong type, are refused and named", function()
    local mq = client(server)
    local cases = {
      { { contenttype = "x" }, "content_type" },
      { { topic_alias = 1 }, "topic_alias" },
      { { subscription_identifier = 1 }, "subscription_identifier" },
      { { session_expiry_interval = 1 }, "session_expiry_interval" },
      { { content_type = 5 }, "content_type" },
      { { content_type = true }, "content_type" },
      { { content_type = "a\255" }, "content_type" },
      { { message_expiry_interval = "soon" }, "message_expiry_interval" },
      { { message_expiry_interval = -1 }, "message_expiry_interval" },
      { { message_expiry_interval = 2 ^ 32 }, "message_expiry_interval" },
      { { message_expiry_interval = 1.5 }, "message_expiry_interval" },
      { { payload_format_indicator = 2 }, "payload_format_indicator" },
      { { response_topic = "a/#" }, "response_topic" },
      { { correlation_data = 1 }, "correlation_data" },
      { { correlation_data = ("x"):rep(65536) }, "correlation_data" },
      { { user_properties = "x" }, "user_properties" },
      { { user_properties = { "x" } }, "user_properties" },
      { { user_properties = { x = 1 } }, "user_properties" },
      { { "x" }, "content_type" },
    }
    for _, case in ipairs(cases) do
      for _, name in ipairs { "emit", "post" } do
        local ok, err, code = mq[name](mq, "x", "y", { properties = case[1] })
        assert.same({ nil, "invalid" }, { ok, code })
        assert.is_truthy(err:find(case[2], 1, true), err)
      end
    end
    local ok, err, code = mq:on("x", print, { properties = { content_type = "x" } })
    assert.same({ nil, "invalid" }, { ok, code })
    assert.is_truthy(err:find("content_type", 1, true), err)
    assert.is_true(mq:on("x", print, { properties = { user_properties = { a = "b" } } }))
  end)

  it("emit says what the broker answered", function()
    local mq, topic = client(server), unique("d")
    assert.same({ true, 16 }, { mq:emit(topic, "x") })   -- "no matching subscribers" (section 3.4.2.1)
    local got = inbox(mq, topic)
    assert.same({ true, 0 }, { mq:emit(topic, "x") })
    expect(got, 1)
  end)

  it("one client asks and another answers", function()
    local asking, answering = client(server), client(server)
    local service, answers = unique("service"), unique("answers")
    assert(answering:on(service, function(request)
      local properties = request.properties
      assert(answering:emit(properties.response_topic, request.payload:upper(),
        { properties = { correlation_data = properties.correlation_data } }))
    end))
    local waiting = {}
    assert(asking:on(answers, function(answer)
      waiting[answer.properties.correlation_data] = answer.payload
    end))
    for i = 1, 20 do
      local id = string.char(0, i)
      assert(asking:post(service, "question " .. i,
        { properties = { response_topic = answers, correlation_data = id } }))
      helper.eventually(function() return waiting[id] end)
      assert.equal("QUESTION " .. i, waiting[id])
    end
  end)

  it("a message that has expired is not delivered", function()
    local topic, id = unique("e"), unique()
    local options = { client_id = id, clean = false, session_expiry = 60 }
    local mq = client(server, options)
    inbox(mq, topic)
    assert.is_true(mq:close())
    local publisher = client(server)
    assert(publisher:emit(topic, "short", { properties = { message_expiry_interval = 1 } }))
    assert(publisher:emit(topic, "long", { properties = { message_expiry_interval = 100 } }))
    tools.broker_ages(publisher, 3)
    mq = client(server, options)
    local got = messages(mq, topic)
    expect(got, 1)
    tools.barrier(publisher, topic, got)
    assert.equal(1, #got)
    assert.equal("long", got[1].payload)
    assert.is_true(got[1].properties.message_expiry_interval <= 98)
  end)

  it("topic aliases: all messages arrive with the right topic", function()
    local publisher, subscriber, topic = client(server), client(server), unique("alias/of/a/long/topic")
    local got = messages(subscriber, topic .. "/#", { qos = 2 })
    for i = 1, 2000 do
      local n = i % 3 == 0 and i % 7 or i % 150   -- some often, and more of them than there are aliases
      assert(publisher:post(topic .. "/" .. n, tostring(n), { qos = i % 3 }))
    end
    assert.is_true(publisher:flush())
    expect(got, 2000)
    assert.equal(2000, #got)
    for _, message in ipairs(got) do
      assert.equal(topic .. "/" .. message.payload, message.topic)
    end
    -- one that is used all the time needs its name once
    publisher = client(server)
    for _ = 1, 100 do
      assert(publisher:post(topic .. "/often", "often"))
    end
    assert.is_true(publisher:flush())
    assert.is_true(publisher:stats().bytes_out < 100 * #topic)
    expect(got, 2100)
    assert.same({ topic .. "/often", "often" }, { got[2100].topic, got[2100].payload })
  end)

  it("topic aliases of the broker are understood", function()
    local peer = tools.peer [[
      packet()
      conn:send(CONNACK)
      local _, subscribe = packet()
      send(144, subscribe:sub(1, 2) .. "\0\0")
      local function publish(topic, alias, payload)
        send(48, "\0" .. string.char(#topic) .. topic .. "\3\35\0" .. string.char(alias) .. payload)
      end
      publish("a/one", 1, "1")
      publish("", 1, "2")
      publish("a/two", 2, "3")
      publish("a/three", 1, "4")
      publish("", 1, "5")
      publish("", 2, "6")
      publish("", 3, "7")
      conn:hold()
    ]]
    local disconnected
    local mq = client(peer, {
      topic_alias_maximum = 2, reconnect = false,
      on_disconnect = function(_, err, code) disconnected = { err, code } end,
    })
    local got = messages(mq, "a/#")
    expect(got, 6)
    local topics = {}
    for index, message in ipairs(got) do
      topics[index] = message.payload .. message.topic
      assert.is_nil(message.properties)
    end
    assert.same({ "1a/one", "2a/one", "3a/two", "4a/three", "5a/three", "6a/two" }, topics)
    helper.eventually(function() return disconnected end)   -- alias 3 is beyond what it was told
    assert.equal("protocol", disconnected[2])
    assert.matches("alias", disconnected[1])
    assert.equal(1, peer.count())
    peer.stop()
  end)

  it("a packet that the broker would not take is refused before it is sent", function()
    local narrow = tools.mosquitto { config = { max_packet_size = 1000 } }
    local mq, topic = client(narrow), unique("big")
    local got = messages(mq, topic)
    assert(mq:emit(topic, "fits"))
    for qos = 0, 2 do
      local ok, err, code = mq:emit(topic, ("x"):rep(1000), { qos = qos })
      assert.same({ nil, "refused" }, { ok, code })
      assert.matches("1000", err)
    end
    assert.is_true(mq:post(topic, ("x"):rep(1000)))
    local ok, err, failed = mq:flush()
    assert.same({ nil, 1 }, { ok, failed })
    assert.matches("1000", err)
    tools.barrier(mq, topic, got)
    assert.equal(1, #got)
    assert.equal(0, mq:stats().reconnects)
    narrow:stop()
  end)

  it("a message larger than the broker's message_size_limit is refused with the reason's name", helper.real_broker_only(
    "the embedded broker limits packets, not messages", function()
    local narrow = tools.mosquitto { config = { message_size_limit = 1000 } }
    local mq, topic = client(narrow), unique("big")
    local got = messages(mq, topic)
    for qos = 1, 2 do
      local ok, err, code = mq:emit(topic, ("x"):rep(2000), { qos = qos })
      assert.same({ nil, "refused" }, { ok, code })
      assert.matches("packet too large", err:lower())
    end
    assert(mq:emit(topic, "fits"))
    expect(got, 1)
    assert.equal("fits", got[1].payload)   -- mosquitto ends the connection with each of its refusals
    narrow:stop()
  end))

  it("a packet larger than max_packet does not reach the client", function()
    local mq, publisher, topic = client(server, { max_packet = 1000 }), client(server), unique("big")
    local got = messages(mq, topic)
    assert(publisher:emit(topic, ("x"):rep(2000)))
    assert(publisher:emit(topic, "small"))
    expect(got, 1)
    assert.equal("small", got[1].payload)
    assert.equal(0, mq:stats().reconnects)
  end)

  it("on_connect is told what the broker granted", function()
    local keepalive = not helper.embedded and 30 or nil   -- the embedded broker grants what it is asked for
    local strict = tools.mosquitto { config = { max_keepalive = keepalive, max_packet_size = 5000 } }
    local told
    local id = unique()
    local mq = client(strict, { client_id = id, on_connect = function(_, info) told = info end })
    assert(mq:emit("x", ""))
    helper.eventually(function() return told end)
    assert.same({ false, 5, id }, { told.session_present, told.version, told.client_id })
    assert.same({ keepalive, 5000 }, { told.properties.server_keep_alive, told.properties.maximum_packet_size })
    strict:stop()

    told = nil
    mq = client(server, { version = "3.1.1", client_id = id, on_connect = function(_, info) told = info end })
    assert(mq:emit("x", ""))
    helper.eventually(function() return told end)
    assert.same({ session_present = false, version = "3.1.1", client_id = id }, told)
  end)

  it("a broker without retained messages refuses them by name", helper.real_broker_only(
    "the embedded broker retains messages", function()
    local strict = tools.mosquitto { config = { retain_available = false } }
    local mq = client(strict)
    local ok, err, code = mq:emit("x", "y", { retain = true })
    assert.same({ nil, "refused" }, { ok, code })
    assert.matches("retain", err)
    assert.is_true((mq:emit("x", "y")))
    strict:stop()
  end))

  it("properties of a version 3.1.1 connection are left out", function()
    local mq, topic = client(server, { version = "3.1.1" }), unique("p")
    local got = messages(mq, topic)
    assert(mq:emit(topic, "x", { properties = { content_type = "text/plain" } }))
    expect(got, 1)
    assert.is_nil(got[1].properties)
  end)
end)
