-- MQ.options: what may be written, and what is said about what may not.

local options = require "MQ.options"
local MQ = require "MQ.redis"

local function problem(given)
  local ok, err = pcall(function() MQ:new(given) end)
  assert.is_false(ok)
  local text = err:match("^.*options_spec%.lua:%d+: MQ%.redis:new: (.*)$")
  assert.is_string(text, err)
  return text
end

describe("options", function()
  local specs = options.extend { path = { kind = "string", example = 'path = "x"' } }

  it("fills in the defaults, flat", function()
    local flat = options.check(specs, nil)
    assert.equal("localhost", flat.host)
    assert.equal(10, flat.timeout)
    assert.same({ true, 0.1, 30, 0 },
      { flat.reconnect, flat.reconnect_min, flat.reconnect_max, flat.reconnect_attempts })
    assert.is_false(flat.tls)
    assert.same({ 100000, 67108864, 65536, "block" },
      { flat.max_queue, flat.max_queue_bytes, flat.max_pending, flat.overflow })
  end)

  it("takes groups as true, false or a table", function()
    local flat = options.check(specs, { tls = true, reconnect = false })
    assert.same({ true, true, false }, { flat.tls, flat.tls_verify, flat.reconnect })
    flat = options.check(specs, { tls = { ca = "ca.pem", verify = false }, reconnect = { max = 5, attempts = 3 } })
    assert.same({ true, "ca.pem", false }, { flat.tls, flat.tls_ca, flat.tls_verify })
    assert.same({ true, 0.1, 5, 3 },
      { flat.reconnect, flat.reconnect_min, flat.reconnect_max, flat.reconnect_attempts })
  end)

  it("takes headers and pairs of numbers, where a protocol has them", function()
    local own = options.extend {
      header = {
        kind = "map", scalars = true, names = ".", values = "", reserved = { host = "write vhost" }, form = "headers",
        example = 'header = {a = "b"}',
      },
      heartbeat = { kind = "pair", min = 0, max = 100, example = "heartbeat = {10, 10}" },
    }
    local function check(given)
      local flat, err = options.check(own, given)
      return flat and { flat.header or false, flat.heartbeat or false }, err
    end
    assert.same({ false, false }, check {})
    assert.same({ { a = "b", number = "5", half = "0.5", yes = "true", no = "false", empty = "" }, { 1, 2 } }, check {
      header = { a = "b", number = 5.0, half = 0.5, yes = true, no = false, empty = "" }, heartbeat = { 1, 2 },
    })
    assert.same({ {}, { 0, 0 } }, check { header = {}, heartbeat = false })
    assert.same({ false, { 5, 5 } }, check { heartbeat = 5 })
    for _, wrong in ipairs { true, "5", {}, { 1 }, { 1, 2, 3 }, { 1, -1 }, { 1, 101 }, { 1, "2" }, { 1, 0 / 0 },
      { 1, 2, x = 3 } } do
      local flat, err = check { heartbeat = wrong }
      assert.is_nil(flat)
      assert.matches('^option "heartbeat" must be false, a number from 0 to 100, or a list of two, not .*; write ', err)
    end
    for _, wrong in ipairs { "a", { "a" }, { [""] = "a" }, { a = {} }, { a = print } } do
      assert.matches('^option "header" must be headers, not .*; write header = ', (select(2, check { header = wrong })))
    end
    assert.equal('in "header": "host" is none of yours to write; write vhost',
      (select(2, check { header = { host = "x" } })))
    local given = {}
    options.read(own, { heartbeat = "5,0.5", header = "x" }, given)
    assert.same({ heartbeat = { 5, 0.5 }, header = "x" }, given)
    for text, pair in pairs { ["false"] = false, ["7"] = { 7, 7 }, ["often"] = "often", ["1,2,3"] = "1,2,3" } do
      options.read(own, { heartbeat = text }, given)
      assert.same(pair, given.heartbeat)
    end
  end)

  it("takes what a WebSocket asks for, where a protocol has that", function()
    local carried = options.extend { websocket = options.websocket }
    local function check(given)
      local flat, err = options.check(carried, { websocket = given })
      return flat and { flat.websocket, flat.websocket_path, flat.websocket_protocols, flat.websocket_headers }, err
    end
    assert.same({ false, "/" }, check(nil))
    assert.same({ true, "/" }, check(true))
    assert.same({ true, "/ws?a=%20", { "mqtt", "mqttv3.1" }, { ["X-Token"] = "a b", Empty = "" } }, check {
      path = "/ws?a=%20", protocols = { "mqtt", "mqttv3.1" }, headers = { ["X-Token"] = "a b", Empty = "" },
    })
    for _, wrong in ipairs {
      { path = "mqtt" }, { path = "" }, { path = "/a b" }, { path = "/a#b" }, { path = "/\r\nX: y" }, { path = "/é" },
      { path = "/a\0" }, { protocols = {} }, { protocols = { "a b" } }, { protocols = { "a\r\nX: y" } },
      { protocols = "mqtt" }, { headers = "X: y" }, { headers = { "X: y" } }, { headers = { ["X Y"] = "z" } },
      { headers = { ["X:\r\nY"] = "z" } }, { headers = { [""] = "z" } }, { headers = { X = "z\r\nY: z" } },
      { headers = { X = "z\0" } }, { headers = { X = 1 } },
    } do
      local flat, err = check(wrong)
      local name = next(wrong)
      assert.is_nil(flat)
      assert.matches(('^in "websocket": option "%s" must be a .*; write %s = '):format(name, name), err)
    end
    assert.equal('in "websocket": option "path" must be a path that begins with / and has %20 for a space, not "x"; '
      .. 'write path = "/mqtt"', select(2, check { path = "x" }))
    assert.equal('option "websocket" must be true, false or {headers, path, protocols}, not "/mqtt"; '
      .. 'write websocket = true', select(2, check "/mqtt"))
    assert.matches('^unknown option "websocket"; there are: auth, db, host, ', problem { websocket = true })
  end)

  it("reads members of groups from text", function()
    local carried = options.extend { websocket = options.websocket }
    local given = { websocket = { path = "/x" } }
    options.read(carried, { protocols = "mqtt,mqttv3.1", ca = "ca.pem", timeout = "5" }, given)
    local websocket = { path = "/x", protocols = { "mqtt", "mqttv3.1" } }
    assert.same({ websocket = websocket, tls = { ca = "ca.pem" }, timeout = 5 }, given)
    given = {}
    options.read(carried, { protocols = "mqtt" }, given)   -- it is off, and stays off
    assert.same({ protocols = "mqtt" }, given)
  end)

  it("joins groups of a URL and of a table, which wins", function()
    local function join(opt, heeded)
      local given, texts = { host = "h", websocket = { path = "/x" } }, { timeout = "5", host = "i" }
      options.complete(given, texts, opt, heeded)
      return { given, texts }
    end
    assert.same({ { host = "j", websocket = { path = "/x" } }, { timeout = "5" } },
      join({ host = "j", websocket = true, protocol = "mqtt" }, "protocol"))
    assert.same({ { host = "h", websocket = { path = "/x", headers = {} }, timeout = 7 }, { host = "i" } },
      join { timeout = 7, websocket = { headers = {} } })
    assert.same({ { host = "h", websocket = { path = "/y" } }, { timeout = "5", host = "i" } },
      join { websocket = { path = "/y" } })
    assert.same({ { host = "h", websocket = false, protocol = "x" }, { timeout = "5", host = "i" } },
      join { websocket = false, protocol = "x" })
  end)

  it("takes digits for port and db, and whole floats for integers", function()
    local flat = options.check(specs, { port = "6380", db = "3", max_queue = 10.0 })
    assert.same({ 6380, 3, 10 }, { flat.port, flat.db, flat.max_queue })
    assert.equal("10", tostring(flat.max_queue):gsub("%.0$", ""), nil)
  end)

  it("takes what the other protocols take", function()
    local mq = MQ:new { host = "localhost", port = 6379, vhost = "/", keepalive = 60, db = 0, username = "u" }
    assert.matches("^MQ.redis: localhost:6379 %(idle%)$", tostring(mq))
  end)

  it("names the nearest for an unknown one", function()
    for wrong, right in pairs {
      prot = "port", hots = "host", usrname = "username", pasword = "password", timout = "timeout",
      on_eror = "on_error", maxqueue = "max_queue", HOST = "host", reconect = "reconnect", time = "timeout",
      login = "username", passcode = "password", Pass = "password", ssl = "tls",   -- as others call it
    } do
      assert.equal(('unknown option "%s"; did you mean "%s"?'):format(wrong, right), problem { [wrong] = 1 })
    end
    assert.equal('in "tls": unknown option "cafile"; did you mean "ca"?', problem { tls = { cafile = "x" } })
    assert.equal('unknown option [1]; an option has a name: {name = value}', problem { "localhost" })
  end)

  it("names value, expectation and remedy for a wrong one", function()
    local cases = {
      { { port = "x" }, 'option "port" must be an integer from 1 to 65535, not "x"; write port = 6379' },
      { { port = 0 }, 'option "port" must be an integer from 1 to 65535, not 0; write port = 6379' },
      { { port = 1.5 }, 'option "port" must be an integer from 1 to 65535, not 1.5; write port = 6379' },
      { { host = "" }, 'option "host" must be a string that is not empty, not ""; write host = "localhost"' },
      { { tls = "yes" },
        'option "tls" must be true, false or {alpn, ca, cert, key, server_name, verify}, not "yes"; write tls = true' },
      { { overflow = "drop" },
        'option "overflow" must be one of "block", "drop_oldest", "drop_newest", "error", not "drop"; '
        .. 'write overflow = "block"' },
      { { on_connect = {} },
        'option "on_connect" must be a function, not a table; write on_connect = function (mq) … end' },
      { { hosts = {} },
        'option "hosts" must be a list of strings, not empty, not a table; write hosts = {"one:6379", "two:6379"}' },
      { { hosts = { "a", "b:99999" } },
        'option "hosts": the port in "b:99999" must be an integer from 1 to 65535; write hosts = {"one:6379"}' },
      { { hosts = { "[::1]:0" } },
        'option "hosts": the port in "[::1]:0" must be an integer from 1 to 65535; write hosts = {"one:6379"}' },
      { { reconnect = { min = 5, max = 1 } },
        'in "reconnect": min (5) is greater than max (1); write reconnect = {min = 0.1, max = 30}' },
    }
    for _, case in ipairs(cases) do
      assert.equal(case[2], problem(case[1]))
    end
    assert.matches("^expected a table of options, not 5$", problem(5))
    for _, value in ipairs { 0, -1, 0 / 0, math.huge } do
      assert.matches('^option "timeout" must be a number from 0.001 to 1000000, not ', problem { timeout = value })
    end
    assert.equal('option "max_pending" must be an integer from 1 to 2147483648, not 0; write max_pending = 65536',
      problem { max_pending = 0.0 })
    assert.matches('"::1" is none; write an IPv6 address as "%[::1%]:6379"', problem { hosts = { "::1" } })
    assert.matches("needs its key", problem { tls = { cert = "client.pem" } })
  end)

  it("never repeats a password", function()
    assert.equal('option "auth" must be a string, not a number; write auth = "…"', problem { auth = 123456789 })
    assert.equal('option "password" must be a string, not a table; write password = "…"', problem { password = {} })
    assert.not_matches("secret", tostring(MQ:new { auth = "secret" }))
  end)

  it("completes hosts with the port", function()
    local flat = options.check(specs, { hosts = { "one", "two:1", "[::1]", "[::1]:2" }, port = 7000 })
    assert(options.settle(flat))
    assert.same({ "one:7000", "two:1", "[::1]:7000", "[::1]:2" }, flat.hosts)
  end)

  it("leaves the user's table alone", function()
    local given = { hosts = { "one" }, port = "1", tls = { alpn = { "x" } } }
    MQ:new(given)
    assert.same({ hosts = { "one" }, port = "1", tls = { alpn = { "x" } } }, given)
  end)

  it("raises for new called with a dot", function()
    local ok, err = pcall(function() MQ.new { host = "x" } end)
    assert.is_false(ok)
    assert.matches("options_spec.lua:%d+: call it as MQ:new{…}, with a colon", err)
  end)
end)
