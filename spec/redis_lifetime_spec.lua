-- MQ.redis: how clients end: closed, while there is work, while there is no server; or forgotten.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"
local MQ = require "MQ.redis"

local client, inbox, expect, task, await = tools.client, tools.inbox, tools.expect, tools.task, tools.await
local eventually, sys = helper.eventually, helper.sys
local quick = { min = 0.01, max = 0.05 }

local function count_entries(directory)
  local _, out = helper.run { "ls", directory }
  return select(2, out:gsub("\n", ""))
end

local function own(what)
  return count_entries(("/proc/%d/%s"):format(sys.getpid(), what))
end

describe("MQ.redis", function()
  local server

  before_each(function() server = helper.redis() end)
  after_each(function()
    tools.close_all()
    server:stop()
  end)

  describe("close", function()
    it("may be called twice, and by several at once", function()
      local mq = client(server)
      inbox(mq, "/x")
      local first, second = task(mq.close, mq), task(mq.close, mq)
      assert.same({ true }, { await(first) })
      assert.same({ true }, { await(second) })
      assert.is_true((mq:close()))
      eventually(function() return server:client_count() == 0 end)
    end)

    it("of a client that never did anything makes no connection", function()
      local before = tools.calls(server, "hello")
      local mq = client(server)
      assert.is_true((mq:close()))
      assert.equal(before, tools.calls(server, "hello"))
    end)

    it("sends what is queued", function()
      local mq, other = client(server), client(server)
      local got = inbox(other, "/queued")
      local payload = ("x"):rep(1000)
      for _ = 1, 20000 do
        assert(mq:post("/queued", payload))
      end
      assert.is_true((mq:close()))
      expect(got, 20000)
      assert.equal(1, server:client_count())
    end)

    it("sends what is queued even where no connection had been made", function()
      for i = 1, 20 do
        local mq = MQ:new { port = server.port }
        mq:post("/first/" .. i, "x")
        assert.is_true((mq:close()))
      end
      assert.equal(20, tools.calls(server, "publish"))
    end)

    it("lets emits that are under way have their answers", function()
      local mq, emits = client(server), {}
      for i = 1, 50 do
        emits[i] = task(mq.emit, mq, "x", "")
      end
      tools.sleep(0)   -- they have been called
      assert.is_true((mq:close()))
      for _, each in ipairs(emits) do
        assert.is_true((await(each)))
      end
    end)

    it("with posts and no server gives up after its time, and says so", function()
      local mq = client({ port = helper.free_port() }, { reconnect = quick })
      for _ = 1, 3 do
        mq:post("x", "")
      end
      local from = sys.now()
      local ok, err, code = mq:close(0.2)
      local took = sys.now() - from
      assert.same({ "nil", "lost" }, { type(ok), code })
      assert.matches("3 messages", err)
      assert.is_true(took >= 0.19 and took < 3, took)
    end)

    it("with posts waits for a server that comes in time", function()
      local port = helper.free_port()
      local mq = client({ port = port }, { reconnect = quick })
      mq:post("x", "")
      local closing = task(mq.close, mq, 10)
      tools.sleep(0.05)
      assert.is_nil(closing.done)
      local late = helper.redis { port = port }
      assert.is_true((await(closing)))
      assert.equal(1, tools.calls(late, "publish"))
    end)

    it("with nothing to send does not wait for a server", function()
      local mq = client(server, { reconnect = quick })
      local got = inbox(mq, "/x")
      server:kill()
      eventually(function() return got.lost == 1 end)
      local from = sys.now()
      assert.is_true((mq:close(5)))
      assert.is_true(sys.now() - from < 3)
    end)

    it("close(0) does not wait for a server that hangs", function()
      local mq = client(server)
      inbox(mq, "/x")
      server:suspend()
      mq:post("/x", "")
      local from = sys.now()
      local ok, err = mq:close(0)
      assert.is_nil(ok)
      assert.is_string(err)
      assert.is_true(sys.now() - from < 3)
    end)

    it("stops the messages: none comes afterwards", function()
      local mq, other = client(server), client(server)
      local got = inbox(mq, "/stop")
      for _ = 1, 1000 do
        other:post("/stop", "x")
      end
      expect(got, 1)
      mq:close()
      local count = #got
      assert.is_true(other:flush(5))
      tools.sleep(0.02)
      assert.equal(count, #got)
    end)

    it("from within on_connect and on_disconnect", function()
      local ended = {}
      local first = client(server, { on_connect = function(mq) ended[#ended + 1] = (mq:close()) end })
      first:post("x", "")
      expect(ended, 1)
      local second = client(server, { on_disconnect = function(mq) ended[#ended + 1] = (mq:close()) end })
      assert(second:emit("x", ""))
      server:kill()
      expect(ended, 2)
      assert.same({ true, true }, ended)
    end)
  end)

  it("a hundred clients share one thread; closed, they leave no descriptor", function()
    assert(client(server):emit("x", ""))
    tools.close_all()
    collectgarbage()
    local descriptors, threads = own "fd", own "task"
    for _ = 1, 100 do
      inbox(client(server), "/x")
    end
    assert.equal(100, server:subscribers("/x") + tonumber(server:cli("PUBSUB", "NUMPAT")) * 100)
    assert.equal(threads, own "task")
    tools.close_all()
    collectgarbage()
    eventually(function() return own "fd" <= descriptors end)
  end)

  describe("a client that is forgotten", function()
    local function forgotten(use)
      use(MQ:new { port = server.port })
      assert.equal(1, server:client_count())
      eventually(function()
        if rawget(_G, "jit") then
          rawget(_G, "jit").flush()   -- a compiled trace keeps the objects that it was specialised to
        end
        collectgarbage()   -- again: on a busy machine its last callback may not have returned the first time
        return server:client_count() == 0
      end, 5, "the connection ends")
    end

    it("after an emit", function()
      forgotten(function(mq) assert(mq:emit("x", "")) end)
    end)

    it("with a subscription, and messages received", function()
      forgotten(function(mq)
        local got = inbox(mq, "/x")
        mq:post("/x", "")
        mq:post("/x", "")
        expect(got, 2)
      end)
    end)

    it("with a callback that refers to it, several, and handlers", function()
      forgotten(function(mq)
        local got = {}
        local function take(message)
          tools.sleep(0.001)
          got[#got + 1] = message
          mq:emit("/answer", "")
        end
        assert(mq:on("/x", take))
        assert(mq:on("/x", take))
        mq:emit("/x", "")
        expect(got, 2)
        tools.sleep(0.02)
      end)
    end)

    it("used from coroutines only", function()
      forgotten(function(mq)
        tools.within(5, function()
          assert(mq:on("/x", function() mq:post("/y", "") end))
          assert(mq:emit("/x", ""))
        end)
      end)
    end)

    it("while it is offline stops trying", function()
      local peer = helper.peer "conn:reset()"
      local function use()
        local mq = MQ:new { port = peer.port, reconnect = quick }
        mq:post("x", "")
        eventually(function() return peer.count() >= 2 end)
        return true
      end
      use()
      collectgarbage()
      collectgarbage()
      tools.sleep(0.1)
      local count = peer.count()
      tools.sleep(0.2)
      assert.equal(count, peer.count())
    end)
  end)

  it("a client with a subscription is not forgotten while the loop runs", function()
    local code, out, err = helper.run_lua([[
      local MQ = require "MQ.redis"
      local loop = require("MQ.loop").current()
      local port = tonumber(arg[1])
      loop.spawn(function()
        do
          local mq = MQ:new { port = port }
          mq:on("/kept", function(message)
            print(message.payload)
            if message.payload == "5" then mq:close() end
          end)
        end
        local other = MQ:new { port = port }
        for i = 1, 5 do
          collectgarbage()
          collectgarbage()
          other:emit("/kept", tostring(i))
        end
        other:close()
      end)
      loop.run()
    ]], { args = { server.port } })
    assert.same({ 0, "1\n2\n3\n4\n5\n", "" }, { code, out, err })
  end)
end)
