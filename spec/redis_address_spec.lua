-- MQ.redis: which addresses a host stands for, and which of them is taken.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"

local client, sys = tools.client, helper.sys
local quick = { min = 0.01, max = 0.1 }

-- Debian's libnss-wrapper answers for the resolver: in a child process, a name has the addresses that we say, in that
-- order. Why it cannot, or nil.
local function resolver_missing()
  local listener = sys.listen(0, "::1")
  if not listener then
    return "this machine has no IPv6 loopback address"
  end
  sys.close(listener)
  local hosts = helper.tmpdir() .. "/hosts"
  local file = assert(io.open(hosts, "w"))
  file:write("127.0.0.1 probe.test\n")
  file:close()
  local code = helper.run({ "getent", "ahosts", "probe.test" }, {
    env = { LD_PRELOAD = "libnss_wrapper.so", NSS_WRAPPER_HOSTS = hosts },
  })
  return code ~= 0 and "libnss_wrapper.so is not installed" or nil
end

describe("MQ.redis, host names and addresses:", function()
  local server

  before_each(function() server = helper.redis() end)
  after_each(function()
    tools.close_all()
    helper.stop_all()
  end)

  local function reaches(host, from)
    local mq = tools.keep(tools.MQ:new { host = host, port = server.port, timeout = 5, reconnect = false })
    assert.is_true(mq:emit("x", ""))
    assert.is_truthy(server:cli("CLIENT", "LIST"):find("addr=" .. from, 1, true))
    mq:close()
  end

  it("IPv4, IPv6 and a name", function()
    reaches("127.0.0.1", "127.0.0.1:")
    reaches("localhost", "")
    if helper.embedded then
      server:listen_on("::1")   -- it has one address at a time
    end
    reaches("::1", "[::1]:")
  end)

  it("IPv6 in a URL and in hosts", function()
    server:listen_on("::1")
    local mq = tools.keep(require("MQ").connect("redis://[::1]:" .. server.port))
    assert.is_true(mq:emit("x", ""))
    mq = client(nil, { hosts = { "[::1]:" .. server.port } })
    assert.is_true(mq:emit("x", ""))
  end)

  it("a name that nobody knows is lost, not fatal", function()
    local mq = client(server, { host = "no.such.host.invalid", timeout = 1, reconnect = quick })
    local ok, err, code = mq:emit("x", "")
    assert.same({ nil, "timeout" }, { ok, code })
    assert.matches("no.such.host.invalid", err)
  end)

  it("an address that does not answer at all: the attempt itself is limited", function()
    local port, stop = tools.silent_address("127.0.0.1")
    local mq = client(nil, {
      hosts = { "127.0.0.1:" .. port, "127.0.0.1:" .. server.port }, timeout = 0.3, reconnect = quick,
    })
    mq:post("x", "")
    local sent = mq:flush(5)
    stop()
    assert.is_true(sent)
  end)

  -- Connects in a child process to a name with these addresses -> how many seconds that took. There is one attempt, and
  -- its time-out is far longer than a spec may take: an address that is waited for in vain is not survived.
  local function seconds_to_connect(addresses)
    local hosts = helper.tmpdir() .. "/hosts"
    local file = assert(io.open(hosts, "w"))
    file:write(table.concat(addresses, " two.test\n"), " two.test\n")
    file:close()
    local code, out, err = helper.run_lua([[
      local core = require "MQ.core"
      local mq = require("MQ.redis"):new { host = "two.test", port = tonumber(arg[1]), timeout = 60, reconnect = false }
      local begun = core.now()
      assert(mq:emit("x", ""))
      print(core.now() - begun)
    ]], { args = { server.port }, env = { LD_PRELOAD = "libnss_wrapper.so", NSS_WRAPPER_HOSTS = hosts }, timeout = 20 })
    assert.same({ 0, "" }, { code, err })
    return tonumber(out)
  end

  for family, there in pairs { IPv4 = "127.0.0.1", IPv6 = "::1" } do
    local elsewhere = there == "::1" and "127.0.0.1" or "::1"

    it("a name with addresses of both kinds, where only " .. family .. " is served: it is found at once", function()
      local missing = resolver_missing()
      if missing then
        return pending(missing)
      end
      server:listen_on(there)
      assert.is_nil((sys.connect(elsewhere, server.port, 1)))
      local first = seconds_to_connect { there, elsewhere }
      local second = seconds_to_connect { elsewhere, there }
      assert.is_true(first < 5 and second < 5, first .. " and " .. second .. " s")

      -- An address that is silent costs no more than the stagger, a quarter of a second, for which the next one waits.
      local _, stop = tools.silent_address(elsewhere, server.port)
      first, second = seconds_to_connect { there, elsewhere }, seconds_to_connect { elsewhere, there }
      stop()
      assert.is_true(first < 5 and second < 5, first .. " and " .. second .. " s")
      assert.is_true(second >= 0.25, "the silent address has not been tried first: " .. second .. " s")
    end)
  end
end)
