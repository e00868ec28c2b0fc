-- TI, TE: a callback that counts the messages of one destination.  stomp_subscribe.lua PORT DESTINATION COUNT

local MQ = require "MQ.stomp"
local count_arrivals = require "bench.arrivals"

local port, destination, count = tonumber(arg[1]), arg[2], tonumber(arg[3])
local mq = MQ:new { host = "127.0.0.1", port = port, username = "guest", password = "guest" }
count_arrivals(mq, destination, count, { ack = "none" })
mq:start()
