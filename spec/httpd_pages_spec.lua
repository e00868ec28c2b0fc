-- httpd: routes, files, and what a server must put up with from browsers. WebSockets: httpd_websocket_spec.lua.

local helper = require "spec.helper"
local tools = require "spec.httpd_tools"
local Browser = tools.Browser

-- What is said of a response most often: its status and its body.
local function two(status, body) return { status, body } end

describe("httpd's routes", function()
  local server

  setup(function()
    server = tools.serve([[
      local loop = require("MQ").loop
      local json = require "json"
      app:api("/api", function(content)
        return json.encode {
          method = content.method, path = content.path, args = content.args, body = content.body, json = content.json,
          agent = content.headers["User-Agent"], cookie = content.headers.cookie,
        }
      end)
      app:use("/page/", function() return "<p>hello" end)
      app:use("/made", function() return "made", 201, { ["X-Own"] = "1", ["Content-Type"] = "text/plain" } end)
      app:use("/slow", function() loop.sleep(0.2) return "slow" end)
      app:use("/fast", function() return "fast" end)
      app:use("/raises", function() error "it broke" end)
      app:use("/nothing", function() end)
      app:use("/field", function() return "", 200, { ["X-Split"] = "a\r\nb" } end)
      local Post = class "Post"
      function Post:ctor(content) self.body = content.body end
      function Post:post() return self.body:upper() end
      app:api("/class", Post)
    ]], "{max_body = 1000, max_path = 200}")
  end)
  teardown(helper.stop_all)

  local function get(...) return server:get(...) end

  it("answer with what their function returns", function()
    local status, body, headers = get("/page")
    assert.same({ 200, "<p>hello", "text/html; charset=utf-8", "mq" },
      { status, body, headers["content-type"], headers.server })
    status, body, headers = get("/made")
    assert.same({ 201, "made", "1", "text/plain" }, { status, body, headers["x-own"], headers["content-type"] })
  end)

  it("are given the request", function()
    local json = require "MQ.cf.json"
    local status, body, headers = get("/api?a=1&b=x%20y+z&c[k]=v", "User-Agent: spec\r\nCookie: a=1\r\nCookie: b=2\r\n")
    assert.same({ 200, "application/json; charset=utf-8" }, { status, headers["content-type"] })
    assert.same({
      method = "GET", path = "/api?a=1&b=x%20y+z&c[k]=v", args = { a = "1", b = "x y z", c = { k = "v" } },
      agent = "spec", cookie = "a=1; b=2",
    }, json.decode(body))
    status, body = get("/api", "Content-Type: application/json; charset=utf-8\r\n", "POST", "{}")
    assert.equal(200, status)
    assert.same({ method = "POST", path = "/api", body = "{}", json = true }, json.decode(body))
    body = select(2, get("/api", "Content-Type: application/x-www-form-urlencoded\r\n", "PUT", "q=%C3%A9"))
    assert.same({ q = "é" }, json.decode(body).args)
  end)

  it("are found by their path, decoded, whatever slashes are in it", function()
    for _, path in ipairs { "/page/", "//page", "/p%61ge", "/page?x" } do
      assert.equal(200, (get(path)), path)
    end
    for _, path in ipairs { "/", "/page/x", "/Page", "/pag" } do
      assert.equal(404, (get(path)), path)
    end
  end)

  it("may be classes, with a method for each of HTTP's", function()
    assert.same({ 200, "SHOUT" }, two(get("/class", nil, "POST", "shout")))
    assert.equal(405, (get("/class")))
  end)

  it("wait without holding up others", function()
    local slow = Browser.connect(server.port)
    slow:write("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    assert.same({ 200, "fast" }, two(get("/fast")))
    assert.equal("", slow.input)
    assert.same({ 200, "slow" }, two(slow:response()))
    slow:close()
  end)

  it("keep the connection, and answer requests that come at once in turn", function()
    local browser = Browser.connect(server.port)
    for _ = 1, 3 do
      assert.same({ 200, "fast" }, two(browser:ask("GET", "/fast")))
    end
    browser:write(("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"):rep(2) .. "GET /fast HTTP/1.1\r\nHost: x\r\n\r\n")
    assert.equal("slow", select(2, browser:response()))
    assert.equal("slow", select(2, browser:response()))
    assert.equal("fast", select(2, browser:response()))
    assert.equal(200, (browser:ask("GET", "/fast", "Connection: close\r\n")))
    assert.is_true(browser:ends(5))
    browser:close()
  end)

  it("answer HEAD like GET, without the body", function()
    local browser = Browser.connect(server.port)
    local status, _, headers = browser:ask("HEAD", "/page")
    assert.same({ 200, "8" }, { status, headers["content-length"] })
    assert.same({ 200, "fast" }, two(browser:ask("GET", "/fast")))
    browser:close()
  end)

  it("refuse what is too large", function()
    assert.equal(413, (get("/api", nil, "POST", ("x"):rep(1001))))
    assert.equal(200, (get("/api", nil, "POST", ("x"):rep(1000))))
    local browser = Browser.connect(server.port)
    browser:write("POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. ("fa\r\n" .. ("x"):rep(250) .. "\r\n"):rep(5) .. "0\r\n\r\n")
    assert.equal(413, (browser:response()))
    browser:close()
    assert.equal(414, (get("/" .. ("x"):rep(200))))
    assert.equal(431, (get("/fast", "X: " .. ("x"):rep(100000) .. "\r\n")))
  end)

  it("refuse what is no HTTP", function()
    for _, garbage in ipairs { "hello\r\n\r\n", "\0\1\2\3\r\n\r\n", "GET /fast HTTP/9.9\r\n\r\n" } do
      local browser = Browser.connect(server.port)
      browser:write(garbage)
      assert.is_true(browser:ends(5))
      browser:close()
    end
    assert.equal(200, (get("/fast")))
  end)

  it("write a line for each request, as cf does", function()
    get("/fast?a=1", "X-Real-IP: 10.1.1.1\r\nX-Forwarded-For: 10.1.1.1, 10.2.2.2\r\n")
    get("/nowhere")
    server:expect("/nowhere [^\n]*\n")
    -- the line of a request comes after its answer: the ones before may be those of the last test
    local first, second = server.stdout:match("([^\n]*/fast%?a=1 [^\n]*)\n([^\n]*)\n")
    local time = "^%[%d%d%d%d/%d%d/%d%d %d%d:%d%d:%d%d%] %- "
    assert.truthy(first:find(time .. "10%.1%.1%.1 %- 10%.1%.1%.1 %-> 10%.2%.2%.2 %- /fast%?a=1 %- GET %- 200 %- "
      .. "req_time: 0%.%d%d%d%d%d%d/Sec$"), first)
    assert.truthy(second:find(time .. "127%.0%.0%.1 %- 127%.0%.0%.1 %- /nowhere %- GET %- 404 %- "), second)
  end)

  it("that fail are told of, and answer 500", function()
    assert.equal(500, (get("/raises")))
    assert.equal(500, (get("/nothing")))
    assert.equal(500, (get("/field")))
    assert.equal(200, (get("/fast")))
  end)
end)

describe("httpd's files", function()
  local server
  local large = ("0123456789abcdef"):rep(20000)

  setup(function()
    server = tools.serve([[
      app:use("/route", function() return "route" end)
      app:static("static", 60)
    ]], nil, {
      ["static/index.html"] = "<p>index", ["static/a b.TXT"] = "text", ["static/sub/index.html"] = "<p>sub",
      ["static/.hidden"] = "hidden", ["static/.git/config"] = "hidden", ["secret.txt"] = "secret",
      ["static/large.bin"] = large, ["static/empty.css"] = "", ["static/route"] = "file",
    })
    os.execute(("cd '%s/static'; ln -s ../secret.txt link.txt; ln -s large.bin inside.bin; mkfifo pipe")
      :format(server.dir))
  end)
  teardown(helper.stop_all)

  local function get(...) return server:get(...) end

  it("are found below the directory", function()
    for path, expected in pairs {
      ["/"] = { "<p>index", "html" }, ["/index.html?v=1"] = { "<p>index", "html" },
      ["/a%20b.TXT"] = { "text", "plain" }, ["/sub/"] = { "<p>sub", "html" }, ["/empty.css"] = { "", "css" },
      ["/route"] = { "route", "html" },
    } do
      local status, body, headers = get(path)
      assert.equal(200, status, path)
      assert.same(expected, { body, headers["content-type"]:match("^text/(%a+); charset=utf%-8$") }, path)
    end
    for _, path in ipairs { "/large.bin", "/inside.bin" } do
      local status, body, headers = get(path)
      assert.same({ 200, "application/octet-stream" }, { status, headers["content-type"] })
      assert.is_true(body == large)
    end
  end)

  it("are no others", function()
    for _, path in ipairs {
      "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/sub/../../secret.txt",
      "/sub/%2e%2e/%2e%2e/secret.txt",
      "/link.txt", "/.hidden", "/.git/config", "/%2ehidden", "/index.html/", "/index.html/x", "/nothing", "/sub%00",
      "/a%2", "/%ff", "//../secret.txt", "/..\\secret.txt", "/%2Fetc/passwd", "/pipe", "/./index.html",
    } do
      assert.equal(404, (get(path)), path)
    end
    assert.equal(404, (get("/index.html", nil, "POST", "")))
  end)

  it("are not sent again to who has them", function()
    local _, _, headers = get("/index.html")
    local date = headers["last-modified"]
    assert.equal("max-age=60", headers["cache-control"])
    local status, body = get("/index.html", "If-Modified-Since: " .. date .. "\r\n")
    assert.same({ 304, "" }, { status, body })
    assert.equal(200, (get("/index.html", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n")))
    assert.equal(200, (get("/index.html", "If-Modified-Since: nonsense\r\n")))
  end)

  it("answer HEAD with their length", function()
    local browser = Browser.connect(server.port)
    local status, _, headers = browser:ask("HEAD", "/large.bin")
    assert.same({ 200, tostring(#large) }, { status, headers["content-length"] })
    assert.equal("<p>index", select(2, browser:ask("GET", "/")))
    browser:close()
  end)
end)

describe("httpd's patience", function()
  local server

  setup(function()
    server = tools.serve([[
      app:api("/", function() return "{}" end)
      app:static "static"
    ]], "{timeout = 0.5, max_connections = 5}", { ["static/large.bin"] = ("x"):rep(20000000) })
  end)
  teardown(helper.stop_all)

  it("ends with requests that do not come to their end", function()
    for _, half in ipairs { "", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n" } do
      local browser = Browser.connect(server.port)
      if half ~= "" then
        browser:write(half)
      end
      assert.is_true(browser:ends(5), half)
      browser:close()
    end
    local browser = Browser.connect(server.port)
    browser:write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
    assert.equal(408, (browser:response()))
    browser:close()
  end)

  it("ends with a kept connection that asks nothing, and with one that takes nothing", function()
    local kept = Browser.connect(server.port)
    assert.equal(200, (kept:ask("GET", "/")))
    assert.is_true(kept:ends(5))
    kept:close()
    local slow = Browser.connect(server.port)
    slow:write("GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")
    server:expect("large%.bin[^\n]* 200 ")
    helper.sys.sleep(1.5)   -- it is to take nothing for longer than the time-out
    local taken = 0
    repeat
      local data = helper.sys.read(slow.fd, 65536, 5)
      taken = taken + #(data or "")
    until not data or data == ""
    assert.is_true(taken < 20000000)
    slow:close()
  end)

  it("has a bound of connections: others wait", function()
    local browsers = {}
    for index = 1, 5 do
      browsers[index] = Browser.connect(server.port)
      browsers[index]:write("GET / HTTP/1.1\r\n")
    end
    local late = Browser.connect(server.port)
    assert.equal(200, (late:ask("GET", "/")))   -- when the time of the first is over
    late:close()
    for _, browser in ipairs(browsers) do
      browser:close()
    end
  end)
end)

describe("httpd over TLS", function()
  teardown(helper.stop_all)

  it("serves pages and WebSockets", function()
    local certificates = helper.certificates()
    local server = tools.serve([[
      app:use("/", function() return "secret" end)
      local Echo = class "Echo"
      function Echo:ctor(opt) self.ws = opt.ws end
      function Echo:on_message(data) self.ws:send(data) end
      app:ws("/ws", Echo)
    ]], ("{tls = {cert = %q, key = %q}}"):format(certificates.cert, certificates.key))
    -- what speaks no TLS hears nothing
    local plain = Browser.connect(server.port)
    plain:write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert.is_true(plain:ends(5))
    plain:close()

    local function tls(text, pattern)
      local Process = require "spec.support.process"
      local client = Process.start({
        "openssl", "s_client", "-quiet", "-connect", "127.0.0.1:" .. server.port, "-CAfile", certificates.ca,
        "-verify_return_error", "-verify_hostname", "localhost",
      }, { stdin = true })
      client:write(text)
      client:expect(pattern)
      client:stop()
    end
    tls("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1%.1 200 OK.*\r\n\r\nsecret$")
    tls("GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" .. Browser.frame("ciao"),
      "HTTP/1%.1 101 .*\r\n\r\n\129\4ciao$")
    tools.interrupt(server)
  end)
end)

describe("httpd's own checks", function()
  require "MQ.cf"
  local httpd = require "MQ.cf.httpd"
  teardown(helper.stop_all)

  it("raise at the caller's line, and name the remedy", function()
    local app = httpd:new("x")
    local cases = {
      { "wrong.*timout.*did you mean \"timeout\"", function() httpd:new("wrong", { timout = 1 }) end },
      { "origin", function() httpd:new("x", { origin = "no origin" }) end },
      { "certificate needs its key", function() httpd:new("x", { tls = { cert = "x" } }) end },
      { "with a colon", function() httpd.new("x") end },
      { "a route is a path", function() app:api("api", print) end },
      { "expected a class", function() app:ws("/ws", {}) end },
      { "expected a function", function() app:use("/", "text") end },
      { "expected an address and a port", function() app:listen(8080) end },
      { "call app:listen before", function() app:run() end },
      { "timeout.*number", function() app:timeout("x") end },
    }
    for index, case in ipairs(cases) do
      local ok, err = pcall(case[2])
      assert.is_false(ok)
      assert.truthy(err:find("httpd_pages_spec.lua:%d+:"), err)
      assert.truthy(index == 1 and err:find "timeout" or err:find(case[1]), err)
    end
  end)

  it("refuse an address that is taken, and a certificate that is none", function()
    local fd, port = assert(helper.sys.listen(0))
    local ok, err = pcall(function() httpd:new("x"):listen("127.0.0.1", port) end)
    assert.is_false(ok)
    assert.truthy(err:find("cannot listen on 127.0.0.1:" .. port .. ": Address already in use", 1, true), err)
    helper.sys.close(fd)
    ok, err = pcall(function() httpd:new("x"):listen_ssl("127.0.0.1", 0, nil, "/nowhere.key", "/nowhere.pem") end)
    assert.is_false(ok)
    assert.truthy(err:find('tls.cert = "/nowhere.pem": No such file', 1, true), err)
  end)
end)
