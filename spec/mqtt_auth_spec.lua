-- MQ.mqtt: who is let in and to do what; TLS; the version fallback, redirection and enhanced authentication.

local helper = require "spec.helper"
local tools = require "spec.mqtt_tools"

local client, inbox, messages, expect, unique = tools.client, tools.inbox, tools.messages, tools.expect, tools.unique
local eventually = helper.eventually

-- What a client that cannot get in is told, by each of its ways: emit, start, on_error.
local function refused(target, options)
  local told = {}
  local all = { on_error = function(_, err, code) told[#told + 1] = { err, code } end }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  local mq = client(target, all)
  local serving = tools.task(function() return mq:start() end)
  local ok, err, code = mq:emit("x", "")
  assert.is_nil(ok)
  eventually(function() return told[1] end)
  assert.same({ { err, code } }, told)
  local results = { tools.await(serving) }
  assert.same({ err, code }, { results[2], results[3] })
  assert.equal("failed", mq:stats().state)
  assert.same({ nil, err, code }, { mq:on("x", print) })
  return err, code
end

describe("MQ.mqtt:", function()
  after_each(tools.close_all)

  for _, version in ipairs(tools.versions) do
    describe("version " .. version, function()
      local server

      setup(function()
        server = tools.mosquitto {
          users = { alice = "wonder" },
          acl = not helper.embedded and { "user alice", "topic readwrite a/#", "topic read closed/#" } or nil,
        }
      end)
      teardown(function() server:stop() end)

      it("user and password let in", function()
        local mq = client(server, { version = version, username = "alice", password = "wonder" })
        local got = inbox(mq, "a/b")
        assert(mq:emit("a/b", "x"))
        expect(got, 1)
        mq = client(server, { version = version, username = "alice", auth = "wonder" })
        assert(mq:emit("a/b", "y"))
        local url = ("mqtt://alice:wonder@127.0.0.1:%d?version=%s"):format(server.port, version)
        mq = tools.keep(require("MQ").connect(url))
        assert(mq:emit("a/b", "x"))
        expect(got, 3)
      end)

      it("a virtual host goes before the user's name, as RabbitMQ takes it", function()
        local peer = tools.peer [[
          local _, connect = packet()
          conn:log((connect:gsub("[^%w:]", ".")))
          conn:send(connect:byte(7) == 5 and CONNACK or CONNACK_311)
          conn:hold()
        ]]
        local mq = client(peer, { version = version, vhost = "shop", username = "bob", password = "builder" })
        assert(mq:emit("x", "", { qos = 0 }))
        assert.matches("%.shop:bob%.%.builder\n", peer.log())
        peer.stop()
      end)

      it("a wrong password, or none, is fatal and told once", function()
        for _, options in ipairs { { username = "alice", password = "wrong" }, { username = "nobody" }, {} } do
          options.version = version
          local err, code = refused(server, options)
          assert.equal("auth", code)
          -- mosquitto says the same of all, the embedded broker of who gives none
          local differs = helper.embedded and options.username
          assert.matches(differs and "bad user name or password" or "not authorized", err:lower())
          assert.matches("username", err)
          assert.not_matches("wrong", err)
        end
      end)

      it("a publish that the access list denies", helper.real_broker_only(
        "the embedded broker has no access lists", function()
        local mq = client(server, { version = version, username = "alice", password = "wonder" })
        local got = inbox(mq, "closed/#")
        -- mosquitto 2.0.11 closes a 3.1.1 connection after a denied message of QoS 2
        for qos = 1, version == 5 and 2 or 1 do
          local ok, err, code = mq:emit("closed/x", "no", { qos = qos })
          if version == 5 then
            assert.same({ nil, "refused" }, { ok, code })
            assert.matches("not authorized", err:lower())
            assert.matches("0x87", err)
          else
            assert.is_true(ok)   -- version 3.1.1 has no word for it
          end
        end
        assert(mq:post("closed/x", "no"))
        local ok, err, failed, code = mq:flush()
        if version == 5 then
          assert.same({ nil, 1, "refused" }, { ok, failed, code })
          assert.matches("not authorized", err:lower())
        else
          assert.is_true(ok)
        end
        local open = inbox(mq, "a/open")
        tools.barrier(mq, "a/open", open)
        assert.equal(0, #got)
      end))

      it("a subscription that is refused is told, and the others live on", helper.real_broker_only(
        "the embedded broker refuses no subscription", function()
        local strict = tools.mosquitto { refuse = { subscribe = { "no/#" } } }
        local mq = client(strict, { version = version })
        local ok, err, code = mq:on("no/entry", print)
        assert.same({ nil, "refused" }, { ok, code })
        assert.matches(version == 5 and "not authorized" or "0x80", err:lower())
        assert.equal("invalid", (select(3, mq:off("no/entry"))))
        local got = inbox(mq, "yes")
        assert(mq:emit("yes", "x"))
        expect(got, 1)
        assert.equal(0, mq:stats().reconnects)
        strict:stop()
      end))

      it("a client id that the broker does not take", helper.real_broker_only(
        "the embedded broker takes every client id", function()
        local strict = tools.mosquitto { config = { "clientid_prefixes ok-" } }
        assert(client(strict, { version = version, client_id = "ok-1" }):emit("x", ""))
        local err, code = refused(strict, { version = version, client_id = "bad-1" })
        assert.is_true(code == "refused" or code == "auth", code)
        assert.is_truthy(err:find(code == "refused" and "bad-1" or "uthorized", 1, true), err)
        strict:stop()
      end))

      it("over TLS, with a CA and a client certificate", helper.real_broker_only(
        "the embedded broker does not speak TLS", function()
        local secure = tools.mosquitto { tls = true, client_certificates = true }
        local files = secure.certificates
        local function options(tls)
          return { host = "localhost", port = secure.tls_port, version = version, tls = tls }
        end
        local mq = client(nil, options { ca = files.ca, cert = files.client_cert, key = files.client_key })
        local topic = unique("tls")
        local got = messages(mq, topic)
        assert(mq:emit(topic, ("x"):rep(200000)))
        expect(got, 1)
        assert.equal(200000, #got[1].payload)
        mq = tools.keep(require("MQ").connect(("mqtts://localhost:%d?ca=%s&cert=%s&key=%s&version=%s"):format(
          secure.tls_port, files.ca, files.client_cert, files.client_key, version)))
        assert(mq:emit(topic, "by URL"))
        expect(got, 2)
        local stranger = { ca = files.other_ca, cert = files.client_cert, key = files.client_key }
        local err, code = refused(nil, options(stranger))
        assert.equal("tls", code)
        assert.matches("certificate", err)
        secure:stop()
      end))
    end)
  end

  describe("the version", function()
    it("falls back to 3.1.1 where the broker refuses 5, once and quietly", function()
      -- refuses as MQTT 5 does, as a 3.1.1 broker does, and as one that simply says it in 3.1.1's CONNACK
      for _, answer in ipairs { [["\32\3\0\132\0"]], [["\32\2\0\1"]] } do
        local peer = tools.peer(([[
          local first, body = packet()
          conn:log("version " .. body:byte(7))
          if body:byte(7) == 5 then
            conn:send(%s)
            return
          end
          conn:send(CONNACK_311)
          while true do
            local kind, publish = packet()
            if kind >= 48 and kind < 64 then
              local topic = publish:byte(1) * 256 + publish:byte(2)
              send(64, publish:sub(3 + topic, 4 + topic))
            end
          end
        ]]):format(answer))
        local told, info = {}, nil
        local mq = client(peer, {
          on_error = function(_, err, code) told[#told + 1] = { err, code } end,
          on_connect = function(_, granted) info = granted end,
        })
        assert.is_true((mq:emit("x", "y")))
        eventually(function() return info end)
        assert.same({ version = "3.1.1", session_present = false, client_id = info.client_id }, info)
        assert.same({}, told)
        assert.equal("1\tversion 5\n2\tversion 4\n", peer.log())
        peer.stop()
      end
    end)

    it("that nobody takes is told", function()
      local peer = tools.peer [[
        packet()
        conn:send("\32\2\0\1")
      ]]
      local err, code = refused(peer, { version = "3.1.1" })
      assert.equal("refused", code)
      assert.matches("version", err)
      assert.equal(1, peer.count())
      err, code = refused(peer)
      assert.equal("refused", code)
      assert.matches("version", err)
      assert.equal(3, peer.count())
      peer.stop()
    end)
  end)

  describe("a broker that names another one", function()
    local server

    setup(function() server = tools.mosquitto() end)
    teardown(function() server:stop() end)

    local function signpost(reason)
      return tools.peer(([[
        packet()
        local place = "127.0.0.1:%d"
        connack(%d, "\28\0" .. string.char(#place) .. place)
        conn:hold()
      ]]):format(server.port, reason))
    end

    it("is followed with redirect = true", function()
      for _, reason in ipairs { 156, 157 } do   -- use another server, server moved
        local peer = signpost(reason)
        local mq, topic = client(peer, { redirect = true }), unique("t")
        local got = inbox(mq, topic)
        assert(mq:emit(topic, "x"))
        expect(got, 1)
        assert.equal(1, peer.count())
        peer.stop()
      end
    end)

    it("is followed also after it had let the client in", function()
      local peer = tools.peer(([[
        packet()
        conn:send(CONNACK)
        local _, subscribe = packet()
        send(144, subscribe:sub(1, 2) .. "\0\1")
        local place = "127.0.0.1:%d"
        send(224, "\156" .. string.char(#place + 3) .. "\28\0" .. string.char(#place) .. place)
        conn:hold()
      ]]):format(server.port))
      local mq, topic, lost = client(peer, { redirect = true }), unique("t"), nil
      mq.on_disconnect = function(_, err, code) lost = { err, code } end
      local got = inbox(mq, topic)
      eventually(function() return lost end)
      assert.equal("lost", lost[2])
      assert.matches("another server", lost[1])
      eventually(function() return mq:stats().state == "connected" end)
      assert(mq:emit(topic, "x"))
      expect(got, 1)
      assert.equal(1, peer.count())
      peer.stop()
    end)

    it("is not followed in a hurry where it lets the client in each time", function()
      local port = helper.free_port()
      local peer = tools.peer(([[
        packet()
        conn:send(CONNACK)
        local place = "127.0.0.1:%d"
        send(224, "\157" .. string.char(#place + 3) .. "\28\0" .. string.char(#place) .. place)
        conn:hold()
      ]]):format(port), { port = port })
      local waits = {}
      local mq = client(peer, {
        redirect = true, on_disconnect = function(_, _, _, seconds) waits[#waits + 1] = seconds end,
      })
      assert(mq:post("x", "", { qos = 0 }))
      eventually(function() return waits[3] end)
      assert.is_true(waits[1] >= 0.05 and waits[3] > waits[1])
      peer.stop()
    end)

    it("is named to the program without", function()
      local peer = signpost(157)
      local err, code = refused(peer)
      assert.equal("refused", code)
      assert.is_truthy(err:find("127.0.0.1:" .. server.port, 1, true), err)
      assert.matches("redirect = true", err)
      assert.equal(1, peer.count())
      peer.stop()
    end)

    it("is not followed in circles", function()
      local port = helper.free_port()
      local peer = tools.peer(([[
        packet()
        local place = "127.0.0.1:%d"
        connack(157, "\28\0" .. string.char(#place) .. place)
        conn:hold()
      ]]):format(port), { port = port })
      local err, code = refused(peer, { redirect = true })
      assert.equal("refused", code)
      assert.matches("moved", err)
      assert.is_true(peer.count() <= 10)
      peer.stop()
    end)
  end)

  describe("enhanced authentication", function()
    -- AUTH (section 3.15) with the method "X" and the question; CONNACK with the last data
    local CHALLENGE = [[
      local first, connect = packet()
      conn:log((connect:gsub("[^%w]", ".")))
      local method = "\21\0\1X"
      for round = 1, 2 do
        local data = "\22\0\9question" .. round
        send(240, "\24" .. string.char(#method + #data) .. method .. data)
        local kind, auth = packet()
        conn:log(kind .. " " .. (auth:gsub("[^%w]", ".")))
      end
      connack(0, method .. "\22\0\4done")
      conn:hold()
    ]]

    it("asks on_auth as often as the broker asks", function()
      local peer = tools.peer(CHALLENGE)
      local asked, info = {}, nil
      local mq = client(peer, {
        auth_method = "X", auth_data = "hello", qos = 0,
        on_auth = function(mq, data, properties)
          asked[#asked + 1] = { tostring(mq):match("^MQ.mqtt"), data, properties.authentication_method }
          tools.sleep(0.01)   -- it may take its time
          return "answer to " .. data
        end,
        on_connect = function(_, granted) info = granted end,
      })
      assert.is_true((mq:emit("x", "")))
      eventually(function() return info end)
      assert.same({ { "MQ.mqtt", "question1", "X" }, { "MQ.mqtt", "question2", "X" } }, asked)
      assert.equal("done", info.properties.authentication_data)
      local log = peer.log()
      assert.matches("hello", log)
      assert.matches("240 .*X.*answer.to.question1\n", log)
      assert.matches("240 .*X.*answer.to.question2\n", log)
      peer.stop()
    end)

    it("without on_auth says what is missing, and times out", function()
      local peer = tools.peer(CHALLENGE)
      local told = {}
      local mq = client(peer, {
        auth_method = "X", timeout = 0.2, reconnect = false,
        on_error = function(_, err, code) told[#told + 1] = { err, code } end,
      })
      local ok, _, code = mq:emit("x", "")
      assert.same({ nil, "timeout" }, { ok, code })
      assert.same({ "auth" }, { told[1][2] })
      assert.matches("on_auth", told[1][1])
      peer.stop()
    end)

    it("that fails is fatal", function()
      local peer = tools.peer [[
        packet()
        send(240, "\24\4\21\0\1X")
        packet()
        connack(135)
        conn:hold()
      ]]
      local told = {}
      local mq = client(peer, {
        auth_method = "X", on_auth = function() return "wrong" end,
        on_error = function(_, err, code) told[#told + 1] = { err, code } end,
      })
      local ok, err, code = mq:emit("x", "")
      assert.same({ nil, "auth" }, { ok, code })
      eventually(function() return told[1] end)
      assert.same({ { err, "auth" } }, told)
      peer.stop()
    end)

    it("survives an on_auth that raises", function()
      local peer = tools.peer(CHALLENGE)
      local told = {}
      local mq = client(peer, {
        auth_method = "X", timeout = 0.3, reconnect = false, on_auth = function() error("no idea") end,
        on_error = function(_, err, code) told[#told + 1] = { err, code } end,
      })
      local ok, _, code = mq:emit("x", "")
      assert.same({ nil, "timeout" }, { ok, code })
      assert.matches("no idea", told[1][1])
      peer.stop()
    end)

    it("a method that the broker does not know is told", function()
      local server = tools.mosquitto()
      local err, code = refused(server, { auth_method = "SCRAM-SHA-1", auth_data = "secret" })
      assert.equal("auth", code)
      assert.matches("auth_method", err)
      assert.not_matches("secret", err)
      server:stop()
    end)
  end)
end)
