-- httpd's WebSockets: the class that serves them, what they allow, and how they end.

local helper = require "spec.helper"
local tools = require "spec.httpd_tools"
local Browser = tools.Browser
local sys = helper.sys

-- A class that says what becomes of it, and does what it is told.
local TALKER = [[
local loop = require("MQ").loop
local Talker = class "Talker"
function Talker:ctor(opt)
  self.ws = opt.ws
  log("ctor", opt.args and opt.args.name or "-", opt.headers["X-Own"] or "-")
end
function Talker:on_open() log "open" end
function Talker:on_message(data, binary)
  if data:find "^wait" then
    loop.sleep(0.05)
  elseif data:find "^raise" then
    error "told to"
  elseif data:find "^close" then
    log("closed", tostring(self.ws:close("told to", 4001)), tostring(select(3, self.ws:send "late")))
    return
  elseif data:find "^ping" then
    self.ws:ping "are you there"
  elseif data:find "^text" then
    log("refused", tostring((self.ws:send "\255")), tostring(select(3, self.ws:send "\255")))
  end
  self.ws:send(data, binary)
end
function Talker:on_error(err) log("error", err) end
function Talker:on_close(reason, code) log("close", reason, tostring(code)) end
app:ws("/ws", Talker)
]]

local function eventually_says(server, text)
  server:expect(("log: " .. text):gsub("%p", "%%%0") .. "\n")
end

describe("httpd's WebSocket", function()
  local server

  before_each(function() server = tools.serve(TALKER, "{max_message = 100000, log = false}") end)
  after_each(helper.stop_all)

  it("has an object of its class, which is told in order", function()
    local browser = server:open("/ws?name=Ada", "X-Own: 1\r\n")
    browser:send("wait one")
    browser:send("two")
    browser:send("\0\255", { op = "binary" })
    assert.same({ "text", "wait one" }, { browser:receive() })
    assert.same({ "text", "two" }, { browser:receive() })
    assert.same({ "binary", "\0\255" }, { browser:receive() })
    browser:say_close(1000, "bye")
    assert.same({ "close", 1000, "bye" }, { browser:receive() })
    assert.is_nil((browser:receive()))
    eventually_says(server, "close bye 1000")
    assert.truthy(server.stdout:find("log: ctor Ada 1\nlog: open\nlog: close bye 1000\n", 1, true))
    tools.interrupt(server)
  end)

  it("takes frames of every size, whole or in parts", function()
    local browser = server:open()
    for _, size in ipairs { 0, 1, 125, 126, 65535, 65536, 100000 } do
      local data = ("x"):rep(size)
      browser:send(data)
      local op, echo = browser:receive()
      assert.equal("text", op)
      assert.is_true(echo == data, size)
    end
    browser:send("a", { more = true })
    browser:send("pong?", { op = "ping" })
    browser:send("b", { op = "more", more = true })
    browser:send("c", { op = "more" })
    assert.same({ "pong", "pong?" }, { browser:receive() })
    assert.same({ "text", "abc" }, { browser:receive() })
    for byte in Browser.frame("slowly"):gmatch(".") do
      browser:write(byte)
    end
    assert.same({ "text", "slowly" }, { browser:receive() })
  end)

  it("pings, closes with a reason, and refuses text that is none", function()
    local browser = server:open()
    browser:send("ping")
    assert.same({ "ping", "are you there" }, { browser:receive() })
    assert.same({ "text", "ping" }, { browser:receive() })
    browser:send("text")
    eventually_says(server, "refused nil invalid")
    assert.same({ "text", "text" }, { browser:receive() })
    browser:send("close")
    assert.same({ "close", 4001, "told to" }, { browser:receive() })
    eventually_says(server, "closed true closed")
    browser:say_close(4001, "told to")
    assert.is_nil((browser:receive()))
    eventually_says(server, "close told to 4001")
  end)

  it("survives a callback that raises", function()
    local browser = server:open()
    browser:send("raise")
    browser:send("after")
    assert.same({ "text", "after" }, { browser:receive() })
    tools.interrupt(server, "told to\nstack traceback:")
  end)

  it("ends when the browser is gone, with or without a word", function()
    for index, leave in ipairs {
      function(browser) browser:close() end,
      function(browser) sys.reset(browser.fd) end,
      function(browser) browser:say_close() browser:close() end,
      function(browser) browser:write(Browser.frame("half"):sub(1, 8)) browser:close() end,
    } do
      server.stdout = ""
      leave(server:open())
      eventually_says(server, index == 3 and "close  1005" or "close  1006")
      assert.is_nil(server.stdout:find("log: error", 1, true))
    end
  end)

  it("is closed for what breaks the rules, and says why", function()
    for index, case in ipairs {
      { Browser.frame("x", { unmasked = true }), 1002, "the browser breaks RFC 6455" },
      { Browser.frame("x", { reserved = 64 }), 1002, "the browser breaks RFC 6455" },
      { Browser.frame(("x"):rep(200), { op = "ping" }), 1002, "the browser breaks RFC 6455" },
      { Browser.frame("x", { op = "more" }), 1002, "the browser breaks RFC 6455" },
      { "\131\128\0\0\0\0", 1002, "the browser breaks RFC 6455" },
      { Browser.frame("\255\254"), 1007, "the browser sends as text what is not UTF-8" },
      { Browser.frame(("x"):rep(100001)), 1009, "a message of 100001 bytes is longer than 100000; see max_message" },
      { Browser.frame("", { length = 2 ^ 40 }), 1009, "a message of 1099511627776 bytes is longer than 100000" },
      { Browser.frame(("x"):rep(60000), { more = true }) .. Browser.frame(("x"):rep(60000), { op = "more" }), 1009,
        "a message of 120000 bytes is longer than 100000" },
    } do
      server.stdout = ""
      local browser = server:open()
      browser:write(case[1])
      local op, code = browser:receive()
      assert.same({ "close", case[2] }, { op, code }, index)
      assert.is_true(browser:ends(10))
      browser:close()
      eventually_says(server, "close  " .. case[2])
      assert.truthy(server.stdout:find("log: error " .. case[3], 1, true), server.stdout)
    end
    -- the others are served all the same
    local browser = server:open()
    browser:send("x")
    assert.same({ "text", "x" }, { browser:receive() })
  end)

  it("is no other request", function()
    assert.equal(426, (server:get("/ws")))
    local asks = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    assert.equal(426, (server:get("/ws", asks .. "Sec-WebSocket-Version: 8\r\n")))
    assert.equal(400, (server:get("/ws", asks .. "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n")))
    assert.equal(400, (server:get("/ws", asks .. "Sec-WebSocket-Version: 13\r\n", "POST", "")))
    assert.equal(404, select(2, Browser.open(server.port, "/other")))
  end)

  it("says good-bye when the program ends, and waits for on_close", function()
    local browsers = { (server:open()), (server:open()) }
    server:expect("log: open\n.*log: open\n")   -- a browser has its answer before the object has on_open
    tools.idle(server)
    server:kill("INT")
    for _, browser in ipairs(browsers) do
      assert.same({ "close", 1001, "" }, { browser:receive() })
      browser:say_close(1001)
      assert.is_true(browser:ends(5))
    end
    local code, out, err = server:wait(10)
    assert.same({ 130, "" }, { code, err })
    assert.equal(2, select(2, out:gsub("log: close  1001\n", "")))
  end)
end)

describe("httpd's WebSocket options:", function()
  after_each(helper.stop_all)

  it("origin", function()
    local server = tools.serve(TALKER, '{origin = "https://app.example"}')
    server:open("/ws", "Origin: https://app.example\r\n"):close()
    server:open("/ws"):close()   -- no browser
    for _, origin in ipairs { "https://evil.example", "http://app.example", "null" } do
      assert.equal(403, select(2, Browser.open(server.port, "/ws", "Origin: " .. origin .. "\r\n")))
    end
    server = tools.serve(TALKER, '{origin = "same"}')
    server:open("/ws", "Origin: http://localhost\r\n"):close()
    assert.equal(403, select(2, Browser.open(server.port, "/ws", "Origin: http://evil.example\r\n")))
  end)

  it("idle_timeout and ping", function()
    local server = tools.serve(TALKER, "{idle_timeout = 0.6, ping = 0.2}")
    local silent, lively = server:open(), server:open()
    local deadline, pings = sys.now() + 1.2, 0
    while sys.now() < deadline do
      local op, data = lively:receive()
      assert.equal("ping", op)
      pings = pings + 1
      lively:send(data, { op = "pong" })
    end
    assert.is_true(pings >= 3)
    eventually_says(server, "error no sign of life for 0.6 s; see idle_timeout")
    local op, code
    repeat
      op, code = silent:receive()
    until op ~= "ping"
    assert.same({ "close", 1001 }, { op, code })
    lively:send("still here")
    repeat
      op, code = lively:receive()
    until op ~= "ping"
    assert.same({ "text", "still here" }, { op, code })
  end)

  it("a class may say so itself: timeout and max_payload_len", function()
    local server = tools.serve(TALKER .. "Talker.timeout, Talker.max_payload_len = 0.4, 10\n")
    local browser = server:open()
    assert.same({ "close", 1001 }, { (function(op, code) return op, code end)(browser:receive()) })
    browser = server:open()
    browser:send(("x"):rep(11))
    assert.equal(1009, (select(2, browser:receive())))
  end)

  it("max_backlog: a browser that does not keep up is cut off, and the others do not notice", function()
    local server = tools.serve([[
      local loop = require("MQ").loop
      local Flood = class "Flood"
      local chunk = ("x"):rep(50000)
      function Flood:ctor(opt) self.ws = opt.ws end
      function Flood:on_open()
        local sent, ok, err, code = 0
        repeat
          ok, err, code = self.ws:send(chunk)
          sent = sent + 1
          loop.sleep(0)
        until not ok
        log("stopped", code, err)
      end
      function Flood:on_error(err) log("error", err) end
      function Flood:on_close(_, code) log("close", tostring(code)) end
      app:ws("/flood", Flood)
    ]] .. TALKER, "{max_backlog = 1000000, log = false}")
    local other = server:open()
    local slow = server:open("/flood")
    eventually_says(server, "stopped full the browser is too slow: 1000000 bytes wait for it; see max_backlog")
    eventually_says(server, "close 1013")
    other:send("x")
    assert.same({ "text", "x" }, { other:receive() })
    assert.is_true(slow:ends(10))
  end)

  it("max_pending: a program that does not keep up is not sent more", function()
    local server = tools.serve([[
      local loop = require("MQ").loop
      local Slow = class "Slow"
      local count = 0
      function Slow:ctor(opt) self.ws = opt.ws end
      function Slow:on_message(data)
        while not Slow.go do loop.sleep(0.01) end
        count = count + 1
        if data:find "last" then self.ws:send(tostring(count)) end
      end
      app:ws("/slow", Slow)
      app:api("/go", function() Slow.go = true return "{}" end)
    ]], "{max_pending = 10, log = false}")
    local browser = server:open("/slow")
    local frame = Browser.frame(("x"):rep(60000))
    local rest, frames = "", 0
    local deadline, stuck = sys.now() + 10, sys.now()
    -- until the kernel's buffers are full: nothing is taken for a while
    while sys.now() < deadline and sys.now() - stuck < 0.5 do
      if rest == "" then
        rest, frames = frame, frames + 1
      end
      local taken = sys.write_some(browser.fd, rest)
      if taken > 0 then
        rest, stuck = rest:sub(taken + 1), sys.now()
      else
        sys.sleep(0.01)
      end
    end
    assert.is_true(sys.now() < deadline, "it takes everything")
    assert.equal(200, (server:get("/go")))
    browser:write(rest .. Browser.frame("last"))
    assert.same({ "text", tostring(frames + 1) }, { browser:receive() })
  end)
end)

describe("httpd with broken classes", function()
  after_each(helper.stop_all)

  it("closes with 1011 where ctor or on_open raises; on_close is called for an object that there is", function()
    local server = tools.serve([[
      local One = class "One"
      function One:ctor() error "no object" end
      function One:on_close() log "never" end
      app:ws("/ctor", One)
      local Two = class "Two"
      function Two:on_open() error "not opened" end
      function Two:on_message() log "never" end
      function Two:on_error() error "no error, please" end
      function Two:on_close(_, code) log("close", tostring(code)) end
      app:ws("/open", Two)
      app:ws("/bare", class "Bare")
    ]], "{log = false}")
    for _, target in ipairs { "/ctor", "/open" } do
      local browser = server:open(target)
      browser:send("x")
      assert.same({ "close", 1011, "" }, { browser:receive() })
      browser:say_close(1011)
      assert.is_true(browser:ends(5))
    end
    eventually_says(server, "close 1011")
    local browser = server:open("/open")
    browser:send("\255")
    assert.equal("close", (browser:receive()))
    browser:close()
    browser = server:open("/bare")
    browser:send("x")
    browser:say_close(1000)
    assert.equal("close", (browser:receive()))
    local out = tools.interrupt(server, "no object")
    assert.is_nil(out:find("never", 1, true))
  end)
end)

describe("httpd with a crowd", function()
  after_each(helper.stop_all)

  it("sends to 1000 browsers", function()
    local server = tools.serve([[
      local sockets = {}
      local Crowd = class "Crowd"
      function Crowd:ctor(opt) self.ws = opt.ws end
      function Crowd:on_open() sockets[self] = self.ws end
      function Crowd:on_message(data)
        local count = 0
        for _, ws in pairs(sockets) do
          assert(ws:send(data))
          count = count + 1
        end
        log("sent", tostring(count))
      end
      function Crowd:on_close() sockets[self] = nil log "left" end
      app:ws("/ws", Crowd)
    ]], "{log = false}")
    local browsers = {}
    for index = 1, 1000 do
      browsers[index] = server:open()
    end
    for round = 1, 3 do
      browsers[round]:send("to all " .. round)
      for index, browser in ipairs(browsers) do
        local op, data = browser:receive()
        assert(op == "text" and data == "to all " .. round, index)
      end
    end
    assert.equal(3, select(2, (server:expect("(.*sent 1000\n.*sent 1000\n.*sent 1000\n)")):gsub("sent 1000\n", "")))
    for index = 1, 999 do
      browsers[index]:close()
    end
    browsers[1000]:say_close(1000)
    assert.same({ "close", 1000, "" }, { browsers[1000]:receive() })
    local out = tools.interrupt(server)
    assert.equal(1000, select(2, out:gsub("log: left\n", "")))
  end)
end)
