-- MQ.stomp and streams of 10,000 numbered messages through a durable queue of RabbitMQ, every send with a receipt,
-- every delivery acknowledged, while links are cut and the broker is stopped, suspended or killed.
--
-- Asserted throughout: none is lost. A number comes twice where an acknowledgement was cut (the broker says that it has
-- sent it before, and never had more than `prefetch` under way), or where a receipt was (MQ sends again what has none,
-- at most max_in_flight). Where only one end is disturbed, the other end causes none. A RabbitMQ that is killed has
-- forgotten acknowledgements of its last moments, too: it writes them later, and tells nobody.

local helper = require "spec.helper"
local tools = require "spec.stomp_tools"

local client, task, await = tools.client, tools.task, tools.await
local eventually = helper.eventually

local COUNT, PREFETCH, IN_FLIGHT = 10000, 200, 500

local function receive(mq, queue)
  local tally = { seen = {}, distinct = 0, again = 0, resent = 0, lost = 0 }
  assert(mq:on(queue, function(message)
    if not message then
      tally.lost = tally.lost + 1
      return
    end
    local number = assert(tonumber(message.payload), message.payload)
    if not tally.seen[number] then
      tally.seen[number] = true
      tally.distinct = tally.distinct + 1
    elseif message.headers.redelivered == "true" then
      tally.again = tally.again + 1
    else
      tally.resent = tally.resent + 1
    end
  end, { prefetch = PREFETCH }))
  return tally
end

-- Posts 1 … COUNT, and gives what flush says at the end.
local function stream(mq, queue)
  local options = { header = { persistent = "true" } }
  return task(function()
    for number = 1, COUNT do
      local ok, err, code
      repeat
        ok, err, code = mq:post(queue, tostring(number), options)
      until ok or code ~= "full"   -- while the broker is away, a post waits for `timeout`
      assert(ok, err)
    end
    return mq:flush(40)
  end)
end

describe("MQ.stomp: a stream of 10,000", function()
  local server

  setup(function() server = helper.shared_rabbitmq() end)
  after_each(tools.close_all)

  local function disturbed(target)
    local all = {
      heartbeat = 1, timeout = 2, max_queue = 500, max_in_flight = IN_FLIGHT, reconnect = { min = 0.02, max = 0.1 },
    }
    return client(target, all)
  end

  -- However slow the machine makes RabbitMQ: it is over when nothing has come for a while.
  local function all_come(tally)
    local before
    repeat
      before = tally.distinct
      pcall(eventually, function() return tally.distinct == COUNT end, 20)
    until tally.distinct == COUNT or tally.distinct == before
    assert.equal(COUNT, tally.distinct)
  end

  -- Disturbs so many times, at equal distances in the stream.
  local function survive(receiver, sender, disturb, times, seconds)
    local queue = tools.queue()
    local tally = receive(receiver, queue)
    local posting = stream(sender, queue)
    for round = 1, times do
      eventually(function() return tally.distinct >= COUNT * round / (times + 1) end, 20, "more messages have come")
      disturb(round)
    end
    assert.same({ true, nil }, { await(posting, seconds or 80) })
    all_come(tally)
    assert.is_true((receiver:close()))
    assert.same({}, (tools.left_in(server, queue)))
    return tally
  end

  it("whose subscriber's link is cut: what comes again was not acknowledged", function()
    local proxy = tools.proxy(server)
    local receiver, sender = disturbed(proxy), disturbed(server)
    local tally = survive(receiver, sender, function(round)
      proxy.cut()
      eventually(function() return receiver:stats().reconnects == round end)
    end, 5)
    assert.same({ 5, 0 }, { tally.lost, tally.resent })
    assert.is_true(tally.again <= 5 * PREFETCH, tally.again)
  end)

  it("whose publisher's link is cut: what comes twice had no receipt", function()
    local proxy = tools.proxy(server)
    local receiver, sender = disturbed(server), disturbed(proxy)
    local tally = survive(receiver, sender, function(round)
      proxy.cut()
      eventually(function() return sender:stats().reconnects == round end)
    end, 5)
    assert.same({ 0, 0 }, { tally.lost, tally.again })
    assert.is_true(tally.resent <= 5 * IN_FLIGHT, tally.resent)
  end)

  local function bounded(tally, times)
    assert.equal(times, tally.lost)
    assert.is_true(tally.again <= times * PREFETCH, tally.again)
    assert.is_true(tally.resent <= times * IN_FLIGHT, tally.resent)
  end

  it("survives a broker that is suspended for longer than its clients wait", function()
    local receiver, sender = disturbed(server), disturbed(server)
    bounded(survive(receiver, sender, function()
      server:suspend()
      eventually(function()
        return receiver:stats().state ~= "connected" and sender:stats().state ~= "connected"
      end, 15)
      server:resume()
    end, 1), 1)
  end)

  if helper.lua ~= "lua5.4" and helper.lua ~= "luajit" then
    return   -- it takes RabbitMQ 6 s to start, and shows nothing of Lua
  end

  it("survives a broker that is killed and restarted", helper.real_broker_only(
    "the embedded broker keeps nothing on disk", function()
    local receiver, sender = disturbed(server), disturbed(server)
    local tally = survive(receiver, sender, function()
      server:kill()
      server:restart()
    end, 1)
    assert.equal(1, tally.lost)
    assert.is_true(tally.again + tally.resent <= COUNT / 2, tally.again + tally.resent)
  end))

  if helper.lua == "lua5.4" then
    it("survives a broker that is stopped and restarted", helper.real_broker_only(
      "the embedded broker keeps nothing on disk", function()
      local receiver, sender = disturbed(server), disturbed(server)
      bounded(survive(receiver, sender, function() server:restart() end, 1), 1)
    end))
  end
end)
