-- A private ActiveMQ Classic with its MQTT and STOMP connectors: free ports, temporary directory, gone when the specs
-- are. It takes seconds to start: share one (helper.shared_activemq).

local Broker = require "spec.support.broker"

local ActiveMQ = { name = "activemq", __name = "activemq", start_limit = 60, stop_limit = 15 }

local XML = [[
<beans xmlns="http://www.springframework.org/schema/beans" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://www.springframework.org/schema/beans
    http://www.springframework.org/schema/beans/spring-beans.xsd
    http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="spec" dataDirectory="$data" useJmx="false"
    persistent="$persistent" schedulerSupport="false" useShutdownHook="true">
    $plugins
    <transportConnectors>
      <transportConnector name="mqtt" uri="mqtt://127.0.0.1:$mqtt"/>
      <transportConnector name="stomp" uri="stomp://127.0.0.1:$stomp"/>
    </transportConnectors>
  </broker>
</beans>
]]

local LOGGING = [[
log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %c{1}: %m%n
]]

-- Debian's activemq does not depend on what its MQTT connector needs (package libmqtt-client-java), nor finds it.
local MQTT_CLIENT = "/usr/share/java/mqtt-client.jar"

local function users_plugin(users)
  if not users then
    return ""
  end
  local lines = { "<plugins><simpleAuthenticationPlugin><users>" }
  for name, password in pairs(users) do
    lines[#lines + 1] = ('<authenticationUser username="%s" password="%s" groups="users"/>'):format(name, password)
  end
  lines[#lines + 1] = "</users></simpleAuthenticationPlugin></plugins>"
  return table.concat(lines)
end

-- options: users = {name = password} (nobody is let in without one); persistence = true; port (MQTT's).
-- Fields: mqtt_port stomp_port, port (MQTT's), url (mqtt://), stomp_url, pid dir.
function ActiveMQ:configure(options)
  self.mqtt_port, self.stomp_port = options.port or Broker.free_port(), Broker.free_port()
  self.port = self.mqtt_port
  self.url = "mqtt://127.0.0.1:" .. self.mqtt_port
  self.stomp_url = "stomp://127.0.0.1:" .. self.stomp_port
  local values = {
    data = self.dir, persistent = tostring(options.persistence or false), plugins = users_plugin(options.users),
    mqtt = tostring(self.mqtt_port), stomp = tostring(self.stomp_port),
  }
  Broker.write_file(self.dir .. "/activemq.xml", (XML:gsub("%$(%a+)", values)))
  Broker.write_file(self.dir .. "/log4j.properties", LOGGING)
  os.execute(("mkdir -p '%s/lib' && ln -sf %s '%s/lib/'"):format(self.dir, MQTT_CLIENT, self.dir))
end

function ActiveMQ:command()
  return {
    "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.io.tmpdir=" .. self.dir,
    "-Dactivemq.home=/usr/share/activemq", "-Dactivemq.base=" .. self.dir, "-Dactivemq.conf=" .. self.dir,
    "-Dactivemq.data=" .. self.dir,
    "-Dlog4j.configuration=file:" .. self.dir .. "/log4j.properties",
    "-jar", "/usr/share/activemq/bin/activemq.jar", "start",
    "xbean:file:" .. self.dir .. "/activemq.xml",
  }
end

function ActiveMQ:ready()
  return Broker.answers_mqtt(self.mqtt_port) and Broker.answers_stomp(self.stomp_port)
end

return Broker.define(ActiveMQ)
