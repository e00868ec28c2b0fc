-- The README shows examples/hosts as they are, and they do in their hosts what they say.

local helper = require "spec.helper"

local on_luajit = helper.lua == "luajit"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

-- How each is run, where this Lua has it.
local argv = {
  luv = { helper.interpreter },
  cqueues = { helper.interpreter },
  copas = (on_luajit or helper.lua == "lua5.1" or helper.lua == "lua5.2") and { helper.interpreter } or nil,
  cf = helper.lua ~= "lua5.1" and { helper.interpreter, "spec/hosts/cf_main.lua" } or nil,
  tarantool = on_luajit and { "tarantool" } or nil,
  nvim = on_luajit and { "nvim", "--headless", "-u", "NONE", "-i", "NONE", "-n", "-c",
    'lua vim.notify = function(text) io.stdout:write(text, "\\n") vim.cmd "qall!" end', "-c" } or nil,
}

describe("examples/hosts", function()
  local redis

  setup(function()
    redis = helper.redis()
  end)

  for _, name in ipairs { "luv", "nvim", "cqueues", "copas", "tarantool", "cf" } do
    local path = "examples/hosts/" .. name .. ".lua"

    it(name .. " is what the README shows", function()
      assert.is_truthy(read("README.md"):find("```lua\n" .. read(path) .. "```\n", 1, true), path)
    end)

    if argv[name] then
      it(name .. " runs", function()
        local text, count = read(path):gsub("6379", redis.port)
        assert.equal(1, count)
        local script = helper.tmpdir() .. "/" .. name .. ".lua"
        local file = assert(io.open(script, "w"))
        file:write(text)
        file:close()
        local command = {}
        for _, word in ipairs(argv[name]) do
          command[#command + 1] = word
        end
        command[#command + 1] = name == "nvim" and "luafile " .. script or script
        local code, out, err = helper.run(command, { env = helper.environment })
        assert.same({ 0, "hello\n", "" }, { code, out, err })
      end)
    end
  end

  it("nginx.conf is what the README shows", function()
    local text = read("examples/hosts/nginx.conf")
    assert.is_truthy(read("README.md"):find("```nginx\n" .. text .. "```\n", 1, true))
  end)

  if on_luajit then
    it("nginx.conf runs", function()
      local text, count = read("examples/hosts/nginx.conf"):gsub("6379", redis.port)
      local port = helper.free_port()
      text = text:gsub("8080", port)
      assert.equal(1, count)
      local nginx = helper.nginx { worker = false, http = text }
      nginx.path, nginx.port = "127.0.0.1", port
      local deadline = helper.sys.now() + 10
      repeat   -- a message that comes before the subscription reaches nobody
        assert.equal("true0\n", (nginx:get("/say"):gsub("%d", "0")))
      until nginx:get("/news") == "hello\n" or helper.sys.now() > deadline
      assert.equal("hello\n", (nginx:get("/news")))
      assert.equal("", nginx:log())
    end)
  end
end)
