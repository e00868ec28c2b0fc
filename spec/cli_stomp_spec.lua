-- mq pub, sub and bench with STOMP.

local core = require "MQ.core"
local helper = require "spec.helper"
local tools = require "spec.stomp_tools"

describe("mq, over STOMP,", function()
  local server

  setup(function() server = helper.shared_rabbitmq() end)

  local function start(arguments)
    return helper.start_lua(helper.root .. "/bin/mq", {
      args = arguments, interp = "/bin/sh", stdin = true,
      env = { LUA = helper.interpreter, LUA_PATH = false, LUA_CPATH = false, NO_COLOR = "1" },
    })
  end

  local function finish(process)
    process:close_input()
    local code, out, err = process:wait(20)
    return code, out, err
  end

  local function mq(...)
    return finish(start { ... })
  end

  it("publishes and prints", function()
    local queue = tools.queue()
    local url = server.stomp_url
    assert.same({ 0, "", "" }, { mq("pub", "--header", "colour=blue", "--header", "n=a=b", url, queue, "1") })
    assert.same({ 0, "", "" }, { mq("pub", url, queue, "2") })
    local code, out, err = mq("sub", "--json", "--header", "activemq.priority=1", "--count", "1", url, queue)
    assert.same({ 0, "" }, { code, err })
    local message = core.json_decode(out)
    assert.same({ queue, "1", "blue", "a=b" },
      { message.source, message.payload, message.headers.colour, message.headers.n })
    assert.same({ 0, queue .. "\t2\n", "" }, { mq("sub", "--count", "1", url, queue) })
  end)

  it("publishes lines", function()
    local process = start { "pub", "--lines", server.stomp_url, tools.topic() }
    process:write("one\ntwo\n")
    assert.same({ 0, "2 sent, 0 failed\n", "" }, { finish(process) })
  end)

  it("measures", function()
    local code, out, err = mq("bench", "--json", "--messages", "2000", server.stomp_url .. "?prefix=/topic/")
    assert.same({ 0, "" }, { code, err })
    local results = core.json_decode(out)
    for _, name in ipairs { "post", "subscribe", "emit", "latency" } do
      assert.is_true(results[name].rate > 0, name)
    end
  end)

  it("ends with 1 where the broker refuses, with 2 for what cannot be", function()
    local code, out, err = mq("pub", server.stomp_url, helper.embedded and "/topic/" or "/nowhere/x", "y")
    assert.same({ 1, "" }, { code, out })
    assert.matches(helper.embedded and "^mq: .*has no name" or "^mq: .*Unknown destination", err)
    code, out, err = mq("pub", (server.stomp_url:gsub("guest:guest", "guest:wrong")), "/topic/x", "y")
    assert.same({ 1, "" }, { code, out })
    assert.matches("^mq: .*[Aa]ccess refused", err)
    code, out, err = mq("pub", "--qos", "1", server.stomp_url, "/topic/x", "y")
    assert.same({ 2, "" }, { code, out })
    assert.matches("MQ.stomp has no %-%-qos", err)
    code, out, err = mq("pub", "--header", "novalue", server.stomp_url, "/topic/x", "y")
    assert.same({ 2, "" }, { code, out })
    assert.matches("%-%-header", err)
  end)
end)
