-- A real browser without a window, driven over its DevTools protocol: pages, what they show, pictures of them.

local Browser = require "spec.support.browser"
local json = require "MQ.cf.json"
local Process = require "spec.support.process"
local sys = require "spec_sys"

local Chromium = { __name = "chromium" }
Chromium.__index = Chromium

-- Whether there is one.
function Chromium.there()
  local result = os.execute("command -v chromium >/dev/null 2>&1")
  return result == true or result == 0
end

-- Starts one with a profile of its own in `dir`.
function Chromium.start(dir)
  local process = Process.start({
    "sh", "-c", 'exec chromium "$@" 2>&1', "sh", "--headless", "--no-sandbox", "--disable-gpu",
    "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-default-apps", "--disable-sync", "--user-data-dir=" .. dir .. "/profile", "--remote-debugging-port=0",
    "about:blank",
  }, { env = { HOME = dir, XDG_CONFIG_HOME = dir, XDG_CACHE_HOME = dir, DBUS_SESSION_BUS_ADDRESS = "disabled:" } })
  local self = setmetatable({ process = process, last = 0 }, Chromium)
  local ok, port, path = pcall(process.expect, process, "DevTools listening on ws://[%d.]+:(%d+)(/%S+)", 60)
  if not ok then
    process:stop()
    error(port, 0)
  end
  self.socket = assert(Browser.open(tonumber(port), path))
  return self
end

-- One command of the protocol -> its result.
function Chromium:command(method, parameters, session)
  self.last = self.last + 1
  self.socket:send(assert(json.encode {
    id = self.last, method = method, params = parameters or {}, sessionId = session,
  }))
  while true do
    self.process:pump(0)
    local op, data = self.socket:receive()
    assert(op == "text", op)
    local answer = json.decode(data)
    if answer.id == self.last then
      assert(not answer.error, answer.error and answer.error.message)
      return answer.result
    end
  end
end

local Page = { __name = "page" }
Page.__index = Page

-- Opens a page in a window of its own.
function Chromium:open(url, width, height)
  local target = self:command("Target.createTarget", {
    url = url, width = width, height = height, newWindow = true,
  }).targetId
  local session = self:command("Target.attachToTarget", { targetId = target, flatten = true }).sessionId
  return setmetatable({ browser = self, session = session }, Page)
end

-- The value of an expression of JavaScript in the page.
function Page:eval(expression)
  local answer = self.browser:command("Runtime.evaluate", {
    expression = expression, returnByValue = true,
  }, self.session)
  assert(not answer.exceptionDetails, answer.exceptionDetails and json.encode(answer.exceptionDetails))
  return answer.result.value
end

-- Waits until an expression is true in the page.
function Page:wait(expression, seconds)
  local deadline = sys.now() + (seconds or 20)
  while not self:eval(expression) do
    if sys.now() > deadline then
      error(("never true: %s\nthe page shows: %s"):format(expression, self:eval("document.body.innerText")), 2)
    end
    sys.sleep(0.02)
  end
end

-- Types into a field, as a person does.
function Page:type(selector, text)
  self:eval(("document.querySelector(%s).select()"):format(json.encode(selector)))
  self.browser:command("Input.insertText", { text = text }, self.session)
end

function Page:press_enter()
  for _, kind in ipairs { "keyDown", "keyUp" } do
    self.browser:command("Input.dispatchKeyEvent", {
      type = kind, key = "Enter", code = "Enter", windowsVirtualKeyCode = 13, text = kind == "keyDown" and "\r" or nil,
    }, self.session)
  end
end

-- A picture of the page, as a PNG file.
function Page:picture(path)
  local data = self.browser:command("Page.captureScreenshot", { format = "png" }, self.session).data
  local pipe = assert(io.popen(("base64 -d > '%s'"):format(path), "w"))
  pipe:write(data)
  pipe:close()
end

function Chromium:stop()
  pcall(self.command, self, "Browser.close")
  self.socket:close()
  self.process:wait(10)
  self.process:stop()
end

return Chromium
