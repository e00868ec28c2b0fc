-- MQ.stomp: who is let in, to which virtual host; what RabbitMQ refuses; TLS.

local helper = require "spec.helper"
local tools = require "spec.stomp_tools"

local client, inbox, expect = tools.client, tools.inbox, tools.expect
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
  local ok, err, code = mq:emit(tools.topic(), "")
  assert.is_nil(ok)
  eventually(function() return told[1] end)
  assert.same({ { err, code } }, told)
  local results = { tools.await(serving) }
  assert.same({ err, code, "failed" }, { results[2], results[3], mq:stats().state })
  assert.same({ nil, err, code }, { mq:on(tools.topic(), function() end) })
  assert.same({ nil, err, code }, { mq:transaction(print) })
  return err, code
end

-- A destination that the broker refuses, and why.
local NOWHERE, WHY_NOT = "/nowhere/x", "'/nowhere/x' is not a valid destination"
if helper.embedded then
  NOWHERE, WHY_NOT = "/topic/", "has no name"
end

describe("MQ.stomp:", function()
  local server

  setup(function() server = helper.shared_rabbitmq() end)
  after_each(tools.close_all)

  for _, version in ipairs(tools.versions) do
    it("a wrong password, an unknown user and an unknown virtual host are fatal (" .. version .. ")", function()
      local all = { { password = "wrong" }, { username = "nobody" } }
      all[3] = not helper.embedded and { vhost = "nowhere" } or nil   -- the embedded broker has the same for all hosts
      for _, options in ipairs(all) do
        options.version = version
        local err, code = refused(server, options)
        assert.equal("auth", code, err)
        assert.matches(options.vhost and "'nowhere' access denied" or "ccess refused for %l+ ['\"]" ..
          (options.username or "guest") .. "['\"]", (err:gsub("the login", "login")))
        assert.not_matches("wrong", err)
      end
    end)

    -- RabbitMQ does not name what its ERROR is for.
    it("what it refuses fails, and what is sent beside it does not (" .. version .. ")", function()
      local mq, queue, results = client(server, { version = version }), tools.queue(), {}
      local got = inbox(mq, queue)   -- a topic forgets what it sends while the connection ends
      for number = 1, 9 do
        results[number] = tools.task(function()
          return mq:emit(number == 5 and NOWHERE or queue, tostring(number))
        end)
      end
      for number = 1, 9 do
        local ok, err, code = tools.await(results[number])
        if number == 5 then
          assert.same({ nil, "refused" }, { ok, code })
          assert.is_truthy(err:find(WHY_NOT, 1, true), err)
        else
          assert.same({ true }, { ok, err, code })
        end
      end
      eventually(function()
        local seen = {}
        for _, payload in ipairs(got) do
          seen[payload] = true
        end
        seen["5"] = true
        for number = 1, 9 do
          if not seen[tostring(number)] then
            return false
          end
        end
        return true
      end)
    end)

    it("a subscription that it refuses is told, and the others live on (" .. version .. ")", function()
      local mq, topic = client(server, { version = version }), tools.topic()
      local got = inbox(mq, topic)
      local refusals = { ["/nowhere/x"] = "not a valid dest", ["/exchange/missing/x"] = "no exchange" }
      if helper.embedded then
        refusals = { [NOWHERE] = WHY_NOT, ["/reply-queue/1-1"] = "another connection's" }
      end
      for destination, why in pairs(refusals) do
        local ok, err, code = mq:on(destination, function() end)
        assert.same({ nil, "refused" }, { ok, code })
        assert.matches(why, err)
        assert.equal("invalid", (select(3, mq:off(destination))))
      end
      assert.same({ true }, { mq:emit(topic, "x") })
      expect(got, 1)
    end)
  end

    it("what it refuses is no failed try to connect, however often", function()
      local mq, topic = client(server, { reconnect = { min = 0.01, max = 60, attempts = 3 } }), tools.topic()
      for number = 1, 8 do
        local ok, _, code = mq:emit(NOWHERE, tostring(number))
        assert.same({ nil, "refused" }, { ok, code })
        assert.is_true((mq:emit(topic, tostring(number))))
      end
    end)

    it("headers that no reader would take are refused at once", function()
      local mq, queue, many = client(server), tools.queue(), {}
      for number = 1, 401 do
        many["h" .. number] = "x"
      end
      for what, header in pairs { ["401 headers are too many"] = many, ['"a" is longer'] = { a = ("y"):rep(16384) } } do
        local ok, err, code = mq:emit(queue, "x", { header = header })
        assert.same({ nil, "invalid" }, { ok, code })
        assert.is_truthy(err:find(what, 1, true), err)
      end
      assert.is_true((mq:emit(queue, "x", { header = { a = ("y"):rep(16383) } })))
      local got = inbox(mq, queue)
      tools.expect(got, 1)
    end)

  it("posts that it refuses are counted by flush", function()
    local mq, topic = client(server), tools.topic()
    for number = 1, 20 do
      assert.is_true(mq:post(number % 10 == 0 and NOWHERE or topic, tostring(number)))
    end
    local ok, err, failed, code = mq:flush(10)
    assert.same({ nil, 2, "refused" }, { ok, failed, code }, err)
    assert.is_true(mq:flush(5))
  end)

  it("TLS, which is verified", helper.real_broker_only("the embedded broker does not speak TLS", function()
    local options = { port = server.stomp_tls_port, tls = { ca = server.certificates.ca } }
    local mq, topic = client(server, options), tools.topic()
    local got = inbox(mq, topic)
    assert.is_true((mq:emit(topic, ("x"):rep(100000))))
    expect(got, 1)
    assert.equal(100000, #got[1])
    mq = tools.keep(require("MQ").connect(("stomp+ssl://guest:guest@localhost:%d?verify=false"):format(
      server.stomp_tls_port)))
    assert.is_true((mq:emit(topic, "y")))
    local err, code = refused(server, { port = server.stomp_tls_port, tls = { ca = server.certificates.other_ca } })
    assert.equal("tls", code, err)
  end))

  it("plain text at the TLS port, and TLS at the plain one, are told for what they are", helper.real_broker_only(
    "the embedded broker does not speak TLS", function()
    for _, options in ipairs {
      { port = server.stomp_tls_port }, { tls = { ca = server.certificates.ca } },
    } do
      options.reconnect, options.timeout = false, 2
      local ok, err, code = client(server, options):emit("/topic/x", "")
      assert.is_nil(ok)
      assert.is_string(err)
      assert.matches("protocol", code:gsub("lost", "protocol"):gsub("tls", "protocol"), 1)
    end
  end))
end)
