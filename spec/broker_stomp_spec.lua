-- MQ.broker as a STOMP server: MQ's own client, Python's stomp.py, bare sockets, Redis beside it; and its limits.

local helper = require "spec.helper"
local tools = require "spec.stomp_tools"
local mqtt_tools = require "spec.mqtt_tools"
local redis_tools = require "spec.redis_tools"

local client, inbox, messages, expect = tools.client, tools.inbox, tools.messages, tools.expect
local eventually, sys = helper.eventually, helper.sys

describe("MQ.broker as a STOMP server", function()
  -- A broker on a free port; `port` is that of STOMP.
  local function start(options)
    local broker, ports = tools.serve({ stomp = 0 }, options)
    return broker, { port = ports.stomp }
  end

  after_each(tools.close_all)

  -- Nothing waits in a queue: a new consumer gets only what is sent behind it.
  local function is_empty(at, queue)
    return #tools.left_in(at, queue) == 0
  end

  -- What a bare connection is told, until it has all of `wanted` (a pattern) or ends; ^ is NUL.
  local function talk(at, frames, wanted)
    local fd = assert(sys.connect("127.0.0.1", at.port, 5))
    assert(sys.write(fd, (frames:gsub("%^", "\0")), 5))
    local text, deadline = "", sys.now() + 10
    repeat
      local more = sys.read(fd, 65536, 5)
      text = text .. (more or ""):gsub("%z", "^")
    until not more or more == "" or (wanted and text:find(wanted)) or sys.now() > deadline
    sys.close(fd)
    return text
  end

  for _, version in ipairs(tools.versions) do
    describe("serves MQ's own client in version " .. version .. ":", function()
      local broker, at

      local function new(options)
        local all = { version = version }
        for name, value in pairs(options or {}) do
          all[name] = value
        end
        return client(at, all)
      end

      before_each(function() broker, at = start() end)

      it("topics to all, queues to one, headers, any bytes, receipts", function()
        local mq = new()
        local one, two = messages(new(), "/topic/news"), messages(new(), "news")
        local bytes = {}
        for byte = 0, 255 do
          bytes[#bytes + 1] = string.char(byte)
        end
        local payload = table.concat(bytes)
        assert.is_true(mq:emit("/topic/news", payload, { header = { colour = "red", ["content-type"] = "x/y" } }))
        expect(one, 1)
        expect(two, 1)
        for index, list in ipairs { one, two } do
          local message = list[1]
          assert.is_true(message.payload == payload)
          assert.same({ "red", "x/y", "256" },
            { message.headers.colour, message.headers["content-type"], message.headers["content-length"] })
          assert.equal(index == 1 and "/topic/news" or "news", message.source)
        end
        local a, b = inbox(new(), "/queue/q"), inbox(new(), "/queue/q")
        for index = 1, 100 do
          assert(mq:post("/queue/q", tostring(index)))
        end
        assert.is_true(mq:flush(10))
        eventually(function() return #a + #b == 100 end)
        assert.is_true(#a > 10 and #b > 10, #a .. " and " .. #b)
        assert(mq:emit("/topic/news", ("x"):rep(2 ^ 20)))
        eventually(function() return one[2] and #one[2].payload == 2 ^ 20 end)
        assert.is_true(broker:stats().received == 102 and broker:stats().sent == 104)
      end)

      it("what a worker had when it left comes to another one, marked", function()
        local leaves, boss, queue = new({ reconnect = false }), new(), "/queue/work"
        local had = messages(leaves, queue, { ack = "manual" })
        for index = 1, 4 do
          assert(boss:emit(queue, tostring(index)))
        end
        expect(had, 4)
        had[1]:ack()
        local got = messages(new(), queue)
        leaves:close(5)
        -- 1.0 acknowledges in order
        expect(got, 3)
        local payloads = {}
        for index, message in ipairs(got) do
          payloads[index] = message.payload
          assert.same({ "true", "1" }, { message.headers.redelivered, message.headers["x-delivery-count"] })
        end
        assert.same({ "2", "3", "4" }, payloads)
      end)

      it("transactions, all of it or nothing", function()
        local mq, got = new(), inbox(new(), "/queue/out")
        local orders = messages(mq, "/queue/in", { ack = "manual" })
        assert(mq:emit("/queue/in", "order"))
        expect(orders, 1)
        local ok = pcall(mq.transaction, mq, function(tx)
          tx:emit("/queue/out", "never")
          tx:ack(orders[1])
          error("no paper")
        end)
        assert.is_false(ok)
        assert.same({ true }, { mq:transaction(function(tx)
          tx:emit("/queue/out", "first")
          tx:emit("/topic/nobody", "x")
          tx:post("/queue/out", "second")
          tx:ack(orders[1])
        end) })
        expect(got, 2)
        assert.same({ "first", "second" }, { got[1], got[2] })
        mq:close()
        assert.is_true(is_empty(at, "/queue/in"))
      end)

      it("requests whose answers come to a temporary queue", function()
        local server, asks = new(), new()
        assert(server:on("/queue/square", function(request)
          if request then
            server:post(request.headers["reply-to"], ("%d"):format(request.payload ^ 2))
          end
        end))
        local answers = messages(asks, "/temp-queue/answers")
        for number = 1, 5 do
          assert(asks:emit("/queue/square", tostring(number), { header = { ["reply-to"] = "/temp-queue/answers" } }))
        end
        expect(answers, 5)
        for number = 1, 5 do
          assert.equal(("%d"):format(number ^ 2), answers[number].payload)
        end
      end)
    end)
  end

  it("lets a rejected message come again, five times in all", function()
    local _, at = start()
    local mq, counts = client(at), {}
    assert(mq:on("/queue/poison", function(message)
      if message then
        counts[#counts + 1] = message.headers["x-delivery-count"] or "0"
        message:nack()
      end
    end, { ack = "manual" }))
    assert(mq:emit("/queue/poison", "x"))
    expect(counts, 5)
    mq:close()
    assert.is_true(is_empty(at, "/queue/poison"))
    assert.same({ "0", "1", "2", "3", "4" }, counts)
  end)

  it("keeps heart-beats with an idle client, and drops one that is silent", function()
    local broker, at = start()
    local mq = client(at, { heartbeat = { 0.5, 0.5 }, reconnect = false })
    assert(mq:emit("/topic/x", ""))
    local reason
    broker:on_disconnect(function(_, info) reason = info.reason end)
    local told = talk(at, "CONNECT\naccept-version:1.2\nheart-beat:100,100\n\n^")
    assert.matches("heart%-beat:100,100\n.*%^\n\n+ERROR\nmessage:silent for too long", told)
    eventually(function() return reason end)
    assert.matches("silent for too long", reason)
    assert.is_true(mq:emit("/topic/x", ""))
    assert.equal(0, mq:stats().reconnects)
  end)

  it("shares its names with Redis", function()
    local broker = start { redis = 0 }
    local ports = broker:ports()
    local stomp, redis = client({ port = ports.stomp }), redis_tools.keep(redis_tools.MQ:new { port = ports.redis,
      host = "127.0.0.1" })
    local from_redis, from_stomp = messages(stomp, "/topic/user/9"), inbox(redis, "user/*")
    assert.same({ true, 1 + 1 }, { redis:emit("user/9", "a\0b") })
    assert(stomp:emit("/topic/user/9", "c\0d", { header = { colour = "red" } }))
    assert(stomp:emit("/queue/user/9", "not for topics"))
    expect(from_redis, 2)
    expect(from_stomp, 2)
    assert.same({ "a\0b", "c\0d" }, { from_redis[1].payload, from_redis[2].payload })
    assert.same({ "a\0b", "c\0d" }, { from_stomp[1], from_stomp[2] })
  end)

  it("shares its names with MQTT, and headers with MQTT 5's user properties", function()
    local broker = start { mqtt = 0 }
    local ports = broker:ports()
    local stomp, mqtt = client({ port = ports.stomp }), mqtt_tools.client({ port = ports.mqtt })
    local from_mqtt, from_stomp = messages(stomp, "/topic/user/9"), messages(mqtt, "user/+")
    assert(mqtt:emit("user/9", "a\0b", { qos = 2, properties = { user_properties = { colour = "red" } } }))
    assert(stomp:emit("/topic/user/9", "c\0d", { header = { colour = "blue", odd = "a:b\nc" } }))
    assert(stomp:emit("/queue/user/9", "not for topics"))
    expect(from_mqtt, 2)
    expect(from_stomp, 2)
    for _, list in ipairs { from_mqtt, from_stomp } do
      assert.same({ "a\0b", "c\0d" }, { list[1].payload, list[2].payload })
    end
    assert.same({ "red", "blue" }, { from_mqtt[1].headers.colour, from_mqtt[2].headers.colour })
    assert.same({ colour = "blue", odd = "a:b\nc" }, from_stomp[2].properties.user_properties)
  end)

  it("serves Python's stomp.py: topics, queues, acknowledgements, a transaction, heart-beats", function()
    local broker, at = start { users = { ann = "secret" } }
    local code, out, err = helper.run({ "/usr/bin/python3", "-c", [[
import queue, sys, stomp
port = int(sys.argv[1])

class Listener(stomp.ConnectionListener):
    def __init__(self):
        self.frames = queue.Queue()
    def on_message(self, frame):
        self.frames.put(frame)
    def on_receipt(self, frame):
        self.frames.put(frame)
    def on_error(self, frame):
        self.frames.put(frame)

for make in (stomp.Connection10, stomp.Connection11, stomp.Connection12):
    extra = {} if make is stomp.Connection10 else {"heartbeats": (1000, 1000)}
    connection = make([("127.0.0.1", port)], **extra)
    listener = Listener()
    connection.set_listener("", listener)
    connection.connect("ann", "secret", wait=True)
    def next_frame():
        return listener.frames.get(timeout=20)
    connection.subscribe("/topic/t", id="1")
    connection.send("/topic/t", "hello", content_type="text/plain", headers={"colour": "red: or not"})
    frame = next_frame()
    assert frame.body == "hello" and frame.headers["colour"].startswith("red"), frame
    queue_name = "/queue/" + make.__name__
    connection.subscribe(queue_name, id="2", ack="client")
    connection.send(queue_name, "task")
    frame = next_frame()
    assert frame.headers["subscription"] == "2", frame
    if make is stomp.Connection10:
        connection.ack(frame.headers["message-id"])
    elif make is stomp.Connection11:
        connection.nack(frame.headers["message-id"], "2")
        frame = next_frame()
        assert frame.headers["redelivered"] == "true", frame
        connection.ack(frame.headers["message-id"], "2")
    else:
        connection.nack(frame.headers["ack"])
        frame = next_frame()
        assert frame.headers["redelivered"] == "true", frame
        connection.ack(frame.headers["ack"])
    transaction = connection.begin()
    connection.send("/topic/t", "in a transaction", transaction=transaction)
    connection.send("/topic/t", "outside")
    assert next_frame().body == "outside"
    connection.commit(transaction)
    assert next_frame().body == "in a transaction"
    connection.unsubscribe(id="1")
    connection.disconnect(receipt="bye")
    assert next_frame().headers["receipt-id"] == "bye"
    print("served", frame.headers["message-id"] != "")

listener = Listener()
connection = stomp.Connection12([("127.0.0.1", port)], reconnect_attempts_max=1)
connection.set_listener("", listener)
try:
    connection.connect("ann", "wrong", wait=True)
    print("let in")
except stomp.exception.ConnectFailedException:
    print(listener.frames.get(timeout=20).headers["message"])
]], tostring(at.port) }, { timeout = 60 })
    assert.same({ 0, "" }, { code, err })
    assert.equal('served True\nserved True\nserved True\naccess refused for the login "ann"\n', out)
    eventually(function() return broker:stats().subscriptions == 0 end)
  end)

  it("says what is wrong, in an ERROR, and goes on with the others", function()
    local broker, at = start { max_packet = 1000, max_subscriptions = 1, users = { ann = "secret" } }
    local good = client(at, { username = "ann", password = "secret" })
    local got = inbox(good, "t")
    local connect = "CONNECT\naccept-version:1.2\nlogin:ann\npasscode:secret\n\n^"
    for frames, wanted in pairs {
      ["GET / HTTP/1.1\r\n\r\n"] = 'ERROR\nmessage:expected a STOMP command',
      ["\22\3\1\2\0\1\0\1\252"] = "is this a TLS port",
      [("x"):rep(100000)] = "ERROR\nmessage:expected a STOMP command",
      ["CONNECT\nlogin:ann\n\n^"] = 'access refused for the login "ann"',
      ["CONNECT\naccept-version:3\n\n^"] = "version:1.0,1.1,1.2\n",
      [connect .. "SEND\ndestination:t\nreceipt:7\n\n" .. ("x"):rep(2000)] = "ERROR\nmessage:",
      [connect .. "SEND\ndestination:t\ncontent-length:9999999999\n\n"] = "announces a body of 9999999999 bytes",
      [connect .. "SUBSCRIBE\nid:1\ndestination:a\n\n^SUBSCRIBE\nid:2\ndestination:b\nreceipt:7\n\n^"] =
        "max number of subscriptions reached %(1%)\nreceipt%-id:7\n",
      [connect .. "ACK\nid:1\nreceipt:7\n\n^"] = 'no message "1" waits for this ACK\nreceipt%-id:7\n',
      [connect .. "nonsense\n\n^"] = "expected a STOMP command",
    } do
      local told = talk(at, frames)
      assert.matches(wanted, told)
      assert.matches("%^$", told)
    end
    assert.is_true(good:emit("t", "x"))
    expect(got, 1)
    eventually(function() return broker:stats().connections == 1 end)
    local refused = client(at, { username = "ann", password = "x" })
    assert.equal("auth", (select(3, refused:emit("t", ""))))
  end)

  it("tells of connections and subscriptions, and of one that is too many", function()
    local broker, at = start { max_connections = 1 }
    local seen = {}
    for _, event in ipairs { "connect", "subscribe", "unsubscribe", "disconnect" } do
      broker["on_" .. event](broker, function(_, info)
        seen[#seen + 1] = ("%s %s %s"):format(event, info.protocol, tostring(info.pattern))
      end)
    end
    local mq = client(at)
    assert(mq:on("/queue/q", function() end))
    assert.matches("^ERROR\nmessage:max number of connections reached\n\n%^$", talk(at, "CONNECT\n\n^"))
    assert(mq:off("/queue/q"))
    assert(mq:close())
    eventually(function() return #seen == 4 end)
    assert.same({
      "connect stomp nil", "subscribe stomp /queue/q", "unsubscribe stomp /queue/q", "disconnect stomp nil",
    }, seen)
  end)

  it("refuses what finds no room in a queue, and cuts off a subscriber of a topic that does not read", function()
    local broker, at = start { max_queue_bytes = 2 ^ 20 }
    local mq = client(at)
    for _ = 1, 10 do
      assert(mq:emit("/queue/full", ("x"):rep(100000)))
    end
    local ok, err, code = mq:emit("/queue/full", ("x"):rep(100000))
    assert.same({ nil, "refused" }, { ok, code })
    assert.is_truthy(err:find('"/queue/full" is full: it may hold 1048576 bytes', 1, true), err)
    expect(inbox(client(at), "/queue/full"), 10)

    local fd = assert(sys.connect("127.0.0.1", at.port, 5))
    assert(sys.write(fd, "CONNECT\n\n\0SUBSCRIBE\ndestination:flood\nreceipt:1\n\n\0", 5))
    eventually(function() return broker:stats().subscriptions == 2 end)
    local got = inbox(client(at), "flood")
    local flooded = 0
    eventually(function()
      for _ = 1, 20 do
        assert(mq:emit("flood", ("x"):rep(10000)))
        flooded = flooded + 1
      end
      return broker:stats().overruns == 1
    end, 30)
    expect(got, flooded, 20)
    sys.close(fd)
  end)

  it("is what `mq broker --stomp` serves, and what the examples run with", function()
    local function mq(...)
      return helper.start_lua(helper.root .. "/bin/mq", {
        args = { ... }, interp = "/bin/sh", env = { LUA = helper.interpreter },
      })
    end
    local process = mq("broker", "--stomp", "0")
    local port = process:expect("^stomp on 127.0.0.1, port (%d+)\n", 10)
    for name, wanted in pairs {
      stomp_workers = "30 tasks done", stomp_transaction = "parcel for Grace", stomp_request = "5^2 = 25",
    } do
      local code, out, err = helper.start_lua(helper.root .. "/examples/" .. name .. ".lua", {
        env = { MQ_STOMP_PORT = port },
      }):wait(20)
      assert.same({ 0, "" }, { code, err })
      assert.is_truthy(out:find(wanted, 1, true), out)
    end
    process:kill("INT")
    assert.equal(130, (process:wait(8)))
  end)
end)
