-- httpd in a process: without `mq run`, closed and made again, forgotten, in Lua states that close, beside fork().

local helper = require "spec.helper"
local tools = require "spec.httpd_tools"
local Browser = tools.Browser
local loop = require("MQ.loop").current()
local sys = helper.sys

require "MQ.cf"
local class = require "MQ.cf.class"
local httpd = require "MQ.cf.httpd"

local Echo = class "Echo"
function Echo:ctor(opt) self.ws = opt.ws end
function Echo:on_message(data) self.ws:send(data) end
function Echo:on_close() self.closed = true end

describe("httpd in a plain script", function()
  teardown(helper.stop_all)

  it("runs the loop in the main chunk, until a coroutine closes it", function()
    local code, out, err = helper.run_lua([[
      require "MQ.cf"
      local cf, httpd = require "cf", require "httpd"
      local app = httpd:new("x")
      app:use("/", function() return "hello" end)
      assert(app:listen("127.0.0.1", 0) > 0)
      assert(app:listen("localhost", 0) > 0)
      cf.fork(function()
        cf.sleep(0.05)
        assert(app:close())
        assert(app:close())
      end)
      assert(app:run() == true)
      assert(app:run() == true)
      print "over"
    ]])
    assert.same({ 0, "" }, { code, err })
    local mark = "%[[^%]]+%] %[INFO%] "
    assert.truthy(out:find("^" .. mark .. "httpd正在监听: 127%.0%.0%.1:%d+\n" .. mark .. "httpd正在监听: localhost:%d+\n"
      .. mark .. "httpd正在运行Web Server服务%.%.%.\nover\n$"), out)
  end)

  it("frees its port, and can be made again", function()
    local app = httpd:new("x", { log = false })
    app:ws("/ws", Echo)
    app:use("/", function() return "hello" end)
    local port = app:listen("127.0.0.1", 0)
    local served
    local co = loop.spawn(function() served = app:run() end)
    -- the browser is this process, too: it looks when the loop has had its turn
    local browser = Browser.connect(port)
    browser:write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    helper.eventually(function() return (sys.poll({ browser.fd }, {}, 0))[browser.fd] end)
    assert.equal("hello", select(2, browser:response()))
    loop.spawn(function() app:close() end)
    helper.eventually(function() return coroutine.status(co) == "dead" end)
    assert.is_true(served)
    assert.is_true(browser:ends(5))
    browser:close()
    assert.is_nil((sys.connect("127.0.0.1", port, 1)))
    assert.is_false((pcall(app.listen, app, "127.0.0.1", port)))
    local again = httpd:new("x", { log = false })
    assert.equal(port, again:listen("127.0.0.1", port))
    assert.is_true(again:close())
  end)

  it("is closed by the collector where nothing refers to it", function()
    local port = httpd:new("x"):listen("127.0.0.1", 0)
    local held = assert(sys.connect("127.0.0.1", port, 1))
    if rawget(_G, "jit") then
      rawget(_G, "jit").flush()
    end
    helper.eventually(function()
      collectgarbage()
      local fd = sys.connect("127.0.0.1", port, 1)
      if fd then
        sys.close(fd)
      end
      return not fd
    end)
    assert.equal("", sys.read(held, 1, 5))
    sys.close(held)
  end)
end)

describe("httpd beside others", function()
  teardown(helper.stop_all)

  it("survives the closing of its Lua state, with browsers connected", function()
    local code, out, err = helper.run_host("close", 20, [[
      require "MQ.cf"
      local httpd, class = require "httpd", require "class"
      local Browser = require "spec.support.browser"
      local loop = require("MQ").loop
      local Echo = class "Echo"
      local opened
      function Echo:ctor(opt) self.ws = opt.ws end
      function Echo:on_open() opened = true self.ws:send "welcome" end
      local app = httpd:new("x", { log = false })
      app:ws("/ws", Echo)
      local port = app:listen("127.0.0.1", 0)
      local browser = Browser.connect(port)
      browser:write("GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
      loop.spawn(function() app:run() end)
      require("MQ.loop").current().run_until(function() return opened end)
      assert(browser:head() == 101)
    ]])
    assert.same({ 0, "" }, { code, err }, out)
    assert.truthy(out:find("closed 20\n", 1, true), out)
  end)

  it("is its parent's after fork", function()
    local app = httpd:new("x", { log = false })
    app:ws("/ws", Echo)
    local port = app:listen("127.0.0.1", 0)
    assert.equal(0, helper.forked(function()
      local ok, err, code = app:run()
      assert(not ok and code == "closed", err)
      assert(app:close())
      local own = httpd:new("x", { log = false })
      assert(own:listen("127.0.0.1", 0) ~= port)
      return own:close()
    end))
    local fd = assert(sys.connect("127.0.0.1", port, 1))
    sys.close(fd)
    assert.is_true(app:close())
  end)
end)
