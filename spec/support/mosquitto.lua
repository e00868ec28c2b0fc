-- A private mosquitto: free ports, temporary directory, gone when the specs are.

local Broker = require "spec.support.broker"
local Process = require "spec.support.process"

local Mosquitto = { name = "mosquitto", __name = "mosquitto", start_limit = 10, stop_limit = 5 }

local function password_file(self, users)
  local path = Broker.write_file(self.dir .. "/passwords", "")
  for name, password in pairs(users) do
    local code, out, err = Process.start({ "mosquitto_passwd", "-b", path, name, password }):wait(10)
    if code ~= 0 then
      error(("mosquitto_passwd: exit code %s\n%s%s"):format(code, out, err), 0)
    end
  end
  return path
end

local function tls_listener(self, lines, options)
  local certificates = options.certificates
  self.certificates, self.tls_port = certificates, Broker.free_port()
  self.tls_url = "mqtts://localhost:" .. self.tls_port
  lines[#lines + 1] = ("listener %d 127.0.0.1"):format(self.tls_port)
  lines[#lines + 1] = "cafile " .. certificates.ca
  lines[#lines + 1] = "certfile " .. certificates.cert
  lines[#lines + 1] = "keyfile " .. certificates.key
  lines[#lines + 1] = "require_certificate " .. tostring(options.client_certificates or false)
end

-- An access list refuses no subscription (mosquitto 2.0 grants it and delivers nothing); its dynamic security plugin
-- does.
local function refusals(self, lines, refuse)
  local find = assert(io.popen("ls /usr/lib/*/mosquitto_dynamic_security.so /usr/lib/mosquitto_dynamic_security.so"
    .. " 2>/dev/null"))
  local plugin = assert(find:read("*l"), "mosquitto's dynamic security plugin is not installed")
  find:close()
  local kinds = { subscribe = "subscribePattern", unsubscribe = "unsubscribePattern", publish = "publishClientSend" }
  local rules = {}
  for kind, topics in pairs(refuse) do
    for _, topic in ipairs(topics) do
      rules[#rules + 1] = ('{"acltype":"%s","topic":"%s","allow":false}'):format(assert(kinds[kind], kind), topic)
    end
  end
  local path = Broker.write_file(self.dir .. "/security.json", ([[
    {"defaultACLAccess":{"publishClientSend":true,"publishClientReceive":true,"subscribe":true,"unsubscribe":true},
     "anonymousGroup":"all","groups":[{"groupname":"all","roles":[{"rolename":"limits"}]}],"clients":[],
     "roles":[{"rolename":"limits","acls":[%s]}]}]]):format(table.concat(rules, ",")))
  lines[#lines + 1] = "plugin " .. plugin
  lines[#lines + 1] = "plugin_opt_config_file " .. path
end

-- options: config = {max_packet_size = 1000, max_keepalive = 30, "any other line"} in the global section;
-- users = {name = password} (nobody is let in without one); anonymous = true lets them in all the same;
-- acl = {"user alice", "topic read /a/#"};
-- refuse = {subscribe = {"no/#"}, unsubscribe = {…}, publish = {…}}: these topics, to everybody, with a reason code
-- (without users); persistence = true; websockets = true; certificates (turns a TLS listener on), client_certificates
-- (demanded); quiet = true (the log tells of clients, not of packets); log = true (a spec reads the log, which the
-- embedded broker in its place has only then); port.
-- Fields: port url pid dir; tls_port tls_url certificates; ws_port ws_url.
function Mosquitto:configure(options)
  self.port = options.port or Broker.free_port()
  self.url = "mqtt://127.0.0.1:" .. self.port
  self.log_path = self.dir .. "/mosquitto.log"
  local lines = {
    "user root",   -- as root it would become a user who cannot read the directory; others ignore it
    "pid_file " .. self.dir .. "/pid", "log_dest file " .. self.log_path,
    "connection_messages true", "sys_interval 1",
    "allow_anonymous " .. tostring(options.anonymous or not options.users),
    "persistence " .. tostring(options.persistence or false), "persistence_location " .. self.dir .. "/",
  }
  for _, kind in ipairs(options.quiet and { "error", "warning", "notice" } or { "all" }) do
    lines[#lines + 1] = "log_type " .. kind
  end
  if options.persistence then
    lines[#lines + 1] = "autosave_interval 1"
  end
  if options.users then
    lines[#lines + 1] = "password_file " .. password_file(self, options.users)
  end
  if options.acl then
    lines[#lines + 1] = "acl_file " .. Broker.write_file(self.dir .. "/acl", table.concat(options.acl, "\n") .. "\n")
  end
  if options.refuse then
    refusals(self, lines, options.refuse)
  end
  Broker.settings(lines, options.config)
  lines[#lines + 1] = ("listener %d 127.0.0.1"):format(self.port)
  if options.certificates then
    tls_listener(self, lines, options)
  end
  if options.websockets then
    self.ws_port = Broker.free_port()
    self.ws_url = "ws://127.0.0.1:" .. self.ws_port
    lines[#lines + 1] = ("listener %d 127.0.0.1"):format(self.ws_port)
    lines[#lines + 1] = "protocol websockets"
  end
  Broker.write_file(self.dir .. "/mosquitto.conf", table.concat(lines, "\n") .. "\n")
end

function Mosquitto:command()
  -- /usr/sbin is not on an ordinary user's PATH
  return { "env", "PATH=" .. os.getenv("PATH") .. ":/usr/sbin", "mosquitto", "-c", self.dir .. "/mosquitto.conf" }
end

function Mosquitto:ready()
  return Broker.answers_mqtt(self.port)
end

-- Runs mosquitto_pub with these arguments besides -h and -p; raises where it fails.
function Mosquitto:publish(...)
  local argv = { "mosquitto_pub", "-h", self.host, "-p", self.port, ... }
  local code, out, err = Process.start(argv):wait(10)
  if code ~= 0 then
    error(("%s: %s\n%s%s"):format(table.concat(argv, " "), code, out, err), 2)
  end
end

-- Starts mosquitto_sub with these arguments besides -h, -p and -d, and waits until it is subscribed
-- -> the process (see process.lua: expect, stop), which the caller stops.
function Mosquitto:subscribe(...)
  local process = Process.start { "stdbuf", "-oL", "mosquitto_sub", "-h", self.host, "-p", self.port, "-d", ... }
  process:expect("Subscribed %(")
  return process
end

-- How many clients its log has seen come and not yet go. A probe of ready() has gone.
function Mosquitto:client_count()
  local log = self:log():match(".*mosquitto version %S+ running(.*)$") or ""
  local here = {}
  for line in log:gmatch("[^\n]+") do
    local id = line:match(": New client connected from %S+ as (%S+) ")
    if id then
      here[id] = true
    end
    id = line:match(": Client (%S+) disconnected") or line:match(": Client (%S+) closed its connection")
      or line:match(": Client (%S+) has exceeded timeout")
    if id then
      here[id] = nil
    end
  end
  local count = 0
  for _ in pairs(here) do
    count = count + 1
  end
  return count
end

return Broker.define(Mosquitto)
