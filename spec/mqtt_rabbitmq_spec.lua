-- MQ.mqtt and RabbitMQ's MQTT plugin (3.10): version 3.1.1, QoS 0 and 1, users and virtual hosts; a SIGKILL and a
-- restart in the middle of a stream (SIGTERM takes it 6 s).
--
-- RabbitMQ acknowledges a message of QoS 1 once its durable queues have written it, so that even a SIGKILL loses none.

local helper = require "spec.helper"
local tools = require "spec.mqtt_tools"

local inbox, expect, task, await = tools.inbox, tools.expect, tools.task, tools.await
local eventually = helper.eventually

local COUNT = 10000

describe("MQ.mqtt and RabbitMQ:", helper.real_broker_only("this is about RabbitMQ", function()
  local server, infos

  setup(function() server = helper.shared_rabbitmq() end)
  before_each(function() infos = {} end)
  after_each(tools.close_all)

  local function client(options, target)
    local all = {
      username = server.user, password = server.password, reconnect = { min = 0.02, max = 0.2 },
      on_connect = function(_, info) infos[#infos + 1] = info end,
    }
    for name, value in pairs(options or {}) do
      all[name] = value
    end
    return tools.client(target or server, all)
  end

  it("falls back from 5 to 3.1.1 at once, on each connection", function()
    local proxy = helper.proxy(server.port)   -- it hangs up at version 5, without an answer
    local told = {}
    local mq = client({
      on_disconnect = function(_, err) told[#told + 1] = err end, on_error = function(_, err) told[#told + 1] = err end,
    }, proxy)
    assert.is_true((mq:emit("x", "")))
    expect(infos, 1)
    assert.same({ "3.1.1", false }, { infos[1].version, infos[1].session_present })
    assert.same({ 2, {} }, { (proxy.count()), told })
    proxy.cut()
    expect(infos, 2)
    -- its silence may have been that of a broker of version 5 that was being restarted
    assert.same({ "3.1.1", 4, 1 }, { infos[2].version, (proxy.count()), mq:stats().reconnects })
  end)

  it("takes and gives QoS 0 and 1, and QoS 2 as 1", function()
    local mq, topic = client(), tools.unique("qos")
    local got = tools.messages(mq, topic, { qos = 2 })
    for qos = 0, 2 do
      assert.is_true((mq:emit(topic, tostring(qos), { qos = qos })))
      assert.is_true((mq:post(topic, tostring(qos), { qos = qos })))
    end
    assert.is_true((mq:flush(5)))
    expect(got, 6)
    for index = 1, 6 do
      local qos = math.floor((index - 1) / 2)
      assert.same({ tostring(qos), math.min(qos, 1) }, { got[index].payload, got[index].qos })
    end
    assert.equal(0, mq:stats().reconnects)
  end)

  it("knows + and #, in topics without a dot: it takes one for a slash", function()
    local mq, base = client(), tools.unique("p")
    local one, all = tools.messages(mq, base .. "/+/t"), tools.messages(mq, base .. "/#")
    for _, topic in ipairs { base, base .. "/a/t", base .. "/a.b/t", base .. "//t" } do
      assert.is_true((mq:emit(topic, topic)))
    end
    assert.is_true((mq:emit(base .. "/end/t", "end")))
    expect(all, 5)
    expect(one, 3)
    assert.same({ base .. "/a/t", base .. "//t", "end" }, { one[1].payload, one[2].payload, one[3].payload })
    assert.equal(base .. "/a/b/t", all[3].topic)
    assert.is_true((mq:off(base .. "/+/t")))
    assert.is_true((mq:emit(base .. "/a/t", "after")))
    expect(all, 6)
    assert.equal(3, #one)
  end)

  it("retains messages, for subscriptions without wildcards", function()
    local mq, topic = client(), tools.unique("retained")
    assert.is_true((mq:emit(topic, "kept", { retain = true })))
    local got = tools.messages(client(), topic)
    expect(got, 1)
    assert.same({ "kept", true }, { got[1].payload, got[1].retain })
    assert.is_true((mq:emit(topic, "", { retain = true })))
    expect(got, 2)   -- to those who are there it is a message like any other
    local late = tools.messages(client(), topic)
    tools.barrier(mq, topic, late)
    assert.equal(0, #late)
  end)

  it("publishes the will of a client whose link is cut, not of one that closes", function()
    local topic, proxy = tools.unique("will"), helper.proxy(server.port)
    local watcher = client()
    local got = inbox(watcher, topic)
    local options = { reconnect = false, will = { topic = topic, payload = "gone", qos = 1 } }
    options.on_error = function() end   -- it has ended
    local orderly, cut = client(options, proxy), client(options, proxy)
    for _, mq in ipairs { orderly, cut } do
      assert.is_true((mq:emit("x", "")))
    end
    assert.is_true((orderly:close()))
    tools.barrier(watcher, topic, got)
    assert.equal(0, #got)
    proxy.cut()
    expect(got, 1)
    assert.same({ "gone", lost = 0 }, got)
  end)

  it("refuses a wrong password and an unknown virtual host, for good", function()
    for _, options in ipairs { { password = "wrong" }, { username = "nobody" }, { vhost = "nowhere" } } do
      local mq = client(options)
      for _, result in ipairs { { mq:emit("x", "") }, { mq:on("x", print) }, { mq:start() } } do
        assert.same({ "nil", "auth" }, { type(result[1]), result[3] })
        assert.matches("username.*password", result[2])
      end
    end
  end)

  it("is told the virtual host, by option, by user name and by URL", function()
    assert.is_true((client({ vhost = "/" }):emit("x", "")))
    assert.is_true((client({ username = "/:guest" }):emit("x", "")))
    for _, user in ipairs { "guest", "%2F%3Aguest" } do
      local mq = tools.keep(require("MQ").connect(("mqtt://%s:guest@127.0.0.1:%d"):format(user, server.port)))
      assert.is_true((mq:emit("x", "")))
    end
  end)

  it("keeps a session: what was published while the client was away", function()
    local id, topic = tools.unique("kept"), tools.unique("kept")
    local options = { client_id = id, clean = false }
    local mq, publisher = client(options), client()
    inbox(mq, topic, { qos = 1 })
    assert.is_true((mq:close()))
    for number = 1, 100 do
      assert.is_true((publisher:post(topic, tostring(number))))
    end
    assert.is_true((publisher:flush(5)))
    mq = client(options)
    local got = inbox(mq, topic, { qos = 1 })
    expect(got, 100)
    assert.is_true(infos[#infos].session_present)
    for number = 1, 100 do
      assert.equal(tostring(number), got[number])
    end
    mq:off(topic)
  end)

  -- 10,000 messages of QoS 1 both ways, through a durable queue, while `disturb` happens so many times.
  local function stream(disturb, times)
    local topic = tools.unique("stream")
    local receiver = client { client_id = tools.unique("receiver"), clean = false }
    local sender = client { client_id = tools.unique("sender"), clean = false, max_queue = 500, timeout = 20 }
    local seen, distinct, doubles, lost = {}, 0, 0, 0
    assert(receiver:on(topic, function(message)
      local number = message and tonumber(message.payload)
      if not number then
        lost = lost + 1
      elseif seen[number] then
        doubles = doubles + 1
      else
        seen[number], distinct = true, distinct + 1
      end
    end, { qos = 1 }))
    local posting = task(function()
      for number = 1, COUNT do
        assert(sender:post(topic, tostring(number)))
      end
      return sender:flush(30)
    end)
    for round = 1, times do
      eventually(function() return distinct >= COUNT * round / (times + 1) end, 20)
      disturb()
    end
    assert.same({ true, nil }, { await(posting, 40) })
    eventually(function() return distinct == COUNT end, 20, "all have come")
    eventually(function() return lost == times end, 5)
    receiver:off(topic)
  end

  it("a stream of 10,000 loses none when it is killed and restarted", function()
    stream(function()
      server:kill()
      server:restart()
    end, 1)
  end)

  it("a stream of 10,000 loses none when its links are cut", function()
    local proxy = helper.proxy(server.port)
    local direct = server
    server = setmetatable({ port = proxy.port }, { __index = direct })
    local ok, err = pcall(stream, proxy.cut, 5)
    server = direct
    assert(ok, err)
  end)
end))
