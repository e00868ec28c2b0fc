---@meta MQ.stomp
-- What the language server (LuaLS) knows of `require "MQ.stomp"`. Never loaded by a program.

---@class MQ.stomp
local stomp = {}

---@alias MQ.stomp.Headers table<string, string|number|boolean>

---@class MQ.stomp.Options: MQ.Options
---@field path? string                # of a unix socket, in place of host and port
---@field version? "1.2"|"1.1"|"1.0"|number    # all are offered, and the broker takes the newest that it knows
---@field vhost? string               # CONNECT's `host` header: "/"
---@field client_id? string           # CONNECT's `client-id` header (ActiveMQ's durable subscriptions)
---@field heartbeat? number|number[]|false     # {10, 10}: seconds of silence, ours and the broker's; 0: none
---@field header? MQ.stomp.Headers    # more headers of CONNECT
---@field prefix? string              # put before every destination: ""
---@field receipt? boolean            # whether sends ask for a receipt: true
---@field content_length? boolean     # false: sends without (ActiveMQ makes text messages of them): true
---@field lazy_headers? boolean      # messages get `headers`, `id` and `session` when first asked for one: false
---@field max_in_flight? integer      # sends that may wait for their receipt: 1000
---@field websocket? boolean|MQ.WebSocketOptions
---@field on_connect? fun(mq: MQ.stomp.Client, info: MQ.stomp.Info)

---@class MQ.stomp.Info
---@field version "1.0"|"1.1"|"1.2"   # what was agreed on
---@field server? string              # what the broker calls itself
---@field session? string             # what it calls the connection

---@class MQ.stomp.Message
---@field type "message"
---@field source string               # the destination, as the broker writes it
---@field pattern string              # as given to `on`
---@field payload string
---@field id string                   # the header `message-id`
---@field session? string             # the header `session`
---@field len integer                 # of the payload
---@field headers table<string, string>   # all of them; of several of one name the first
local Message = {}

---With `ack = "manual"`: it has been dealt with; with "client" all that came before on its subscription have, too.
---@param options? {header?: MQ.stomp.Headers}
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Message:ack(options) end

---With `ack = "manual"` or "client": it could not be dealt with. What happens to it is the broker's choice.
---@param options? {header?: MQ.stomp.Headers}    # {header = {requeue = "false"}}: RabbitMQ does not deliver it again
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Message:nack(options) end

---@class MQ.stomp.Transaction
local Transaction = {}

---Sends where the transaction is committed. Does not wait.
---@param destination string
---@param data string
---@param options? {header?: MQ.stomp.Headers}
---@return true? ok              # nil: the transaction is aborted in the end
---@return string? err
---@return MQ.Code? code
function Transaction:emit(destination, data, options) end

---The same.
---@param destination string
---@param data string
---@param options? {header?: MQ.stomp.Headers}
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Transaction:post(destination, data, options) end

---Acknowledges a message of this client where the transaction is committed.
---@param msg MQ.stomp.Message
---@param options? {header?: MQ.stomp.Headers}
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Transaction:ack(msg, options) end

---Rejects a message of this client where the transaction is committed.
---@param msg MQ.stomp.Message
---@param options? {header?: MQ.stomp.Headers}
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Transaction:nack(msg, options) end

---@class MQ.stomp.Client: MQ.Client
local Client = {}

---@class MQ.stomp.SubscribeOptions
---@field ack? "auto"|"manual"|"client"|"client-individual"|"none"  # "auto": once the callback has returned
---@field prefetch? integer           # messages that may be under way unacknowledged
---@field durable? string             # a name: the broker keeps what comes while nobody listens
---@field id? string                  # of the subscription, where the broker makes something of it
---@field header? MQ.stomp.Headers    # more headers of SUBSCRIBE

---Subscribes and waits until the broker has confirmed; the subscription then outlives every reconnect. The callback is
---called with nil once when the connection is lost.
---@param destination string     # as the broker wants it: "/queue/orders", "/topic/prices"
---@param callback fun(msg: MQ.stomp.Message?)   # one message at a time, in order; may wait
---@param options? MQ.stomp.SubscribeOptions
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Client:on(destination, callback, options) end

---@class MQ.stomp.SendOptions
---@field receipt? boolean            # false: do not wait for the broker's receipt
---@field header? MQ.stomp.Headers    # more headers of SEND

---Sends and waits for the broker's receipt, or until it is written where none is asked for.
---@param destination string
---@param data string
---@param options? MQ.stomp.SendOptions
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Client:emit(destination, data, options) end

---Sends without waiting for an answer.
---@param destination string
---@param data string
---@param options? MQ.stomp.SendOptions
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Client:post(destination, data, options) end

---Calls fn(tx) in a coroutine, where it may wait, and commits what it did with tx once it has returned. Where it raises,
---the transaction is aborted, and the error raised again: text with its traceback behind it, anything else as it is.
---@param fn fun(tx: MQ.stomp.Transaction)
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Client:transaction(fn) end

---Makes a client; it connects at first use. A wrong option raises at the caller's line.
---@param options? MQ.stomp.Options
---@return MQ.stomp.Client? client
---@return string? err
---@return MQ.Code? code
function stomp:new(options) end

return stomp
