--- "redis://user:password@host:6379/0?timeout=5" → protocol and options.
-- Must not know: which options a protocol takes, beyond what the parts of a URL mean.

local url = {}

-- scheme → the protocol it stands for, and what it says besides
local schemes = {
  redis = { protocol = "redis" },
  rediss = { protocol = "redis", tls = true },
  unix = { protocol = "redis", socket = true },
  mqtt = { protocol = "mqtt" },
  mqtts = { protocol = "mqtt", tls = true },
  stomp = { protocol = "stomp" },
  stomps = { protocol = "stomp", tls = true },
  ["stomp+ssl"] = { protocol = "stomp", tls = true },   -- what ActiveMQ calls the same
  ws = { protocol = "mqtt", websocket = true, port = 80 },
  wss = { protocol = "mqtt", websocket = true, port = 443, tls = true },
}

-- what a WebSocket may carry
local carried = { mqtt = true, stomp = true }

local function known_schemes()
  local names = {}
  for name in pairs(schemes) do
    names[#names + 1] = name
  end
  table.sort(names)
  local last = table.remove(names)
  return table.concat(names, ", ") .. " and " .. last
end

local function decode(text)
  if text:gsub("%%%x%x", ""):find("%", 1, true) then
    return nil
  end
  return (text:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

local function parse_query(text)
  local query = {}
  for pair in text:gmatch("[^&]+") do
    local name, value = pair:match("^([^=]+)=(.*)$")
    name, value = decode(name or ""), decode(value or "")
    if not name or not value or name == "" then
      return nil, ("cannot read %q in the query; write ?name=value"):format(pair)
    end
    query[name] = value
  end
  return query
end

local function parse_credentials(text, found)
  local user, password = text:match("^([^:]*):(.*)$")
  user, password = decode(user or text), decode(password or "")
  if not user or not password then
    return nil, "a % in the credentials is not followed by two hexadecimal digits; write %25 for %"
  end
  if user ~= "" then
    found.username = user
  end
  if password ~= "" then
    found.password = password
  end
  return true
end

local function parse_address(text, found)
  local host, port = text:match("^(%[[^%]]+%]):?(%d*)$")
  if host then
    host = host:sub(2, -2)
  else
    host, port = text:match("^([^:]*):?(%d*)$")
  end
  if not host then
    return nil, ("cannot read %q as host:port; write an IPv6 address in brackets"):format(text)
  end
  host = decode(host)
  if not host then
    return nil, "a % in the host is not followed by two hexadecimal digits"
  end
  if host ~= "" then
    found.host = host
  end
  if port ~= "" then
    found.port = tonumber(port)
  end
  return true
end

local function parse_path(scheme, path, found)
  if scheme.websocket then
    -- The server's, as it is.
    found.websocket = { path = path ~= "" and path or "/" }
    return true
  end
  path = decode(path)
  if not path then
    return nil, "a % in the path is not followed by two hexadecimal digits; write %25 for %"
  end
  if scheme.socket then
    if path == "" or path == "/" then
      return nil, "names no socket; write unix:///run/redis.sock"
    end
    found.path = path
  elseif path ~= "" and path ~= "/" then
    if scheme.protocol == "redis" then
      if not path:find("^/%d+$") then
        return nil, ("the path %q is no database number; write redis://host:6379/0"):format(path)
      end
      found.db = tonumber(path:sub(2))
    else
      found.vhost = path:sub(2)
    end
  end
  return true
end

-- ws:// does not say what is spoken behind it: MQTT, unless told.
local function parse_carried(scheme, wanted, query)
  if not scheme.websocket then
    return scheme.protocol
  end
  wanted = wanted or query.protocol or scheme.protocol
  query.protocol = nil
  if not carried[wanted] then
    return nil, ("the protocol %q does not go over WebSocket; write protocol=mqtt or protocol=stomp")
      :format(tostring(wanted))
  end
  return wanted
end

--- Takes a URL apart. Returns the name of the protocol, a table of options, and the query as a table of strings; or nil
-- and what is wrong. The message never repeats the credentials. `wanted` (or nil) is the protocol to speak where the
-- URL leaves that open, and is not looked at elsewhere: ws://host/path?protocol=stomp.
function url.parse(text, wanted)
  if type(text) ~= "string" then
    return nil, ("expected a URL such as redis://localhost:6379, not a %s"):format(type(text))
  end
  local name, rest = text:match("^(%a[%w+.-]*)://(.*)$")
  if not name then
    return nil, "that is no URL; write redis://localhost:6379"
  end
  local scheme = schemes[name:lower()]
  if not scheme then
    return nil, ("the scheme %q is not known; there are %s"):format(name, known_schemes())
  end

  local found = {}
  if scheme.tls then
    found.tls = true
  end
  found.port = scheme.port
  rest = rest:gsub("#.*$", "")
  local before, query = rest:match("^(.-)%?(.*)$")
  local authority, path = (before or rest):match("^([^/]*)(.*)$")
  local credentials, address = authority:match("^(.*)@(.*)$")
  local ok, err = true, nil
  if credentials then
    ok, err = parse_credentials(credentials, found)
  end
  if ok then
    ok, err = parse_address(address or authority, found)
  end
  if ok then
    ok, err = parse_path(scheme, path, found)
  end
  if ok then
    query, err = parse_query(query or "")
  end
  if not ok or not query then
    return nil, err
  end
  local protocol
  protocol, err = parse_carried(scheme, wanted, query)
  if not protocol then
    return nil, err
  end
  return protocol, found, query
end

return url
