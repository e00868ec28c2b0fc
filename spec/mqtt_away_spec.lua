-- MQ.mqtt and a broker that is away, hangs, comes back, or is not there yet, with the default options: a session that
-- the broker keeps for as long as a broken connection takes to mend (MQTT 5), or none (3.1.1).

local helper = require "spec.helper"
local tools = require "spec.mqtt_tools"

local client, inbox, expect, task, await = tools.client, tools.inbox, tools.expect, tools.task, tools.await
local eventually, sys = helper.eventually, helper.sys
local quick = { min = 0.01, max = 0.05 }

local function set(options, more)
  for name, value in pairs(more or {}) do
    options[name] = value
  end
  return options
end

local function offline(mq)
  eventually(function() return mq:stats().state ~= "connected" end, 10, "the loss is noticed")
end

local function online(mq, times)
  eventually(function() return mq:stats().state == "connected" and mq:stats().reconnects == times end, 10, "it is back")
end

local function numbers(from, to)
  local list = {}
  for number = from, to do
    list[#list + 1] = tostring(number)
  end
  return list
end

local function payloads(list)
  local copy = {}
  for index, payload in ipairs(list) do
    copy[index] = payload
  end
  return copy
end

describe("MQ.mqtt, with a broker that is away:", function()
  local server

  before_each(function() server = helper.mosquitto { config = { max_queued_messages = 0 } } end)
  after_each(function()
    tools.close_all()
    helper.stop_all()
  end)

  describe("a link that is cut", function()
    local proxy

    before_each(function() proxy = helper.proxy(server.port) end)

    -- Nobody gets through until the function that is returned has been called.
    local function cut(mq)
      proxy.refuse()
      proxy.cut()
      offline(mq)
      return function()
        local before = mq:stats().reconnects
        proxy.accept()
        online(mq, before + 1)
      end
    end

    -- A cut may catch an acknowledgement, and QoS 1 then comes again.
    local function distinct(list)
      local seen, kept = {}, {}
      for _, each in ipairs(list) do
        if not seen[each] then
          seen[each], kept[#kept + 1] = true, each
        end
      end
      return kept
    end

    it("resumes its session in MQTT 5: what was published meanwhile arrives, QoS 2 once", function()
      local infos = {}
      local options = { reconnect = quick, on_connect = function(_, info) infos[#infos + 1] = info end }
      local mq = client(proxy, options)
      local once, exactly = inbox(mq, "once", { qos = 1 }), inbox(mq, "exactly", { qos = 2 })
      for round = 1, 3 do
        local mend = cut(mq)
        for number = round * 10 - 9, round * 10 do
          server:publish("-t", "once", "-m", number, "-q", "1")
          server:publish("-t", "exactly", "-m", number, "-q", "2")
        end
        mend()
        eventually(function() return #distinct(payloads(once)) == round * 10 end)
        expect(exactly, round * 10)
      end
      assert.same(numbers(1, 30), distinct(payloads(once)))
      assert.same(numbers(1, 30), payloads(exactly))
      assert.same({ 3, 3 }, { once.lost, exactly.lost })
      expect(infos, 4)
      assert.same({ false, true, true, true }, {
        infos[1].session_present, infos[2].session_present, infos[3].session_present, infos[4].session_present })
    end)

    it("leaves no session behind after close", function()
      local id = tools.unique("left")
      local infos = {}
      local function connect(options)
        local mq = client(proxy, set(options, {
          client_id = id, reconnect = quick, on_connect = function(_, info) infos[#infos + 1] = info end,
        }))
        local count = #infos
        assert.is_true((mq:emit("x", "")))
        expect(infos, count + 1)
        return mq
      end
      local mq = connect {}
      inbox(mq, "left")
      cut(mq)()
      assert.is_true((mq:close()))
      mq = connect { clean = false }
      assert.is_false(infos[#infos].session_present)
      inbox(mq, "left")
      assert.is_true((mq:close()))
      connect { clean = false }
      assert.is_true(infos[#infos].session_present)   -- this one is to stay
    end)

    it("begins anew in 3.1.1: subscriptions are renewed, what was published meanwhile is missed", function()
      local mq = client(proxy, { version = "3.1.1", reconnect = quick })
      local got = inbox(mq, "missed", { qos = 1 })
      local mend = cut(mq)
      server:publish("-t", "missed", "-m", "meanwhile", "-q", "1")
      mend()
      tools.barrier(mq, "missed", got)
      assert.same({ lost = 1 }, got)
    end)

    it("loses none of its own posts, in either version", function()
      for _, version in ipairs(tools.versions) do
        local watcher = client(server)
        -- a message of QoS 2 counts as sent with its PUBREL: those of QoS 1 may overtake it
        local lists = { inbox(watcher, "posts/1", { qos = 1 }), inbox(watcher, "posts/2", { qos = 2 }) }
        local mq = client(proxy, { version = version, reconnect = quick })
        assert.is_true((mq:emit("x", "")))
        local mend = cut(mq)
        for number = 1, 500 do
          for qos = 1, 2 do
            assert.is_true((mq:post("posts/" .. qos, tostring(number), { qos = qos })))
          end
        end
        mend()
        assert.is_true((mq:flush(10)))
        for qos = 1, 2 do
          expect(lists[qos], 500)
          assert.same(numbers(1, 500), payloads(lists[qos]))
        end
        mq:close()
        watcher:close()
      end
    end)

    it("that goes dead is noticed within keepalive + timeout, though nothing is sent", function()
      local told = {}
      local mq = client(proxy, {
        keepalive = 1, timeout = 1, reconnect = quick,
        on_disconnect = function(_, err, code) told[#told + 1] = { err, code } end,
      })
      local from = sys.now()
      local got = inbox(mq, "dead")
      proxy.stall()
      expect(told, 1, 10)
      local took = sys.now() - from
      assert.equal("timeout", told[1][2])
      assert.matches("1 s", told[1][1])
      assert.is_true(took >= 1.9, took)
      assert.equal(1, got.lost)
      proxy.resume()
      online(mq, 1)
      assert.is_true((mq:emit("dead", "x")))
      expect(got, 1)
    end)
  end)

  describe("an emit that runs out of time", function()
    it("is delivered later where it had been sent", function()
      local mq = client(server, { timeout = 0.3, keepalive = 0, reconnect = quick })
      local watcher = client(server, { reconnect = quick })
      local got = inbox(watcher, "late", { qos = 2 })
      for qos = 1, 2 do
        assert.is_true((mq:emit("x", "")))
        server:suspend()
        local ok, err, code = mq:emit("late", "sent " .. qos, { qos = qos })
        assert.same({ nil, "timeout" }, { ok, code })
        assert.matches("0.3 s", err)
        server:resume()
        eventually(function() return got[#got] == "sent " .. qos end, 10)
      end
      eventually(function() return mq:stats().in_flight == 0 end)
    end)

    it("is withdrawn where it had not", function()
      local watcher = client(server, { reconnect = quick })
      local mq = client(server, { timeout = 0.2, reconnect = quick })
      local got = inbox(watcher, "never")
      assert.is_true((mq:emit("x", "")))
      server:stop()
      offline(mq)
      local ok, err, code = mq:emit("never", "withdrawn")
      assert.same({ nil, "timeout" }, { ok, code })
      assert.matches("refused", err)
      assert.is_true((mq:post("never", "posted")))
      server:restart()
      online(watcher, 1)
      assert.is_true((mq:flush(10)))
      tools.barrier(mq, "never", got)
      assert.is_true(#got <= 1)   -- the post may have been earlier than the watcher's subscription
      assert.is_not.equal("withdrawn", got[1])
    end)
  end)

  describe("the queue is bounded:", function()
    local mq

    local function away(overflow, more)
      mq = client(server, set({ overflow = overflow, max_queue = 10, reconnect = quick }, more))
      assert.is_true((mq:emit("x", "")))
      server:stop()
      offline(mq)
      for number = 1, 10 do
        assert.is_true((mq:post("q", tostring(number), { qos = number % 3 })))
      end
    end

    -- The broker comes back -> what of the queue arrives there.
    local function delivered()
      server:restart()
      local subscriber = client(server, { reconnect = quick })
      local got = inbox(subscriber, "q", { qos = 2 })
      return got
    end

    for _, overflow in ipairs { "error", "drop_newest" } do
      it(overflow, function()
        away(overflow)
        for _ = 1, 3 do
          local ok, err, code = mq:post("q", "x")
          assert.same({ nil, "full" }, { ok, code })
          assert.matches("10", err)
          assert.equal("full", (select(3, mq:emit("q", "x"))))
        end
        assert.same({ 10, overflow == "error" and 0 or 6 }, { mq:stats().queued, mq:stats().dropped })
        delivered()
        assert.same({ true, nil }, { mq:flush(10) })
        assert.is_true((mq:post("q", "room again")))
      end)
    end

    it("drop_oldest, and flush tells of exactly those", function()
      away "drop_oldest"
      local emitting = task(function() return mq:emit("q", "emitted") end)
      tools.sleep(0)
      for number = 11, 35 do
        assert.is_true((mq:post("q", tostring(number))))
      end
      local ok, err, code = await(emitting)
      assert.same({ "nil", "string", "full" }, { type(ok), type(err), code })
      delivered()
      local failed
      ok, err, failed, code = mq:flush(10)
      assert.same({ "nil", "string", 25, "full" }, { type(ok), type(err), failed, code })
      assert.equal(26, mq:stats().dropped)
      assert.same({ true, nil }, { mq:flush(10) })
    end)

    it("block: a post waits for the broker, in order; after `timeout` it is refused", function()
      away("block", { timeout = 0.2 })
      local ok, err, code = mq:post("q", "x")
      assert.same({ nil, "full" }, { ok, code })
      assert.matches("0.2", err)
      mq:close(0)
      server:restart()
      away("block", { timeout = 10 })
      local posting = task(function()
        for number = 11, 100 do
          assert(mq:post("q", tostring(number)))
        end
        return mq:flush(10)
      end)
      tools.sleep(0.05)
      assert.is_nil(posting.done)
      assert.equal(10, mq:stats().queued)
      delivered()
      assert.same({ true, nil }, { await(posting) })
    end)
  end)

  it("a thousand subscriptions are renewed, each callback is told once with nil", function()
    local mq, lists, tasks = client(server, { reconnect = quick }), {}, {}
    for number = 1, 1000 do
      tasks[number] = task(function() lists[number] = inbox(mq, "many/" .. number) end)
    end
    for number = 1, 1000 do
      await(tasks[number])
    end
    for round = 1, 2 do
      server:restart()   -- it has no persistence: the sessions are gone
      online(mq, round)
      for number = 1, 1000 do
        assert(mq:post("many/" .. number, tostring(round)))
      end
      assert.is_true((mq:flush(10)))
      for number = 1, 1000 do
        expect(lists[number], round)
        assert.equal(round, lists[number].lost)
      end
    end
    for number = 1, 1000 do
      assert.same({ "1", "2", lost = 2 }, lists[number])
    end
  end)

  it("a port where nothing listens, then something does", function()
    local port = helper.free_port()
    local mq = client({ port = port }, { reconnect = quick })
    local got = {}
    local subscribing = task(function()
      return mq:on("later/#", function(message) got[#got + 1] = message.payload end)
    end)
    local emitting = task(function() return mq:emit("later/on", "emitted") end)
    assert.is_true((mq:post("later/on", "posted")))
    tools.sleep(0.1)
    assert.is_nil(subscribing.done)
    helper.mosquitto { port = port }
    assert.is_true((await(subscribing)))
    assert.is_true((await(emitting)))
    expect(got, 2)
    assert.same({ "posted", "emitted" }, got)
  end)

  it("on that ran out of time stays registered", function()
    local port = helper.free_port()
    local mq, got = client({ port = port }, { reconnect = quick, timeout = 0.1 }), {}
    local function take(message) got[#got + 1] = message and message.payload end
    for _ = 1, 2 do
      local ok, err, code = mq:on("stays", take)
      assert.same({ nil, "timeout" }, { ok, code })
      assert.matches("refused", err)
    end
    local late = helper.mosquitto { port = port }
    online(mq, 0)
    late:publish("-t", "stays", "-m", "x", "-q", "1")
    expect(got, 1)
    assert.is_true((mq:emit("stays", "y")))
    expect(got, 2)
    assert.same({ "x", "y" }, got)
  end)

  it("off while offline holds after the reconnect, with and without a session", function()
    for _, options in ipairs { {}, { version = "3.1.1" } } do
      local mq = client(server, set(options, { reconnect = quick }))
      local gone, kept = inbox(mq, "gone"), inbox(mq, "kept")
      server:stop()
      offline(mq)
      assert.is_true((mq:off("gone")))
      server:restart()
      online(mq, 1)
      assert.is_true((mq:emit("gone", "x")))
      assert.is_true((mq:emit("kept", "x")))
      expect(kept, 1)
      assert.equal(0, #gone)
      mq:close()
    end
  end)

  it("a broker that does not answer PINGREQ is left within keepalive + timeout", function()
    local peer = helper.peer [[
      conn:read(conn:read(2):byte(2))
      conn:send("\32\2\0\0")
      conn:read(5)   -- the PUBLISH
      while true do
        local kind = conn:read(2):byte(1)   -- a PINGREQ; nothing follows its two bytes
        conn:log(kind)
      end
    ]]
    local told = {}
    local mq = client(peer, {
      version = "3.1.1", keepalive = 1, timeout = 0.5, reconnect = quick,
      on_disconnect = function(_, err, code) told[#told + 1] = { err, code, sys.now() } end,
    })
    local from = sys.now()
    assert.is_true((mq:emit("x", "", { qos = 0 })))
    expect(told, 1, 10)
    assert.equal("timeout", told[1][2])
    assert.is_true(told[1][3] - from >= 1.4, told[1][3] - from)
    assert.matches("\t192\n", peer.log())
  end)
end)
