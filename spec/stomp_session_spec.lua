-- MQ.stomp: what outlives a connection, and what does not; durable subscriptions; heart-beats.

local helper = require "spec.helper"
local tools = require "spec.stomp_tools"

local client, inbox, expect = tools.client, tools.inbox, tools.expect
local eventually = helper.eventually

describe("MQ.stomp sessions:", function()
  local server

  setup(function() server = helper.shared_rabbitmq() end)
  after_each(tools.close_all)

  for _, version in ipairs(tools.versions) do
    it("subscriptions are renewed, and callbacks told once with nil (" .. version .. ")", function()
      local proxy, publisher = tools.proxy(server), client(server)
      local mq, lists, topics = client(proxy, { version = version }), {}, {}
      for number = 1, 20 do
        topics[number] = tools.topic()
        lists[number] = inbox(mq, topics[number], { ack = number % 2 == 0 and "none" or nil })
      end
      for round = 1, 3 do
        proxy.cut()
        eventually(function() return mq:stats().reconnects == round end)
        assert.is_true((mq:emit(tools.topic(), "")))   -- behind the subscriptions
        for number, topic in ipairs(topics) do
          assert.is_true((publisher:emit(topic, ("%d.%d"):format(round, number))))
        end
        for number, list in ipairs(lists) do
          expect(list, round)
          assert.same({ ("%d.%d"):format(round, number), round }, { list[round], list.lost })
        end
      end
    end)

    it("sends that have no receipt yet are sent again, in order (" .. version .. ")", function()
      local proxy, queue = tools.proxy(server), tools.queue()
      local mq, got = client(proxy, { version = version }), inbox(client(server), queue)
      assert.is_true((mq:emit(tools.topic(), "")))
      proxy.stall()
      local emitting = tools.task(function() return mq:emit(queue, "emitted") end)
      tools.sleep(0)   -- lets it begin
      for number = 1, 50 do
        assert.is_true(mq:post(queue, tostring(number)))
      end
      tools.sleep(0.02)
      proxy.cut()
      proxy.resume()
      assert.is_true((tools.await(emitting)))
      assert.is_true(mq:flush(5))
      expect(got, 51)
      assert.equal("emitted", got[1])
      for number = 1, 50 do
        assert.equal(tostring(number), got[number + 1])
      end
      assert.equal(51, #got)   -- for nothing of it had reached the broker
    end)
  end

  it("what is sent while there is no connection follows the renewed subscriptions", function()
    local proxy, topic = tools.proxy(server), tools.topic()
    local mq = client(proxy)
    local got = inbox(mq, topic)
    proxy.refuse()
    proxy.cut()
    eventually(function() return got.lost == 1 end)
    for number = 1, 10 do
      assert.is_true(mq:post(topic, tostring(number), { receipt = number % 2 == 0 }))
    end
    local emitting = tools.task(function() return mq:emit(topic, "11") end)
    tools.sleep(0.02)
    proxy.accept()
    assert.is_true((tools.await(emitting)))
    assert.is_true(mq:flush(5))
    expect(got, 11)
    for number = 1, 11 do
      assert.equal(tostring(number), got[number])
    end
  end)

  it("an emit that waits too long is told so", function()
    local proxy = tools.proxy(server)
    local mq = client(proxy, { timeout = 0.2 })
    assert.is_true((mq:emit(tools.topic(), "")))
    proxy.refuse()
    proxy.cut()
    local ok, err, code = mq:emit(tools.topic(), "x")
    assert.same({ nil, "timeout" }, { ok, code })
    assert.is_string(err)
    ok, err, code = mq:on(tools.topic(), function() end)
    assert.same({ nil, "timeout" }, { ok, code })
    assert.is_string(err)
  end)

  it("off while there is no connection holds after the reconnect", function()
    local proxy, topic, publisher = tools.proxy(server), tools.topic(), client(server)
    local mq = client(proxy)
    local gone, kept = inbox(mq, topic), inbox(mq, topic .. "-kept")
    proxy.refuse()
    proxy.cut()
    eventually(function() return kept.lost == 1 end)
    local leaving = tools.task(function() return mq:off(topic) end)
    proxy.accept()
    assert.is_true((tools.await(leaving)))
    eventually(function() return mq:stats().state == "connected" end)
    assert.is_true((mq:emit(tools.topic(), "")))
    assert.is_true((publisher:emit(topic, "x")))
    tools.barrier(publisher, topic .. "-kept", kept)
    assert.same({ 0, 0 }, { #gone, #kept })
  end)

  it("a port where nothing listens, then something does", function()
    local port = helper.free_port()
    local tries, topic = 0, tools.topic()
    local mq = client({ port = port, user = server.user, password = server.password }, {
      on_error = function() tries = tries + 1 end,
    })
    local subscribing = tools.task(function() return mq:on(topic, function() end) end)
    eventually(function() return tries >= 2 end)
    local proxy = helper.proxy(server.stomp_port, { port = port })
    assert.is_true((tools.await(subscribing)))
    assert.is_true((mq:emit(topic, "")))
    proxy.stop()
  end)

  it("a durable subscription keeps what is published while the program is away", helper.real_broker_only(
    "the embedded broker has no durable subscriptions", function()
    local topic, name = tools.topic(), tools.unique("durable")
    local publisher = client(server)
    local mq = client(server)
    local got = inbox(mq, topic, { durable = name })
    assert.is_true((publisher:emit(topic, "1")))
    expect(got, 1)
    assert.is_true(mq:close())
    for number = 2, 5 do
      assert.is_true((publisher:emit(topic, tostring(number))))
    end
    mq = client(server)
    got = inbox(mq, topic, { durable = name })
    expect(got, 4)
    assert.same({ "2", "3", "4", "5", lost = 0 }, got)
    assert.is_true(mq:off(topic))      -- which ends it
    assert.is_true((publisher:emit(topic, "6")))
    got = inbox(mq, topic, { durable = name })
    tools.barrier(publisher, topic, got)
    assert.equal(0, #got)
    assert.is_true(mq:off(topic))
  end))

  it("a durable subscription misses nothing when the link is cut", helper.real_broker_only(
    "the embedded broker has no durable subscriptions", function()
    local topic, proxy = tools.topic(), tools.proxy(server)
    local publisher, mq = client(server), client(proxy)
    local seen, distinct, lost = {}, 0, 0
    assert(mq:on(topic, function(message)
      if not message then
        lost = lost + 1
      elseif not seen[message.payload] then
        seen[message.payload], distinct = true, distinct + 1
      end
    end, { durable = tools.unique("durable") }))
    for number = 1, 300 do
      assert.is_true(publisher:post(topic, tostring(number)))
      if number % 100 == 50 then
        assert.is_true(publisher:flush(5))
        proxy.cut()
      end
    end
    assert.is_true(publisher:flush(5))
    eventually(function() return distinct == 300 end, 10)
    assert.is_true(lost >= 1)
    assert.is_true(mq:off(topic))
  end))

  it("heart-beats keep a silent connection alive", function()
    local mq, told = client(server, { heartbeat = { 0.1, 0.1 } }), {}
    mq.on_disconnect = function(_, err) told[#told + 1] = err end
    local got = inbox(mq, tools.topic())
    tools.sleep(0.7)
    assert.same({ lost = 0 }, got)
    assert.same({}, told)
    assert.is_true(mq:stats().bytes_in > 0)
  end)

  it("a broker that is heard no more is left, and found again", function()
    local proxy = tools.proxy(server)
    local mq, told = client(proxy, { heartbeat = 0.1, timeout = 1 }), {}
    mq.on_disconnect = function(_, err, code) told[#told + 1] = { err, code } end
    local got = inbox(mq, tools.topic())
    proxy.stall()
    eventually(function() return got.lost == 1 end, 3)
    proxy.resume()
    eventually(function() return mq:stats().state == "connected" end)
    eventually(function() return told[1] end)
    assert.equal("timeout", told[1][2])
    assert.matches("heart%-beat", told[1][1])
  end)

  it("a stalled callback is not the broker's silence", function()
    local mq, queue = client(server, { heartbeat = 0.1, max_pending = 10 }), tools.queue()
    local count, door = 0, false
    local publisher = client(server)
    for number = 1, 100 do
      assert.is_true(publisher:post(queue, tostring(number)))
    end
    assert.is_true(publisher:flush(5))
    assert(mq:on(queue, function()
      count = count + 1
      eventually(function() return door end, 10)
    end, { ack = "none" }))
    eventually(function() return count == 1 end)
    tools.sleep(0.6)
    door = true
    eventually(function() return count == 100 end)
    assert.equal(0, mq:stats().reconnects)
  end)
end)
