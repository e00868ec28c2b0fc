-- What a browser's WebSocket does: what it says goes to Redis, and what comes from there to every browser.
local MQ = require "MQ.redis"
local class = require "class"
local json = require "json"

local present = {}   -- the WebSockets that are open

local function tell(text)
  for ws in pairs(present) do
    ws:send(text)   -- one that does not keep up is cut off: the others do not wait for it
  end
end

local away = json.encode { kind = "broker", up = false }
local back = json.encode { kind = "broker", up = true }
local mq = MQ:new {
  port = os.getenv("MQ_REDIS_PORT") or 6379, reconnect = { max = 2 },
  on_connect = function() tell(back) end, on_disconnect = function() tell(away) end,
}
mq:on("/chat", function(msg)
  if msg then
    tell(msg.payload)
  end
end)

local Room = class "room"

function Room:ctor(opt)
  self.ws = opt.ws
end

function Room:on_open()
  present[self.ws] = true
  self.ws:send(mq:stats().state == "connected" and back or away)
end

function Room:on_message(data)
  local said = json.decode(data)
  if type(said) ~= "table" or type(said.name) ~= "string" or type(said.text) ~= "string" then
    return self.ws:close("expected a name and a text", 4000)
  end
  local ok, err = mq:emit("/chat", json.encode { kind = "message", name = said.name, text = said.text })
  if not ok then
    self.ws:send(json.encode { kind = "trouble", text = err })
  end
end

function Room:on_close()
  present[self.ws] = nil
end

return Room
