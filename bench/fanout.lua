-- H, W: each Redis message goes to every WebSocket.  fanout.lua REDIS_PORT CHANNEL
-- Prints the port that it listens on.

require "MQ.cf"
local MQ = require "MQ.redis"
local class = require "class"
local httpd = require "httpd"

io.stdout:setvbuf("line")

local sockets = {}
local Browser = class "browser"

function Browser:ctor(opt)
  self.ws = opt.ws
end

function Browser:on_open()
  sockets[self] = self.ws
end

function Browser:on_close()
  sockets[self] = nil
end

local mq = MQ:new { host = "127.0.0.1", port = tonumber(arg[1]) }
assert(mq:on(arg[2], function(msg)
  if msg then
    for _, ws in pairs(sockets) do
      ws:send(msg.payload)
    end
  end
end))

local app = httpd:new("fanout", { log = false, max_backlog = 16 * 2 ^ 20 })
app:ws("/ws", Browser)
print("port " .. app:listen("127.0.0.1", 0))
app:run()
