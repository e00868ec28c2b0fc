--- A WebSocket and the object of the program's class that goes with it: ctor(opt), on_open, on_message(data, binary),
-- on_error(err), on_close(reason, code). They are called one at a time and in order; each may wait.
-- Must not know: routes, frames, requests.

local dispatches = require "MQ.dispatch"
local host_loop = require "MQ.loop"

-- What an event of a WebSocket's key is.
local OPEN, BINARY, CLOSED = 1, 3, 4

local websocket = {}

------------------------------------------------------------------------------------------ what the program is given

local Socket = { __name = "websocket" }
Socket.__index = Socket

local function check(self, method, data)
  if getmetatable(self) ~= Socket then
    error(("call it as ws:%s(…), with a colon (got a %s before it)"):format(method, type(self)), 3)
  elseif type(data) ~= "string" then
    error(("ws:%s: expected a string (got a %s)"):format(method, type(data)), 3)
  end
end

--- Sends a message, of text or `binary`, without waiting for the browser. true; nil, err, code: "closed"; "full" for a
-- browser that is too slow, which is then cut off; "invalid" for text that is not UTF-8.
function Socket:send(data, binary)
  if getmetatable(self) ~= Socket or type(data) ~= "string" then
    check(self, "send", data)
  end
  return self.core_send(self.key, data, binary)
end

--- Sends a ping, which the browser answers by itself: a sign of life.
function Socket:ping(data)
  data = data or ""
  check(self, "ping", data)
  return self.core:ping(self.key, data)
end

--- Says good-bye behind what has been sent: with a reason, and a code (1000 unless told).
function Socket:close(reason, code)
  reason = reason or ""
  check(self, "close", reason)
  if code ~= nil and (type(code) ~= "number" or code % 1 ~= 0 or code < 0 or code > 65535) then
    error(("ws:close: a code is 1000, or from 4000 to 4999 (got %s)"):format(tostring(code)), 2)
  end
  return self.core:finish(self.key, code or 1000, reason)
end

-- How many messages wait for their callback: what the dispatch asks of a source.
function Socket:held(count)
  self.core:held(self.key, count)
end

-------------------------------------------------------------------------------------------------------- its events

local function begin(connection)
  local start = connection.start
  connection.start = nil
  connection.unsettled = true
  local object = start.class:new { ws = connection.source, args = start.args, headers = start.headers }
  connection.object = object
  if object.on_open then
    object:on_open()
  end
  connection.unsettled = false
end

local function say_closed(connection)
  local object = connection.object
  connection.phase = "closed"
  if object and object.on_close then
    object:on_close(connection.reason, connection.code)
  end
  connection.unsettled = false
  connection.app:forget(connection.key)
end

local function finish(connection, reason, err, code)
  local object = connection.object
  connection.reason, connection.code = reason, code
  connection.phase, connection.unsettled = "error", true
  if err ~= "" and object and object.on_error then
    object:on_error(err)
  end
  say_closed(connection)
end

-- The callback that ran has raised; the dispatch has told of it.
local function settle(connection)
  if connection.phase == "error" then
    host_loop.current().guard(function(_, _, traceback)
      io.stderr:write("httpd: error in on_close: ", traceback, "\n")
      connection.app:forget(connection.key)
    end, say_closed, connection)
  elseif connection.phase == "closed" then
    connection.app:forget(connection.key)
  else
    -- It did not get as far as on_open's end: no message is given to half an object, but on_close is.
    connection.broken = true
    connection.source:close("", 1011)
  end
end

local function receive(connection, reason, payload, kind, code)
  if kind == OPEN then
    begin(connection)
  elseif kind == CLOSED then
    finish(connection, reason, payload, code)
  elseif not connection.broken then
    local object = connection.object
    if object.on_message then
      object:on_message(payload, kind == BINARY)
    end
  end
end

local function positive(value)
  return type(value) == "number" and value > 0 and value or nil
end

--- Opens the WebSocket that a request asks for, for an object of `class`.
function websocket.open(app, class, asked, args)
  local dispatch = dispatches.here()
  local key = dispatch.key()
  local opt = app.options
  local connection = {
    app = app, key = key, held = 0, busy = false, unsettled = false, phase = "open",
    source = setmetatable({ core = app.core, core_send = app.core_send, key = key }, Socket),
    start = { class = class, args = args, headers = asked.headers },
  }
  connection.client = connection
  function connection.deliver(source, payload, kind, _, extra)
    receive(connection, source, payload, kind, extra)
  end
  connection.settle = function()
    settle(connection)
  end
  -- cf's own two, which a class may set: a bound of a message, and of the time without one.
  local timeout = positive(class.timeout)
  local bounds = {
    max_message = positive(class.max_payload_len) or opt.max_message, max_backlog = opt.max_backlog,
    max_pending = opt.max_pending, idle_timeout = timeout or opt.idle_timeout, ping = not timeout and opt.ping or nil,
  }
  app.sockets[key] = connection
  dispatch.route(key, connection)
  local protocol = asked.headers["sec-websocket-protocol"]
  if not app.core:accept(asked.id, key, bounds, protocol and protocol:match("^[^,%s]+")) then
    app.sockets[key] = nil   -- the browser is gone
  elseif app.closing then
    app.core:finish(key, 1001, "")
  end
end

--- Gives one up whose server closes: its on_close is called, and not waited for.
function websocket.cut(connection)
  dispatches.here().route(connection.key, nil)
  connection.reason, connection.code = "", 1006
  if connection.phase == "open" then
    host_loop.current().guard(function(_, _, traceback)
      io.stderr:write("httpd: error in on_close: ", traceback, "\n")
    end, say_closed, connection)
  end
  connection.app.core:forget(connection.key)
end

return websocket
