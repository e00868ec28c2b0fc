-- MQ.stomp and ActiveMQ Classic (5.17); on one interpreter, since it shows nothing of Lua.

local helper = require "spec.helper"
local tools = require "spec.stomp_tools"

local inbox, messages, expect, task, await = tools.inbox, tools.messages, tools.expect, tools.task, tools.await
local eventually = helper.eventually

local COUNT = 500   -- it writes each to the disk, twice

if helper.lua ~= "lua5.4" then
  return
end

describe("MQ.stomp and ActiveMQ:", function()
  local server

  setup(function() server = helper.activemq { persistence = true, users = { alice = "wonder" } } end)
  after_each(tools.close_all)

  local function client(options, target)
    local all = { username = "alice", password = "wonder" }
    for name, value in pairs(options or {}) do
      all[name] = value
    end
    return tools.client(target or server, all)
  end

  for _, version in ipairs(tools.versions) do
    describe("version " .. version, function()
      local function new(options)
        options = options or {}
        options.version = version
        return client(options)
      end

      it("takes and gives queues and topics, with a receipt and without", function()
        local info
        local mq, queue, topic = new { on_connect = function(_, told) info = told end }, tools.queue(), tools.topic()
        local tasks, news = inbox(mq, queue), inbox(mq, topic)
        for number = 1, 20 do
          assert.is_true(mq:post(queue, tostring(number), { receipt = number % 2 == 0 }))
          assert.is_true((mq:emit(topic, tostring(number), { receipt = number % 3 == 0 })))
        end
        expect(tasks, 20)
        expect(news, 20)
        for number = 1, 20 do
          assert.same({ tostring(number), tostring(number) }, { tasks[number], news[number] })
        end
        assert.same({ version, 0 }, { info.version, mq:stats().reconnects })
        assert.matches("^ActiveMQ", info.server)
      end)

      it("carries bytes and headers as they were given", function()
        local mq, queue = new(), tools.queue()
        local got = messages(mq, queue)
        local header = { colour = "blue", note = version == "1.0" and "plain" or "a:b\\c\nd", priority = 7 }
        for index, payload in ipairs { "", "text", "\0\255\n", ("x"):rep(300000) } do
          assert.is_true((mq:emit(queue, payload, { header = header })))
          expect(got, index)
          assert.is_true(got[index].payload == payload)
          assert.same({ "blue", header.note, "7" },
            { got[index].headers.colour, got[index].headers.note, got[index].headers.priority })
        end
      end)

      it("acknowledges by message, and cumulatively", function()
        local mq, queue = new(), tools.queue()
        local got = messages(mq, queue, { ack = version == "1.0" and "client" or "manual" })
        for number = 1, 5 do
          assert(mq:emit(queue, tostring(number)))
        end
        expect(got, 5)
        assert.is_true(got[1]:ack())
        assert.is_true(got[2]:ack())
        if version ~= "1.0" then
          assert.is_true(got[5]:ack())
        end
        assert.is_true((mq:emit(tools.topic(), "")))
        assert.is_true(mq:close())
        mq = client()
        local rest = messages(mq, queue)
        tools.barrier(mq, queue, rest)
        local left = {}
        for index, message in ipairs(rest) do
          left[index] = message.payload
        end
        assert.same(version == "1.0" and { "3", "4", "5" } or { "3", "4" }, left)
      end)

      it("commits and aborts transactions", function()
        local mq, from, to = new(), tools.queue(), tools.queue()
        local taken, got = messages(mq, from, { ack = "manual" }), inbox(new(), to)
        for number = 1, 3 do
          assert(mq:emit(from, tostring(number)))
        end
        expect(taken, 3)
        for number = 1, 2 do
          assert.is_true((mq:transaction(function(tx)
            tx:emit(to, taken[number].payload)
            tx:ack(taken[number])
          end)))
        end
        assert.is_false((pcall(mq.transaction, mq, function(tx)
          tx:emit(to, "never")
          tx:ack(taken[3])
          error("changed my mind")
        end)))
        expect(got, 2)
        assert.is_true(mq:close())
        local left = inbox(client(), from)
        expect(left, 1)
        assert.same({ { "1", "2", lost = 0 }, "3" }, { got, left[1] })
      end)
    end)
  end

  it("moves what a callback refuses to its queue for dead letters", function()
    local mq, queue = client { on_error = function() end }, tools.queue()
    assert(mq:on(queue, function() error("cannot digest it") end))
    assert(mq:emit(queue, "bad " .. queue, { header = { persistent = true } }))   -- others it throws away
    local dead = inbox(client(), "/queue/ActiveMQ.DLQ")
    eventually(function() return dead[#dead] == "bad " .. queue end)
  end)

  it("sends no more than prefetch", function()
    local mq, queue = client(), tools.queue()
    for number = 1, 10 do
      assert(mq:emit(queue, tostring(number)))
    end
    local got = messages(mq, queue, { ack = "manual", prefetch = 3 })
    expect(got, 3)
    assert.is_true((mq:emit(tools.topic(), "")))
    assert.equal(3, #got)
    assert.is_true(got[1]:ack())
    expect(got, 4)
  end)

  it("knows wildcards between dots, and selectors", function()
    local mq, base = client(), tools.topic()
    local one, all = inbox(mq, base .. ".*"), inbox(mq, base .. ".>")
    local red = inbox(mq, base .. ".a.b", { header = { selector = "colour = 'red'" } })
    for _, name in ipairs { ".a", ".a.b" } do
      assert.is_true((mq:emit(base .. name, name, { header = { colour = "blue" } })))
      assert.is_true((mq:emit(base .. name, "red " .. name, { header = { colour = "red" } })))
    end
    expect(all, 4)
    expect(red, 1)
    assert.same({ ".a", "red .a", lost = 0 }, one)
    assert.same({ "red .a.b", lost = 0 }, red)
  end)

  it("keeps what is published for a durable subscription, until it is taken off", function()
    local topic, id, publisher = tools.topic(), tools.unique("client"), client()
    local mq = client { client_id = id }
    local got = inbox(mq, topic, { durable = "mine" })
    assert.is_true((publisher:emit(topic, "1")))
    expect(got, 1)
    assert.is_true(mq:close())
    assert.is_true((publisher:emit(topic, "2")))
    mq = client { client_id = id }
    got = inbox(mq, topic, { durable = "mine" })
    expect(got, 1)
    assert.equal("2", got[1])
    assert.is_true(mq:off(topic))
    assert.is_true((publisher:emit(topic, "3")))
    got = inbox(mq, topic, { durable = "mine" })
    tools.barrier(publisher, topic, got)
    assert.equal(0, #got)
    assert.is_true(mq:off(topic))
  end)

  it("answers a request at a temporary queue", function()
    local requests, answers = tools.queue(), {}
    local worker, asker = client(), client()
    assert(worker:on(requests, function(message)
      assert(worker:emit(message.headers["reply-to"], message.payload:upper()))
    end))
    assert(asker:on("/temp-queue/answers", function(message) answers[#answers + 1] = message.payload end))
    for _ = 1, 3 do
      assert.is_true((asker:emit(requests, "request", { header = { ["reply-to"] = "/temp-queue/answers" } })))
    end
    expect(answers, 3)
    assert.equal("REQUEST", answers[1])
  end)

  it("makes text messages of what has no length, which other clients of it expect", function()
    local mq, queue = client { content_length = false }, tools.queue()
    local got = messages(client(), queue)
    assert.is_true((mq:emit(queue, "grün")))
    assert.is_true((client():emit(queue, "bytes")))
    expect(got, 2)
    assert.same({ "grün", "bytes" }, { got[1].payload, got[2].payload })
    assert.is_nil(got[1].headers["content-length"])
  end)

  it("forgets what has expired", function()
    local mq, queue = client(), tools.queue()
    local now = require("MQ.core").time() * 1000
    assert.is_true((mq:emit(queue, "gone", { header = { expires = ("%.0f"):format(now + 20) } })))
    assert.is_true((mq:emit(queue, "kept", { header = { expires = ("%.0f"):format(now + 60000) } })))
    tools.sleep(0.05)
    local got = inbox(mq, queue)
    tools.barrier(mq, queue, got)
    assert.same({ "kept", lost = 0 }, got)
  end)

  it("takes a destination without a prefix for a queue", function()
    local mq, queue = client(), tools.queue()
    local got = messages(mq, queue)
    assert.is_true((mq:emit(queue:match("[^/]*$"), "x")))
    expect(got, 1)
    assert.equal(queue, got[1].source)
  end)

  it("refuses a wrong password for good", function()
    local ok, err, code = client({ password = "wrong" }):emit("/queue/x", "")
    assert.same({ "nil", "auth" }, { type(ok), code })
    assert.matches("password", err)
    assert.not_matches("\n%s+at ", err)   -- its stack trace
  end)

  it("names what it refuses: that fails alone", function()
    local mq = client()
    local ok, err, code = mq:on(tools.queue(), print, { header = { selector = "colour ==== red" } })
    assert.same({ "nil", "refused" }, { type(ok), code })
    assert.matches("colour ==== red", err)
    assert.not_matches("\n%s+at ", err)
    assert.is_true((mq:emit(tools.queue(), "")))
  end)

  it("a stream loses none when it is killed and restarted", function()
    local queue = tools.queue()
    local receiver, sender = client(), client { max_queue = 500, timeout = 20 }
    local seen, distinct, lost = {}, 0, 0
    assert(receiver:on(queue, function(message)
      if not message then
        lost = lost + 1
      elseif not seen[message.payload] then
        seen[message.payload], distinct = true, distinct + 1
      end
    end))
    local posting = task(function()
      for number = 1, COUNT do
        assert(sender:post(queue, tostring(number), { header = { persistent = "true" } }))
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
