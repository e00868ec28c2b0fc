-- A chat in the browser:  bin/mq run examples/chat/main.lua  and open http://127.0.0.1:8080/ twice.
-- Any number of these programs may run: what is said goes through Redis, which all of them listen to.
local httpd = require "httpd"

local folder = arg[0]:match("^(.*/)[^/]*$") or "./"

local app = httpd:new("Chat", { origin = "same", max_message = 4096 })

app:ws("/ws", require "room")
app:static(folder .. "static")

local port = app:listen(os.getenv("MQ_HTTP_HOST") or "127.0.0.1", tonumber(os.getenv("MQ_HTTP_PORT") or 8080))
print(("open http://127.0.0.1:%d/ in two windows"):format(port))

app:run()
