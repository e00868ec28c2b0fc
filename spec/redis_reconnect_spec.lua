-- MQ.redis and a server that dies, hangs, comes back, or is not there yet.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"

local client, inbox, expect, task, await = tools.client, tools.inbox, tools.expect, tools.task, tools.await
local eventually, sys = helper.eventually, helper.sys
local quick = { min = 0.01, max = 0.1 }

-- a: b < c < d …, as text or numbers
local function assert_increasing(list)
  for i = 2, #list do
    assert(tonumber(list[i - 1]) < tonumber(list[i]), list[i - 1] .. " came before " .. list[i])
  end
end

local function resubscribed(server, count)
  eventually(function() return server:cli("PUBSUB", "NUMPAT") == tostring(count or 1) end, 10, "subscribed again")
end

describe("MQ.redis reconnects:", function()
  local server

  before_each(function() server = helper.redis() end)
  after_each(function()
    tools.close_all()
    helper.stop_all()
  end)

  it("what was refused, lost and delivered around a SIGKILL adds up to the post", function()
    local mq = client(server, { reconnect = quick, max_queue = 1000, overflow = "error" })
    local got = inbox(mq, "/stream")
    local sent, accepted, refused = 0, {}, 0
    local function post(count)
      for _ = 1, count do
        sent = sent + 1
        local ok, _, code = mq:post("/stream", tostring(sent))
        if ok then
          accepted[#accepted + 1] = tostring(sent)
        else
          assert.equal("full", code)
          refused = refused + 1
        end
      end
    end

    for _ = 1, 4 do                       -- delivered
      post(500)
      assert.is_true(mq:flush(5))
    end
    server:suspend()
    post(1200)                            -- 1,000 are written and die with the server, 200 are refused
    assert.equal(200, refused)
    eventually(function() return mq:stats().in_flight == 1000 end)
    server:kill()
    eventually(function() return mq:stats().in_flight == 0 end)
    post(1100)                            -- 1,000 wait for the server, 100 are refused
    assert.equal(300, refused)
    assert.equal(1000, mq:stats().queued)
    server:restart()

    local ok, err, failed, code = mq:flush(10)
    assert.same({ nil, 1000, "lost" }, { ok, failed, code })
    assert.is_string(err)
    expect(got, 3000)
    assert.same({ true, nil }, { mq:flush(5) })
    assert.equal(1, got.lost)
    assert.equal(3000, #got)
    for i = 1, 2000 do
      assert.equal(accepted[i], got[i])
    end
    for i = 1, 1000 do
      assert.equal(accepted[3000 + i], got[2000 + i])
    end
    assert.equal(sent, #accepted + refused)
  end)

  it("SIGKILL in the middle of a stream: what flush confirmed has arrived, once and in order", function()
    local mq = client(server, { reconnect = quick })
    local got = inbox(mq, "/stream")
    local accepted, over = 0, false
    local posting = task(function()
      while not over do
        for _ = 1, 50 do
          assert(mq:post("/stream", tostring(accepted + 1)))
          accepted = accepted + 1
        end
        tools.sleep(0.001)
      end
    end)
    for round = 1, 3 do
      local from = #got
      eventually(function() return #got > from + 500 end)
      server:kill()
      eventually(function() return got.lost == round end)
      server:restart()
    end
    resubscribed(server)
    over = true
    await(posting)
    local ok, _, failed = mq:flush(10)
    local confirmed = accepted - (ok and 0 or failed)
    eventually(function() return tonumber(got[#got]) == accepted end)   -- the last ones were queued
    assert_increasing(got)
    assert.is_true(#got <= accepted)
    assert.is_true(confirmed <= #got, ("flush confirmed %d, %d arrived"):format(confirmed, #got))
    assert.is_true(mq:flush(5))
  end)

  it("subscribes again before it sends what is queued", function()
    local mq, lists, emits = client(server, { reconnect = quick }), {}, {}
    for i = 1, 100 do
      lists[i] = inbox(mq, "/r/" .. i, { exact = i % 2 == 0 })
    end
    server:kill()
    eventually(function() return lists[100].lost == 1 end)
    for i = 1, 100 do
      emits[i] = task(function() return mq:emit("/r/" .. i, "e" .. i) end)
      assert(mq:post("/r/" .. i, "p" .. i))
    end
    tools.sleep(0.02)
    server:restart()
    for i = 1, 100 do
      assert.same({ true, 1 }, { await(emits[i]) })
      expect(lists[i], 2)
    end
    assert.is_true(mq:flush(5))
    assert.equal(1, mq:stats().reconnects)
  end)

  it("emits that were sent and not answered fail with lost", function()
    local mq = client(server, { reconnect = quick })
    assert(mq:emit("x", ""))
    server:suspend()
    local emits = {}
    for i = 1, 10 do
      emits[i] = task(function() return mq:emit("x", "") end)
    end
    eventually(function() return mq:stats().in_flight == 10 end)
    server:kill()
    for _, each in ipairs(emits) do
      local ok, err, code = await(each)
      assert.same({ "nil", "string", "lost" }, { type(ok), type(err), code })
    end
  end)

  it("a server that hangs for longer than the probe is left, and found again", function()
    local told = {}
    local mq = client(server, {
      keepalive = 1, timeout = 1, reconnect = quick,
      on_disconnect = function(_, err, code) told[#told + 1] = { err, code } end,
    })
    local got = inbox(mq, "/hang")
    server:suspend()
    expect(told, 1, 8)
    assert.equal("timeout", told[1][2])
    assert.is_string(told[1][1])
    assert.equal(1, got.lost)
    assert.not_equal("connected", mq:stats().state)
    server:resume()
    resubscribed(server)
    assert.same({ true, 1 }, { mq:emit("/hang", "x") })
    expect(got, 1)
  end)

  it("a line that goes dead is left, and its emit fails in time", function()
    local proxy = helper.proxy(server.port)
    local mq = client(proxy, { keepalive = 0.2, timeout = 0.5, reconnect = quick })
    local got = inbox(mq, "/dead")
    proxy:stall()
    local from = sys.now()
    local ok, err, code = mq:emit("/dead", "x")
    assert.same({ nil, "timeout" }, { ok, code })
    assert.is_string(err)
    assert.is_true(sys.now() - from < 5)
    assert.equal(1, got.lost)
    proxy:resume()
    eventually(function() return mq:emit("/dead", "y") end, 10)
    expect(got, 1)
  end)

  it("an idle connection is probed, and kept while the server answers", function()
    local mq = client(server, { keepalive = 0.05, timeout = 1 })
    local got = inbox(mq, "/idle")
    eventually(function() return tools.calls(server, "ping") >= 5 end)
    assert.equal(0, mq:stats().reconnects)
    assert.same({ true, 1 }, { mq:emit("/idle", "x") })
    expect(got, 1)
    assert.equal(0, got.lost)
  end)

  it("keepalive = 0 probes nothing", function()
    local mq = client(server, { keepalive = 0 })
    local before = tools.calls(server, "ping")
    assert(mq:emit("x", ""))
    tools.sleep(0.2)
    assert.equal(before, tools.calls(server, "ping"))
    assert.is_true(mq:emit("x", ""))
  end)

  it("a port where nothing listens, then something does", function()
    local port = helper.free_port()
    local mq = client({ port = port }, { reconnect = quick })
    local got = {}
    local subscribing = task(function()
      return mq:on("/later", function(message) got[#got + 1] = message.payload end)
    end)
    local emitting = task(function() return mq:emit("/later", "emitted") end)
    assert.is_true(mq:post("/later", "posted"))
    tools.sleep(0.1)
    assert.is_nil(subscribing.done)
    helper.redis { port = port }
    assert.is_true(await(subscribing))
    assert.is_true(await(emitting))
    expect(got, 2)
    assert.same({ "posted", "emitted" }, got)   -- the coroutine of the emit began after the post
  end)

  it("on that ran out of time stays registered; asking again adds no second callback", function()
    local port = helper.free_port()
    local mq = client({ port = port }, { reconnect = quick, timeout = 0.1 })
    local got = {}
    local function take(message)
      if message then
        got[#got + 1] = message.payload
      end
    end
    for _ = 1, 2 do
      local ok, err, code = mq:on("/stays", take)
      assert.same({ nil, "timeout" }, { ok, code })
      assert.matches("refused", err)   -- the reason of the last try
    end
    local late = helper.redis { port = port }
    resubscribed(late)
    local other = client(late)
    assert.same({ true, 1 }, { other:emit("/stays", "x") })
    assert.same({ true, 1 }, { other:emit("/stays", "y") })
    eventually(function() return got[#got] == "y" end)
    assert.same({ "x", "y" }, got)
  end)

  it("an emit that ran out of time while offline is withdrawn", function()
    local mq = client(server, { reconnect = quick, timeout = 0.2 })
    local got = inbox(mq, "/late")
    server:kill()
    eventually(function() return got.lost == 1 end)
    local ok, err, code = mq:emit("/late", "withdrawn")
    assert.same({ nil, "timeout" }, { ok, code })
    assert.is_string(err)
    assert.is_true(mq:post("/late", "posted"))
    server:restart()
    expect(got, 1)
    assert.is_true(mq:flush(5))
    assert.same({ "posted", lost = 1 }, got)
  end)

  it("off while offline holds after the reconnect", function()
    local mq = client(server, { reconnect = quick })
    local gone, kept = inbox(mq, "/gone"), inbox(mq, "/kept")
    server:kill()
    eventually(function() return kept.lost == 1 end)
    assert.is_true(mq:off("/gone"))
    server:restart()
    resubscribed(server, 1)
    assert.same({ true, 0 }, { mq:emit("/gone", "x") })
    assert.same({ true, 1 }, { mq:emit("/kept", "x") })
    expect(kept, 1)
    assert.equal(0, #gone)
  end)

  it("CLIENT KILL", function()
    local mq = client(server, { reconnect = quick })
    local got = inbox(mq, "/killed")
    for round = 1, 3 do
      assert.equal("1", server:cli("CLIENT", "KILL", "TYPE", "pubsub"))
      eventually(function() return got.lost == round end)
      resubscribed(server)
      assert.same({ true, 1 }, { mq:emit("/killed", tostring(round)) })
      expect(got, round)
    end
    assert.equal(3, mq:stats().reconnects)
    assert.equal(1, server:client_count())
  end)
end)
