--- The cf framework's `httpd`: routes for pages and WebSockets, on the core's server.
--
--   local httpd = require "httpd"
--   local app = httpd:new("Web")
--   app:ws("/ws", require "ws")              -- a class with ctor(opt), on_open, on_message, on_error, on_close
--   app:api("/time", function () return '{"time":' .. os.time() .. '}' end)
--   app:static("static")
--   app:listen("127.0.0.1", 8080)
--   app:run()
--
-- Must not know: HTTP, frames (the core's), how a request becomes an answer (httpd/request.lua), what a WebSocket does
-- with its class (httpd/websocket.lua).

local core = require "MQ.core"
local dispatches = require "MQ.dispatch"
local options = require "MQ.options"
local request = require "MQ.cf.httpd.request"
local terminal = require "MQ.terminal"
local websocket = require "MQ.cf.httpd.websocket"

-- What an event of the server's key is.
local REQUEST, SERVED, TROUBLE = 1, 2, 3

--- The options of httpd:new(name, {…}).
local specs = {
  timeout = { kind = "number", min = 0.01, max = 1e6, default = 30, example = "timeout = 30" },
  max_path = { kind = "integer", min = 1, max = 65535, default = 1024, example = "max_path = 1024" },
  max_header = { kind = "integer", min = 8192, max = 2 ^ 24, default = 65536, example = "max_header = 65536" },
  max_body = { kind = "integer", min = 0, max = 2 ^ 31, default = 2 ^ 20, example = "max_body = 2^20" },
  max_connections = { kind = "integer", min = 1, max = 2 ^ 24, default = 16384, example = "max_connections = 16384" },
  max_message = { kind = "integer", min = 1, max = 2 ^ 31, default = 2 ^ 20, example = "max_message = 2^20" },
  max_backlog = { kind = "integer", min = 1, max = 2 ^ 40, default = 2 ^ 20, example = "max_backlog = 2^20" },
  max_pending = { kind = "integer", min = 1, max = 2 ^ 31, default = 256, example = "max_pending = 256" },
  idle_timeout = { kind = "number", min = 0, max = 1e6, default = 60, example = "idle_timeout = 60" },
  ping = { kind = "number", min = 0, max = 1e6, default = 25, example = "ping = 25" },
  origin = {
    kind = "strings", pattern = "^[%w+.-]+://[^/%s]+$", form = 'origins such as "https://app.example", or "same"',
    example = 'origin = {"https://app.example"}',
  },
  tls = {
    kind = "group", bare = true, default = false, example = 'tls = {cert = "cert.pem", key = "key.pem"}',
    members = {
      cert = { kind = "string", example = 'cert = "cert.pem"' },
      key = { kind = "string", example = 'key = "key.pem"' },
    },
  },
  server_name = { kind = "string", default = "mq", pattern = "^[ -~]+$", example = 'server_name = "mq"' },
  log = { kind = "boolean", default = true, example = "log = true" },
}

local App = { __name = "httpd" }
App.__index = App

local function check_app(self, method)
  if getmetatable(self) ~= App or not self.options then
    error(("call it as app:%s(…), on what httpd:new made (got a %s before the colon)"):format(method, type(self)), 3)
  end
end

local function check_open(self, method)
  check_app(self, method)
  if self.core then
    error(("app:%s: call it before app:listen"):format(method), 3)
  end
end

-- "same" stands for itself, and a single origin for a list of one.
local function with_origin(given)
  if type(given) ~= "table" or given.origin == nil then
    return given, false
  end
  local copy = {}
  for name, value in pairs(given) do
    copy[name] = value
  end
  if copy.origin == "same" then
    copy.origin = nil
    return copy, "same"
  elseif type(copy.origin) == "string" then
    copy.origin = { copy.origin }
  end
  return copy, false
end

local httpd = {}

--- Makes a server. `name` is for people; `opt`: the options above, which are this httpd's own.
function httpd:new(name, opt)
  if self ~= httpd then
    error(("call it as httpd:new(…), with a colon (got a %s before it)"):format(type(self)), 2)
  end
  local given, origin = with_origin(opt)
  local checked, err = options.check(specs, given)
  if not checked then
    error("httpd:new: " .. err, 2)
  elseif (checked.tls_cert == nil) ~= (checked.tls_key == nil) then
    error('httpd:new: in "tls": a certificate needs its key, and the key its certificate; write '
      .. specs.tls.example, 2)
  end
  if origin then
    checked.origin = origin
  end
  return setmetatable({
    name = name, options = checked, routes = {}, sockets = {}, served = {}, places = {}, under_way = 0,
  }, App)
end

------------------------------------------------------------------------------------------------------------- routes

local function add(self, method, route, handler, kind)
  check_app(self, method)
  if type(route) ~= "string" or not route:find("^/") then
    error(('app:%s: a route is a path such as "/chat" (got %s)'):format(method, options.quote(route)), 3)
  end
  self.routes[request.normal(route)] = { kind = kind, handler = handler, path = route }
end

--- A WebSocket at `route`: an object of `class` for each that opens.
function App:ws(route, class)
  if type(class) ~= "table" or type(class.new) ~= "function" then
    error(("app:ws: expected a class, with new (got %s)"):format(options.quote(class)), 2)
  end
  add(self, "ws", route, class, "ws")
end

local function check_handler(method, handler)
  local is_class = type(handler) == "table" and type(handler.new) == "function"
  if type(handler) ~= "function" and not is_class then
    error(("app:%s: expected a function, or a class with get, post … (got %s)")
      :format(method, options.quote(handler)), 3)
  end
end

--- fn(content) answers requests for `route` with JSON: it returns the text, and may return a status and a table of
-- header fields. A class is asked for its method get, post ….
function App:api(route, fn)
  check_handler("api", fn)
  add(self, "api", route, fn, "api")
end

--- The same, with HTML.
function App:use(route, fn)
  check_handler("use", fn)
  add(self, "use", route, fn, "use")
end

--- Serves the files of a directory where no route matches; browsers may keep them for `seconds`.
function App:static(directory, seconds)
  check_app(self, "static")
  if directory ~= nil and (type(directory) ~= "string" or directory == "") then
    error(("app:static: expected a directory (got %s)"):format(options.quote(directory)), 2)
  elseif seconds ~= nil and type(seconds) ~= "number" then
    error(("app:static: expected a number of seconds (got %s)"):format(options.quote(seconds)), 2)
  end
  self.root, self.max_age = directory or "static", seconds and seconds > 0 and seconds or nil
end

-- cf's setters, each for one of the options.
for method, name in pairs {
  timeout = "timeout", max_path_size = "max_path", max_header_size = "max_header", max_body_size = "max_body",
  server_name = "server_name",
} do
  App[method] = function(self, value)
    check_open(self, method)
    local checked, err = options.check({ [name] = specs[name] }, { [name] = value })
    if not checked then
      error(("app:%s: %s"):format(method, err), 2)
    end
    self.options[name] = checked[name]
  end
end

--- Writes no lines for requests (true), or does again (false).
function App:nolog(disable)
  check_app(self, "nolog")
  self.options.log = not disable
end

-------------------------------------------------------------------------------------------------------------- serving

-- As cf does: on standard output, in colour where that is a terminal.
local function announce(text)
  local mark = ("[%s] [INFO]"):format(os.date("%Y/%m/%d %H:%M:%S"))
  if terminal.colours(1) then
    mark = "\27[32m" .. mark .. "\27[0m"
  end
  io.write(mark, " ", text, "\n")
end

-- Events of the server's key. It does not park: each request has a coroutine of its own.
local function receiver(self)
  return function(source, body, kind, id, extra)
    if kind == REQUEST then
      request.serve(self, source, body, id, extra)
    elseif kind == SERVED then
      local served = self.served[id]
      self.served[id] = nil
      if served and extra then
        request.log(self, served, extra)
      end
    elseif kind == TROUBLE then
      io.stderr:write("httpd: ", source, "\n")
    end
  end
end

local function nothing() end

local function open(self)
  local dispatch = dispatches.here()
  local key = dispatch.key()
  local server, err = core.server(key, self.options)
  if not server then
    error("app:listen: " .. err, 3)
  end
  self.core, self.core_send, self.dispatch, self.id = server, server.send, dispatch, "httpd " .. key
  self.listener = {
    client = self, held = 0, source = { held = nothing }, busy = false, deliver = receiver(self),
  }
  self.held, self.source = 0, self.listener.source
  dispatch.route(key, self.listener)
  dispatch.enter(self.id, self)
end

local function listen(self, method, host, port, tls)
  check_app(self, method)
  if type(host) ~= "string" or type(port) ~= "number" or port % 1 ~= 0 or port < 0 or port > 65535 then
    error(('app:%s: expected an address and a port, as in app:%s("127.0.0.1", 8080) (got %s, %s)')
      :format(method, method, options.quote(host), options.quote(port)), 3)
  elseif self.closed then
    error(("app:%s: the server is closed; make a new one"):format(method), 3)
  end
  if not self.core then
    open(self)
  end
  local bound, err = self.core:listen(host, port, tls)
  if not bound then
    error(("app:%s: %s"):format(method, err), 3)
  end
  table.insert(self.places, host .. ":" .. bound)
  return bound
end

--- Listens on an address; returns the port, which the system chooses for 0. Raises where that cannot be: a server
-- that does not listen is of no use. With the option tls it speaks HTTPS.
function App:listen(host, port)
  local opt = getmetatable(self) == App and self.options or {}
  local tls = opt.tls and { tls_cert = opt.tls_cert, tls_key = opt.tls_key } or {}
  local bound = listen(self, "listen", host, port, tls)
  return bound
end

--- The same over TLS, as cf has it: `key` and `cert` are paths or PEM text.
function App:listen_ssl(host, port, _, key, cert)
  if type(key) ~= "string" or type(cert) ~= "string" then
    error(("app:listen_ssl: expected a key and a certificate (got %s, %s)")
      :format(options.quote(key), options.quote(cert)), 2)
  end
  local bound = listen(self, "listen_ssl", host, port, { tls_cert = cert, tls_key = key })
  return bound
end

--- Serves until close: parks the coroutine, or runs the loop in a main chunk. true; nil, err, code where it cannot.
function App:run()
  check_app(self, "run")
  if not self.core then
    error("app:run: call app:listen before", 2)
  elseif self.closed then
    return true
  elseif dispatches.here() ~= self.dispatch then
    return nil, "the server belongs to the process that this one was forked from", "closed"
  end
  for _, place in ipairs(self.places) do
    announce("httpd正在监听: " .. place)
  end
  announce("httpd正在运行Web Server服务...")
  local record = {}
  self.runner = self.runner or {}
  table.insert(self.runner, record)
  self.dispatch.serve(self, true)
  self.dispatch.await(record)
  self.dispatch.serve(self, false)
  if record.stuck then
    return nil, record.stuck, "invalid"
  end
  return true
end

-- Nothing is under way any more: whoever waits in close goes on.
local function settled(self)
  if self.closing and self.under_way == 0 and next(self.sockets) == nil then
    local closing = self.closing
    self.closing = {}
    for _, record in ipairs(closing) do
      self.dispatch.complete(record, true)
    end
  end
end

--- A request or a WebSocket begins (1) or ends (-1) to need the program.
function App:count(change)
  self.under_way = self.under_way + change
  if change < 0 then
    settled(self)
  end
end

--- A WebSocket has ended, its on_close too.
function App:forget(key)
  self.sockets[key] = nil
  self.core:forget(key)
  settled(self)
end

--- Takes no more connections, says good-bye to every WebSocket (1001), and waits until each on_close and each route's
-- function has returned, at most `seconds` (5 unless told): a route's own call waits so long for itself. May be called
-- twice. true.
function App:close(seconds)
  check_app(self, "close")
  if seconds ~= nil and (type(seconds) ~= "number" or not (seconds >= 0)) then
    error(("app:close: seconds must be a number that is not negative (got %s)"):format(tostring(seconds)), 2)
  end
  if not self.core or self.closed or dispatches.here() ~= self.dispatch then
    self.closed = true
    return true
  end
  self.core:close()
  self.closing = self.closing or {}
  for key in pairs(self.sockets) do
    self.core:finish(key, 1001, "")
  end
  local record = self.dispatch.expect()
  table.insert(self.closing, record)
  settled(self)
  self.dispatch.await(record, seconds or 5)
  self.dispatch.forget()
  self.closed = true
  for _, connection in pairs(self.sockets) do
    websocket.cut(connection)
  end
  self.dispatch.leave(self.id)
  for _, each in ipairs(self.runner or {}) do
    self.dispatch.complete(each, true)
  end
  self.runner = nil
  return true
end

return httpd
