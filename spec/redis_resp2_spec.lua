-- MQ.redis and a server that does not know HELLO (Redis before 6): there a connection that has subscribed cannot
-- publish, so one client holds two connections, and nobody notices.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"

local client, inbox, expect, task, await = tools.client, tools.inbox, tools.expect, tools.task, tools.await
local eventually = helper.eventually
local quick = { min = 0.01, max = 0.05 }

describe("MQ.redis with RESP2", function()
  local server

  before_each(function() server = helper.redis { resp2 = true } end)
  after_each(function()
    tools.close_all()
    server:stop()
  end)

  -- "connected" means that the server has let both connections in. When it has read the subscription on one of them,
  -- and given up what was before, nothing on the other one tells: the server does.
  local function renewed(subscribed_before)
    eventually(function()
      return tools.calls(server, "psubscribe") > subscribed_before and server:client_count() == 2
    end)
  end

  it("publishes over one connection", function()
    local mq = client(server)
    assert.same({ true, 0 }, { mq:emit("x", "") })
    for _ = 1, 100 do
      mq:post("x", "")
    end
    assert.is_true(mq:flush(5))
    assert.equal(1, server:client_count())
  end)

  it("subscribes and publishes on one client", function()
    local mq, got = client(server), {}
    assert.is_true(mq:on("/a/*", function(message) got[#got + 1] = message end))
    assert.same({ true, 1 }, { mq:emit("/a/b", "emitted") })
    assert.is_true(mq:post("/a/b", "posted"))
    assert.is_true(mq:flush(5))
    assert.is_true(mq:on("/a/b", function(message) got[#got + 1] = message end, { exact = true }))
    assert.same({ true, 2 }, { mq:emit("/a/b", "both") })
    expect(got, 4)
    assert.same({ type = "pmessage", source = "/a/b", pattern = "/a/*", payload = "emitted" }, got[1])
    local kinds = { [got[3].type] = true, [got[4].type] = true }
    assert.same({ message = true, pmessage = true }, kinds)
    assert.is_true(mq:off("/a/*"))
    assert.same({ true, 1 }, { mq:emit("/a/b", "") })
    assert.is_true(mq:off("/a/b"))
    assert.same({ true, 0 }, { mq:emit("/a/b", "") })
    assert.is_true(server:client_count() <= 2)
  end)

  it("publishes first, then subscribes, from several coroutines", function()
    local mq, tasks, count = client(server), {}, 0
    assert.is_true(mq:emit("x", ""))
    for i = 1, 20 do
      tasks[i] = task(function()
        assert(mq:on("/c/" .. i, function() count = count + 1 end))
        return mq:emit("/c/" .. i, "")
      end)
    end
    for _, each in ipairs(tasks) do
      assert.same({ true, 1 }, { await(each) })
    end
    eventually(function() return count == 20 end)
  end)

  it("close ends both connections, and sends what is queued", function()
    local mq, other = client(server), client(server)
    local got = inbox(other, "/closing")
    inbox(mq, "/mine")
    for _ = 1, 100 do
      mq:post("/closing", "x")
    end
    assert.is_true(mq:close())
    expect(got, 100)
    other:close()
    eventually(function() return server:client_count() == 0 end)
    assert.equal("closed", (select(3, mq:emit("x", ""))))
  end)

  it("a connection that goes: told once, subscribed again, nothing of it doubled", function()
    local told = {}
    local mq = client(server, {
      reconnect = quick,
      on_connect = function() told[#told + 1] = "up" end,
      on_disconnect = function() told[#told + 1] = "down" end,
    })
    local got = inbox(mq, "/again")
    server:kill()
    eventually(function() return got.lost == 1 end)
    local emitting = task(function() return mq:emit("/again", "queued") end)
    tools.sleep(0.02)
    server:restart()
    assert.is_true((await(emitting)))
    eventually(function() return mq:stats().state == "connected" end)
    renewed(0)
    assert.same({ true, 1 }, { mq:emit("/again", "x") })
    eventually(function() return got[#got] == "x" end)
    tools.sleep(0.05)
    assert.equal(1, got.lost)
    assert.same({ "up", "down", "up" }, told)
    assert.is_true(server:client_count() <= 2)
  end)

  it("only the subscribed connection goes", function()
    local mq = client(server, { reconnect = quick })
    local got = inbox(mq, "/one")
    assert.same({ true, 1 }, { mq:emit("/one", "1") })
    expect(got, 1)
    local subscribed = tools.calls(server, "psubscribe")
    server:cli("CLIENT", "KILL", "TYPE", "pubsub")
    eventually(function() return got.lost == 1 and mq:stats().state == "connected" end)
    renewed(subscribed)
    assert.same({ true, 1 }, { mq:emit("/one", "2") })
    expect(got, 2)
    assert.same({ "1", "2", lost = 1 }, got)
  end)

  it("only the publishing connection goes: no subscription is told", function()
    local mq = client(server, { reconnect = quick })
    local got = inbox(mq, "/two")
    assert.same({ true, 1 }, { mq:emit("/two", "1") })
    expect(got, 1)
    server:cli("CLIENT", "KILL", "TYPE", "normal")
    eventually(function() return mq:emit("/two", "2") end)
    eventually(function() return got[2] == "2" end)
    assert.equal(0, got.lost)
  end)

  it("an idle subscription is probed there, too", function()
    local mq = client(server, { keepalive = 0.05, timeout = 1 })
    local got = inbox(mq, "/idle")
    eventually(function() return tools.calls(server, "ping") >= 8 end)
    assert.equal(0, mq:stats().reconnects)
    assert.same({ true, 1 }, { mq:emit("/idle", "x") })
    expect(got, 1)
  end)

  it("logs in with AUTH, with and without a user; a wrong password is fatal", function()
    local locked = helper.redis { resp2 = true, password = "secret", config = { "user alice on >wonder ~* &* +@all" } }
    for _, options in ipairs { { auth = "secret" }, { username = "alice", password = "wonder" } } do
      options.db = 2
      local mq = client(locked, options)
      local got = inbox(mq, "/in")
      assert.same({ true, 1 }, { mq:emit("/in", "x") })
      expect(got, 1)
      mq:close()
    end
    for _, options in ipairs { { auth = "wrong" }, {}, { username = "nobody", password = "x" } } do
      local mq = client(locked, options)
      local ok, err, code = mq:on("/in", function() end)
      assert.same({ "nil", "string", "auth" }, { type(ok), type(err), code })
      assert.equal("auth", (select(3, tools.within(5, function() return mq:start() end))))
    end
    eventually(function() return locked:client_count() == 0 end, 5, "no connection is left")
  end)
end)
