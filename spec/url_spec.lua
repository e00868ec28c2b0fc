-- MQ.url and MQ.connect: the parts of a URL, and what is said about one that is wrong.

local MQ = require "MQ"
local url = require "MQ.url"

local function parse(text)
  local protocol, options, query = url.parse(text)
  assert.is_string(protocol, options)
  return options, query, protocol
end

local function problem(...)
  local arguments = { ... }
  local ok, err = pcall(function() MQ.connect(arguments[1], arguments[2]) end)
  assert.is_false(ok)
  local text = err:match("^.*url_spec%.lua:%d+: MQ%.connect: (.*)$")
  assert.is_string(text, err)
  return text
end

describe("a URL", function()
  it("gives host, port and db", function()
    assert.same({ host = "example", port = 6380, db = 2 }, parse "redis://example:6380/2")
    assert.same({ host = "example" }, parse "redis://example")
    assert.same({ host = "example" }, parse "redis://example/")
    assert.same({ host = "::1", port = 1 }, parse "redis://[::1]:1")
    assert.same({ host = "::1" }, parse "redis://[::1]")
    assert.same({}, parse "redis://")
    assert.same({ port = 7 }, parse "redis://:7")
  end)

  it("gives credentials, decoded", function()
    assert.same({ host = "h", username = "us:er", password = "p@ss/%" }, parse "redis://us%3aer:p%40ss%2F%25@h")
    assert.same({ host = "h", password = "pw" }, parse "redis://:pw@h")
    assert.same({ host = "h", username = "u" }, parse "redis://u@h")
    assert.same({ host = "h", password = "a@b" }, parse "redis://:a@b@h")
  end)

  it("gives TLS and unix sockets", function()
    assert.same({ host = "h", tls = true }, parse "rediss://h")
    assert.same({ path = "/run/redis.sock" }, parse "unix:///run/redis.sock")
    local options, query = parse "unix://:pw@/run/a%20b?db=1"
    assert.same({ { path = "/run/a b", password = "pw" }, { db = "1" } }, { options, query })
  end)

  it("gives what a WebSocket asks for", function()
    assert.same({ host = "h", port = 80, websocket = { path = "/" } }, parse "ws://h")
    assert.same({ host = "h", port = 443, tls = true, websocket = { path = "/a%20b" } }, parse "wss://h/a%20b")
    assert.same({ host = "::1", port = 8083, username = "u", websocket = { path = "/mqtt" } },
      parse "ws://u@[::1]:8083/mqtt#x")
  end)

  it("of a WebSocket means MQTT, unless told", function()
    local function spoken(...)
      local protocol, given, query = url.parse(...)
      return { protocol, query and query.protocol, given and given.protocol }
    end
    assert.same({ "mqtt" }, spoken "ws://h/x")
    assert.same({ "mqtt" }, spoken "wss://h?protocol=mqtt")
    assert.same({ "stomp" }, spoken "ws://h?protocol=stomp")
    assert.same({ "stomp" }, spoken("wss://h", "stomp"))
    assert.same({ "mqtt" }, spoken("ws://h?protocol=stomp", "mqtt"))
    assert.same({ "redis", "stomp" }, spoken("redis://h?protocol=stomp", "mqtt"))
    for _, wrong in ipairs { "ws://h?protocol=redis", "ws://h?protocol=" } do
      assert.matches('^the protocol ".*" does not go over WebSocket; write protocol=mqtt or', problem(wrong))
    end
    assert.matches('^the protocol "redis" does not', problem("ws://h", { protocol = "redis" }))
    assert.matches('unknown option "protocol"', problem("redis://h", { protocol = "redis" }))
    assert.equal("MQ.stomp", MQ.connect("wss://h", { protocol = "stomp" }).protocol.module)
  end)

  it("gives the query as text", function()
    local _, query, protocol = parse "REDIS://h?timeout=5&name=a%26b#fragment"
    assert.same({ "redis", { timeout = "5", name = "a&b" } }, { protocol, query })
  end)

  it("may hold options", function()
    local mq = MQ.connect "redis://127.0.0.1:6400/3?timeout=2.5&overflow=error&reconnect=false&max_queue=5"
    assert.same({ "127.0.0.1:6400", 2.5, "error" }, { mq.address, mq.timeout, mq.overflow })
    assert.matches('option "timeout" must be a number', problem "redis://h?timeout=soon")
    assert.matches('option "reconnect" must be true, false', problem "redis://h?reconnect=maybe")
    assert.matches('in "tls": option "verify" must be true or false', problem "rediss://h?verify=1")
    assert.matches('unknown option "tiemout"; did you mean "timeout"%?', problem "redis://h?tiemout=5")
  end)

  it("may be completed by a table, which wins", function()
    local told
    local mq = MQ.connect("redis://h:1?timeout=5", { timeout = 7, on_error = function() told = true end })
    assert.same({ "h:1", 7 }, { mq.address, mq.timeout })
    mq.on_error()
    assert.is_true(told)
    assert.matches("expected a table of options after the URL", problem("redis://h", 5))
  end)

  it("of MQTT has its own default ports", function()
    for link, address in pairs {
      ["mqtt://h"] = "h:1883", ["mqtts://h"] = "h:8883", ["ws://h/mqtt"] = "h:80", ["wss://h"] = "h:443",
      ["mqtt://[::1]:1884?client_id=x&qos=2"] = "[::1]:1884",
    } do
      assert.equal(address, MQ.connect(link).address)
    end
  end)

  it("of STOMP gives the virtual host, and default ports", function()
    assert.same({ host = "h", username = "u", password = "p", vhost = "shop" }, parse "stomp://u:p@h/shop")
    assert.same({ host = "h", vhost = "/" }, parse "stomp://h/%2F")
    assert.same({ host = "h" }, parse "stomp://h/")
    assert.same({ host = "h", tls = true, vhost = "a/b" }, parse "stomps://h/a/b")
    assert.same({ { host = "h", tls = true }, {}, "stomp" }, { parse "stomp+ssl://h" })
    for link, address in pairs {
      ["stomp://h"] = "h:61613", ["stomps://h"] = "h:61614", ["stomp+ssl://h"] = "h:61614",
      ["ws://h/ws?protocol=stomp"] = "h:80", ["stomp://[::1]:1/x?heartbeat=5,10"] = "[::1]:1",
    } do
      assert.equal(address, MQ.connect(link).address)
    end
  end)

  it("that is wrong raises at the caller's line, and never shows a password", function()
    assert.matches('the scheme "http" is not known', problem "http://h")
    assert.matches("that is no URL", problem "localhost:6379")
    assert.matches("expected a URL", problem(nil))
    assert.matches('the path "/x" is no database number', problem "redis://h/x")
    assert.matches('cannot read "h:x" as host:port', problem "redis://h:x")
    assert.matches('cannot read "::1" as host:port', problem "redis://::1")
    assert.matches("names no socket", problem "unix://")
    assert.matches("in the query", problem "redis://h?novalue")
    assert.matches('option "port" must be an integer from 1 to 65535, not 70000', problem "redis://h:70000")
    local text = problem "redis://:sec%ret@h"
    assert.matches("credentials", text)
    assert.not_matches("sec", text:gsub("seconds", ""), nil)
  end)

  it("opens modules on demand", function()
    assert.equal(require "MQ.redis", MQ.redis)
    assert.equal(require "MQ.mqtt", MQ.mqtt)
    assert.equal(require "MQ.stomp", MQ.stomp)
    assert.is_string(MQ._VERSION)
  end)
end)
