-- mq pub, sub and bench with MQTT.

local core = require "MQ.core"
local helper = require "spec.helper"

describe("mq, over MQTT,", function()
  local server

  setup(function() server = helper.mosquitto { quiet = true } end)
  teardown(helper.stop_all)

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
    assert.same({ 0, "", "" }, { mq("pub", "--qos", "2", "--retain", server.url, "cli/a", "hello") })
    local code, out, err = mq("sub", "--json", "--qos", "2", "--count", "1", server.url, "cli/+")
    assert.same({ 0, "" }, { code, err })
    local message = core.json_decode(out)
    assert.same({ "cli/a", "hello", 2, true },
      { message.topic, message.payload, message.qos, message.retain })
    assert.same({ 0, "cli/a\thello\n", "" }, { mq("sub", "--count", "1", server.url, "#") })
  end)

  it("publishes lines", function()
    local process = start { "pub", "--lines", "--qos", "1", server.url, "cli/lines" }
    process:write("one\ntwo\n")
    assert.same({ 0, "2 sent, 0 failed\n", "" }, { finish(process) })
  end)

  it("measures", function()
    local code, out, err = mq("bench", "--json", "--messages", "2000", server.url .. "?qos=1")
    assert.same({ 0, "" }, { code, err })
    local results = core.json_decode(out)
    for _, name in ipairs { "post", "subscribe", "emit", "latency" } do
      assert.is_true(results[name].rate > 0, name)
    end
  end)

  it("ends with 1 where the broker refuses", function()
    local locked = helper.mosquitto { quiet = true, users = { alice = "secret" } }
    local code, out, err = mq("pub", locked.url, "x", "y")
    assert.same({ 1, "" }, { code, out })
    assert.matches("^mq: the broker refused the connection: not authorized", err)
    locked:stop()
  end)
end)
