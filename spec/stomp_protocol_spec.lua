-- MQ.stomp: peers that break the protocol, or are silent: what the user is told, and that nothing hangs or spins.

local helper = require "spec.helper"
local tools = require "spec.stomp_tools"

local client = tools.client
local eventually = helper.eventually

-- What goes wrong before the broker has let the client in: `answer` to CONNECT.
local greetings = {
  ["garbage"] = { [[conn:send("HTTP/1.1 400 Bad Request\r\n\r\n")]], "protocol" },
  ["the first bytes of TLS"] = { [[conn:send("\21\3\1\0\2\2\40")]], "protocol" },
  ["zeros"] = { [[conn:send(("\0"):rep(100))]], "protocol" },
  ["a MESSAGE"] = { [[send("MESSAGE", { destination = "/a", ["message-id"] = "1", subscription = "1" }, "x")]],
    "protocol" },
  ["a RECEIPT"] = { [[send("RECEIPT", { ["receipt-id"] = "1" })]], "protocol" },
  ["a CONNECT"] = { [[send("CONNECT", { ["accept-version"] = "1.2", host = "/" })]], "protocol" },
  ["a version that nobody asked for"] = { [[send("CONNECTED", { version = "2.0" })]], "refused", "2.0" },
  ["an ERROR"] = { [[send("ERROR", { message = "no version in common" }, "sorry")]], "refused", "no version in" },
  ["half a frame for ever"] = { [[conn:send("CONNECTED\nversion:1")]], "timeout" },
  ["nothing for ever"] = { "", "timeout" },
  ["line feeds for ever"] = { [[while true do conn:send("\n") sys.sleep(0.05) end]], "timeout" },
  ["an end"] = { "do return end", "lost" },
}

-- The same after it has.
local offences = {
  ["garbage"] = { [[conn:send("GARBAGE IN\n\n\0")]], "protocol" },
  ["a second CONNECTED"] = { [[send("CONNECTED", { version = "1.2" })]], "protocol" },
  ["a frame of the client's"] = { [[send("SEND", { destination = "/a" }, "x")]], "protocol" },
  ["a header without a colon"] = { [[conn:send("MESSAGE\ndestination\n\n\0")]], "protocol" },
  ["an escape that there is none"] = { [[conn:send("MESSAGE\ndestination:a\\tb\n\n\0")]], "protocol" },
  ["a content-length that is no number"] = { [[conn:send("MESSAGE\ncontent-length:x\n\n\0")]], "protocol" },
  ["a body without its NUL"] = { [[conn:send("MESSAGE\ncontent-length:1\n\nxyz")]], "protocol" },
  ["a frame larger than max_packet"] = { [[conn:send("MESSAGE\ncontent-length:100000\n\n")]], "protocol" },
  ["a body larger than max_packet"] = { [[conn:send("MESSAGE\n\n" .. ("x"):rep(2000))]], "protocol" },
  ["headers without end"] = { [[conn:send("MESSAGE\n" .. ("a:b\n"):rep(2000))]], "protocol" },
  ["half a frame, and an end"] = { [[conn:send("MESSAGE\nfoo:b") do return end]], "lost" },
  ["an end"] = { "do return end", "lost" },
  ["a reset"] = { "conn:reset()", "lost" },
  ["an ERROR that names nothing"] = { [[send("ERROR", { message = "shutting down" }, "come back later") do return end]],
    "[%l]+", "shutting down" },
}

-- The CPU seconds that this process has used.
local function spent(fn)
  local before = os.clock()
  fn()
  return os.clock() - before
end

describe("MQ.stomp and a peer that sends", function()
  after_each(tools.close_all)

  describe("in place of an answer to CONNECT", function()
    for name, case in pairs(greetings) do
      it(name .. ": " .. case[2], function()
        local peer = tools.peer("frame() " .. case[1] .. " conn:hold()")
        local told = {}
        local mq = client(peer, {
          timeout = 0.3, reconnect = false, on_error = function(_, err, code) told[#told + 1] = { err, code } end,
        })
        local ok, err, code
        assert.is_true(spent(function() ok, err, code = mq:emit("/queue/x", "") end) < 0.25)
        assert.is_nil(ok)
        assert.equal(case[2], code, err)
        assert.matches(case[3] or "%S", err)
        eventually(function() return told[1] end)
        assert.equal(case[2], told[1][2], told[1][1])
        assert.equal(1, peer.count())
        peer.stop()
      end)
    end
  end)

  describe("after the handshake", function()
    for name, case in pairs(offences) do
      it(name .. ": " .. case[2], function()
        -- the first connection offends, the second one serves
        local peer = tools.peer(([[
          accept()
          local command, headers = frame()   -- the message
          receipt(headers)
          if number == 1 then
            %s
          end
          conn:hold()
        ]]):format(case[1]))
        local lost, connected = {}, 0
        local mq = client(peer, {
          max_packet = 1000, timeout = 2, reconnect = { min = 0.01 },
          on_disconnect = function(_, err, code) lost[#lost + 1] = { err, code } end,
          on_connect = function() connected = connected + 1 end,
          on_error = function(_, err) error("unexpected: " .. tostring(err)) end,
        })
        assert.is_true((mq:emit("/queue/x", "first")))
        eventually(function() return lost[1] end)
        assert.matches("^" .. case[2] .. "$", lost[1][2], 1, nil, lost[1][1])
        assert.matches(case[3] or "%S", lost[1][1])
        eventually(function() return connected == 2 end)
        assert.is_true((mq:emit("/queue/x", "second")))
        assert.matches("2\tSEND /queue/x second\n", peer.log())
        assert.equal(1, #lost)
        peer.stop()
      end)
    end

    it("half a frame for ever: the heart-beat finds it", function()
      local peer = tools.peer [[
        accept { ["heart-beat"] = "100,100" }
        local _, headers = frame()
        receipt(headers)
        conn:send("MESSAGE\nfoo:b")
        conn:hold()
      ]]
      local lost
      local mq = client(peer, {
        heartbeat = 0.1, timeout = 0.3, reconnect = false,
        on_disconnect = function(_, err, code) lost = { err, code } end,
      })
      local used = spent(function()
        assert.is_true((mq:emit("/queue/x", "")))
        eventually(function() return lost end, 5)
      end)
      assert.equal("timeout", lost[2])
      assert.is_true(used < 1)
      peer.stop()
    end)

    it("heart-beats that stop: the connection is left, and made anew", function()
      local peer = tools.peer [[
        accept { ["heart-beat"] = "100,0" }
        local _, headers = frame()
        receipt(headers)
        for _ = 1, number == 1 and 5 or 1000 do
          conn:send("\n")
          sys.sleep(0.05)
        end
        conn:hold()
      ]]
      local lost, connected = {}, 0
      local mq = client(peer, {
        heartbeat = { 0, 0.1 },
        on_disconnect = function(_, err, code) lost[#lost + 1] = { err, code } end,
        on_connect = function() connected = connected + 1 end,
      })
      assert.is_true((mq:emit("/queue/x", "")))
      eventually(function() return connected == 2 end, 5)
      assert.equal("timeout", lost[1][2])
      peer.stop()
    end)

    it("no receipt: the emit times out, the connection is given up", function()
      local peer = tools.peer [[
        accept()
        conn:hold()
      ]]
      local lost
      local mq = client(peer, {
        timeout = 0.3, reconnect = false, on_disconnect = function(_, err, code) lost = { err, code } end,
      })
      local ok, _, code = mq:emit("/queue/x", "")
      assert.same({ nil, "timeout" }, { ok, code })
      eventually(function() return lost end)
      assert.equal("timeout", lost[2])
      peer.stop()
    end)

    it("an ERROR that names its receipt: that call fails, and is not sent again", function()
      local peer = tools.peer [[
        accept()
        while true do
          local command, headers, body = frame()
          if body == "bad" then
            send("ERROR", { ["receipt-id"] = headers.receipt, message = "bad body" }, "It is bad.\nLine 2")
            return
          end
          receipt(headers)
        end
      ]]
      local mq = client(peer)
      assert.is_true((mq:emit("/queue/x", "good")))
      local ok, err, code = mq:emit("/queue/x", "bad")
      assert.same({ nil, "refused" }, { ok, code })
      assert.matches("bad body.*It is bad", err)
      assert.is_true((mq:emit("/queue/x", "good")))
      assert.is_true(mq:post("/queue/x", "bad"))
      assert.is_true(mq:post("/queue/x", "good"))
      local failed
      ok, err, failed, code = mq:flush(5)
      assert.same({ nil, 1, "refused" }, { ok, failed, code }, err)
      assert.equal(2, select(2, peer.log():gsub("SEND /queue/x bad", "")))
      peer.stop()
    end)

    it("an ERROR that names nothing: the culprit is found, the others are sent", function()
      local peer = tools.peer [[
        accept()
        while true do
          local command, headers, body = frame()
          if body == "bad" then
            send("ERROR", { message = "bad body" }, "It is bad.")
            return
          end
          receipt(headers)
        end
      ]]
      local mq, results = client(peer), {}
      for index, payload in ipairs { "1", "2", "bad", "3", "4" } do
        results[index] = tools.task(function() return mq:emit("/queue/x", payload) end)
      end
      for index, task in ipairs(results) do
        local ok, err, code = tools.await(task)
        if index == 3 then
          assert.same({ nil, "refused" }, { ok, code })
          assert.matches("bad body", err)
        else
          assert.is_true(ok)
        end
      end
      peer.stop()
    end)

    it("no confirmation: the subscription times out, and begins when the broker is there", function()
      local peer = tools.peer [[
        accept()
        local command, headers = frame()
        if number > 1 then
          receipt(headers)
          send("MESSAGE", { subscription = headers.id, ["message-id"] = "1", destination = "/a" }, "hello")
        end
        conn:hold()
      ]]
      local got = {}
      local mq = client(peer, { timeout = 0.3, reconnect = { min = 0.01 } })
      local ok, _, code = mq:on("/a", function(message) got[#got + 1] = message and message.payload end)
      assert.same({ nil, "timeout" }, { ok, code })
      eventually(function() return got[1] end)
      assert.equal("hello", got[1])
      peer.stop()
    end)

    it("a message for a subscription that there is none: nobody is called", function()
      local peer = tools.peer [[
        accept()
        local command, headers = frame()
        receipt(headers)
        for _, subscription in ipairs { "nobody's", headers.id } do
          send("MESSAGE", {
            subscription = subscription, ["message-id"] = "1", destination = "/a", ack = "1",
          }, "for " .. (subscription == headers.id and "us" or "nobody"))
        end
        conn:hold()
      ]]
      local mq = client(peer)
      local got = tools.inbox(mq, "/a")
      tools.expect(got, 1)
      assert.same({ "for us", lost = 0 }, got)
      assert.equal(0, mq:stats().reconnects)
      peer.stop()
    end)

    it("garbage behind messages: those that are well-formed arrive", function()
      local peer = tools.peer [[
        accept()
        local command, headers = frame()
        receipt(headers)
        for i = 1, 100 do
          send("MESSAGE", { subscription = headers.id, ["message-id"] = i, destination = "/a" }, tostring(i))
        end
        conn:send("\255\255\255")
        conn:hold()
      ]]
      local got, lost = {}, nil
      local mq = client(peer, { reconnect = false, on_disconnect = function(_, err, code) lost = { err, code } end })
      assert(mq:on("/a", function(message) got[#got + 1] = message and message.payload or "lost" end, { ack = "none" }))
      eventually(function() return lost end)
      assert.equal("protocol", lost[2])
      eventually(function() return #got == 101 end)
      assert.same({ "1", "100", "lost" }, { got[1], got[100], got[101] })
      peer.stop()
    end)
  end)
end)
