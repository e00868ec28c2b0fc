-- MQ.redis in a program that does not wait: it computes, or blocks elsewhere, while its clients have things to do.
-- Each spec does so with a client that has just exchanged messages, and with one that has been idle.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"

local client, inbox, expect, task, await = tools.client, tools.inbox, tools.expect, tools.task, tools.await
local eventually, sys = helper.eventually, helper.sys
local quick = { min = 0.01, max = 0.05 }

-- Nothing of MQ runs meanwhile.
local function compute(seconds)
  local till = sys.now() + seconds
  while sys.now() < till do
    math.sqrt(2)
  end
end

-- Waits for a condition without MQ's loop.
local function meanwhile(condition, what)
  local deadline = sys.now() + 5
  while not condition() do
    if sys.now() > deadline then
      error("not true after 5 s, while nothing of MQ ran: " .. what, 2)
    end
    sys.sleep(0.005)
  end
end

local function exchange(mq, got)
  local from = #got
  for i = 1, 200 do
    assert(mq:emit("/ping", "warm " .. i))
  end
  expect(got, from + 200)
  for i = #got, 1, -1 do
    got[i] = nil
  end
end

describe("MQ.redis in a busy program:", function()
  local server

  before_each(function() server = helper.redis() end)
  after_each(function()
    tools.close_all()
    server:stop()
  end)

  -- A spec for a client that was just in use, and one for an idle client.
  local function both(name, options, body)
    for _, warm in ipairs { true, false } do
      it(name .. (warm and " (just used)" or " (idle)"), function()
        local mq = client(server, options)
        local got = inbox(mq, "/ping")
        if warm then
          exchange(mq, got)
        else
          assert(mq:emit("x", ""))
          tools.sleep(0.05)
        end
        body(mq, got)
      end)
    end
  end

  both("posts go out by themselves", {}, function(mq, got)
    local before = tools.calls(server, "publish")
    for i = 1, 10 do
      mq:post("/ping", tostring(i))
    end
    meanwhile(function() return tools.calls(server, "publish") == before + 10 end, "ten posts have been sent")
    expect(got, 10)
  end)

  both("an emit is sent while its caller computes elsewhere", {}, function(mq)
    local before = tools.calls(server, "publish")
    local emitting = task(function() return mq:emit("/ping", "x") end)
    tools.sleep(0)
    meanwhile(function() return tools.calls(server, "publish") == before + 1 end, "the emit has been sent")
    assert.same({ true, 1 }, { await(emitting) })
  end)

  both("the connection is probed and kept", { keepalive = 0.1, timeout = 0.3 }, function(mq, got)
    local before = tools.calls(server, "ping")
    compute(0.8)
    assert.is_true(tools.calls(server, "ping") >= before + 3)
    assert.same({ true, 1 }, { mq:emit("/ping", "x") })
    expect(got, 1)
    assert.same({ 0, 0 }, { mq:stats().reconnects, got.lost })
  end)

  both("messages that come meanwhile are all there afterwards, in order", {}, function(_, got)
    local publisher = helper.start_lua([[
      local mq = require("MQ.redis"):new { port = tonumber(arg[1]) }
      for i = 1, 20000 do assert(mq:post("/ping", tostring(i))) end
      assert(mq:flush(10))
    ]], { args = { server.port } })
    assert.equal(0, (publisher:wait(20)))   -- blocks: nothing of MQ runs here
    assert.equal(0, #got)
    expect(got, 20000)
    for i = 1, 20000 do
      assert.equal(tostring(i), got[i])
    end
  end)

  both("a loss is noticed, and mended, meanwhile", { reconnect = quick }, function(mq, got)
    server:restart()
    meanwhile(function() return server:cli("PUBSUB", "NUMPAT") == "1" end, "subscribed again")
    assert.same({ true, 1 }, { mq:emit("/ping", "x") })
    expect(got, 1)
    assert.same({ 1, 1 }, { mq:stats().reconnects, got.lost })
  end)

  both("a server that hangs is left meanwhile", { keepalive = 0.2, timeout = 0.2, reconnect = quick }, function(mq, got)
    server:suspend()
    compute(1)
    server:resume()
    eventually(function() return got.lost == 1 end)
    eventually(function() return server:cli("PUBSUB", "NUMPAT") == "1" end)
    assert.same({ true, 1 }, { mq:emit("/ping", "x") })
    expect(got, 1)
  end)

  -- A backlog that is exactly full, and exactly emptied by so many turns of the loop, must be refilled.
  for _, most in ipairs { 1, 7, 1000, 1024, 4096, 65536 } do
    it("a program that comes and goes gets everything, with max_pending = " .. most, function()
      local mq, publisher = client(server, { max_pending = most }), client(server, { overflow = "block" })
      local count, wrong = 0, 0
      assert(mq:on("/flood", function(message)
        count = count + 1
        if message.payload ~= tostring(count) then
          wrong = wrong + 1
        end
      end))
      local sent = 0
      for round = 1, most > 10000 and 3 or 10 do
        local burst = most > 10000 and 70000 or 5000
        for _ = 1, burst do
          sent = sent + 1
          assert(publisher:post("/flood", tostring(sent)))
        end
        if round % 2 == 1 then
          -- Everything that has room has arrived before anything is taken.
          meanwhile(function() return publisher:stats().in_flight + publisher:stats().queued == 0 end, "all is sent")
          sys.sleep(0.05)
        end
        eventually(function() return count == sent end, 5, "all of burst " .. round .. " has come")
      end
      assert.equal(0, wrong)
    end)
  end

  it("callbacks that yield now and then get everything, however little may wait", function()
    for _, most in ipairs { 1, 3, 100 } do
      local mq, publisher = client(server, { max_pending = most }), client(server)
      local got = {}
      assert(mq:on("/now/and/then", function(message)
        if #got % 7 == 0 then
          tools.sleep(0)
        end
        got[#got + 1] = message.payload
      end))
      for i = 1, 10000 do
        assert(publisher:post("/now/and/then", tostring(i)))
      end
      expect(got, 10000, 10)
      for i = 1, 10000 do
        assert.equal(tostring(i), got[i])
      end
      mq:close()
    end
  end)

  it("fifty clients in lively exchange do not starve each other", function()
    local clients, counts = {}, {}
    for i = 1, 50 do
      local mq, name = client(server), "/player/" .. i
      clients[i], counts[i] = mq, 0
      assert(mq:on(name, function(message)
        counts[i] = counts[i] + 1
        if counts[i] < 100 then
          mq:post(name, message.payload)
        end
      end))
    end
    for i = 1, 50 do
      clients[i]:post("/player/" .. i, "ball")
    end
    eventually(function()
      for i = 1, 50 do
        if counts[i] < 100 then
          return false
        end
      end
      return true
    end, 20)
    assert.equal(5000, tools.calls(server, "publish"))
  end)

  it("one client in lively exchange does not keep the others, nor timers and coroutines, from their turn", function()
    local lively, other = client(server), client(server)
    local over = false
    assert(lively:on("/self", function()
      if not over then
        lively:post("/self", "again")
      end
    end))
    local got = inbox(other, "/rare")
    for _ = 1, 50 do
      lively:post("/self", "start")
    end
    local ticks = 0
    local timer = tools.host.at(0.01, function() ticks = ticks + 1 end)
    tools.sleep(0.2)
    assert.same({ true, 1 }, { tools.within(5, function() return other:emit("/rare", "x") end) })
    expect(got, 1)
    over = true
    timer:stop()
    assert.is_true(ticks >= 5, ticks .. " ticks")
  end)

  it("a finalizer that waits for an answer disturbs no message that is under way", function()
    local collected, sender, receiver = client(server), client(server), client(server)
    local newproxy = rawget(_G, "newproxy")   -- 5.1 and LuaJIT know finalizers of userdata only
    local waiting, finalized = false, 0
    local function finalize()
      if not waiting then
        waiting = true
        finalized = finalized + 1
        collected:emit("/finalized", "")
        waiting = false
      end
    end
    local function litter()
      if newproxy then
        getmetatable(newproxy(true)).__gc = finalize
      else
        setmetatable({}, { __gc = finalize })
      end
    end
    assert(collected:emit("/finalized", ""))
    local seen, count, wrong = {}, 0, {}
    -- the heap of all specs is too large to be collected by itself meanwhile
    local pause = collectgarbage("setpause", 50)
    finally(function() collectgarbage("setpause", pause) end)
    assert(receiver:on("/gc/*", function(message)
      local number, rest = message.payload:match("^(%d+):(.*)$")
      if not number or seen[number] or message.source ~= "/gc/" .. number or rest ~= number:rep(40) then
        wrong[#wrong + 1] = message.source .. " " .. message.payload:sub(1, 60)
      end
      seen[number or ""] = true
      count = count + 1
      if count % 5 == 0 then
        litter()
      end
      if count % 1000 == 0 then
        collectgarbage()   -- what it finds is finalized now or by what comes next
      end
    end))
    for i = 1, 10000 do
      assert(sender:post("/gc/" .. i, i .. ":" .. tostring(i):rep(40)))
    end
    eventually(function() return count == 10000 end, 30)
    assert.same({}, wrong)
    assert.is_true(finalized > 0)
  end)
end)
