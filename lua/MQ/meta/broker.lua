---@meta MQ.broker
-- What the language server (LuaLS) knows of `require "MQ.broker"`. Never loaded by a program.

---@class MQ.broker
---@field standard_ports table<string, integer>   # {redis = 6379, mqtt = 1883, stomp = 61613}
local broker = {}

---@class MQ.broker.Options
---@field redis? integer|string          # port; 0: a free one
---@field mqtt? integer|string
---@field stomp? integer|string          # STOMP 1.0 to 1.2: topics and queues
---@field host? string                   # where to listen: "127.0.0.1"
---@field users? table<string, string>   # names and passwords: nobody else comes in
---@field max_connections? integer       # 20000
---@field max_packet? integer            # bytes of the largest frame that a client may send: 64 MiB
---@field max_subscriptions? integer     # of one client: 1000000
---@field max_queue_bytes? integer       # that may wait for one client to read them, or be in one queue: 32 MiB
---@field max_retained_bytes? integer    # of all retained messages of MQTT: 64 MiB

---@class MQ.broker.Stats
---@field connections integer      # now
---@field subscriptions integer    # now
---@field accepted integer         # connections so far
---@field refused integer          # connections beyond max_connections
---@field received integer         # messages published
---@field sent integer             # messages handed to subscribers
---@field overruns integer         # connections cut off because they did not read
---@field bytes_in integer
---@field bytes_out integer
---@field state "open"|"closed"

---@class MQ.broker.Info
---@field id integer               # of the connection
---@field protocol "redis"|"mqtt"|"stomp"
---@field remote string            # address and port
---@field pattern? string          # on_subscribe, on_unsubscribe
---@field reason? string           # on_disconnect

---@class MQ.Broker
local Broker = {}

---The port of each protocol that is served.
---@return table<string, integer>
function Broker:ports() end

---@return MQ.broker.Stats
function Broker:stats() end

---Serves until close: parks a coroutine, runs the loop in a main chunk.
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Broker:start() end

---Ends every connection and gives the ports back. May be called twice.
---@return true
function Broker:close() end

---Has fn called for each new connection, in a coroutine of its own. May be called more than once.
---@param fn fun(broker: MQ.Broker, info: MQ.broker.Info)
---@return true
function Broker:on_connect(fn) end

---@param fn fun(broker: MQ.Broker, info: MQ.broker.Info)
---@return true
function Broker:on_disconnect(fn) end

---@param fn fun(broker: MQ.Broker, info: MQ.broker.Info)
---@return true
function Broker:on_subscribe(fn) end

---@param fn fun(broker: MQ.Broker, info: MQ.broker.Info)
---@return true
function Broker:on_unsubscribe(fn) end

---Starts a broker, which serves until it is closed. A wrong option raises at the caller's line.
---@param options MQ.broker.Options
---@return MQ.Broker? broker
---@return string? err            # a port cannot be had
---@return MQ.Code? code
function broker:new(options) end

---The names of the protocols that brokers of this build serve.
---@return string[]
function broker.protocols() end

return broker
