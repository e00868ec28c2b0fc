-- MQ.mqtt and the MQTT connector of ActiveMQ Classic (5.17): version 3.1.1, QoS 0 to 2, a SIGKILL in the middle
-- of a stream; on one interpreter, since it shows nothing of Lua.
--
-- Its CONNACK never says that there is a session, also where there is one.

local helper = require "spec.helper"
local tools = require "spec.mqtt_tools"

local inbox, expect, task, await = tools.inbox, tools.expect, tools.task, tools.await
local eventually = helper.eventually

local COUNT = 2000   -- it writes each to the disk

if helper.lua ~= "lua5.4" then
  return
end

describe("MQ.mqtt and ActiveMQ:", function()
  local server, infos

  setup(function() server = helper.activemq { persistence = true, users = { alice = "wonder" } } end)
  before_each(function() infos = {} end)
  after_each(tools.close_all)

  local function client(options, target)
    local all = {
      username = "alice", password = "wonder", reconnect = { min = 0.02, max = 0.2 },
      on_connect = function(_, info) infos[#infos + 1] = info end,
    }
    for name, value in pairs(options or {}) do
      all[name] = value
    end
    return tools.client(target or server, all)
  end

  it("falls back from 5 to 3.1.1, and takes and gives every QoS", function()
    local mq, topic = client(), tools.unique("qos")
    local got = tools.messages(mq, topic, { qos = 2 })
    for qos = 0, 2 do
      assert.is_true((mq:emit(topic, tostring(qos), { qos = qos })))
    end
    expect(got, 3)
    for index = 1, 3 do
      assert.same({ tostring(index - 1), index - 1 }, { got[index].payload, got[index].qos })
    end
    assert.same({ "3.1.1", 0 }, { infos[1].version, mq:stats().reconnects })
  end)

  it("knows + and #, and characters that are its own", function()
    local base = tools.unique("p")
    local publisher = client()
    local one, all = tools.messages(client(), base .. "/+/t"), tools.messages(client(), base .. "/#")
    local topics = { base .. "/a/t", base .. "/a.b/t", base .. "//t", base .. "/a*b/t", base .. "/a>b/t" }
    for _, topic in ipairs(topics) do
      assert.is_true((publisher:emit(topic, topic)))
    end
    assert.is_true((publisher:emit(base, "itself")))
    expect(all, 6)
    expect(one, 5)
    for index, topic in ipairs(topics) do
      assert.same({ topic, topic }, { one[index].topic, all[index].topic })
    end
  end)

  it("sends a message once for each filter of a client that matches", function()
    local mq, topic = client(), tools.unique("overlap")
    local one, all = inbox(mq, topic .. "/a"), inbox(mq, topic .. "/#")
    assert.is_true((client():emit(topic .. "/a", "x")))
    expect(one, 2)   -- 3.1.1 does not say which copy is for which filter (section 3.3.5)
    expect(all, 2)
  end)

  it("retains messages", function()
    local mq, topic = client(), tools.unique("retained")
    assert.is_true((mq:emit(topic, "kept", { retain = true })))
    local got = tools.messages(client(), topic .. "/#")
    expect(got, 1)
    assert.same({ "kept", true }, { got[1].payload, got[1].retain })
    assert.is_true((mq:emit(topic, "", { retain = true })))
    local late = tools.messages(client(), topic)
    tools.barrier(mq, topic, late)
    assert.equal(0, #late)
  end)

  it("publishes the will of a client whose link is cut", function()
    local topic, proxy = tools.unique("will"), helper.proxy(server.port)
    local got = inbox(client(), topic)
    local mq = client({
      reconnect = false, will = { topic = topic, payload = "gone", qos = 1 }, on_error = function() end,
    }, proxy)
    assert.is_true((mq:emit("x", "")))
    proxy.cut()
    expect(got, 1)
    assert.equal("gone", got[1])
  end)

  it("refuses a wrong password for good", function()
    local mq = client { password = "wrong" }
    local ok, err, code = mq:emit("x", "")
    assert.same({ "nil", "auth" }, { type(ok), code })
    assert.matches("password", err)
  end)

  for qos = 1, 2 do
    it("keeps a session, though it does not say so (QoS " .. qos .. ")", function()
      local id, topic = tools.unique("kept"), tools.unique("kept")
      local mq, publisher = client { client_id = id, clean = false }, client()
      inbox(mq, topic, { qos = qos })
      assert.is_true((mq:close()))
      for number = 1, 100 do
        assert.is_true((publisher:post(topic, tostring(number), { qos = qos })))
      end
      assert.is_true((publisher:flush(5)))
      mq = client { client_id = id, clean = false }
      local got = inbox(mq, topic, { qos = qos })
      expect(got, 100)
      assert.is_false(infos[#infos].session_present)
      for number = 1, 100 do
        assert.equal(tostring(number), got[number])
      end
      mq:off(topic)
    end)
  end

  it("a stream loses none when it is killed and restarted (QoS 1)", function()
    local topic = tools.unique("stream")
    local receiver = client { client_id = tools.unique("receiver"), clean = false }
    local sender = client { client_id = tools.unique("sender"), clean = false, max_queue = 500, timeout = 20 }
    local seen, distinct, lost = {}, 0, 0
    assert(receiver:on(topic, function(message)
      if not message then
        lost = lost + 1
      elseif not seen[message.payload] then
        seen[message.payload], distinct = true, distinct + 1
      end
    end, { qos = 1 }))
    local posting = task(function()
      for number = 1, COUNT do
        assert(sender:post(topic, tostring(number), { qos = 1 }))
      end
      return sender:flush(30)
    end)
    eventually(function() return distinct >= COUNT / 2 end, 30)
    server:kill()
    server:restart()
    assert.same({ true, nil }, { await(posting, 40) })
    eventually(function() return distinct == COUNT end, 20, "all have come")
    eventually(function() return lost == 1 end)
  end)
end)
