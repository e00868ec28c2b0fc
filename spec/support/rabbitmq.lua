-- A private RabbitMQ with its MQTT and STOMP plugins: free ports, temporary directory, a port mapper (epmd) of its own,
-- gone when the specs are. It takes seconds to start: share one (helper.shared_rabbitmq).
--
-- Root runs it as user rabbitmq, as the package does; anybody else as himself. The package's own wrapper is not used:
-- it forks, writes to /var/log, and would leave the Erlang machine behind when it is killed. This way self.pid is the
-- Erlang machine itself, in a process group of its own; its helpers end with it.

local Broker = require "spec.support.broker"
local Process = require "spec.support.process"
local make_certificates = require "spec.support.certificates"
local sys = require "spec_sys"

local RabbitMQ = { name = "rabbitmq", __name = "rabbitmq", start_limit = 90, stop_limit = 20 }

local SCRIPTS = "/usr/lib/rabbitmq/bin/"

local function is_root()
  local pipe = assert(io.popen("id -u"))
  local id = pipe:read("*l")
  pipe:close()
  return id == "0"
end

local function as_rabbitmq(self, argv)
  if not self.root then
    return argv
  end
  -- the signal that ends it with the test run is forgotten when the user changes, hence --pdeathsig
  local all = { "setpriv", "--reuid", "rabbitmq", "--regid", "rabbitmq", "--init-groups", "--pdeathsig", "KILL" }
  for _, word in ipairs(argv) do
    all[#all + 1] = word
  end
  return all
end

local function environment(self)
  return {
    HOME = self.dir, ERL_EPMD_PORT = self.epmd_port,
    RABBITMQ_NODENAME = self.node, RABBITMQ_CONFIG_FILE = self.dir .. "/rabbitmq.conf",
    RABBITMQ_CONF_ENV_FILE = "/dev/null", RABBITMQ_ADVANCED_CONFIG_FILE = self.dir .. "/advanced.config",
    RABBITMQ_ENABLED_PLUGINS_FILE = self.dir .. "/plugins", RABBITMQ_MNESIA_BASE = self.dir .. "/mnesia",
    RABBITMQ_LOG_BASE = self.dir .. "/log", RABBITMQ_DIST_PORT = self.dist_port,
    -- not true, but with it the script becomes the Erlang machine instead of forking it
    RUNNING_UNDER_SYSTEMD = "true",
  }
end

-- STOMP with TLS, by a certificate in the broker's own directory, which lives as long as it.
local function tls_listener(self, lines)
  self.certificates = self.certificates or make_certificates(self.dir)
  self.stomp_tls_port = Broker.free_port()
  lines[#lines + 1] = "stomp.listeners.ssl.1 = 127.0.0.1:" .. self.stomp_tls_port
  lines[#lines + 1] = "ssl_options.cacertfile = " .. self.certificates.ca
  lines[#lines + 1] = "ssl_options.certfile = " .. self.certificates.cert
  lines[#lines + 1] = "ssl_options.keyfile = " .. self.certificates.key
  lines[#lines + 1] = "ssl_options.verify = verify_none"
end

-- options: web = true (rabbitmq_web_mqtt and rabbitmq_web_stomp too); tls = true (STOMP); plugins = {"more"};
-- config = {["mqtt.prefetch"] = 10, "any other line"}; port (MQTT's).
-- Fields: mqtt_port stomp_port amqp_port, port (MQTT's), url (mqtt://), stomp_url, web_mqtt_port web_stomp_port,
-- stomp_tls_port certificates, user and password (guest, guest), pid dir node.
function RabbitMQ:configure(options)
  self.root = is_root()
  self.user, self.password = "guest", "guest"
  self.amqp_port, self.dist_port, self.epmd_port = Broker.free_port(), Broker.free_port(), Broker.free_port()
  self.mqtt_port, self.stomp_port = options.port or Broker.free_port(), Broker.free_port()
  self.port = self.mqtt_port
  self.url = "mqtt://guest:guest@127.0.0.1:" .. self.mqtt_port
  self.stomp_url = "stomp://guest:guest@127.0.0.1:" .. self.stomp_port
  self.node = ("mq%d@localhost"):format(self.amqp_port)
  self.log_path = ("%s/log/%s.log"):format(self.dir, self.node)
  local plugins = { "rabbitmq_mqtt", "rabbitmq_stomp" }
  local lines = {
    "listeners.tcp.1 = 127.0.0.1:" .. self.amqp_port,
    "mqtt.listeners.tcp.1 = 127.0.0.1:" .. self.mqtt_port,
    "stomp.listeners.tcp.1 = 127.0.0.1:" .. self.stomp_port,
    "mqtt.allow_anonymous = false",
  }
  if options.web then
    self.web_mqtt_port, self.web_stomp_port = Broker.free_port(), Broker.free_port()
    lines[#lines + 1] = "web_mqtt.tcp.ip = 127.0.0.1"
    lines[#lines + 1] = "web_mqtt.tcp.port = " .. self.web_mqtt_port
    lines[#lines + 1] = "web_stomp.tcp.ip = 127.0.0.1"
    lines[#lines + 1] = "web_stomp.tcp.port = " .. self.web_stomp_port
    plugins[#plugins + 1] = "rabbitmq_web_mqtt"
    plugins[#plugins + 1] = "rabbitmq_web_stomp"
  end
  if options.tls then
    tls_listener(self, lines)
  end
  Broker.settings(lines, options.config, "%s = %s")
  Broker.settings(plugins, options.plugins)
  Broker.write_file(self.dir .. "/rabbitmq.conf", table.concat(lines, "\n") .. "\n")
  Broker.write_file(self.dir .. "/plugins", "[" .. table.concat(plugins, ",") .. "].\n")
  Broker.write_file(self.dir .. "/output", "")
  if self.root then
    os.execute(("chown -R rabbitmq:rabbitmq '%s'"):format(self.dir))
  end
end

-- Erlang's port mapper: the machine's own would stay as a daemon.
function RabbitMQ:before()
  self.epmd = assert(sys.spawn { "env", "ERL_EPMD_PORT=" .. self.epmd_port, "sh", "-c",
    'exec epmd -address 127.0.0.1 >>"$0" 2>&1', self.dir .. "/output" })
end

function RabbitMQ:after()
  if self.epmd then
    sys.kill(self.epmd, "KILL")
    sys.wait(self.epmd)
    self.epmd = nil
  end
end

function RabbitMQ:command()
  local argv = { "setsid" } -- Ctrl-C at the terminal is for the specs
  for _, word in ipairs(as_rabbitmq(self, { SCRIPTS .. "rabbitmq-server" })) do
    argv[#argv + 1] = word
  end
  return argv, environment(self)
end

function RabbitMQ:ready()
  local log = io.open(self.log_path)
  if not log then
    return false
  end
  local text = log:read("*a")
  log:close()
  -- of the last start: one before it may have failed
  local start = text:match(".*()Starting RabbitMQ ")
  return start and text:find("Server startup complete", start, true)
    and Broker.answers_mqtt(self.mqtt_port, self.user, self.password)
    and Broker.answers_stomp(self.stomp_port, self.user, self.password)
end

-- rabbitmqctl with these arguments -> its output; takes seconds.
function RabbitMQ:ctl(...)
  local argv = as_rabbitmq(self, { SCRIPTS .. "rabbitmqctl", "--quiet", "--node", self.node, ... })
  local settings = environment(self)
  local code, out, err = Process.start(argv, { cwd = self.dir, env = settings }):wait(60)
  if code ~= 0 then
    error(("rabbitmqctl %s: %s\n%s%s"):format(table.concat({ ... }, " "), code, out, err), 2)
  end
  return out
end

return Broker.define(RabbitMQ)
