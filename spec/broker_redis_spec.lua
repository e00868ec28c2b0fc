-- MQ.broker as a Redis server: redis-cli and redis-benchmark as clients, MQ's own client, bare sockets; and its limits.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"
local Process = require "spec.support.process"

local client, inbox, expect = tools.client, tools.inbox, tools.expect
local eventually, sys = helper.eventually, helper.sys

describe("MQ.broker as a Redis server", function()
  -- A broker on a free port; `port` is that of Redis.
  local function start(options)
    local broker, ports = tools.serve({ redis = 0 }, options)
    return broker, { port = ports.redis }
  end

  after_each(tools.close_all)

  -- A bare connection; what it reads until it has all of `wanted` (a pattern), or the connection ends.
  local function connect(at)
    return assert(sys.connect("127.0.0.1", at.port, 5))
  end

  local function read_until(fd, wanted)
    local text, deadline = "", sys.now() + 10
    repeat
      local more = sys.read(fd, 65536, 5)
      text = text .. (more or "")
    until not more or more == "" or (wanted and text:find(wanted)) or sys.now() > deadline
    return text
  end

  local function talk(at, lines, wanted)
    local fd = connect(at)
    assert(sys.write(fd, lines, 5))
    local text = read_until(fd, wanted)
    sys.close(fd)
    return text
  end

  describe("serves", function()
    it("redis-cli: a clean start, answers, errors, a subscription", function()
      local _, at = start()
      local function cli(...)
        local code, out, err = helper.run { "redis-cli", "-p", tostring(at.port), ... }
        assert.same({ 0, "" }, { code, err })
        return out
      end
      assert.equal("PONG\n", cli("PING"))
      assert.equal("PONG\n", cli("-3", "PING"))
      assert.equal("0\n", cli("PUBLISH", "news", "x"))
      assert.matches("redis_version:7", cli("INFO", "server"))
      assert.matches("^publish\nsummary\nPosts a message to a channel", cli("COMMAND", "DOCS", "publish"))
      assert.matches("ERR unknown command 'GET'", cli("GET", "x"))

      local mq = client(at)
      local subscriber = Process.start { "redis-cli", "-p", tostring(at.port), "--csv", "PSUBSCRIBE", "ne*", "x[ab]" }
      finally(function() subscriber:stop() end)
      subscriber:expect('"psubscribe","x%[ab%]",2', 5)
      assert.same({ true, 1 }, { mq:emit("news", "one, two") })
      assert.same({ true, 0 }, { mq:emit("xc", "") })
      assert.same({ true, 1 }, { mq:emit("xb", "b") })
      subscriber:expect('"pmessage","ne%*","news","one, two"', 5)
      subscriber:expect('"pmessage","x%[ab%]","xb","b"', 5)
    end)

    it("redis-benchmark: pings inline and not, and publishes", function()
      local broker, at = start()
      local function bench(...)
        local code, out, err = helper.run({
          "redis-benchmark", "-p", tostring(at.port), "-q", "-c", "20", "-P", "10", ...
        }, { timeout = 60 })
        assert.same({ 0, "" }, { code, err })
        return out
      end
      local out = bench("-n", "5000", "-t", "ping_inline,ping_mbulk")
      assert.matches("PING_INLINE: [%d.]+ requests per second", out)
      assert.matches("PING_MBULK: [%d.]+ requests per second", out)
      local got = inbox(client(at), "bench", { exact = true })
      out = bench("-n", "5000", "publish", "bench", "hello")
      assert.matches("publish bench hello: [%d.]+ requests per second", out)
      expect(got, 5000, 20)
      assert.equal(5000, broker:stats().received)
    end)

    it("MQ's own client in the same process: patterns, exact names, counts, order, an end", function()
      local broker, at = start()
      local mq, other = client(at), client(at)
      local all, one = inbox(mq, "/user/*"), inbox(other, "/user/9", { exact = true })
      assert.same({ true, 2 }, { mq:emit("/user/9", "first") })
      assert.same({ true, 1 }, { mq:emit("/user/8", "second") })
      for index = 1, 2000 do
        assert(other:post("/user/9", tostring(index)))
      end
      assert.is_true(other:flush(20))
      expect(all, 2002, 20)
      expect(one, 2001, 20)
      assert.same({ "first", "second", "1", "2000" }, { all[1], all[2], all[3], all[2002] })
      assert(mq:off("/user/*"))
      assert.same({ true, 1 }, { mq:emit("/user/9", "x") })
      local stats = broker:stats()
      assert.same({ 1, "open", 2003 }, { stats.subscriptions, stats.state, stats.received })
      assert.is_true(stats.bytes_in > 2000 and stats.bytes_out > 2000 and stats.connections >= 2)
    end)

    it("payloads of any bytes and sizes", function()
      local _, at = start()
      local mq = client(at)
      local got = inbox(mq, "c")
      local bytes = {}
      for byte = 0, 255 do
        bytes[#bytes + 1] = string.char(byte)
      end
      for index, payload in ipairs { "", table.concat(bytes), "*1\r\n$4\r\nQUIT\r\n", ("x"):rep(3 * 2 ^ 20) } do
        assert(mq:emit("c", payload))
        expect(got, index, 20)
        assert.is_true(got[index] == payload)
      end
    end)

    it("a thousand connections", function()
      local broker, at = start()
      local fds = {}
      for index = 1, 1000 do
        fds[index] = connect(at)
        assert(sys.write(fds[index], "SUBSCRIBE all\r\n", 5))
      end
      for _, fd in ipairs(fds) do
        read_until(fd, ":1\r\n")
      end
      assert.equal(1000, broker:stats().subscriptions)
      assert.same({ true, 1000 }, { client(at):emit("all", "x") })
      for _, fd in ipairs(fds) do
        assert.matches("message", read_until(fd, "x\r\n$"))
        sys.close(fd)
      end
      eventually(function() return broker:stats().subscriptions == 0 end, 10)
    end)
  end)

  describe("lets in", function()
    it("nobody but its users", function()
      local _, at = start { users = { default = "common", ann = "secret" } }
      for _, options in ipairs { { auth = "common" }, { username = "ann", password = "secret" } } do
        assert.is_true(client(at, options):emit("x", ""))
      end
      for _, options in ipairs { {}, { auth = "x" }, { username = "ann", password = "common" } } do
        local ok, _, code = client(at, options):emit("x", "")
        assert.same({ nil, "auth" }, { ok, code })
      end
    end)

    it("no more connections than it may have", function()
      local broker, at = start { max_connections = 2 }
      local fds = { connect(at), connect(at) }
      eventually(function() return broker:stats().connections == 2 end)
      assert.equal("-ERR max number of clients reached\r\n", talk(at, "PING\r\n"))
      assert.equal(1, broker:stats().refused)
      local _, err, code = client(at, { reconnect = false }):emit("x", "")
      assert.same({ "refused", true }, { code, err:find("max number of clients reached", 1, true) ~= nil })
      sys.close(fds[1])
      eventually(function() return broker:stats().connections == 1 end)
      assert.equal("+PONG\r\n", talk(at, "PING\r\n", "PONG\r\n"))
      sys.close(fds[2])
    end)
  end)

  describe("cuts off, after the protocol's own error,", function()
    it("a frame that is too large, and what is none", function()
      local _, at = start { max_packet = 1000 }
      assert.equal("+PONG\r\n-ERR Protocol error: invalid bulk length\r\n", talk(at, "PING\r\n*1\r\n$1000\r\n"))
      assert.equal("-ERR Protocol error: invalid multibulk length\r\n", talk(at, "*x\r\n" .. ("y"):rep(100000)))
    end)

    it("too many subscriptions", function()
      local _, at = start { max_subscriptions = 2 }
      local told = talk(at, "SUBSCRIBE a b c\r\n")
      assert.matches("%$1\r\nb\r\n:2\r\n%-ERR max number of subscriptions reached %(2%)\r\n$", told)
    end)

    it("a subscriber that does not read, and only that", function()
      local broker, at = start { max_queue_bytes = 2 ^ 20 }
      local slow = connect(at)
      assert(sys.write(slow, "SUBSCRIBE flood\r\n", 5))
      read_until(slow, ":1\r\n")
      local mq = client(at)
      local got, sent = inbox(client(at), "flood"), 0
      local payload = ("x"):rep(10000)
      eventually(function()
        for _ = 1, 20 do
          assert(mq:emit("flood", payload))
          sent = sent + 1
        end
        return broker:stats().overruns == 1
      end, 30)
      expect(got, sent, 20)
      assert.same({ true, 1 }, { mq:emit("flood", "") })
      sys.close(slow)
    end)

    it("not a client that reads its answers late", function()
      local _, at = start()
      local fd = connect(at)
      local pings, written, read = ("PING\r\n"):rep(200000), 0, 0
      eventually(function()   -- until neither side takes more
        local taken = sys.write_some(fd, pings:sub(written + 1, written + 65536))
        written = written + taken
        return taken == 0 or written >= #pings
      end, 20)
      local whole = math.floor(written / 6)
      while read < whole * 7 do
        read = read + #assert(sys.read(fd, 65536, 5))
      end
      assert.equal(whole * 7, read)
      sys.close(fd)
    end)
  end)
end)
