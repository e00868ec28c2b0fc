-- A private nginx with ngx_lua, which finds MQ: a unix socket, a temporary directory, gone when the specs are.
-- tools/nginx.sh has put it into build/nginx.

local Broker = require "spec.support.broker"
local sys = require "spec_sys"

local Nginx = { name = "nginx", __name = "nginx", start_limit = 10, stop_limit = 10 }

local root = sys.cwd()
local home = root .. "/build/nginx"

-- nginx's workers do not die with the master; these do, with the test run.
local LEASH = [[
  init_worker_by_lua_block {
    local ffi = require "ffi"
    ffi.cdef "int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);"
    ffi.C.prctl(1, 9, 0, 0, 0)
    %s
  }
]]

local function is_root()
  local pipe = assert(io.popen("id -u"))
  local id = pipe:read("*l")
  pipe:close()
  return id == "0"
end

-- options: workers (2); worker = "Lua code that each worker runs when it begins", or false; http = "directives";
-- server = "directives, locations among them"; main = "directives"; env = {name = value}, which Lua sees.
-- Fields: path (where it listens) pid dir.
function Nginx:configure(options)
  self.path = self.dir .. "/http.sock"
  self.log_path = self.dir .. "/error.log"
  self.env = options.env or {}
  local lines = {
    ("load_module %s/usr/lib/nginx/modules/ndk_http_module.so;"):format(home),
    ("load_module %s/usr/lib/nginx/modules/ngx_http_lua_module.so;"):format(home),
    ("worker_processes %d;"):format(options.workers or 2),
    is_root() and "user root;" or "",
    "daemon off;", "pid pid;", ("error_log %s error;"):format(self.log_path), options.main or "",
  }
  for name in pairs(self.env) do
    lines[#lines + 1] = ("env %s;"):format(name)
  end
  for _, line in ipairs {
    "events { worker_connections 256; }",
    "http {", "access_log off;",
    ("lua_package_path '%s/lua/?.lua;%s/lua/?/init.lua;%s/?.lua;%s/usr/share/lua/5.1/?.lua;;';")
      :format(root, root, root, home),
    ("lua_package_cpath '%s/build/luajit/?.so;;';"):format(root),
    options.worker ~= false and LEASH:format(options.worker or "") or "", options.http or "",
    "server {", ("listen unix:%s;"):format(self.path), "default_type text/plain;", options.server or "", "}",
  } do
    lines[#lines + 1] = line
  end
  for _, what in ipairs { "client_body", "proxy", "fastcgi", "uwsgi", "scgi" } do
    lines[#lines + 1] = ("%s_temp_path %s;"):format(what, what)
  end
  lines[#lines + 1] = "}\n"
  Broker.write_file(self.dir .. "/nginx.conf", table.concat(lines, "\n"))
end

function Nginx:command()
  local environment = { LD_LIBRARY_PATH = home .. "/libraries" }
  for name, value in pairs(self.env) do
    environment[name] = value
  end
  return { home .. "/usr/sbin/nginx", "-p", self.dir .. "/", "-c", self.dir .. "/nginx.conf", "-e", self.log_path },
    environment
end

function Nginx:ready()
  local fd = sys.connect(self.path, 0, 1)
  if fd then
    sys.close(fd)
  end
  return fd ~= nil
end

-- An ended master takes its workers along, a killed one does not.
function Nginx:discard()
  self:stop()
end

-- The same without starting it: argv and its environment, for a program whose output matters.
function Nginx.prepare(dir, options)
  local self = setmetatable({ dir = dir }, Nginx)
  self:configure(options)
  return self:command()
end

-- Sends a request without waiting -> finish(), which gives the answer's body and status.
function Nginx:request(path, seconds)
  local deadline = sys.now() + (seconds or 10)
  local fd = assert(sys.connect(self.path, self.port or 0, 5))
  assert(sys.write(fd, ("GET %s HTTP/1.0\r\nHost: nginx\r\n\r\n"):format(path), 5))
  return function()
    local parts = {}
    while true do
      local part, err = sys.read(fd, 65536, math.max(deadline - sys.now(), 0))
      if not part then
        sys.close(fd)
        error(("GET %s: %s after %q\n%s"):format(path, err, table.concat(parts), self:log()), 2)
      elseif part == "" then
        break
      end
      parts[#parts + 1] = part
    end
    sys.close(fd)
    local status, body = table.concat(parts):match("^HTTP/1.1 (%d+).-\r\n\r\n(.*)$")
    return body, tonumber(status)
  end
end

-- The answer to a request: its body, its status.
function Nginx:get(path, seconds)
  return self:request(path, seconds)()
end

return Broker.define(Nginx)
