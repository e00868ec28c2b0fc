-- The tools of the other specs do what they say. No MQ here.

local helper = require "spec.helper"
local sys = helper.sys

local function send(fd, data)
  assert(sys.write(fd, data, 5))
  return sys.read(fd, 4096, 5)
end

local function redis_fd(server)
  return assert(sys.connect("127.0.0.1", server.port, 5))
end

describe("spec helper:", function()
  describe("redis", function()
    it("answers, dies, comes back on its port, and leaves nothing", function()
      local server = helper.redis { config = { maxmemory = "64mb" } }
      assert.equal("PONG", server:cli("PING"))
      assert.equal("maxmemory\n67108864", server:cli("CONFIG", "GET", "maxmemory"))
      assert.equal(0, server:client_count())
      local fd = redis_fd(server)
      assert.equal("+PONG\r\n", send(fd, "PING\r\n"))
      assert.equal(1, server:client_count())
      server:kill()
      assert.equal("", sys.read(fd, 10, 5) or "")
      assert.is_nil(sys.connect("127.0.0.1", server.port, 1))
      server:restart()
      assert.equal("PONG", server:cli("PING"))
      local unix = assert(sys.connect(server.path, 0, 1))
      assert.equal("+PONG\r\n", send(unix, "PING\r\n"))
      sys.close(fd)
      sys.close(unix)
      local pid, dir = server.pid, server.dir
      helper.stop_all()
      assert.is_nil(sys.kill(pid, "0"))
      assert.is_nil(io.open(dir .. "/redis.conf"))
    end)

    it("can be suspended", function()
      local server = helper.redis()
      local fd = redis_fd(server)
      server:suspend()
      assert(sys.write(fd, "PING\r\n"))
      assert.same({ nil, "timeout" }, { sys.read(fd, 10, 0.1) })
      server:resume()
      assert.equal("+PONG\r\n", sys.read(fd, 10, 5))
      sys.close(fd)
    end)

    it("takes passwords and users, and can be made not to know HELLO", function()
      local server = helper.redis {
        password = "secret", resp2 = true,
        config = { "user alice on >wonder ~* &* +@all" },
      }
      assert.equal("PONG", server:cli("PING"))
      local fd = redis_fd(server)
      assert.matches("^%-NOAUTH", send(fd, "PING\r\n"))
      assert.equal("+OK\r\n", send(fd, "AUTH alice wonder\r\n"))
      assert.matches("^%-ERR unknown command", send(fd, "HELLO 3\r\n"))
      sys.close(fd)
    end)

    it("speaks TLS", function()
      local server = helper.redis { tls = true }
      local code, out = helper.run { "redis-cli", "-h", "localhost", "-p", server.tls_port,
        "--tls", "--cacert", server.certificates.ca, "PING" }
      assert.equal("PONG\n", out)
      assert.equal(0, code)
    end)
  end)

  it("run_lua gives exit code, output and errors, and ends what hangs", function()
    local code, out, err = helper.run_lua([[
      print(arg[1], os.getenv("MQ_X"), _VERSION)
      io.stderr:write("oh\n")
      os.exit(3)
    ]], { args = { "one" }, env = { MQ_X = "two" } })
    assert.equal(3, code)
    assert.equal("one\ttwo\t" .. _VERSION .. "\n", out)
    assert.equal("oh\n", err)
    assert.equal("timeout", (helper.run_lua("while true do end\n", { timeout = 0.2 })))
    local script = helper.start_lua("print('up') io.stdout:flush()\nwhile true do end\n")
    script:expect("up")
    script:kill("INT")
    assert.not_equal(0, script:wait())
  end)

  it("peer runs a script for each connection", function()
    local peer = helper.peer [[
      conn:confirm(conn:handshake())
      conn:push("/a/*", "/a/1", "x" .. number)
    ]]
    local fd = assert(sys.connect("127.0.0.1", peer.port, 5))
    assert.matches("^%%3\r\n", send(fd, "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"))
    local answer = send(fd, "*2\r\n$10\r\nPSUBSCRIBE\r\n$4\r\n/a/*\r\n")
    while not answer:find("x1\r\n") do
      answer = answer .. assert(sys.read(fd, 100, 5))
    end
    assert.equal(1, peer:count())
    assert.equal("1\tHELLO\t3\n1\tPSUBSCRIBE\t/a/*\n", peer:log())
    sys.close(fd)
  end)

  it("proxy cuts, stalls, delays, refuses and counts", function()
    local server = helper.redis()
    local proxy = helper.proxy(server.port)
    local fd = redis_fd(proxy)
    assert.equal("+PONG\r\n", send(fd, "PING\r\n"))
    proxy:stall()
    assert(sys.write(fd, "PING\r\n"))
    assert.is_nil(sys.read(fd, 10, 0.05))
    proxy:resume()
    assert.equal("+PONG\r\n", sys.read(fd, 10, 5))
    proxy.delay(0.05)
    local from = sys.now()
    assert.equal("+PONG\r\n", send(fd, "PING\r\n"))
    assert.is_true(sys.now() - from >= 0.1)
    assert.same({ 1, 1, 39 }, { proxy:count() })
    proxy:refuse()
    assert.is_nil(sys.connect("127.0.0.1", proxy.port, 1))
    proxy:accept()
    proxy:cut()
    assert.is_nil(sys.read(fd, 10, 5))
    sys.close(fd)
  end)

  it("forked runs a function in a child", function()
    assert.equal(0, helper.forked(function() return true end))
    assert.equal(1, helper.forked(function() return false end))
    assert.equal("timeout", helper.forked(function() sys.poll({}, {}) end, 0.1))
  end)

  it("run_host opens and closes Lua states", function()
    local code, out, err = helper.run_host("close", 20, "assert(arg[1] == 'x' and round)\n", { args = { "x" } })
    assert.same({ 0, "closed 20\n", "" }, { code, out, err })
    code, out = helper.run_host("threads", 5, "assert(thread)\n")
    assert.same({ 0, "closed 10\n" }, { code, out })
    assert.equal(1, (helper.run_host("close", 1, "error 'no'\n")))
  end)
end)
