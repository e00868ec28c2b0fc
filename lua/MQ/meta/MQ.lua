---@meta MQ
-- What the language server (LuaLS) knows of `require "MQ"`, of its loop, and of what is common to all protocols. Never
-- loaded by a program.

---@alias MQ.Code
---| "invalid"   # an argument that cannot be sent: a payload that is no string, an empty pattern
---| "closed"    # the client has been closed, or belongs to the process that this one was forked from
---| "timeout"   # no answer in time
---| "refused"   # the broker said no
---| "auth"      # the broker does not know the user or the password
---| "full"      # the outbound queue is full
---| "lost"      # the connection broke before the answer came: whether it arrived is not known
---| "protocol"  # the peer does not speak the protocol
---| "tls"       # no trusted connection

---@class MQ
---@field redis MQ.redis          # loaded when it is first used
---@field mqtt MQ.mqtt            # the same
---@field stomp MQ.stomp          # the same
---@field broker MQ.broker        # the same
---@field loop MQ.Loop            # the loop of this program
---@field _VERSION string
local MQ = {}

---Makes a client from a URL: `redis://user:password@host:6379/0?timeout=5`, `rediss://…`, `unix:///run/redis.sock`,
---`mqtt://user:password@host:1883?client_id=x`, `mqtts://…`, `stomp://user:password@host:61613/vhost`, `stomps://…`,
---`ws://host/path` and `wss://…` (MQTT over WebSocket; STOMP with `?protocol=stomp`).
---A wrong URL or option raises at the caller's line.
---@param url string
---@param options? table       # options that no URL can hold; they win
---@return MQ.Client? client
---@return string? err
---@return MQ.Code? code
function MQ.connect(url, options) end

---Chooses the host loop, before the first client is made. A name that there is not raises.
---@param name "own"|"cf"|"copas"|"cqueues"|"luv"|"ngx"|"nvim"|"tarantool"
---@return MQ.Loop
function MQ.use(name) end

---@class MQ.Options
---@field host? string                 # "localhost"
---@field port? integer|string
---@field hosts? string[]              # {"one:6379", "two:6379"}: tried in turn
---@field username? string
---@field password? string
---@field auth? string                 # a password without a user
---@field db? integer|string           # Redis: the database
---@field vhost? string                # STOMP: the virtual host; accepted by all
---@field keepalive? number            # seconds of silence before the broker is probed; 0: never
---@field timeout? number              # seconds, for connecting, for an answer, for room in the queue: 10
---@field tls? boolean|MQ.TlsOptions   # false
---@field reconnect? boolean|MQ.ReconnectOptions    # true
---@field max_queue? integer           # messages that may wait to be sent or answered: 100000
---@field max_queue_bytes? integer     # the same in bytes: 64 MiB
---@field max_pending? integer         # messages received and not yet taken by callbacks: 65536
---@field max_packet? integer          # bytes of the largest frame that the broker may send: 64 MiB
---@field overflow? "block"|"drop_oldest"|"drop_newest"|"error"    # what a full queue does: "block"
---@field on_connect? fun(mq: MQ.Client, info?: table)   # info: what the broker has told, where there is more than yes
---@field on_disconnect? fun(mq: MQ.Client, err: string, code: MQ.Code, seconds?: number)  # seconds until the next try
---@field on_error? fun(mq: MQ.Client, err: string, code?: MQ.Code)   # no code: the traceback of a callback that raised

---@class MQ.TlsOptions
---@field ca? string             # path or PEM text; the system's trust store unless given
---@field cert? string           # path or PEM text of a client certificate
---@field key? string            # its key
---@field server_name? string    # the name that the certificate must have: the host
---@field alpn? string[]
---@field verify? boolean        # true

---@class MQ.WebSocketOptions
---@field path? string           # what to ask the server for: "/"
---@field protocols? string[]    # the names that it may know the protocol by
---@field headers? table<string, string>    # more fields of the request: an Origin, a token

---@class MQ.ReconnectOptions
---@field min? number            # seconds before the first try: 0.1
---@field max? number            # seconds between tries at most: 30
---@field attempts? integer      # tries in a row before giving up; 0: no bound

---@class MQ.Stats
---@field sent integer           # messages that the broker has taken
---@field received integer
---@field queued integer         # messages not yet written
---@field queued_bytes integer
---@field in_flight integer      # written, not yet answered
---@field dropped integer        # by an overflow policy
---@field reconnects integer
---@field bytes_in integer
---@field bytes_out integer
---@field state "idle"|"connecting"|"connected"|"reconnecting"|"failed"|"closed"

---@class MQ.Client
local Client = {}

---Publishes without waiting for an answer: the fast path. Waits only for room in a full queue (`overflow = "block"`).
---@param pattern string     # channel, topic or destination
---@param data string        # any bytes
---@param options? table
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Client:post(pattern, data, options) end

---Publishes in call order and waits for the broker's answer.
---@param pattern string
---@param data string
---@param options? table
---@return true? ok
---@return integer|string|nil detail    # Redis: the number of receivers; after a failure what went wrong
---@return MQ.Code? code
function Client:emit(pattern, data, options) end

---Waits until every post so far has its answer.
---@param seconds? number       # at most; until then nothing is said about the posts that have no answer yet
---@return true? ok
---@return string? err
---@return integer? failed      # posts that failed since the last flush
---@return MQ.Code? code
function Client:flush(seconds) end

---Unsubscribes: one callback, or all of the pattern.
---@param pattern string
---@param callback? function
---@return true? ok
---@return string? err
---@return MQ.Code? code
function Client:off(pattern, callback) end

---Serves until close: parks a coroutine, runs the loop in a main chunk.
---@return true? ok             # closed; nil after a fatal error
---@return string? err
---@return MQ.Code? code
function Client:start() end

---Sends what is queued, unsubscribes, disconnects, wakes every waiter. May be called twice, and from anywhere.
---@param seconds? number       # for what is queued: 5
---@return true? ok
---@return string? err          # something could not be sent
---@return MQ.Code? code
function Client:close(seconds) end

---@return MQ.Stats
function Client:stats() end

---@class MQ.Timer
local Timer = {}

---Ends the timer. May be called twice.
---@return true
function Timer:stop() end

---@class MQ.Loop
---@field name string
---@field on_error fun(co: thread, traceback: string, err: any)   # where an uncaught error of a coroutine goes: stderr
local Loop = {}

---Runs fn(…) in a coroutine of its own, later.
---@param fn function
---@param ... any
---@return thread
function Loop.spawn(fn, ...) end

---Stops the running coroutine until `unpark`.
---@return any ...
function Loop.park() end

---Makes `park` in co return …, later.
---@param co thread
---@param ... any
function Loop.unpark(co, ...) end

---The coroutine that may park, or nil.
---@return thread?
function Loop.running() end

---@param seconds number        # 0: gives every other coroutine a turn
function Loop.sleep(seconds) end

---Calls fn in a coroutine of its own again and again.
---@param seconds number
---@param fn function
---@return MQ.Timer
function Loop.at(seconds, fn) end

---Calls fn in a coroutine of its own once.
---@param seconds number
---@param fn function
---@return MQ.Timer
function Loop.timeout(seconds, fn) end

---Runs until nothing is left to do: nothing ready, no timer, no subscription, nobody in start(). The own loop only.
---@param done? fun(): boolean   # or until this is true
function Loop.run(done) end

---Runs until done() is true. False when nothing is left that could make it so. The own loop only.
---@param done fun(): boolean
---@return boolean
function Loop.run_until(done) end

return MQ
