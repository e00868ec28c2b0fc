-- main.lua
local cf = require "cf"
local json = require "json"
local Log = require("logging"):new()
local MQ = require "MQ.redis"

for i = 1, 3 do
  cf.fork(function ()
    local uid = math.random(1, 1 << 32)
    local client_mq = MQ:new {
      host = "localhost", -- 主机名
      port = 6379,        -- 端口号
      -- db = nil,        -- 默认数据库
      -- auth = nil,      -- 密码
    }
    client_mq:on("/system/notice", function (msg)
      if not msg then
        Log:ERROR("['/system/notice'] SUBSCRIBE ERROR: 连接已断开.")
        return
      end
      Log:DEBUG("UID:["..uid.."]接收到消息: ", msg)
    end)

    client_mq:start()
  end)
end

local server_mq = MQ:new {
  host = "localhost", -- 主机名
  port = 6379,        -- 端口号
  -- db = nil,        -- 默认数据库
  -- auth = nil,      -- 密码
}

cf.at(3, function (args)
  server_mq:emit("/system/notice", json.encode({
    code = 200,
    msg = "系统即将关闭"
  }))
end)

server_mq:start()
