-- MQ.redis over a unix socket.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"
local MQ = require "MQ.redis"

local inbox, expect = tools.inbox, tools.expect
local eventually = helper.eventually
local quick = { min = 0.01, max = 0.05 }

describe("MQ.redis over a unix socket", helper.real_broker_only("the embedded broker listens on TCP alone", function()
  local server

  setup(function() server = helper.redis { password = "secret" } end)
  after_each(tools.close_all)

  local function works(mq)
    tools.keep(mq)
    local got = inbox(mq, "/u/*")
    assert.same({ true, 1 }, { mq:emit("/u/1", "x") })
    expect(got, 1)
    assert.is_truthy(server:cli("CLIENT", "LIST"):find(server.path, 1, true))
    assert.is_true((mq:close()))
  end

  it("takes path, which wins over host and port", function()
    works(MQ:new { path = server.path, auth = "secret" })
    works(MQ:new { path = server.path, auth = "secret", host = "no.such.host.invalid", port = 1 })
  end)

  it("takes a URL", function()
    local connect = require("MQ").connect
    works(connect("unix://" .. server.path .. "?auth=secret&db=2"))
    works(connect("unix://:secret@" .. server.path))
    works(connect("unix://" .. server.path, { password = "secret" }))
  end)

  it("shows the path", function()
    assert.is_truthy(tostring(MQ:new { path = server.path }):find(server.path, 1, true))
  end)

  it("a socket that is not there, then is; a server that goes and comes back", function()
    local other = helper.redis()
    other:kill()
    os.remove(other.path)
    local mq = tools.keep(MQ:new { path = other.path, reconnect = quick, timeout = 0.1 })
    local ok, err, code = mq:emit("x", "")
    assert.same({ nil, "timeout" }, { ok, code })
    assert.is_truthy(err:find(other.path, 1, true), err)
    other:restart()
    eventually(function() return mq:emit("x", "") end, 10)
    local got = inbox(mq, "/u")
    other:restart()
    eventually(function() return got.lost == 1 end)
    eventually(function() return select(2, mq:emit("/u", "x")) == 1 end, 10)
    expect(got, 1)
  end)

  it("8 MB", function()
    local mq = tools.keep(MQ:new { path = server.path, auth = "secret" })
    local payload = ("x"):rep(8 * 1024 * 1024)
    local got = inbox(mq, "/big")
    assert.same({ true, 1 }, { mq:emit("/big", payload) })
    expect(got, 1, 20)
    assert.is_true(got[1] == payload)
  end)
end))
