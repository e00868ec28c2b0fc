-- MQ.stomp: what a callback gets, headers both ways, destinations, content lengths, temporary queues.

local helper = require "spec.helper"
local tools = require "spec.stomp_tools"

local client, inbox, messages, expect = tools.client, tools.inbox, tools.messages, tools.expect
local eventually = helper.eventually

local every_byte = {}
for byte = 0, 255 do
  every_byte[byte + 1] = string.char(byte)
end
every_byte = table.concat(every_byte)

describe("MQ.stomp messages:", function()
  local server

  setup(function() server = helper.shared_rabbitmq() end)
  after_each(tools.close_all)

  for _, version in ipairs(tools.versions) do
    describe("version " .. version, function()
      local function new(options)
        options = options or {}
        options.version = version
        return client(server, options)
      end

      it("have exactly the documented fields", function()
        local mq, topic = new(), tools.topic()
        local got = messages(mq, topic)
        assert(mq:emit(topic, "hello", { header = { colour = "blue" } }))
        expect(got, 1)
        local message = got[1]
        assert.same({
          type = "message", source = topic, pattern = topic, payload = "hello", len = 5,
          id = message.headers["message-id"], headers = message.headers,
        }, message)
        assert.is_nil(getmetatable(message).__pairs)   -- it hides nothing
        assert.matches(helper.embedded and "^%d" or "^T_", message.id)
        -- RabbitMQ tells of each message whether it has been delivered before, others only where it has
        assert.same({ "blue", topic, "5", helper.embedded and "" or "false" }, {
          message.headers.colour, message.headers.destination, message.headers["content-length"],
          message.headers.redelivered or "",
        })
      end)

      it("carry payloads of no byte, one byte, a megabyte, and of every byte", function()
        local mq, topic = new(), tools.topic()
        local got = messages(mq, topic)
        for index, payload in ipairs { "", "\0", "\n", every_byte, every_byte:rep(4096) } do
          assert.is_true((mq:emit(topic, payload)))
          expect(got, index, 10)
          assert.is_true(got[index].payload == payload)
          assert.equal(#payload, got[index].len)
        end
      end)

      it("carry headers as they were given", function()
        local mq, topic = new(), tools.topic()
        local got = messages(mq, topic)
        local given = {
          ["content-type"] = "application/json", ["correlation-id"] = "7", ["x-utf8"] = "grün 中文", ["x-empty"] = "",
        }
        if version ~= "1.0" then   -- which escapes nothing
          given["x-marks"] = "a:b\\c\nd"
          given["x:colon"] = "name"
        end
        if version == "1.2" then
          given["x-return"] = "a\r\nb"
        end
        assert.is_true((mq:emit(topic, "x", { header = given })))
        expect(got, 1)
        for name, value in pairs(given) do
          assert.equal(value, got[1].headers[name], name)
        end
      end)

      it("take numbers and truth values for headers, as the text that they print as", function()
        local mq, topic = new(), tools.topic()
        local got = messages(mq, topic)
        assert.is_true((mq:emit(topic, "x", { header = { priority = 7, fraction = 0.5, urgent = true } })))
        assert.is_true((mq:post(topic, "x", { receipt = false, header = { number = 3.0 } })))
        expect(got, 2)
        assert.same({ "7", "0.5", "true", "3" }, {
          got[1].headers.priority, got[1].headers.fraction, got[1].headers.urgent, got[2].headers.number,
        })
      end)

      it("of several subscriptions come to their own", function()
        local mq, all = new(), {}
        for number = 1, 20 do
          local topic = tools.topic()
          all[number] = { topic = topic, got = inbox(mq, topic, { ack = number % 2 == 0 and "none" or "auto" }) }
        end
        for number, each in ipairs(all) do
          assert(mq:post(each.topic, tostring(number)))
        end
        for number, each in ipairs(all) do
          expect(each.got, 1)
          assert.same({ tostring(number), lost = 0 }, each.got)
        end
      end)
    end)
  end

  it("have their headers when they are looked at, with lazy_headers", function()
    local mq, queue = client(server, { lazy_headers = true }), tools.queue()
    local got, own = messages(mq, queue), messages(mq, queue .. "-own", { ack = "manual" })
    for _, name in ipairs { "", "", "-own", "-own" } do
      assert.is_true((mq:emit(queue .. name, "x", { header = { colour = "blue", empty = "" } })))
    end
    expect(got, 2)
    expect(own, 2)
    for index, message in ipairs { got[1], own[1] } do
      local destination = index == 1 and queue or queue .. "-own"
      assert.is_nil(rawget(message, "headers"))
      assert.is_nil(message.session)
      assert.is_nil(message.nothing)
      assert.same({
        type = "message", source = destination, pattern = destination, payload = "x", len = 1, id = message.id,
        headers = message.headers,
      }, message)
      assert.matches(helper.embedded and "^%d" or "^T_", message.id)
      assert.same({ "blue", "", "1", message.id }, {
        message.headers.colour, message.headers.empty, message.headers["content-length"], message.headers["message-id"],
      })
    end
    assert.is_true(own[1]:ack())
    assert.is_true(own[2]:ack())
    if _VERSION ~= "Lua 5.1" then
      local names = {}
      for name in pairs(got[2]) do
        names[#names + 1] = name
      end
      table.sort(names)
      assert.same({ "headers", "id", "len", "pattern", "payload", "source", "type" }, names)
    end
    assert.is_true(mq:close())
    assert.same({}, (tools.left_in(server, queue .. "-own")))
  end)

  it("of a header that STOMP 1.0 cannot send are refused, and nothing is sent", function()
    local mq, topic = client(server, { version = "1.0" }), tools.topic()
    local got = inbox(mq, topic)
    for _, value in ipairs { "a\nb" } do
      local ok, err, code = mq:emit(topic, "x", { header = { note = value } })
      assert.same({ nil, "invalid" }, { ok, code })
      assert.matches("note", err)
    end
    tools.barrier(mq, topic, got)
    assert.equal(0, #got)
    assert.equal(0, mq:stats().reconnects)
  end)

  it("go where the wildcards of the broker's topics say", helper.real_broker_only(
    "the embedded broker's STOMP topics have no wildcards", function()
    local mq, base = client(server), tools.topic()
    local one, all = messages(mq, base .. ".*"), messages(mq, base .. ".#")
    for _, name in ipairs { ".a", ".a.b", "" } do
      assert.is_true((mq:emit(base .. name, name)))
    end
    expect(all, 3)
    expect(one, 1)
    assert.same({ base .. ".a", base .. ".*", ".a" }, { one[1].source, one[1].pattern, one[1].payload })
  end))

  it("go to a destination with the prefix before it, both ways", function()
    local prefixed, plain, name = client(server, { prefix = "/topic/" }), client(server), tools.unique()
    local got = messages(prefixed, name)
    assert.is_true((prefixed:emit(name, "1")))
    assert.is_true((plain:emit("/topic/" .. name, "2")))
    expect(got, 2)
    assert.same({ "1", "2", name, "/topic/" .. name },
      { got[1].payload, got[2].payload, got[1].pattern, got[1].source })
    assert.is_true((prefixed:off(name)))
  end)

  it("expire, and overtake each other, where RabbitMQ is told so", helper.real_broker_only(
    "priorities and lifetimes of messages are RabbitMQ's", function()
    local mq, brief, ordered = client(server), tools.queue(), tools.queue()
    assert.is_true((mq:emit(brief, "gone", { header = { expiration = 1 } })))
    assert.is_true((mq:emit(brief, "kept", { header = { expiration = 60000 } })))
    for _, priority in ipairs { 1, 5, 3 } do
      assert.is_true((mq:emit(ordered, tostring(priority), {
        header = { priority = priority, ["x-max-priority"] = 5 },
      })))
    end
    local got = inbox(mq, ordered, { header = { ["x-max-priority"] = 5 } })
    expect(got, 3)
    assert.same({ "5", "3", "1", lost = 0 }, got)
    tools.sleep(0.05)
    assert.same({ "kept" }, (tools.left_in(server, brief)))
  end))

  it("are sent without a length where told, and a NUL in them is refused then", function()
    local peer = tools.peer [[
      accept()
      local _, headers = frame()
      conn:log("length " .. tostring(headers["content-length"]))
      receipt(headers)
      conn:hold()
    ]]
    local mq = client(peer, { content_length = false })
    local ok, err, code = mq:emit("/queue/x", "a\0b")
    assert.same({ nil, "invalid" }, { ok, code })
    assert.matches("NUL", err)
    assert.is_true((mq:emit("/queue/x", "text")))
    assert.matches("length nil", peer.log())
    peer.stop()
  end)

  it("answer a request at a temporary queue", function()
    local requests, answers = tools.queue(), {}
    local worker, asker = client(server), client(server)
    assert(worker:on(requests, function(message)
      assert(worker:emit(message.headers["reply-to"], message.payload:upper(), {
        header = { ["correlation-id"] = message.headers["correlation-id"] },
      }))
    end))
    assert(asker:on("/temp-queue/answers", function(message) answers[#answers + 1] = message end))
    for number = 1, 5 do
      assert.is_true((asker:emit(requests, "request " .. number, {
        header = { ["reply-to"] = "/temp-queue/answers", ["correlation-id"] = number },
      })))
    end
    expect(answers, 5)
    for number = 1, 5 do
      assert.same({ "REQUEST " .. number, tostring(number), "/temp-queue/answers" },
        { answers[number].payload, answers[number].headers["correlation-id"], answers[number].pattern })
    end
  end)

  it("come one at a time and in order, to a callback that waits", function()
    local mq, queue, order, inside, most = client(server), tools.queue(), {}, 0, 0
    assert(mq:on(queue, function(message)
      inside = inside + 1
      most = math.max(most, inside)
      tools.sleep(message.payload == "1" and 0.02 or 0)
      order[#order + 1] = message.payload
      inside = inside - 1
    end))
    for number = 1, 20 do
      assert(mq:post(queue, tostring(number)))
    end
    expect(order, 20)
    for number = 1, 20 do
      assert.equal(tostring(number), order[number])
    end
    assert.equal(1, most)
  end)

  -- RabbitMQ 3.10 does so at what an escape would be in 1.1
  it("at which the broker hangs up without a word are found, and the others arrive", helper.real_broker_only(
    "RabbitMQ's mistake, which the embedded broker does not make", function()
    local mq, queue = client(server, { version = "1.0", timeout = 30 }), tools.queue()
    local got = messages(client(server), queue)
    assert(mq:post(queue, "before"))
    assert(mq:post(queue, "bad", { header = { note = "a\\b" } }))
    assert(mq:post(queue, "behind"))
    local ok, err, failed, code = mq:flush(30)
    assert.same({ "nil", 1, "refused" }, { type(ok), failed, code })
    assert.matches("in a row ended without a word", err)
    eventually(function() return got[#got] and got[#got].payload == "behind" end)
    for _, message in ipairs(got) do
      assert.not_equal("bad", message.payload)
    end
  end))
end)
