-- MQ.listeners: who is called while callbacks come and go.

local listeners = require "MQ.listeners"

local function names(list)
  local text = {}
  for _, listener in ipairs(list) do
    text[#text + 1] = listener.callback
  end
  return table.concat(text)
end

-- As a message is handed round: to those who were there, less those who have been taken off.
local function hand_round(set, meanwhile)
  local list, last = set.list, set.last
  local text = {}
  for index = 1, last do
    if list[index] then
      text[#text + 1] = list[index].callback
      meanwhile(list[index].callback)
    end
  end
  return table.concat(text)
end

describe("listeners", function()
  local set

  before_each(function()
    set = listeners.new()
    for name in ("abcdef"):gmatch(".") do
      listeners.add(set, { callback = name })
    end
  end)

  it("keep their order, and know how many have a callback", function()
    listeners.add(set, { callback = "b" })
    assert.equal("abcdefb", names(listeners.all(set)))
    assert.same({ 2, 1, 0, 7 }, { listeners.having(set, "b"), listeners.having(set, "c"), listeners.having(set, "x"),
      set.count })
    assert.equal("bb", names(listeners.remove(set, "b")))
    assert.equal("acdef", names(listeners.all(set)))
    assert.same({}, listeners.remove(set, "b"))
    assert.equal(5, set.count)
  end)

  it("one that comes while a message is handed round gets the next", function()
    assert.equal("abcdef", hand_round(set, function(name)
      if name == "a" then
        listeners.add(set, { callback = "g" })
      end
    end))
    assert.equal("abcdefg", hand_round(set, function() end))
  end)

  it("one that goes meanwhile is left out", function()
    assert.equal("abdef", hand_round(set, function(name)
      if name == "b" then
        listeners.remove(set, "c")
        listeners.remove(set, "a")
      end
    end))
    assert.equal("bdef", hand_round(set, function() end))
  end)

  it("when most go meanwhile, and others come, the rest are neither skipped nor called twice", function()
    assert.equal("af", hand_round(set, function(name)
      if name == "a" then
        for gone in ("bcde"):gmatch(".") do
          listeners.remove(set, gone)
        end
        listeners.add(set, { callback = "g" })
        listeners.add(set, { callback = "h" })
      end
    end))
    assert.equal("afgh", hand_round(set, function() end))
    for _, name in ipairs { "f", "h", "a", "g" } do
      assert.equal(name, names(listeners.remove(set, name)))
    end
    assert.same({ 0, 0 }, { set.count, set.last })
  end)
end)
