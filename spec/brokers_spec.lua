-- The brokers that other specs start do what support/*.lua says. No client of MQ here.

local helper = require "spec.helper"
local Broker = require "spec.support.broker"
local sys = helper.sys

local function is_file(path)
  local file = io.open(path)
  return file ~= nil and file:close() and true
end

-- Connects, sends, and returns the descriptor and exactly `size` bytes of the answer.
local function exchange(port, request, size)
  local fd = assert(sys.connect("127.0.0.1", port, 5))
  assert(sys.write(fd, request, 5))
  local answer = ""
  while #answer < size do
    local data = sys.read(fd, size - #answer, 10)
    if not data or data == "" then
      break
    end
    answer = answer .. data
  end
  return fd, answer
end

local function connack(port, user, password)
  return exchange(port, Broker.mqtt_connect(user, password), 4)
end

-- A line about the connection's end: closed or reset, not silence.
local function closed(fd)
  local data, message = sys.read(fd, 10, 10)
  sys.close(fd)
  return data == "" or message == "Connection reset by peer"
end

local ACCEPTED = "\32\2\0\0"

-- What every broker can: `server` answers on its MQTT port.
local function lives_and_dies(server, discard)
  local fd, answer = connack(server.port, server.user, server.password)
  assert.equal(ACCEPTED, answer)
  server:suspend()
  assert(sys.write(fd, "\192\0")) -- PINGREQ
  assert.same({ nil, "timeout" }, { sys.read(fd, 10, 0.1) })
  server:resume()
  assert.equal("\208\0", sys.read(fd, 10, 10))
  local pid = server.pid
  server:kill()
  assert.is_true(closed(fd))
  assert.is_nil(sys.kill(pid, "0"))
  assert.is_nil(sys.connect("127.0.0.1", server.port, 1))
  server:restart()
  fd, answer = connack(server.port, server.user, server.password)
  assert.equal(ACCEPTED, answer)
  sys.close(fd)
  pid = server.pid
  assert.matches("%S", server:log())
  discard()
  assert.is_nil(sys.kill(pid, "0"))
  assert.is_nil(sys.connect("127.0.0.1", server.port, 1))
  assert.is_false(is_file(server.dir .. "/output"))
end

describe("brokers:", function()
  after_each(helper.stop_all)

  describe("mosquitto", function()
    it("answers, is suspended, dies, comes back on its port, and leaves nothing", function()
      lives_and_dies(helper.mosquitto(), helper.stop_all)
    end)

    it("keeps retained messages across a restart where it is persistent", function()
      local server = helper.mosquitto { persistence = true }
      server:publish("-t", "a/kept", "-m", "yes", "-r", "-q", "1")
      server:restart()
      local subscriber = server:subscribe("-t", "a/kept")
      subscriber:expect("\nyes\n", 5)
      subscriber:stop()
    end)

    it("asks for passwords and obeys access lists", function()
      local server = helper.mosquitto {
        users = { alice = "wonder", bob = "builder" }, acl = { "user alice", "topic read a/#", "topic write a/b" },
      }
      local fd, answer = connack(server.port, "alice", "wrong")
      assert.equal("\32\2\0\5", answer)
      assert.is_true(closed(fd))
      fd, answer = connack(server.port)
      assert.equal("\32\2\0\5", answer)
      sys.close(fd)
      local subscriber = server:subscribe("-t", "a/#", "-u", "alice", "-P", "wonder")
      server:publish("-t", "a/denied", "-m", "no", "-q", "1", "-u", "bob", "-P", "builder")
      server:publish("-t", "a/b", "-m", "yes", "-q", "1", "-u", "alice", "-P", "wonder")
      subscriber:expect("\nyes\n", 5)
      assert.is_nil(subscriber.stdout:find("\nno\n", 1, true))
      assert.equal(1, server:client_count())
      subscriber:stop()
    end)

    it("refuses what it is told to", function()
      local server = helper.mosquitto { refuse = { subscribe = { "no/#" }, publish = { "out/#" } } }
      local fd, answer = connack(server.port)
      assert.equal(ACCEPTED, answer)
      -- SUBSCRIBE to no/a and to yes with QoS 1: a failure (MQTT 3.1.1, section 3.9.3) and a grant
      assert(sys.write(fd, "\130\15\0\1\0\4no/a\1\0\3yes\1", 5))
      assert.equal("\144\4\0\1\128\1", sys.read(fd, 10, 5))
      sys.close(fd)
      local _, _, err = helper.run { "mosquitto_pub", "-p", server.port, "-V", "5", "-q", "1", "-t", "out/a",
        "-m", "x" }
      assert.matches("Not authorized", err)
    end)

    it("takes lines of configuration", function()
      local server = helper.mosquitto { config = { max_packet_size = 100, "max_keepalive 30" } }
      -- what CONNACK says of them (MQTT 5, sections 3.2.2.3.6 and 3.2.2.3.14), asked for 60 s of keepalive
      local fd, answer = exchange(server.port, "\16\13\0\4MQTT\5\2\0\60\0\0\0", 3)
      answer = answer .. assert(sys.read(fd, answer:byte(2) - 1, 5))
      assert.equal("\32", answer:sub(1, 1))
      assert.truthy(answer:find("\39\0\0\0\100", 1, true))
      assert.truthy(answer:find("\19\0\30", 1, true))
      sys.close(fd)
    end)

    it("speaks TLS and WebSocket", function()
      local server = helper.mosquitto { tls = true, client_certificates = true, websockets = true }
      local function pub(...)
        return (helper.run { "mosquitto_pub", "-h", "localhost", "-p", server.tls_port, "-t", "a", "-m", "x",
          "--cafile", server.certificates.ca, ... })
      end
      assert.equal(0, pub("--cert", server.certificates.client_cert, "--key", server.certificates.client_key))
      assert.not_equal(0, pub())
      local fd, answer = exchange(server.ws_port, table.concat({
        "GET /mqtt HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: mqtt", "", "",
      }, "\r\n"), 12)
      assert.equal("HTTP/1.1 101", answer)
      sys.close(fd)
    end)

    it("shows its log where it cannot start", function()
      local ok, message = pcall(helper.mosquitto, { config = { "no_such_setting 1" } })
      assert.is_false(ok)
      assert.matches("no_such_setting", message)
    end)
  end)

  describe("RabbitMQ", function()
    it("is shared, serves MQTT, STOMP and both over WebSocket, dies, comes back, and leaves nothing", function()
      local server = helper.shared_rabbitmq()
      helper.stop_all()
      assert.equal(server, helper.shared_rabbitmq())
      local fd, answer = connack(server.port, "guest", "wrong")
      assert.equal("\32\2\0\4", answer)
      sys.close(fd)
      for _, port in ipairs { server.web_mqtt_port, server.web_stomp_port } do
        fd, answer = exchange(port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 8)
        assert.equal("HTTP/1.1", answer)
        sys.close(fd)
      end
      assert.is_true(Broker.answers_stomp(server.stomp_port, "guest", "guest"))
      local epmd = server.epmd
      lives_and_dies(server, helper.stop_shared)
      assert.is_nil(sys.kill(epmd, "0"))
      assert.is_nil(sys.connect("127.0.0.1", server.epmd_port, 1))
    end)
  end)

  describe("the embedded broker", function()
    it("does the same in the place of each of them", function()
      for _, kind in ipairs { "mosquitto", "rabbitmq" } do
        local server = helper.embedded_broker(kind, { log = true })
        assert.is_true(Broker.answers_stomp(server.stomp_port, server.user, server.password))
        lives_and_dies(server, helper.stop_all)
      end
      local server = helper.embedded_broker("redis", { password = "secret" })
      assert.equal("PONG", server:cli("PING"))
      assert.same({ 0, 0 }, { server:client_count(), server:subscribers("x") })
      assert.matches("^%-NOAUTH", Broker.ask(server.port, "PING\r\n"))
    end)

    it("refuses what it cannot be told, and a spec that needs it has a word for that", function()
      local ok, message = pcall(helper.embedded_broker, "mosquitto", { persistence = true })
      assert.is_false(ok)
      assert.matches("cannot be told persistence.*real_broker_only", message)
      assert.matches("cannot be told maxmemory",
        select(2, pcall(helper.embedded_broker, "redis", { config = { maxmemory = "1mb" } })))
    end)

    it("has a log of what MQTT clients say where one is asked for", function()
      local server = helper.embedded_broker("mosquitto", { log = true })
      local subscriber = server:subscribe("-t", "a/#", "-q", "1", "-i", "sub", "-V", "5")
      server:publish("-t", "a/b", "-m", "yes", "-q", "1", "-i", "pub")
      subscriber:expect("\nyes\n", 5)
      subscriber:kill("INT")
      subscriber:wait(5)
      for _, line in ipairs {
        "as sub %(p5, c1, k60%)", "\ta/# %(QoS 1%)\n%d+: sub 1 a/#\n",
        "Received PUBLISH from pub %(d0, q1, r0, 'a/b'%)",
        "as pub %(p2, c1, k60%)", "Received PUBACK from sub %(Mid: 1, RC:0%)", "Received DISCONNECT from pub",
      } do
        helper.eventually(function() return server:log():find(line) end, 5, line)
      end
      assert.is_false(pcall(server.log, helper.embedded_broker("mosquitto")))
    end)
  end)

  describe("ActiveMQ", function()
    it("serves MQTT and STOMP, dies, comes back, and leaves nothing", function()
      local server = helper.activemq()
      assert.is_true(Broker.answers_stomp(server.stomp_port))
      lives_and_dies(server, helper.stop_all)
    end)
  end)
end)
