-- MQ.mqtt: peers that break the protocol, or are silent: what the user is told, and that nothing hangs or spins.

local helper = require "spec.helper"
local tools = require "spec.mqtt_tools"

local client = tools.client
local eventually = helper.eventually

-- What goes wrong before the broker has let the client in: `answer` to CONNECT.
local greetings = {
  ["garbage"] = { [[conn:send("HTTP/1.1 400 Bad Request\r\n\r\n")]], "protocol" },
  ["zeros"] = { [[conn:send(("\0"):rep(100))]], "protocol" },
  ["a length of five bytes"] = { [[conn:send("\32\255\255\255\255\1")]], "protocol" },
  ["a CONNACK that is too short"] = { [[conn:send("\32\1\0")]], "protocol" },
  ["a CONNACK with reserved flags"] = { [[conn:send("\32\3\2\0\0")]], "protocol" },
  ["a CONNACK with bytes after its end"] = { [[conn:send("\32\4\0\0\0\0")]], "protocol" },
  ["a CONNACK with a property of SUBSCRIBE"] = { [[conn:send("\32\5\0\0\2\11\1")]], "protocol" },
  ["a CONNACK with a receive maximum of 0"] = { [[conn:send("\32\6\0\0\3\33\0\0")]], "protocol" },
  ["a PUBLISH first"] = { [[conn:send("\48\4\0\1a\0")]], "protocol" },
  ["a PINGRESP first"] = { [[conn:send("\208\0")]], "protocol" },
  ["a CONNECT"] = { [[conn:send("\16\15\0\4MQTT\5\2\0\60\0\0\2ab")]], "protocol" },
  ["half a CONNACK for ever"] = { [[conn:send("\32\3\0")]], "timeout" },
  ["nothing for ever"] = { "", "timeout" },
  ["a DISCONNECT: server busy"] = { [[conn:send("\224\2\137\0")]], "lost" },
  ["server unavailable"] = { [[connack(136)]], "refused" },
}

-- The same after it has.
local offences = {
  ["garbage"] = { [[conn:send("HTTP/1.1 400 Bad Request\r\n\r\n")]], "protocol" },
  ["a second CONNACK"] = { [[conn:send(CONNACK)]], "protocol" },
  ["a PUBLISH of QoS 3"] = { [[send(54, "\0\1a\0\1\0x")]], "protocol" },
  ["a PUBLISH to a filter"] = { [[send(48, "\0\3a/#\0x")]], "protocol" },
  ["a PUBLISH to no topic"] = { [[send(48, "\0\0\0x")]], "protocol" },
  ["a PUBLISH to a topic that is not UTF-8"] = { [[send(48, "\0\1\255\0x")]], "protocol" },
  ["a PUBLISH of QoS 1 with packet identifier 0"] = { [[send(50, "\0\1a\0\0\0x")]], "protocol" },
  ["a PUBLISH whose topic is longer than the packet"] = { [[send(48, "\1\0a")]], "protocol" },
  ["a PUBLISH with an unknown property"] = { [[send(48, "\0\1a\2\127\1x")]], "protocol" },
  ["a PUBLISH with a topic alias of 0"] = { [[send(48, "\0\1a\3\35\0\0x")]], "protocol" },
  ["a packet larger than max_packet"] = { [[conn:send("\48\255\255\255\127")]], "protocol" },
  ["a SUBSCRIBE"] = { [[send(130, "\0\1\0\0\1a\0")]], "protocol" },
  ["a PINGREQ"] = { [[send(192, "")]], "protocol" },
  ["a SUBACK that nobody asked for"] = { [[send(144, "\0\9\0\0")]], "protocol" },
  ["an UNSUBACK that nobody asked for"] = { [[send(176, "\0\9\0\0")]], "protocol" },
  ["packet type 0"] = { [[conn:send("\0\0")]], "protocol" },
  ["a PUBACK with reserved flags"] = { [[conn:send("\65\2\0\1")]], "protocol" },
  ["half a packet, and an end"] = { [[conn:send("\48\20\0\1a") return]], "lost" },
  ["an end"] = { "return", "lost" },
  ["a reset"] = { "conn:reset()", "lost" },
  ["a DISCONNECT: shutting down"] = { [[send(224, "\139\0")]], "lost" },
  ["a DISCONNECT with a reason and text"] = { [[send(224, "\128\7\31\0\4help")]], "lost", "help" },
}

-- The CPU seconds that this process has used.
local function spent(fn)
  local before = os.clock()
  fn()
  return os.clock() - before
end

describe("MQ.mqtt and a peer that sends", function()
  after_each(tools.close_all)

  describe("in place of an answer to CONNECT", function()
    for name, case in pairs(greetings) do
      it(name .. ": " .. case[2], function()
        local peer = tools.peer("packet() " .. case[1] .. " conn:hold()")
        local told = {}
        local mq = client(peer, {
          timeout = 0.3, reconnect = false, on_error = function(_, err, code) told[#told + 1] = { err, code } end,
        })
        local ok, err, code
        assert.is_true(spent(function() ok, err, code = mq:emit("x", "") end) < 0.25)
        assert.is_nil(ok)
        assert.equal(case[2], code, err)
        eventually(function() return told[1] end)
        assert.equal(case[2], told[1][2], told[1][1])
        assert.matches("%S", told[1][1])
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
          packet()
          conn:send(CONNACK)
          packet()   -- the message
          if number == 1 then
            packet()   -- another one: the first has its outcome
            %s
          else
            conn:log("well")
          end
          conn:hold()
        ]]):format((case[1]:gsub("^return$", "do return end"):gsub(" return$", " do return end"))))
        local lost, connected = {}, 0
        local mq = client(peer, {
          qos = 0, max_packet = 1000, timeout = 2, reconnect = { min = 0.01 },
          on_disconnect = function(_, err, code) lost[#lost + 1] = { err, code } end,
          on_connect = function() connected = connected + 1 end,
          on_error = function(_, err) error("unexpected: " .. tostring(err)) end,
        })
        assert.is_true(mq:emit("x", ""))
        mq:emit("x", "")   -- written, or known as lost already
        eventually(function() return lost[1] end)
        assert.equal(case[2], lost[1][2], lost[1][1])
        assert.matches(case[3] or "%S", lost[1][1])
        eventually(function() return connected == 2 end)
        assert.is_true(mq:emit("x", ""))
        eventually(function() return peer.log() == "2\twell\n" end)
        assert.equal(1, #lost)
        peer.stop()
      end)
    end

    it("half a packet for ever: keepalive finds it", function()
      local peer = tools.peer [[
        packet()
        conn:send(CONNACK)
        packet()
        conn:send("\48\20\0\1a")
        conn:hold()
      ]]
      local lost
      local mq = client(peer, {
        qos = 0, keepalive = 1, timeout = 0.3, reconnect = false,
        on_disconnect = function(_, err, code) lost = { err, code } end,
      })
      local used = spent(function()
        assert.is_true(mq:emit("x", ""))
        eventually(function() return lost end, 5)
      end)
      assert.equal("timeout", lost[2])
      assert.is_true(used < 1)
      peer.stop()
    end)

    it("no acknowledgement: the emit times out, the connection is given up", function()
      local peer = tools.peer [[
        packet()
        conn:send(CONNACK)
        conn:hold()
      ]]
      local lost
      local mq = client(peer, {
        timeout = 0.3, reconnect = false, on_disconnect = function(_, err, code) lost = { err, code } end,
      })
      local ok, _, code = mq:emit("x", "")
      assert.same({ nil, "timeout" }, { ok, code })
      eventually(function() return lost end)
      assert.equal("timeout", lost[2])
      peer.stop()
    end)

    it("no SUBACK: the subscription times out, and begins when the broker is there", function()
      local peer = tools.peer [[
        packet()
        conn:send(CONNACK)
        local kind, subscribe = packet()
        if number > 1 then
          send(144, subscribe:sub(1, 2) .. "\0\1")
          send(48, "\0\1a\0hello")
        end
        conn:hold()
      ]]
      local got = {}
      local mq = client(peer, { timeout = 0.3, reconnect = { min = 0.01 } })
      local ok, _, code = mq:on("a", function(message) got[#got + 1] = message and message.payload end)
      assert.same({ nil, "timeout" }, { ok, code })
      eventually(function() return got[1] end)
      assert.equal("hello", got[1])
      peer.stop()
    end)

    it("more topics than it may: every message that is well-formed before arrives", function()
      local peer = tools.peer [[
        packet()
        conn:send(CONNACK)
        local kind, subscribe = packet()
        send(144, subscribe:sub(1, 2) .. "\0\1")
        for i = 1, 100 do
          send(48, "\0\1a\0" .. i)
        end
        conn:send("\255\255\255\255\255")
        conn:hold()
      ]]
      local got, lost = {}, nil
      local mq = client(peer, { reconnect = false, on_disconnect = function(_, err, code) lost = { err, code } end })
      assert(mq:on("a", function(message) got[#got + 1] = message and message.payload or "lost" end))
      eventually(function() return lost end)
      assert.equal("protocol", lost[2])
      eventually(function() return #got == 101 end)
      assert.same({ "1", "100", "lost" }, { got[1], got[100], got[101] })
      peer.stop()
    end)
  end)
end)
