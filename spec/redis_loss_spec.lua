-- MQ.redis: what callbacks and waiting coroutines are told when the connection goes or the client closes.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"

local client, inbox, expect, task, await = tools.client, tools.inbox, tools.expect, tools.task, tools.await
local eventually = helper.eventually

describe("MQ.redis,", function()
  describe("when the connection goes", function()
    local victim

    before_each(function() victim = helper.redis() end)
    after_each(function()
      tools.close_all()
      victim:stop()
    end)

    it("each is called once with nil, after the messages that came before", function()
      local mq, lists = client(victim), {}
      for i, pattern in ipairs { "/a", "/a", "/b*" } do
        local list = {}
        lists[i] = list
        assert(mq:on(pattern, function(message)
          tools.sleep(0.002)
          list[#list + 1] = message and message.payload or "nil"
        end))
      end
      local got = inbox(mq, "/c")
      for _ = 1, 3 do
        mq:post("/a", "x")
        mq:post("/bb", "x")
      end
      assert(mq:emit("/c", ""))
      expect(got, 1)
      victim:kill()
      for i = 1, 3 do
        expect(lists[i], 4)
      end
      victim:restart()
      eventually(function() return mq:stats().reconnects == 1 and victim:cli("PUBSUB", "NUMPAT") == "3" end, 10)
      assert(mq:emit("/a", "y"))
      assert(mq:emit("/bb", "y"))
      for i = 1, 3 do
        expect(lists[i], 5)
        assert.same({ "x", "x", "x", "nil", "y" }, lists[i])
      end
      assert.equal(1, got.lost)
    end)

    it("a second loss is told again, and failed tries in between are not", function()
      local mq = client(victim, { reconnect = { min = 0.01, max = 0.02 } })
      local got = inbox(mq, "/twice")
      for loss = 1, 2 do
        victim:kill()
        eventually(function() return got.lost == loss end)
        tools.sleep(0.1)   -- several tries fail in this time
        victim:restart()
        eventually(function() return victim:cli("PUBSUB", "NUMPAT") == "1" end, 10)
        assert.equal(loss, got.lost)
      end
    end)

    it("their own close is no loss", function()
      local mq = client(victim)
      local got = inbox(mq, "/closed")
      assert(mq:close())
      eventually(function() return victim:client_count() == 0 end)
      tools.sleep(0.02)
      assert.equal(0, got.lost)
    end)

    it("a callback that raises at nil lives on", function()
      local reports, got = {}, {}
      local mq = client(victim, { on_error = function(_, err) reports[#reports + 1] = err end })
      assert(mq:on("/nil", function(message) got[#got + 1] = message.payload end))   -- indexes nil
      victim:restart()
      eventually(function() return mq:stats().reconnects == 1 end, 10)
      eventually(function() return victim:cli("PUBSUB", "NUMPAT") == "1" end, 10)
      assert(mq:emit("/nil", "x"))
      expect(got, 1)
      -- failed tries to connect are reported, too
      assert.matches("index.*stack traceback", table.concat(reports, "\n"))
    end)

    it("on_disconnect and on_connect are told", function()
      local told = {}
      local mq = client(victim, {
        on_connect = function(self) told[#told + 1] = self and "up" end,
        on_disconnect = function(_, err, code) told[#told + 1] = type(err) .. " " .. code end,
      })
      assert(mq:emit("x", ""))
      victim:restart()
      expect(told, 3, 10)
      assert.same({ "up", "string lost", "up" }, told)
    end)
  end)

  it("a coroutine that waits is told when its client closes meanwhile", function()
    local server = helper.redis()
    local mq = client(server)
    assert(mq:emit("x", ""))
    server:suspend()
    local waiting = task(function() return mq:emit("x", "") end)
    local subscribing = task(function() return mq:on("/x", function() end) end)
    tools.sleep(0.02)
    local closing = task(function() return mq:close(0.1) end)
    local ok, err = await(closing)
    server:resume()
    assert.is_nil(ok)
    assert.is_string(err)
    for _, each in ipairs { waiting, subscribing } do
      local done, message, code = await(each)
      assert.same({ "nil", "string", "closed" }, { type(done), type(message), code })
    end
  end)
end)
