-- STOMP over WebSocket: RabbitMQ's plugin.

local helper = require "spec.helper"
local tools = require "spec.stomp_tools"
local connect = require("MQ").connect
local expect, inbox = tools.expect, tools.inbox

describe("MQ.stomp over WebSocket", helper.real_broker_only("the embedded broker does not speak WebSocket", function()
  local server, url

  setup(function()
    server = helper.shared_rabbitmq()
    url = ("ws://%s:%s@127.0.0.1:%d/ws?protocol=stomp"):format(server.user, server.password, server.web_stomp_port)
  end)
  after_each(tools.close_all)

  local function client(more, options) return tools.keep(connect(url .. (more or ""), options)) end

  for _, version in ipairs(tools.versions) do
    it("sends and receives what TCP does (" .. version .. ")", function()
      local mq, plain, topic = client("&version=" .. version), tools.client(server), tools.topic()
      local got, sent = inbox(mq, topic), {}
      -- text only: RabbitMQ answers in text frames, unless its web_stomp.ws_frame is "binary"
      for _, payload in ipairs { "", "x", "grün 中文", ("large"):rep(200000) } do
        sent[#sent + 1] = payload
        assert.is_true((mq:emit(topic, payload)))
        sent[#sent + 1] = payload
        assert.is_true((plain:emit(topic, payload)))
      end
      expect(got, #sent, 10)
      for index, payload in ipairs(sent) do
        assert.is_true(payload == got[index], "message " .. index)
      end
    end)
  end

  it("takes a rush of posts in both directions, and its transactions", function()
    -- RabbitMQ 3.10 ends a WebSocket on which its flow control sets in where the client beats its heart
    local mq, queue = client("&heartbeat=0,10"), tools.queue()
    local got = inbox(mq, queue)
    for number = 1, 3000 do
      assert(mq:post(queue, tostring(number)))
    end
    assert.is_true((mq:flush(20)))
    assert.is_true((mq:transaction(function(tx) tx:emit(queue, "3001") end)))
    expect(got, 3001, 20)
    for number = 1, 3001 do
      assert.equal(tostring(number), got[number])
    end
  end)

  it("is chosen by an option, too, and beats its heart there", function()
    local mq = tools.client({ port = server.web_stomp_port, user = server.user, password = server.password }, {
      websocket = { path = "/ws" }, heartbeat = 0.2,
    })
    local got = inbox(mq, tools.topic())
    tools.sleep(0.8)
    assert.same({ 0, 0 }, { got.lost, mq:stats().reconnects })
  end)

  it("is told where it asks at the wrong path", function()
    local mq = tools.keep(connect((url:gsub("/ws%?", "/elsewhere?"))))
    local ok, err, code = mq:emit(tools.topic(), "")
    assert.same({ nil, "refused" }, { ok, code })
    assert.matches("404", err)
  end)
end))
