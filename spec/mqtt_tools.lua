-- What the mqtt_*_spec files share: clients of MQTT that are closed after each spec, on redis_tools' coroutines.

local redis_tools = require "spec.redis_tools"
local helper = require "spec.helper"
local MQ = require "MQ.mqtt"

local tools = setmetatable({ MQ = MQ }, { __index = redis_tools })

--- Both versions, for specs that hold in each: for _, version in ipairs(tools.versions) do …
tools.versions = { 5, "3.1.1" }

--- A mosquitto without its limit of 20 messages in flight: version 2.0.11 forgets some of those that it queues behind
-- them until a client asks for something (mosquitto_sub sees it, too). Options as for helper.mosquitto.
function tools.mosquitto(options)
  -- its Nagle's algorithm would make each of a row of acknowledgements wait 40 ms
  local all = { config = { max_inflight_messages = 0, max_queued_messages = 0, set_tcp_nodelay = true } }
  for name, value in pairs(options or {}) do
    if name == "config" then
      for key, each in pairs(value) do
        all.config[key] = each
      end
    else
      all[name] = value
    end
  end
  return helper.mosquitto(all)
end

--- A client of `target` (anything with a port), closed after the spec.
function tools.client(target, options)
  local all = { host = "127.0.0.1", port = target and target.port }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  return redis_tools.keep(MQ:new(all))
end

-- What a scripted peer's code may use besides `conn` (see support/peer_main.lua): packet() -> the first byte and the
-- body of the next packet; send(first, body); connack(reason, properties); short CONNACKs of both versions.
local PEER = [[
  CONNACK, CONNACK_311 = "\32\3\0\0\0", "\32\2\0\0"
  function packet()
    local first, length, shift = conn:read(1):byte(), 0, 1
    repeat
      local byte = conn:read(1):byte()
      length, shift = length + byte % 128 * shift, shift * 128
    until byte < 128
    return first, conn:read(length)
  end
  function send(first, body)
    local size, length = "", #body
    repeat
      local low = length % 128
      length = (length - low) / 128
      size = size .. string.char(length > 0 and low + 128 or low)
    until length == 0
    conn:send(string.char(first) .. size .. body)
  end
  function connack(reason, properties)
    properties = properties or ""
    send(32, "\0" .. string.char(reason, #properties) .. properties)
  end
]]

--- helper.peer for MQTT.
function tools.peer(code, options)
  local peer = helper.peer(PEER:gsub("\n%s*", " ") .. code, options)
  peer.url = "mqtt://127.0.0.1:" .. peer.port
  return peer
end

-- Each file of specs loads this anew, and the brokers that the files share remember.
local names, loaded = 0, math.floor(helper.sys.now() * 1000) % 2 ^ 24

--- A topic or client id that no other spec of this run uses.
function tools.unique(prefix)
  names = names + 1
  return ("%s-%d-%d-%d"):format(prefix or "spec", helper.sys.getpid(), loaded, names)
end

--- Subscribes -> the list that each message's table is appended to; its `lost` counts the calls with nil.
function tools.messages(mq, filter, options)
  local list = { lost = 0 }
  assert(mq:on(filter, function(message)
    if message then
      list[#list + 1] = message
    else
      list.lost = list.lost + 1
    end
  end, options))
  return list
end

--- Waits until the broker itself says that so many seconds have gone by. Whoever subscribes is told how long it has
-- been up, a mosquitto repeats that each second, the embedded broker after ten.
function tools.broker_ages(mq, seconds)
  local function uptime()
    local told = tools.messages(mq, "$SYS/broker/uptime")
    tools.expect(told, 1)
    assert(mq:off("$SYS/broker/uptime"))
    return tonumber(told[1].payload:match("%d+"))
  end
  local from = uptime()
  helper.eventually(function()
    tools.sleep(0.05)   -- between the questions
    return uptime() >= from + seconds
  end, seconds + 10, "the broker is so much older")
end

--- Has everything that was published to a list before arrive: publishes `payload` to `topic` and waits until the list
-- ends with it, which it then loses again. What is not in the list now, was not delivered.
function tools.barrier(publisher, topic, list, seconds)
  local mark = tools.unique("mark")
  assert(publisher:emit(topic, mark, { qos = 1 }))
  local function payload(entry)
    return type(entry) == "table" and entry.payload or entry
  end
  helper.eventually(function() return payload(list[#list]) == mark end, seconds or 5, "the mark arrives")
  table.remove(list)
  return list
end

return tools
