-- The chat of examples/chat in a real browser: two pages that see each other's messages, a broker and a server that go
-- and come back. With MQ_PICTURE=docs/chat.png it also takes the README's picture.

local Browser = require "spec.support.browser"
local Chromium = require "spec.support.chromium"
local helper = require "spec.helper"
local json = require "MQ.cf.json"

local function maybe(name, body)
  if helper.lua ~= "lua5.4" then
    pending(name .. ": once is enough, on lua5.4")
  elseif not Chromium.there() then
    pending(name .. ": chromium is not installed")
  else
    it(name, body)
  end
end

describe("the chat example", function()
  local chromium, redis


  local function serve(port)
    local server = helper.start_lua(helper.root .. "/bin/mq", {
      args = { "run", helper.root .. "/examples/chat/main.lua" }, interp = "/bin/sh",
      env = {
        LUA = helper.interpreter, LUA_PATH = false, LUA_CPATH = false, MQ_HTTP_PORT = port or 0,
        MQ_REDIS_PORT = redis.port,
      },
    })
    server.port = tonumber(server:expect("open http://127%.0%.0%.1:(%d+)/"))
    return server
  end

  local function says(page, text)
    page:type("#text", text)
    page:press_enter()
  end

  local function shows(page, text)
    page:wait(("document.getElementById('log')?.innerText.includes(%q)"):format(text))
  end

  local function is(page, state)
    page:wait(("document.getElementById('state')?.dataset.state === %q"):format(state))
  end

  after_each(function()
    if chromium then
      chromium:stop()
      chromium = nil
    end
    helper.stop_all()
  end)

  it("serves its page, and tells everybody what one says", function()
    redis = helper.redis()
    local server = serve()
    local status, body = Browser.get(server.port, "/")
    assert.equal(200, status)
    assert.truthy(body:find("<title>Chat over MQ</title>", 1, true))
    local ada, bob = Browser.open(server.port), (Browser.open(server.port))
    local function next_of(browser, kind)
      repeat
        local op, data = browser:receive()
        assert.equal("text", op)
        local heard = json.decode(data)
        if heard.kind == kind then
          return heard
        end
      until false
    end
    repeat until next_of(ada, "broker").up
    ada:send '{"name": "Ada", "text": "hello"}'
    for _, browser in ipairs { ada, bob } do
      assert.same({ kind = "message", name = "Ada", text = "hello" }, next_of(browser, "message"))
    end
    bob:send "nonsense"
    assert.same({ "close", 4000, "expected a name and a text" }, { bob:receive() })
    assert.equal(403, select(2, Browser.open(server.port, "/ws", "Origin: http://elsewhere.example\r\n")))
  end)

  maybe("joins two pages, and survives a restart of its broker and of its server", function()
    redis = helper.redis()
    local server = serve()
    chromium = Chromium.start(helper.tmpdir())
    local url = "http://127.0.0.1:" .. server.port .. "/"
    local ada, bob = chromium:open(url, 640, 540), chromium:open(url, 640, 540)
    for name, page in pairs { Ada = ada, Bob = bob } do
      is(page, "connected")
      page:type("#name", name)
    end
    says(ada, "Hello, Bob! Who else is here?")
    shows(bob, "Hello, Bob! Who else is here?")
    says(bob, "Everybody whose page is open: <b>ça va</b>?")
    shows(ada, "<b>ça va</b>?")
    shows(bob, "<b>ça va</b>?")
    assert.equal(0, ada:eval("document.querySelectorAll('#log b b').length"))
    assert.equal("other own", bob:eval("[...document.querySelectorAll('#log li')].map(l => l.className).join(' ')"))

    redis:stop()
    is(ada, "waiting")
    shows(bob, "the broker is away")
    redis:restart()
    is(ada, "connected")
    is(bob, "connected")
    says(ada, "The broker was restarted, and nobody had to reload.")
    shows(bob, "nobody had to reload")

    local picture = os.getenv "MQ_PICTURE"
    if picture and picture ~= "" then
      bob:picture(picture)
    end

    server:kill("INT")
    assert.equal(130, (server:wait(10)))
    is(bob, "lost")
    server = serve(server.port)
    is(ada, "connected")
    is(bob, "connected")
    shows(bob, "connected again")
    says(bob, "and back")
    shows(ada, "and back")
    server:kill("INT")
    assert.equal(130, (server:wait(10)))
  end)
end)
