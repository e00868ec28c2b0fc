-- MQ.cf.logging: the shape of a line, and of the tables in it.

local Logging = require "MQ.cf.logging"

-- What fn writes to standard output.
local function output(fn)
  local saved, file = io.output(), assert(io.tmpfile())
  io.output(file)
  local ok, err = pcall(fn)
  io.output(saved)
  assert(ok, err)
  file:seek("set")
  local text = file:read("*a")
  file:close()
  return (text:gsub("\27%[%d+m", ""))   -- coloured where the specs run in a terminal
end

local function dumped(...)
  local arguments, count = { ... }, select("#", ...)
  local unpack = table.unpack or unpack
  return output(function() Logging:new():INFO(unpack(arguments, 1, count)) end):match("%[INFO%] : (.*)\n$")
end

describe("logging", function()
  it("writes time, place, level and values", function()
    local line
    local text = output(function()
      local Log = Logging:new()
      line = debug.getinfo(1, "l").currentline + 1
      Log:DEBUG("开始消费:", { type = "pmessage", payload = '{"code":200}' }, "x" .. 1)
    end)
    local stamp, where, level, rest =
      text:match("^%[(%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d,%d%d%d)%] (%b[]) (%b[]) : (.*)\n$")
    assert.is_string(stamp, text)
    assert.matches("^%[@.*logging_spec%.lua:" .. line .. "%]$", where)
    assert.equal("[DEBUG]", level)
    assert.equal('开始消费:, {["payload"]="{"code":200}", ["type"]="pmessage"}, x1', rest)
  end)

  it("has four levels", function()
    for _, level in ipairs { "DEBUG", "INFO", "WARN", "ERROR" } do
      assert.matches("%[" .. level .. "%] : x\n$", output(function() Logging:new()[level](Logging:new(), "x") end))
    end
  end)

  it("writes every value, nil too", function()
    assert.equal("nil, 1, true, nil", dumped(nil, 1, true, nil))
    assert.equal("", dumped())
  end)

  it("dumps tables: sorted, nested, cyclic, shared", function()
    assert.equal('{[1]="a", [2]={}, ["k"]={["n"]=1}, [true]=false}', dumped { "a", {}, k = { n = 1 }, [true] = false })
    local cycle = { name = "c" }
    cycle.self = { cycle }
    assert.equal('{["name"]="c", ["self"]={[1]={...}}}', dumped(cycle))
    local shared = { 1 }
    assert.equal("{[1]={[1]=1}, [2]={[1]=1}}", dumped { shared, shared })
    assert.equal('{["o"]=object}', dumped { o = setmetatable({}, { __tostring = function() return "object" end }) })
    local deep = {}
    for _ = 1, 1000 do
      deep = { deep }
    end
    assert.is_true(#dumped(deep) < 1000)
  end)

  it("writes binary strings as they are", function()
    assert.equal("\0\255", dumped("\0\255"))
  end)

  it("appends to a file where one is asked for, and survives that it cannot be written", function()
    local text = output(function()
      local saved, told = io.stderr, {}
      rawset(io, "stderr", { write = function(_, ...) told[#told + 1] = table.concat { ... } end })
      local Log = Logging:new { dump = true, path = "no/such/folder" }
      Log:INFO("once")
      Log:INFO("twice")
      rawset(io, "stderr", saved)
      assert.equal(1, #told)
      assert.matches("^logging: ", told[1])
    end)
    assert.matches("once\n.*twice\n$", text)
  end)

  it("raises for new called with a dot", function()
    assert.is_false(pcall(Logging.new))
    assert.is_false(pcall(Logging.new, {}))
  end)
end)
