-- MQ.redis: large, empty and hostile input: payload sizes, limits, servers that are none, many subscriptions,
-- messages that come faster than they are taken.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"

local client, inbox, expect, task, await = tools.client, tools.inbox, tools.expect, tools.task, tools.await
local eventually = helper.eventually
local quick = { min = 0.01, max = 0.05 }

-- Resident memory of this process in KiB.
local function resident()
  collectgarbage()
  local file = assert(io.open("/proc/self/status"))
  local text = file:read("*a")
  file:close()
  return tonumber(text:match("VmRSS:%s*(%d+)"))
end

local function assert_fails(wanted, ok, err, code)
  assert.same({ "nil", "string", wanted }, { type(ok), type(err), code })
  return err
end

describe("MQ.redis", function()
  local server

  setup(function() server = helper.redis { config = { ["client-output-buffer-limit pubsub"] = "0 0 0" } } end)
  after_each(tools.close_all)

  describe("payloads:", function()
    local function echo(mq, payload)
      local got = inbox(mq, "/echo")
      assert.same({ true, 1 }, { mq:emit("/echo", payload) })
      expect(got, 1, 20)
      assert.is_true(got[1] == payload, ("%d bytes came back as %d others"):format(#payload, #got[1]))
      assert(mq:off("/echo"))
      assert(mq:post("/echo", payload))
      assert.is_true(mq:flush(20))
    end

    it("0, 1 and 2 bytes; all 256 byte values; what looks like the protocol", function()
      local mq, bytes = client(server), {}
      for i = 0, 255 do
        bytes[i + 1] = string.char(i)
      end
      for _, payload in ipairs {
        "", "\0", "\r\n", table.concat(bytes), "*1\r\n$4\r\nQUIT\r\n", ">4\r\n", ("\0"):rep(4096), "$-1\r\n",
      } do
        echo(mq, payload)
      end
    end)

    it("around the sizes of buffers", function()
      local mq = client(server)
      for _, power in ipairs { 8, 12, 14, 16, 18 } do
        for difference = -1, 1 do
          echo(mq, ("ab"):rep(2 ^ power / 2 - 1) .. ("c"):rep(2 + difference))
        end
      end
    end)

    it("8 MB", function()
      echo(client(server), ("0123456789abcde\n"):rep(512 * 1024))
    end)

    it("channels of any bytes", function()
      local mq, name = client(server), "/\0\255\r\n {}"
      local got = {}
      assert(mq:on(name, function(message) got[#got + 1] = message end, { exact = true }))
      assert.same({ true, 1 }, { mq:emit(name, "x") })
      expect(got, 1)
      assert.same({ type = "message", source = name, pattern = name, payload = "x" }, got[1])
    end)
  end)

  it("1,000 subscriptions on one client, again after a loss", function()
    local mq, counts, total = client(server, { reconnect = quick }), {}, 0
    local tasks = {}
    for i = 1, 1000 do
      counts[i] = 0
      tasks[i] = task(function()
        return mq:on("/many/" .. i, function(message)
          if message then
            assert(message.payload == tostring(i))
            counts[i] = counts[i] + 1
            total = total + 1
          end
        end, { exact = i % 2 == 0 })
      end)
    end
    for _, each in ipairs(tasks) do
      assert.is_true(await(each))
    end
    local publisher = client(server)
    for round = 1, 2 do
      for i = 1, 1000 do
        assert(publisher:post("/many/" .. i, tostring(i)))
      end
      assert.is_true(publisher:flush(10))
      eventually(function() return total == round * 1000 end)
      if round == 1 then
        server:cli("CLIENT", "KILL", "TYPE", "pubsub")
        eventually(function()
          return mq:stats().reconnects == 1 and server:cli("PUBSUB", "NUMPAT") == "500"
            and server:subscribers("/many/1000") == 1
        end)
      end
    end
    for i = 1, 1000 do
      assert.equal(2, counts[i])
    end
    assert.equal(1, server:client_count() - 1)   -- the publisher is the other one
  end)

  describe("messages that come faster than they are taken:", function()
    it("memory stays bounded, nothing is lost, order holds", function()
      local mq = client(server, { max_pending = 100 })
      local count, wrong, slow = 0, 0, true
      assert(mq:on("/flood", function(message)
        count = count + 1
        if tonumber(message.payload:match("^%d+")) ~= count then
          wrong = wrong + 1
        end
        if slow then
          tools.sleep(0.005)
        end
      end))
      -- after the subscription has been confirmed
      local publisher = helper.start_lua([[
        local MQ = require "MQ.redis"
        local mq = MQ:new { port = tonumber(arg[1]) }
        local filler = ("x"):rep(500)
        assert(mq:emit("/ready", ""))
        for i = 1, 200000 do assert(mq:post("/flood", i .. " " .. filler)) end
        assert(mq:flush(60))
        mq:close()
        print "done"
      ]], { args = { server.port } })
      local other = inbox(mq, "/ready")
      assert.is_not_nil(other)
      eventually(function() return count > 20 end, 20)
      local before = resident()
      -- 100 MB have left the publisher, the callback still sleeps
      eventually(function() return publisher.stdout:find("done") or not publisher:pump(0) end, 40)
      publisher:wait(10)
      assert.is_true(count < 100000, "the callback was meant to lag")
      assert.is_true(resident() - before < 24 * 1024, ("grew by %d KiB"):format(resident() - before))
      slow = false
      eventually(function() return count == 200000 end, 40)
      assert.equal(0, wrong)
      assert.equal(0, mq:stats().reconnects)
    end)

    it("a client that is behind is not taken for a dead server, and emits still work", function()
      local mq = client(server, { max_pending = 10, keepalive = 0.1, timeout = 0.3 })
      local publisher, count = client(server), 0
      assert(mq:on("/behind", function()
        count = count + 1
        if count == 1 then
          tools.sleep(1)   -- longer than keepalive and timeout together
        end
      end))
      for _ = 1, 1000 do
        assert(publisher:post("/behind", ("x"):rep(1000)))
      end
      assert.is_true(publisher:flush(5))
      eventually(function() return count == 1000 end, 10)
      assert.equal(0, mq:stats().reconnects)
      assert.is_true(mq:emit("x", ""))
    end)
  end)

  describe("a server that is none:", function()
    -- a peer for each, since a fatal error must not be tried again
    local function talks_to(code, options)
      local peer = helper.peer(code)
      local all = { reconnect = quick, timeout = 1 }
      for name, value in pairs(options or {}) do
        all[name] = value
      end
      return client(peer, all), peer
    end

    for name, garbage in pairs {
      ["HTTP"] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
      ["SSH"] = "SSH-2.0-OpenSSH_9.2\r\n",
      ["zeros"] = ("\0"):rep(1000),
      ["noise"] = "\255\254\r\n\1\2\3\r\n",
      ["a length that is none"] = "$abc\r\n",
      ["a length below zero"] = "*-5\r\n",
      ["a length beyond 64 bits"] = "$99999999999999999999999\r\n",
    } do
      it("garbage instead of a handshake is fatal: " .. name, function()
        local mq, peer = talks_to(("conn:send(%q) conn:hold()"):format(garbage))
        assert_fails("protocol", mq:emit("x", ""))
        assert_fails("protocol", mq:start())
        tools.sleep(0.1)
        assert.equal(1, peer.count())
      end)
    end

    it("garbage from a server that spoke sense before is a loss: it is tried again", function()
      local mq, peer = talks_to([[
        local words = conn:handshake()
        if number == 1 then
          conn:confirm(words)
          conn:push("/g", "/g", "first")
          conn:send("what?\r\n")
          conn:hold()
        end
        conn:confirm(words)
        conn:push("/g", "/g", "second")
        conn:hold()
      ]])
      local got = inbox(mq, "/g")
      expect(got, 2)
      assert.same({ "first", "second", lost = 1 }, got)
      assert.equal(2, peer.count())
    end)

    it("half a reply, then silence: timeout", function()
      local mq = talks_to('conn:handshake() conn:send("$1000\\r\\nhalf") conn:hold()', { timeout = 0.3 })
      assert_fails("timeout", mq:emit("x", ""))
    end)

    it("half a reply, then the end: lost", function()
      local mq = talks_to('conn:handshake() conn:send("$1000\\r\\nhalf") conn:reset()')
      assert_fails("lost", mq:emit("x", ""))
    end)

    it("a message in many small pieces", function()
      local mq = talks_to([[
        conn:confirm(conn:handshake())
        local text = ">4\r\n$8\r\npmessage\r\n$2\r\n/p\r\n$2\r\n/p\r\n$11\r\nhello world\r\n"
        for i = 1, #text do
          conn:send(text:sub(i, i))
          sys.sleep(0.001)
        end
        conn:hold()
      ]])
      local got = inbox(mq, "/p")
      expect(got, 1)
      assert.equal("hello world", got[1])
    end)

    it("messages nobody asked for, and empty lines of other kinds, do no harm", function()
      local mq = talks_to([[
        local words = conn:handshake()
        conn:push("/other", "/other", "x")
        conn:send(">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n")
        conn:confirm(words)
        conn:push("/p", "/p", "mine")
        conn:hold()
      ]])
      local got = inbox(mq, "/p")
      expect(got, 1)
      assert.same({ "mine", lost = 0 }, got)
    end)

    for name, announcement in pairs {
      ["a bulk string of 512 MB"] = "$536870912\\r\\n",
      ["a push with a payload of 512 MB"] =
        ">4\\r\\n$8\\r\\npmessage\\r\\n$2\\r\\n/p\\r\\n$2\\r\\n/p\\r\\n$536870912\\r\\n",
      ["an array of a thousand million"] = "*1000000000\\r\\n",
      ["arrays nested without end"] = "]] .. ('*1\\r\\n'):rep(100000) .. [[",
    } do
      it("refuses " .. name .. ", and allocates nothing", function()
        local mq = talks_to("conn:confirm(conn:handshake()) conn:send(([[" ..
          announcement .. ']]):gsub("\\\\r", "\\r"):gsub("\\\\n", "\\n")) conn:hold()',
          { reconnect = false })
        inbox(mq, "/p")
        local before = resident()
        assert_fails("protocol", mq:start())
        local growth = resident() - before
        assert.is_true(growth < 16 * 1024, ("grew by %d KiB"):format(growth))
      end)
    end

    it("max_packet bounds what is taken; just below it is taken", function()
      local mq = client(server, { max_packet = 100000, reconnect = quick })
      local publisher = client(server)
      local got = inbox(mq, "/max")
      assert.same({ true, 1 }, { publisher:emit("/max", ("x"):rep(99000)) })
      expect(got, 1)
      assert.same({ true, 1 }, { publisher:emit("/max", ("x"):rep(101000)) })
      eventually(function() return got.lost == 1 end)
      eventually(function() return mq:stats().reconnects == 1 and server:cli("PUBSUB", "NUMPAT") == "1" end)
      assert.same({ true, 1 }, { publisher:emit("/max", "after") })
      expect(got, 2)
      assert.equal("after", got[2])
    end)
  end)
end)
