-- MQ.redis: the bounded outbound queue and what each overflow policy does when it is full.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"

local client, inbox, expect, task, await = tools.client, tools.inbox, tools.expect, tools.task, tools.await
local eventually, sys = helper.eventually, helper.sys
local quick = { min = 0.01, max = 0.05 }

describe("MQ.redis with a full queue:", function()
  local server, subscriber, got

  before_each(function()
    server = helper.redis()
    subscriber = client(server, { reconnect = quick })
    got = inbox(subscriber, "/q")
  end)

  after_each(function()
    tools.close_all()
    server:stop()
  end)

  local function publisher(overflow, more)
    local options = { overflow = overflow, max_queue = 10, reconnect = quick }
    for name, value in pairs(more or {}) do
      options[name] = value
    end
    local mq = client(server, options)
    assert(mq:emit("x", ""))
    return mq
  end

  local function fill(mq, from, to)
    for i = from, to do
      assert(mq:post("/q", tostring(i)))
    end
  end

  local function numbers(from, to)
    local list = {}
    for i = from, to do
      list[#list + 1] = tostring(i)
    end
    list.lost = 0
    return list
  end

  it("error: refused at once, and room is found again", function()
    local mq = publisher "error"
    server:suspend()
    fill(mq, 1, 10)
    for _, name in ipairs { "post", "emit" } do
      local ok, err, code = mq[name](mq, "/q", "refused")
      assert.same({ nil, "full" }, { ok, code })
      assert.matches("10", err)
    end
    assert.equal(0, mq:stats().dropped)
    server:resume()
    assert.is_true(mq:flush(5))
    assert.is_true((mq:emit("/q", "11")))
    expect(got, 11)
    assert.same(numbers(1, 11), got)
  end)

  it("drop_newest: refused and counted", function()
    local mq = publisher "drop_newest"
    server:suspend()
    fill(mq, 1, 10)
    for _ = 1, 3 do
      assert.same({ nil, "full" }, { (mq:post("/q", "x")), (select(3, mq:post("/q", "x"))) })
    end
    assert.equal(6, mq:stats().dropped)
    server:resume()
    assert.is_true(mq:flush(5))
    expect(got, 10)
    assert.same(numbers(1, 10), got)
  end)

  it("drop_oldest: the oldest that were not sent go, their emits and the flush are told", function()
    local mq = publisher "drop_oldest"
    local told = {}
    mq.on_error = function(_, err, code)
      if code == "full" then
        told[#told + 1] = err:match "(%d+) dropped so far"
      end
    end
    server:kill()
    eventually(function() return mq:stats().state ~= "connected" and got.lost == 1 end)
    local first = task(function() return mq:emit("/q", "emitted") end)
    eventually(function() return mq:stats().queued == 1 end)
    fill(mq, 1, 15)
    local ok, err, code = await(first)
    assert.same({ "nil", "string", "full" }, { type(ok), type(err), code })
    local stats = mq:stats()
    assert.same({ 10, 6 }, { stats.queued, stats.dropped })
    eventually(function() return #told == 3 end)
    assert.same({ "1", "2", "4" }, told)   -- of each would make it worse
    server:restart()
    eventually(function() return server:cli("PUBSUB", "NUMPAT") == "1" end)
    local failed
    ok, err, failed, code = mq:flush(5)
    assert.same({ "nil", "string", 5, "full" }, { type(ok), type(err), failed, code })
    assert.is_true(mq:flush(5))
    assert.is_true(mq:emit("x", ""))
    tools.sleep(0.02)
    -- the subscriber may have come back after the first of them
    local wanted = numbers(6, 15)
    for i = #got, 1, -1 do
      assert.equal(table.remove(wanted), got[i])
    end
  end)

  it("block: a post waits for room, in order, and the coroutine alone", function()
    local mq, turns = publisher("block"), 0
    server:suspend()
    local posting = task(function()
      fill(mq, 1, 30)
      return true
    end)
    for _ = 1, 20 do
      tools.sleep(0.002)
      turns = turns + 1
    end
    assert.is_nil(posting.done)
    assert.equal(10, mq:stats().queued + mq:stats().in_flight)
    server:resume()
    assert.is_true(await(posting))
    assert.is_true(mq:flush(5))
    expect(got, 30)
    assert.same(numbers(1, 30), got)
    assert.equal(0, mq:stats().dropped)
  end)

  it("block: in a main chunk the loop runs until there is room", function()
    local mq = publisher "block"
    server:suspend()
    tools.host.timeout(0.05, function() server:resume() end)
    fill(mq, 1, 100)
    assert.is_true(mq:flush(5))
    expect(got, 100)
    assert.same(numbers(1, 100), got)
  end)

  it("block: nobody overtakes those who wait, newcomers neither", function()
    local mq, tasks, called = publisher("block"), {}, 0
    for i = 1, 20 do
      tasks[i] = task(function()
        for k = 1, 50 do
          called = called + 1
          local n = tostring(called)
          assert((i % 5 == 0 and k % 10 == 0 and mq.emit or mq.post)(mq, "/q", n))
          if k % 3 == 0 then
            tools.sleep(k % 2 == 0 and 0 or 0.001)
          end
        end
        return true
      end)
    end
    for _, each in ipairs(tasks) do
      assert.is_true(await(each))
    end
    assert.is_true(mq:flush(5))
    expect(got, 1000)
    assert.same(numbers(1, 1000), got)
  end)

  it("block: after `timeout` it is refused", function()
    local mq = client({ port = helper.free_port() }, { max_queue = 10, timeout = 0.1, reconnect = quick })
    fill(mq, 1, 10)
    local from = sys.now()
    local ok, err, code = mq:post("/q", "x")
    assert.same({ nil, "full" }, { ok, code })
    assert.matches("0.1", err)
    assert.is_true(sys.now() - from >= 0.1)
    ok, err, code = mq:emit("/q", "x")
    assert.same({ "nil", "string", "full" }, { type(ok), type(err), code })
    assert.equal(10, mq:stats().queued)
  end)

  it("block: whoever waits is told when the client closes", function()
    local mq = client({ port = helper.free_port() }, { max_queue = 1, reconnect = quick })
    assert(mq:post("/q", "x"))
    local posting = task(function() return mq:post("/q", "y") end)
    local emitting = task(function() return mq:emit("/q", "z") end)
    tools.sleep(0.01)
    tools.within(5, function() mq:close(0) end)
    for _, each in ipairs { posting, emitting } do
      local ok, err, code = await(each)
      assert.same({ "nil", "string", "closed" }, { type(ok), type(err), code })
    end
  end)

  it("the bound in bytes holds, too", function()
    local mq = publisher("error", { max_queue = 1000, max_queue_bytes = 10000 })
    server:kill()
    eventually(function() return mq:stats().state ~= "connected" end)
    local payload, accepted = ("x"):rep(1000), 0
    while mq:post("/q", payload) do
      accepted = accepted + 1
      assert(accepted < 10)
    end
    assert.is_true(accepted >= 8)
    assert.equal("full", (select(3, mq:post("/q", payload))))
    assert.is_true(mq:stats().queued_bytes <= 10000)
    local ok, err, code = mq:post("/q", ("x"):rep(20000))   -- never fits
    assert.same({ nil, "invalid" }, { ok, code })
    assert.matches("max_queue_bytes", err)
  end)

  it("a large queue waits for its server, and all of it is sent", function()
    local port = helper.free_port()
    local mq = client({ port = port }, { reconnect = quick })
    for i = 1, 50000 do
      assert(mq:post("/q", tostring(i)))
    end
    assert.equal(50000, mq:stats().queued)
    local late = helper.redis { port = port }
    assert.is_true(mq:flush(10))
    assert.equal(50000, tools.calls(late, "publish"))
  end)
end)
