-- MQ.redis: how often it tries again, where, and when it gives up.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"

local client, inbox, expect, task, await = tools.client, tools.inbox, tools.expect, tools.task, tools.await
local eventually, sys = helper.eventually, helper.sys
local quick = { min = 0.01, max = 0.1 }

local function assert_fails(wanted, ok, err, code)
  assert.same({ "nil", "string", wanted }, { type(ok), type(err), code })
  return err
end

describe("MQ.redis tries again:", function()
  after_each(function()
    tools.close_all()
    helper.stop_all()
  end)

  it("with growing pauses, not in a hot loop", function()
    local peer = helper.peer "conn:reset()"
    client(peer, { reconnect = { min = 0.05, max = 0.4 } }):post("x", "")
    local from = sys.now()
    eventually(function() return peer.count() >= 5 end, 10)
    -- four pauses, each at least half of 0.05 0.1 0.2 0.4
    assert.is_true(sys.now() - from >= 0.37, "tried too soon")
  end)

  it("with pauses after a server that accepts and drops, too", function()
    local peer = helper.peer "conn:handshake() conn:reset()"
    local mq = client(peer, { reconnect = { min = 0.05, max = 0.4 }, timeout = 20 })
    task(function() return mq:on("/x", function() end) end)
    local from = sys.now()
    eventually(function() return peer.count() >= 5 end, 10)
    assert.is_true(sys.now() - from >= 0.37, "tried too soon")
  end)

  it("attempts: so many tries, then everybody is told", function()
    local peer = helper.peer "conn:reset()"
    local failures = 0
    local mq = client(peer, {
      reconnect = { min = 0.01, max = 0.02, attempts = 3 },
      on_error = function() failures = failures + 1 end,
    })
    local serving = task(function() return mq:start() end)
    local subscribing = task(function() return mq:on("/x", function() end) end)
    assert.matches("3 tries", assert_fails("lost", mq:emit("x", "")))
    assert_fails("lost", await(subscribing))
    assert_fails("lost", await(serving))
    assert_fails("lost", mq:start())
    assert.equal("failed", mq:stats().state)
    tools.sleep(0.1)
    assert.equal(3, peer.count())
    assert.equal(3, failures)
  end)

  it("start alone connects, and says once that it cannot where nobody else is told", function()
    local code, out, err = helper.run_lua([[
      local mq = require("MQ.redis"):new { port = ..., reconnect = { min = 0.01, max = 0.02, attempts = 3 } }
      print(select(3, mq:start()))
    ]], { args = { helper.free_port() } })
    assert.same({ 0, "lost\n" }, { code, out })
    assert.matches("^MQ%.redis: [^\n]-: cannot connect to [^\n]-; trying on\n$", err)
  end)

  it("reconnect = false: the first failure is the last", function()
    local mq = client({ port = helper.free_port() }, { reconnect = false })
    assert_fails("lost", mq:emit("x", ""))
    assert_fails("lost", mq:start())
  end)

  it("reconnect = false: a loss ends start, and calls with nil once", function()
    local server = helper.redis()
    local told = {}
    local mq = client(server, {
      reconnect = false,
      on_disconnect = function(_, _, code) told[#told + 1] = code end,
    })
    local got = inbox(mq, "/x")
    local serving = task(function() return mq:start() end)
    server:kill()
    assert_fails("lost", await(serving))
    expect(told, 1)
    eventually(function() return got.lost == 1 end)
    server:restart()
    tools.sleep(0.1)
    assert.equal(0, server:client_count())
    assert.same({ { "lost" }, 1 }, { told, got.lost })
  end)

  it("after a fatal error every call still says what it was", function()
    local mq = client({ port = helper.free_port() }, { reconnect = false })
    local first = assert_fails("lost", mq:emit("x", ""))
    assert.equal(first, assert_fails("lost", mq:emit("x", "")))
    assert.equal(first, assert_fails("lost", mq:post("x", "")))
    assert.equal(first, assert_fails("lost", mq:on("x", function() end)))
    local ok, err, failed, code = mq:flush()
    assert.same({ nil, first, 0, "lost" }, { ok, err, failed, code })
    assert.is_true(mq:close())
    assert_fails("closed", mq:emit("x", ""))
  end)

  it("a server with no room for one more client is asked again", function()
    local server = helper.redis { config = { maxclients = 2 } }
    local first, second = client(server), client(server)
    assert(first:emit("x", ""))
    assert(second:emit("x", ""))
    local third = client(server, { reconnect = quick })
    local emitting = task(function() return third:emit("x", "") end)
    tools.sleep(0.1)
    assert.is_nil(emitting.done)
    first:close()
    assert.is_true(await(emitting))
  end)

  it("hosts: the next one when one is not there, and when one goes", function()
    local one, two = helper.redis(), helper.redis()
    local mq = client(nil, {
      hosts = { "127.0.0.1:" .. helper.free_port(), "127.0.0.1:" .. one.port, "127.0.0.1:" .. two.port },
      reconnect = quick,
    })
    local got = inbox(mq, "/fail/over")
    assert.equal("1", one:cli("PUBSUB", "NUMPAT"))
    one:kill()
    eventually(function() return two:cli("PUBSUB", "NUMPAT") == "1" end, 10)
    assert.same({ true, 1 }, { mq:emit("/fail/over", "x") })
    expect(got, 1)
    one:restart()
    two:kill()
    eventually(function() return one:cli("PUBSUB", "NUMPAT") == "1" end, 10)
    assert.equal(2, got.lost)
  end)

  it("hosts: one that accepts and never speaks is left after the time-out", function()
    local mute, server = helper.peer "conn:freeze()", helper.redis()
    local mq = client(nil, {
      hosts = { "127.0.0.1:" .. mute.port, "127.0.0.1:" .. server.port }, timeout = 0.5, reconnect = quick,
    })
    mq:post("/x", "")
    assert.is_true(mq:flush(10))
    assert.equal(1, mute.count())
  end)

  it("a server that accepts and never speaks: calls end with timeout, and it is tried again", function()
    local mute = helper.peer "conn:hold()"
    local mq = client(mute, { timeout = 0.2, reconnect = quick })
    assert_fails("timeout", mq:emit("x", ""))
    assert_fails("timeout", mq:on("/x", function() end))
    eventually(function() return mute.count() >= 2 end)
  end)
end)
