---@meta MQ.mqtt
-- What the language server (LuaLS) knows of `require "MQ.mqtt"`. Never loaded by a program.

---@class MQ.mqtt
local mqtt = {}

---@class MQ.mqtt.Options: MQ.Options
---@field path? string                # of a unix socket, in place of host and port
---@field version? 5|"5"|"3.1.1"      # 5, with one fall-back to 3.1.1 where the broker refuses it
---@field client_id? string           # a random one; "" has the broker assign one
---@field clean? boolean              # true: begin without what an earlier process has left
---@field session_expiry? integer     # seconds that the broker keeps the session without a connection (5 only)
---@field will? MQ.mqtt.Will|false    # what the broker publishes when it loses the client
---@field qos? 0|1|2                  # of publishes and subscriptions that name none: 1
---@field receive_maximum? integer    # messages of QoS 1 and 2 that the broker may have under way: 1000
---@field max_in_flight? integer      # the same, to the broker: 1000
---@field topic_alias_maximum? integer   # aliases that the broker may use: 64
---@field subscription_identifiers? boolean # true; false is for a few filters that do not overlap (5 only)
---@field properties? MQ.mqtt.Properties # of CONNECT
---@field auth_method? string         # enhanced authentication (section 4.12)
---@field auth_data? string
---@field on_auth? fun(mq: MQ.mqtt.Client, data?: string, properties: MQ.mqtt.Properties): string?
---@field redirect? boolean           # false: follow a broker that names another one
---@field websocket? boolean|{path?: string, protocols?: string[], headers?: table<string, string>}
---@field on_connect? fun(mq: MQ.mqtt.Client, info: MQ.mqtt.Info)

---@class MQ.mqtt.Will
---@field topic string
---@field payload? string             # ""
---@field qos? 0|1|2                  # 0
---@field retain? boolean             # false
---@field delay? integer              # seconds after the loss (5 only)
---@field properties? MQ.mqtt.Properties

---@class MQ.mqtt.Info
---@field session_present boolean     # the broker had kept the session
---@field version 5|"3.1.1"           # what was agreed on
---@field client_id string
---@field properties? MQ.mqtt.Properties   # what CONNACK carried

---The specification's names in lower case (MQTT 5.0, section 2.2.2.2). Which there may be depends on the packet; a
---wrong one is refused with "invalid".
---@class MQ.mqtt.Properties
---@field content_type? string
---@field payload_format_indicator? 0|1|boolean
---@field message_expiry_interval? integer      # seconds
---@field response_topic? string
---@field correlation_data? string
---@field user_properties? table<string, string|string[]>
---@field request_response_information? 0|1|boolean
---@field request_problem_information? 0|1|boolean

---@class MQ.mqtt.Message
---@field type "publish"
---@field topic string
---@field source string               # the topic again, as in every protocol
---@field pattern string              # as given to `on`
---@field payload string
---@field qos 0|1|2
---@field retain boolean
---@field dup boolean                 # the broker has sent it before
---@field packet_id? integer          # QoS 1 and 2
---@field properties? MQ.mqtt.Properties
local Message = {}

---With `ack = "manual"`: it has been dealt with. Acknowledgements leave in the order of arrival.
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Message:ack() end

---With `ack = "manual"`: it could not be dealt with. Version 5 tells the broker so; 3.1.1 has no word for it.
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Message:nack() end

---@class MQ.mqtt.Client: MQ.Client
local Client = {}

---@class MQ.mqtt.SubscribeOptions
---@field qos? 0|1|2
---@field ack? "auto"|"manual"        # "auto": once the callback has returned; one that raises rejects
---@field no_local? boolean           # not what this client has published (5 only)
---@field retain_as_published? boolean   # (5 only)
---@field retain_handling? 0|1|2      # retained messages: always, for a new subscription, never (5 only)
---@field properties? MQ.mqtt.Properties

---Subscribes and waits until the broker has confirmed; the subscription then outlives every reconnect. The callback is
---called with nil once when the connection is lost.
---@param filter string          # `+` for one level, `#` for all that follow; "$share/GROUP/FILTER"
---@param callback fun(msg: MQ.mqtt.Message?)   # one message at a time, in order; may wait
---@param options? MQ.mqtt.SubscribeOptions
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Client:on(filter, callback, options) end

---@class MQ.mqtt.PublishOptions
---@field qos? 0|1|2
---@field retain? boolean
---@field properties? MQ.mqtt.Properties

---Publishes and waits: QoS 0 until it is written, 1 until PUBACK, 2 until PUBCOMP.
---@param topic string
---@param data string
---@param options? MQ.mqtt.PublishOptions
---@return true? ok
---@return integer|string|nil detail   # version 5, QoS 1: the reason code, 16 where nobody is subscribed
---@return MQ.Code? code
function Client:emit(topic, data, options) end

---Publishes without waiting for an answer.
---@param topic string
---@param data string
---@param options? MQ.mqtt.PublishOptions
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Client:post(topic, data, options) end

---Makes a client; it connects at first use. A wrong option raises at the caller's line.
---@param options? MQ.mqtt.Options
---@return MQ.mqtt.Client? client
---@return string? err
---@return MQ.Code? code
function mqtt:new(options) end

return mqtt
