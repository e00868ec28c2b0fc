-- MQ inside the loops of other programs, each in the real host: what spec/hosts/scenario.lua does there.

local helper = require "spec.helper"

-- Everything that is measured has a bound that a crowded machine keeps, too.
local LONGEST_GAP, SLOWEST_ECHO, IDLE_CPU = 1, 1, 0.2

local on_luajit = helper.lua == "luajit"
local has_copas = on_luajit or helper.lua == "lua5.1" or helper.lua == "lua5.2"   -- Debian packages it for these

local has_xpcall = helper.lua ~= "lua5.1"   -- what crosses a yield; cf embeds 5.3 and 5.4

-- Neovim, Tarantool and nginx have a LuaJIT inside: they are tested with its build.
local hosts = {
  { name = "luv", ends = true },
  { name = "cqueues", ends = true },
  { name = "cf", present = has_xpcall },
  { name = "copas", present = has_copas },
  { name = "nvim", present = on_luajit, interp = "nvim",
    args = { "--headless", "-u", "NONE", "-i", "NONE", "-n", "-c", "luafile spec/hosts/nvim.lua" } },
  { name = "tarantool", present = on_luajit, interp = "tarantool" },
  { name = "ngx", present = on_luajit },
}

local function start(host, broker)
  local script = "spec/hosts/" .. host.name .. ".lua"
  if host.name == "ngx" then
    return helper.start_nginx { workers = 1, env = { MQ_URL = broker.url }, worker = 'require "spec.hosts.ngx"' }
  end
  local options = { env = { MQ_URL = broker.url } }
  if host.args then
    local environment = { MQ_URL = broker.url }
    for name, value in pairs(helper.environment) do
      environment[name] = value
    end
    local argv = { host.interp }
    for _, argument in ipairs(host.args) do
      argv[#argv + 1] = argument
    end
    return helper.start(argv, { env = environment })
  end
  options.interp = host.interp
  return helper.start_lua(script, options)
end

local function number(text)
  return assert(tonumber(text), text)
end

for _, host in ipairs(hosts) do
  if host.present ~= false then
    describe("MQ in " .. host.name, function()
      for _, kind in ipairs { "redis", "mosquitto" } do
        it("does over " .. kind .. " all that it does elsewhere", function()
          local broker = helper[kind](kind == "mosquitto"
            and { config = { max_queued_messages = 0, max_inflight_messages = 0 } } or nil)
          local program = start(host, broker)
          assert.equal(host.name, program:expect("host (%a+)\n"))
          local count, order, gap = program:expect("messages (%d+) in order (%a+),.* longest gap ([%d.]+) s\n", 30)
          assert.same({ "10000", "true" }, { count, order })
          assert.is_true(number(gap) < LONGEST_GAP, "the host's timer stood still for " .. gap .. " s")
          assert.equal("2", program:expect("callbacks beside each other (%d)\n"))
          local echo = program:expect("slowest echo of a post ([%d.]+) s\n")
          assert.is_true(number(echo) < SLOWEST_ECHO, "a post took " .. echo .. " s")
          assert.equal("true", program:expect("error told (%a+)\n"))
          assert.equal("1", program:expect("after off (%d+)\n"))
          assert.same({ "true", "true" }, { program:expect("sleep (%a+) timers (%a+)\n") })
          program:expect("restart\n")
          broker:stop()
          program:expect("lost\n")
          broker:restart()
          program:expect("back\n", 20)
          local cpu = program:expect("idle second: ([%d.]+) s of CPU\n")
          assert.is_true(number(cpu) < IDLE_CPU, "an idle second took " .. cpu .. " s of CPU")
          assert.equal("closed nil closed", program:expect("(closed [^\n]*)\n"))
          program:expect("done\n")
          local code, out, err = program:wait(10)
          assert.same({ 0, "" }, { code, err })
          if host.ends then
            assert.matches("the loop has ended", out)
          end
        end)
      end
    end)
  end
end
