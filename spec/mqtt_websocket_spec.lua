-- MQTT over WebSocket: a mosquitto that listens for it, and RabbitMQ's plugin.

local helper = require "spec.helper"
local tools = require "spec.mqtt_tools"
local connect = require("MQ").connect
local expect, inbox = tools.expect, tools.inbox

describe("MQ.mqtt over WebSocket", helper.real_broker_only("the embedded broker does not speak WebSocket", function()
  local server

  setup(function() server = tools.mosquitto { websockets = true, quiet = true } end)
  teardown(helper.stop_all)
  after_each(tools.close_all)

  local function client(url, options) return tools.keep(connect(url, options)) end

  it("sends and receives what TCP does", function()
    local mq = client(server.ws_url .. "/mqtt", { qos = 2 })
    local plain = tools.client(server)
    local got, sent = inbox(mq, "ws/#", { qos = 2 }), {}
    -- no larger: mosquitto 2.0.11 writes 4 KiB to a WebSocket, and then nothing for 100 ms
    for _, payload in ipairs { "", "x", ("\0\255"):rep(1000) } do
      sent[#sent + 1] = payload
      assert(mq:emit("ws/own", payload))
      sent[#sent + 1] = payload
      assert(plain:emit("ws/plain", payload, { qos = 2 }))
    end
    expect(got, #sent, 10)
    for index, payload in ipairs(sent) do
      assert.is_true(payload == got[index], "message " .. index)
    end
  end)

  it("takes a rush of posts in both directions", function()
    local mq = client(server.ws_url)
    local got = inbox(mq, "rush", { qos = 1 })
    for number = 1, 5000 do
      assert(mq:post("rush", tostring(number), { qos = 1 }))
    end
    assert.is_true((mq:flush(20)))
    expect(got, 5000, 20)
    for number = 1, 5000 do
      assert.equal(tostring(number), got[number])
    end
  end)

  it("comes back when the broker does", function()
    local other = helper.mosquitto { websockets = true, quiet = true }
    local mq = client(other.ws_url, { reconnect = { min = 0.02, max = 0.2 } })
    local got = inbox(mq, "back")
    other:restart()
    helper.eventually(function() return mq:stats().reconnects == 1 end, 10)
    assert.is_true((mq:emit("back", "again")))
    expect(got, 1)
    assert.equal(1, got.lost)
    other:stop()
  end)

  it("is told where there is no WebSocket", function()
    local mq = client(("ws://127.0.0.1:%d/mqtt?timeout=2"):format(server.port))
    local ok, err = mq:emit("x", "")
    assert.is_nil(ok)
    assert.matches("WebSocket", err)
  end)

  it("is spoken by RabbitMQ, at the path that it wants", function()
    local rabbit = helper.shared_rabbitmq()
    local url = ("ws://%s:%s@127.0.0.1:%d"):format(rabbit.user, rabbit.password, rabbit.web_mqtt_port)
    local mq = client(url .. "/ws")
    local topic = tools.unique("web")
    local got, sent = inbox(mq, topic, { qos = 1 }), { "over the web", ("\0\255"):rep(50000), ("large"):rep(200000) }
    for _, payload in ipairs(sent) do
      assert.is_true((mq:emit(topic, payload, { qos = 1 })))
    end
    expect(got, #sent)
    for index, payload in ipairs(sent) do
      assert.is_true(payload == got[index], "message " .. index)
    end
    local ok, err, code = client(url .. "/elsewhere"):emit("x", "")
    assert.same({ nil, "refused" }, { ok, code })
    assert.matches("404", err)
  end)
end))
