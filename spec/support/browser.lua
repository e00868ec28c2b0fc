-- What a browser does, for the specs of httpd: requests over a plain socket, and WebSockets (RFC 6455), which may break
-- the rules. It shares no code with what it tests.

local sys = require "spec_sys"

local LIMIT = 10   -- seconds for any answer

local Browser = { __name = "browser" }
Browser.__index = Browser

-- A connection to a local port.
function Browser.connect(port)
  return setmetatable({ fd = assert(sys.connect("127.0.0.1", port, LIMIT)), input = "" }, Browser)
end

function Browser:write(text) return assert(sys.write(self.fd, text, LIMIT)) end

-- Takes what comes; false at the end of the connection.
function Browser:pump(seconds)
  local data, err = sys.read(self.fd, 65536, seconds or LIMIT)
  if data == "" or (not data and err ~= "timeout") then
    return false
  end
  assert(data, "nothing came")
  self.input = self.input .. data
  return true
end

-- The next n bytes; nil where the connection ends before.
function Browser:take(n)
  while #self.input < n do
    if not self:pump() then
      return nil
    end
  end
  local data = self.input:sub(1, n)
  self.input = self.input:sub(n + 1)
  return data
end

-- Whether the other side ends the connection within so many seconds; what it says before is thrown away.
function Browser:ends(seconds)
  local deadline = sys.now() + (seconds or LIMIT)
  while sys.now() < deadline do
    local data, err = sys.read(self.fd, 65536, deadline - sys.now())
    if data == "" or (not data and err ~= "timeout") then
      return true
    end
  end
  return false
end

function Browser:close()
  if self.fd then
    sys.close(self.fd)
    self.fd = nil
  end
end

----------------------------------------------------------------------------------------------------------------- HTTP

-- The head of a response -> status, headers (names in lower case); nil where the connection ends before.
function Browser:head()
  local stop
  repeat
    stop = select(2, self.input:find("\r\n\r\n", 1, true))
  until stop or not self:pump()
  if not stop then
    return nil
  end
  local head = self:take(stop)
  local headers = {}
  for name, value in head:gmatch("\r\n([^:\r\n]+): *([^\r\n]*)") do
    headers[name:lower()] = value
  end
  return tonumber(head:match("^HTTP/1%.1 (%d+)")), headers
end

-- A whole response -> status, body, headers.
function Browser:response(without_body)
  local status, headers = self:head()
  if not status then
    return nil
  end
  local length = without_body and 0 or tonumber(headers["content-length"]) or 0
  return status, self:take(length), headers
end

-- Asks on this connection, which may be kept: "GET", "/x" [, header lines [, body]].
function Browser:ask(method, target, fields, body)
  fields = (fields or "") .. (body and ("Content-Length: %d\r\n"):format(#body) or "")
  self:write(("%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n%s"):format(method, target, fields, body or ""))
  return self:response(method == "HEAD")
end

-- Asks on a connection of its own.
function Browser.get(port, target, fields, method, body)
  local browser = Browser.connect(port)
  local status, text, headers = browser:ask(method or "GET", target, fields, body)
  browser:close()
  return status, text, headers
end

------------------------------------------------------------------------------------------------------------ WebSocket

-- Opens a WebSocket -> browser, headers; or nil, status where the answer is another than 101.
function Browser.open(port, target, fields)
  local browser = Browser.connect(port)
  browser:write(("GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n")
    :format(target or "/ws", fields or ""))
  local status, headers = browser:head()
  if status ~= 101 then
    browser:close()
    return nil, status
  end
  -- the example of RFC 6455, section 1.3
  assert(headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
  return browser, headers
end

local function big_endian(number, bytes)
  local text = ""
  for _ = 1, bytes do
    text = string.char(number % 256) .. text
    number = math.floor(number / 256)
  end
  return text
end

local function from_big_endian(text)
  local number = 0
  for index = 1, #text do
    number = number * 256 + text:byte(index)
  end
  return number
end

local OPS = { more = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 }
local NAMES = {}
for name, op in pairs(OPS) do
  NAMES[op] = name
end

-- A frame with a mask of zeroes, which changes nothing. options: op ("text"), more (another frame follows), unmasked,
-- reserved (the first byte's bits), length (announced instead of the true one)
function Browser.frame(data, options)
  options = options or {}
  local first = OPS[options.op or "text"] + (options.more and 0 or 128) + (options.reserved or 0)
  local mask, length = options.unmasked and 0 or 128, options.length or #data
  local size
  if length < 126 then
    size = string.char(mask + length)
  elseif length < 65536 then
    size = string.char(mask + 126) .. big_endian(length, 2)
  else
    size = string.char(mask + 127) .. big_endian(length, 8)
  end
  return string.char(first) .. size .. (options.unmasked and "" or "\0\0\0\0") .. data
end

function Browser:send(data, options) return self:write(Browser.frame(data, options)) end

function Browser:say_close(code, reason)
  return self:send(code and big_endian(code, 2) .. (reason or "") or "", { op = "close" })
end

-- The next frame -> "text", data; "close", code, reason; nil at the end of the connection.
function Browser:receive()
  local head = self:take(2)
  if not head then
    return nil
  end
  local op, length = NAMES[head:byte(1) - 128], head:byte(2)
  if length == 126 then
    length = from_big_endian(self:take(2))
  elseif length == 127 then
    length = from_big_endian(self:take(8))
  end
  local data = self:take(length)
  if op == "close" then
    return op, #data > 0 and from_big_endian(data:sub(1, 2)) or nil, data:sub(3)
  end
  return op, data
end

return Browser
