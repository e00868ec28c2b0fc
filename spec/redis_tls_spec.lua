-- MQ.redis over TLS: who is trusted, who is not, and that a refusal is final.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"
local MQ = require "MQ.redis"

local inbox, expect, task, await = tools.inbox, tools.expect, tools.task, tools.await
local eventually = helper.eventually
local quick = { min = 0.01, max = 0.05 }

local function assert_fails(wanted, ok, err, code)
  assert.same({ "nil", "string", wanted }, { type(ok), type(err), code }, err)
  return err
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

describe("MQ.redis with TLS", helper.real_broker_only("the embedded broker does not speak TLS", function()
  local server, strict, paths

  setup(function()
    server = helper.redis { tls = true }
    strict = helper.redis { tls = true, client_certificates = true }
    paths = server.certificates
  end)
  after_each(tools.close_all)

  local function client(tls, more)
    local options = { host = "localhost", port = server.tls_port, tls = tls, reconnect = quick, timeout = 5 }
    for name, value in pairs(more or {}) do
      options[name] = value
    end
    return tools.keep(assert(MQ:new(options)))
  end

  it("trusts the ca that is given: as a path, as PEM text", function()
    for _, ca in ipairs { paths.ca, read(paths.ca), read(paths.other_ca) .. read(paths.ca) } do
      local mq = client { ca = ca }
      local got = inbox(mq, "/t/*")
      assert.same({ true, 1 }, { mq:emit("/t/1", "x") })
      assert.is_true(mq:post("/t/2", "y"))
      assert.is_true(mq:flush(5))
      expect(got, 2)
      assert.same({ "x", "y", lost = 0 }, got)
      assert.is_true((mq:close()))
    end
  end)

  it("takes rediss:// with the ca in the query or beside it", function()
    local connect = require("MQ").connect
    assert.is_true((tools.keep(connect(server.tls_url .. "/1?ca=" .. paths.ca)):emit("x", "")))
    assert.is_true((tools.keep(connect(server.tls_url, { tls = { ca = paths.ca } })):emit("x", "")))
    assert_fails("tls", tools.keep(connect(server.tls_url .. "?timeout=5")):emit("x", ""))
  end)

  it("carries 8 MB each way, and many small messages", function()
    local mq = client { ca = paths.ca }
    local got = inbox(mq, "/big")
    local payload = ("0123456789abcde\n"):rep(512 * 1024)
    assert.same({ true, 1 }, { mq:emit("/big", payload) })
    expect(got, 1, 20)
    assert.is_true(got[1] == payload)
    for i = 1, 5000 do
      assert(mq:post("/big", tostring(i)))
    end
    assert.is_true(mq:flush(10))
    expect(got, 5001)
    for i = 1, 5000 do
      assert.equal(tostring(i), got[i + 1])
    end
  end)

  describe("refuses, once and for all:", function()
    local function refused(tls, more)
      local mq = client(tls, more)
      local serving = task(function() return mq:start() end)
      local err = assert_fails("tls", mq:emit("x", ""))
      assert_fails("tls", await(serving))
      assert.equal("failed", mq:stats().state)
      return err
    end

    it("a server whose CA it does not know", function()
      refused(true)
      assert.matches("[Uu]nknown ?[Ii]ssuer", refused { ca = paths.other_ca })
    end)

    it("a certificate for another name", function()
      assert.matches("wrong.test", refused { ca = paths.ca, server_name = "wrong.test" })
    end)

    it("a server that speaks no TLS", function()
      local peer = helper.peer [[conn:send("-ERR what?\r\n") conn:hold()]]
      refused({ ca = paths.ca }, { port = peer.port })
      assert.equal(1, peer.count())
    end)

    it("and does not try again", function()
      local proxy = helper.proxy(server.tls_port)
      refused(true, { port = proxy.port })
      tools.sleep(0.2)
      assert.equal(1, (proxy:count()))
    end)
  end)

  it("server_name is the name that is verified", function()
    assert.is_true((client({ ca = paths.ca, server_name = "mq.test" }):emit("x", "")))
    assert.is_true((client({ ca = paths.ca }, { host = "127.0.0.1" }):emit("x", "")))
    assert.is_true((client({ ca = paths.ca }, { host = "::1" }):emit("x", "")))
  end)

  it("verify = false takes any certificate for any name", function()
    assert.is_true((client({ verify = false }):emit("x", "")))
    assert.is_true((client({ verify = false, server_name = "wrong.test" }):emit("x", "")))
    assert.is_true((client({ verify = false, ca = paths.other_ca }):emit("x", "")))
  end)

  it("shows a client certificate where one is given", function()
    local port = { port = strict.tls_port }
    local cert, key = paths.client_cert, paths.client_key
    assert.is_true((client({ ca = paths.ca, cert = cert, key = key }, port):emit("x", "")))
    assert.is_true((client({ ca = paths.ca, cert = read(cert), key = read(key) }, port):emit("x", "")))
    assert_fails("tls", client({ ca = paths.ca }, port):emit("x", ""))
  end)

  it("says at new which file cannot be used", function()
    local cases = {
      ca = { { ca = "/no/such/file.pem" }, { ca = paths.key }, { ca = "-----BEGIN NOTHING-----\n" } },
      cert = { { cert = "/no/such/file.pem", key = paths.key }, { cert = paths.client_cert, key = paths.key } },
      key = { { cert = paths.client_cert, key = "/no/such/file.key" }, { cert = paths.client_cert, key = paths.ca } },
    }
    for name, list in pairs(cases) do
      for _, tls in ipairs(list) do
        local mq, err, code = MQ:new { port = server.tls_port, tls = tls }
        assert.same({ "nil", "tls" }, { type(mq), code })
        assert.matches("tls." .. name, err)
        assert.not_matches("PRIVATE", err)
      end
    end
  end)

  it("reconnects", function()
    local victim = helper.redis { tls = true }
    local mq = client({ ca = paths.ca }, { port = victim.tls_port })
    local got = inbox(mq, "/again")
    victim:kill()
    eventually(function() return got.lost == 1 end)
    mq:post("/again", "queued")
    victim:restart()
    expect(got, 1, 10)
    assert.is_true(mq:flush(5))
    assert.same({ true, 1 }, { mq:emit("/again", "x") })
    assert.equal(1, mq:stats().reconnects)
  end)

  it("leaves a server that hangs in the handshake, after the time-out", function()
    local mute = helper.peer "conn:hold()"
    local mq = client({ ca = paths.ca }, { port = mute.port, timeout = 0.3 })
    -- which time-out comes first, the attempt's or the emit's, is chance
    assert.matches("^no connection within 0.3 s", assert_fails("timeout", mq:emit("x", "")))
    eventually(function() return mute.count() >= 2 end)
  end)

  it("a plain client at a TLS port is told in time", function()
    local mq = client(false, { port = server.tls_port, timeout = 1, reconnect = false })
    local ok, err, code = mq:emit("x", "")
    assert.is_nil(ok)
    assert.is_string(err)
    assert.is_truthy(code == "protocol" or code == "lost", code)
  end)
end))
