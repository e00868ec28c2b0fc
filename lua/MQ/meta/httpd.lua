---@meta httpd
-- What the language server (LuaLS) knows of `require "httpd"`, as `mq run` finds it. Never loaded by a program.

---@class httpd
local httpd = {}

---@class httpd.Options
---@field timeout? number         # seconds for a request to arrive, and for a browser to take an answer (30)
---@field max_path? integer       # bytes of a request's path and query (1024)
---@field max_header? integer     # bytes of a request's head (65536)
---@field max_body? integer       # bytes of a request's body (1 MiB)
---@field max_connections? integer # further ones wait (16384)
---@field max_message? integer    # bytes of a WebSocket message from the browser (1 MiB)
---@field max_backlog? integer    # bytes that may wait for a slow browser, which is then cut off (1 MiB)
---@field max_pending? integer    # messages of a browser that wait for on_message; beyond that it is not read (256)
---@field idle_timeout? number    # seconds without a sign of life, after which a browser counts as gone (60); 0: never
---@field ping? number            # seconds of silence, after which it is asked for a sign of life (25); 0: never
---@field origin? string|string[] # whose pages may open a WebSocket: "same", or origins such as "https://app.example"
---@field tls? {cert: string, key: string} # paths or PEM text
---@field server_name? string     # the Server field ("mq")
---@field log? boolean            # a line for each request (true)

---What a route's function is given.
---@class httpd.Content
---@field method string
---@field path string             # with its query
---@field headers table<string, string> # by a name in any case
---@field args? table             # of the query, or of a form in the body
---@field body? string
---@field json? true              # the body says that it is JSON
---@field xml? true

---@class httpd.WebSocket
local WebSocket = {}

---Sends a message without waiting for the browser.
---@param data string             # UTF-8, unless binary
---@param binary? boolean
---@return true? ok
---@return string? err
---@return MQ.Code? code          # "closed"; "full": too slow, and cut off; "invalid": not UTF-8
function WebSocket:send(data, binary) end

---Sends a ping, which the browser answers by itself.
---@param data? string            # at most 125 bytes
---@return true? ok
---@return string? err
---@return MQ.Code? code
function WebSocket:ping(data) end

---Says good-bye behind everything that was sent.
---@param reason? string          # at most 123 bytes
---@param code? integer           # 1000 unless told; a program's own are 4000 to 4999
---@return true? ok
---@return string? err
---@return MQ.Code? code
function WebSocket:close(reason, code) end

---A class for app:ws. Its methods are called one at a time and in order, and may wait.
---@class httpd.Class
---@field new fun(self: httpd.Class, opt: {ws: httpd.WebSocket, args: table?, headers: table<string, string>}): table
---@field on_open? fun(self: table)
---@field on_message? fun(self: table, data: string, binary: boolean)
---@field on_error? fun(self: table, err: string)
---@field on_close? fun(self: table, reason: string, code: integer)
---@field timeout? number         # seconds without a frame, after which this class's browsers are sent away
---@field max_payload_len? integer # bytes of a message, in place of max_message

---@class httpd.App
local App = {}

---@param route string
---@param class httpd.Class
function App:ws(route, class) end

---Answers with JSON.
---@param route string
---@param fn fun(content: httpd.Content): string, integer?, table<string, string|string[]>?
function App:api(route, fn) end

---Answers with HTML.
---@param route string
---@param fn fun(content: httpd.Content): string, integer?, table<string, string|string[]>?
function App:use(route, fn) end

---Serves the files of a directory where no route matches.
---@param directory? string       # "static"
---@param seconds? number         # that a browser may keep a file without asking again
function App:static(directory, seconds) end

---Listens; raises where that cannot be.
---@param host string
---@param port integer            # 0: the system chooses
---@return integer port
function App:listen(host, port) end

---The same over TLS, as cf has it.
---@param host string
---@param port integer
---@param backlog any             # not used
---@param key string
---@param cert string
---@return integer port
function App:listen_ssl(host, port, backlog, key, cert) end

---Serves until close.
---@return true? ok
---@return string? err
---@return MQ.Code? code
function App:run() end

---Says good-bye to every browser, and waits until each on_close has returned.
---@param seconds? number         # at most (5)
---@return true
function App:close(seconds) end

---@param disable boolean
function App:nolog(disable) end

---Makes a server.
---@param name? string
---@param options? httpd.Options
---@return httpd.App
function httpd:new(name, options) end

return httpd
