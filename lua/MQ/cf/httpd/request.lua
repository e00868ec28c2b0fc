--- A request's way through the routes to its answer, and its line in the log.
-- Must not know: how requests come and answers go, what a WebSocket does once it is open.

local core = require "MQ.core"
local host_loop = require "MQ.loop"
local websocket = require "MQ.cf.httpd.websocket"

local request = {}

local REASONS = {
  [400] = "bad request", [403] = "forbidden", [404] = "not found", [405] = "method not allowed",
  [414] = "the path is too long", [426] = "a WebSocket of version 13 is expected here", [500] = "internal error",
}

local TYPES = { api = "application/json; charset=utf-8", use = "text/html; charset=utf-8" }

-------------------------------------------------------------------------------------------------------------- parts

-- Percent-encoded text (RFC 3986, section 2.1); what is no code stays as it is.
local function decode(text)
  return (text:gsub("%%(%x%x)", function(code)
    return string.char(tonumber(code, 16))
  end))
end

--- A path as routes know it: decoded, with single slashes and none at its end.
function request.normal(path)
  path = decode(path):gsub("/+", "/")
  return #path > 1 and path:gsub("/$", "") or path
end

-- a=1&b=2 → {a = "1", b = "2"}, with "+" for a space; a[x]=1 becomes a = {x = "1"}, as in cf. nil where there is none.
local function arguments(text)
  local args
  for name, value in text:gmatch("([^&=]+)=([^&]*)") do
    name, value = decode((name:gsub("%+", " "))), decode((value:gsub("%+", " ")))
    args = args or {}
    local group, member = name:match("^(.+)%[(.+)%]$")
    if group and type(args[group] or {}) == "table" then
      args[group] = args[group] or {}
      args[group][tonumber(member) or member] = value
    else
      args[name] = value
    end
  end
  return args
end

-- Header fields are found by a name in any case; their names in the table are in lower case.
local any_case = {
  __index = function(headers, name)
    if type(name) == "string" then
      return rawget(headers, name:lower())
    end
  end,
}

-- What a handler is given, as in cf.
local function content(asked, body)
  local result = { method = asked.method, path = asked.target, headers = asked.headers, args = arguments(asked.query) }
  if body == "" then
    return result
  end
  local kind = (asked.headers["content-type"] or ""):match("^[^;%s]*"):lower()
  if kind == "application/x-www-form-urlencoded" then
    result.args = arguments(body)
  else
    result.body = body
    result.json = kind == "application/json" or nil
    result.xml = kind == "application/xml" or kind == "text/xml" or nil
  end
  return result
end

------------------------------------------------------------------------------------------------------------ answers

local LINE = "[%s] - %s - %s - %s - %s - %d - req_time: %0.6f/Sec\n"

--- Writes the line of a request that has its answer.
function request.log(app, asked, status)
  if app.options.log then
    local headers = asked.headers
    local forwarded = headers["x-forwarded-for"]
    io.write(LINE:format(os.date("%Y/%m/%d %H:%M:%S"), headers["x-real-ip"] or asked.peer,
      forwarded and forwarded:gsub(", *", " -> ") or asked.peer, asked.target, asked.method, status,
      core.now() - asked.began))
  end
end

local function reply(app, asked, status, headers, body)
  asked.answered = true
  local ok, err = app.core:reply(asked.id, status, headers, body)
  if err then
    io.stderr:write("httpd: ", asked.target, ": ", err, "\n")
    status = 500
    app.core:reply(asked.id, status, {}, "")
  end
  request.log(app, asked, status)
  return ok
end

local function refuse(app, asked, status, headers)
  headers = headers or {}
  table.insert(headers, { "content-type", "text/plain; charset=utf-8" })
  reply(app, asked, status, headers, (REASONS[status] or "error") .. "\n")
end

local function answer(app, asked, route, body)
  local handler = route.handler
  local data, status, fields
  if type(handler) == "table" then
    local method = handler[asked.method:lower()] or (asked.method == "HEAD" and handler.get)
    if type(method) ~= "function" then
      return refuse(app, asked, 405)
    end
    data, status, fields = method(handler:new(content(asked, body)))
  else
    data, status, fields = handler(content(asked, body))
  end
  if type(data) ~= "string" then
    error(("the route %s must return a string (got a %s)"):format(route.path, type(data)), 0)
  elseif status ~= nil and type(status) ~= "number" then
    error(("the route %s: a status is a number (got a %s)"):format(route.path, type(status)), 0)
  end
  local headers, typed, cached = {}, false, false
  for name, value in pairs(fields or {}) do
    name = tostring(name):lower()
    typed, cached = typed or name == "content-type", cached or name == "cache-control"
    for _, each in ipairs(type(value) == "table" and value or { value }) do
      table.insert(headers, { name, tostring(each) })
    end
  end
  if not typed then
    table.insert(headers, { "content-type", TYPES[route.kind] })
  end
  if not cached then
    table.insert(headers, { "cache-control", "no-cache, no-store, must-revalidate" })
  end
  reply(app, asked, math.floor(status or 200), headers, data)
end

-- Whether a page of this origin may open a WebSocket here. What is no browser names none.
local function is_welcome(app, headers)
  local allowed, origin = app.options.origin, headers.origin
  if not allowed or not origin then
    return true
  elseif allowed == "same" then
    return origin:lower():match("^%a[%w+.-]*://(.*)$") == (headers.host or ""):lower()
  end
  for _, each in ipairs(allowed) do
    if each:lower() == origin:lower() then
      return true
    end
  end
  return false
end

local function upgrade(app, asked, route)
  if asked.websocket ~= "ready" then
    if asked.websocket == nil or asked.websocket == "version" then
      return refuse(app, asked, 426,
        { { "upgrade", "websocket" }, { "connection", "upgrade" }, { "sec-websocket-version", "13" } })
    end
    return refuse(app, asked, 400)
  elseif not is_welcome(app, asked.headers) then
    return refuse(app, asked, 403)
  end
  asked.answered = true
  websocket.open(app, route.handler, asked, arguments(asked.query))
  request.log(app, asked, 101)
end

local function find(app, asked, body)
  local path, query = asked.target:match("^([^?]*)%??(.*)$")
  asked.query = query
  if #asked.target > app.options.max_path then
    return refuse(app, asked, 414)
  end
  local route = app.routes[request.normal(path)]
  if route and route.kind == "ws" then
    upgrade(app, asked, route)
  elseif route then
    answer(app, asked, route, body)
  elseif app.root and (asked.method == "GET" or asked.method == "HEAD") then
    asked.answered = true
    app.served[asked.id] = asked
    if not app.core:file(asked.id, app.root, app.max_age) then
      app.served[asked.id] = nil
    end
  else
    refuse(app, asked, 404)
  end
  app:count(-1)
end

--- Answers a request in a coroutine of its own.
function request.serve(app, target, body, id, extra)
  local asked = {
    id = id, target = target, began = core.now(), method = extra.method, peer = extra.peer, websocket = extra.websocket,
    headers = setmetatable(extra.headers, any_case),
  }
  app:count(1)
  host_loop.current().guard(function(_, _, traceback)
    io.stderr:write("httpd: error in ", asked.target, ": ", traceback, "\n")
    if not asked.answered then
      refuse(app, asked, 500)
    end
    app:count(-1)
  end, find, app, asked, body)
end

return request
