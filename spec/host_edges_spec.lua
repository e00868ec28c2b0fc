-- The edges of MQ in other loops: main chunks, where no coroutine can yield, programs that end without a word.

local helper = require "spec.helper"

local on_luajit = helper.lua == "luajit"
local has_copas = on_luajit or helper.lua == "lua5.1" or helper.lua == "lua5.2"

describe("in another loop", function()
  local redis

  setup(function()
    redis = helper.redis()
  end)

  -- Runs a program to its end: `head` first, then `body`, with MQ, a client `mq` and core at hand.
  local function run(head, body, options)
    local text = table.concat({
      'io.stdout:setvbuf("line")', head,
      'local MQ, core = require "MQ", require "MQ.core"',
      ('local mq = MQ.connect(%q)'):format(redis.url), body, "",
    }, "\n")
    options = options or {}
    if options.nvim then
      local script = helper.tmpdir() .. "/script.lua"
      local file = assert(io.open(script, "w"))
      file:write(text)
      file:close()
      return helper.run({ "nvim", "--headless", "-u", "NONE", "-i", "NONE", "-n", "-c", "luafile " .. script, "-c",
        options.stays and "echo" or "qall!" }, { env = helper.environment })
    end
    return helper.run_lua(text, options)
  end

  local heads = {
    luv = 'require("MQ").use "luv"',
    cqueues = 'require("MQ").use "cqueues"',
    copas = has_copas and 'require "copas" require("MQ").use "copas"' or nil,
    nvim = on_luajit and "" or nil,
  }

  for name, head in pairs(heads) do
    it("a main chunk waits: " .. name, function()
      local code, out, err = run(head, [[
        local got
        assert(mq:on("edge/main", function(msg) got = msg and msg.payload MQ.loop.sleep(0.01) end))
        assert(mq:emit("edge/main", "x"))
        local began = core.now()
        MQ.loop.sleep(0.1)
        assert(core.now() - began >= 0.099)
        assert(got == "x")
        for _ = 1, 1000 do assert(mq:post("edge/other", "y")) end
        assert(mq:flush(10))
        assert(mq:off("edge/main"))
        assert(mq:close())
        io.stdout:write("fine\n")
      ]], { nvim = name == "nvim" })
      assert.same({ 0, "fine\n", "" }, { code, out, err })
    end)

    it("a program that ends without closing its clients ends: " .. name, function()
      local code, out, err = run(head, [[
        assert(mq:on("edge/open", function() end))
        assert(mq:emit("edge/open", "x"))
        io.stdout:write("fine\n")
      ]], { nvim = name == "nvim" })
      assert.same({ 0, "fine\n", "" }, { code, out, err })
    end)

    if name ~= "nvim" then
      it("start serves in the main chunk until somebody closes: " .. name, function()
        local code, out, err = run(head, [[
          assert(mq:on("edge/start", function(msg) print(msg.payload) mq:close() end))
          MQ.loop.timeout(0.05, function() assert(mq:emit("edge/start", "x")) end)
          print(mq:start())
        ]])
        assert.same({ 0, "x\ntrue\n", "" }, { code, out, err })
      end)

      -- Neovim runs its loop inside itself.
      it("says so where nothing can wait: " .. name, function()
        local code, out, err = run(head, [[
          MQ.loop.spawn(function()
            local list = { 2, 1 }
            table.sort(list, function(a, b)
              local ok, why, code = mq:emit("edge/sort", "x")
              print(ok, code, (why:gsub(".*(wait).*", "%1")))
              return a < b
            end)
            mq:close()
          end)
          print(mq:start())
        ]])
        assert.equal(0, code, err)
        assert.matches("^nil\tinvalid\twait\n", out)
        assert.matches("\ntrue\n$", out)
      end)
    end
  end

  it("a callback of luv is told to use a coroutine, and may make one", function()
    local code, out, err = run(heads.luv, [[
      local uv = require "luv"
      local timer = uv.new_timer()
      timer:start(1, 0, function()
        timer:close()
        local ok, why, code = mq:emit("edge/callback", "x")
        print(ok, code, why)
        coroutine.wrap(function()
          print(mq:emit("edge/callback", "y"))
          print(mq:close())
        end)()
      end)
      uv.run()
    ]])
    assert.same({ 0, "" }, { code, err })
    assert.matches("^nil\tinvalid\tluv's loop runs and cannot run inside itself: wait in a coroutine", out)
    assert.matches("\ntrue\t0\ntrue\n$", out)
  end)

  it("luv's loop ends when nobody waits or subscribes any more, though the client is open", function()
    local code, out, err = run(heads.luv, [[
      coroutine.wrap(function()
        assert(mq:on("edge/end", function() end))
        assert(mq:emit("edge/end", "x"))
        MQ.loop.sleep(0.05)
        assert(mq:off("edge/end"))
      end)()
      require("luv").run()
      print("ended", mq:stats().state)
    ]])
    assert.same({ 0, "ended\tconnected\n", "" }, { code, out, err })
  end)

  it("a time limit that was not needed does not keep a controller of cqueues going", function()
    local code, out, err = run(heads.cqueues, [[
      local cq = require("cqueues").new()
      cq:wrap(function()
        assert(mq:post("edge/limit", "x"))
        assert(mq:flush(3600))
        mq:close()
      end)
      assert(cq:loop())
      print "ended"
    ]])
    assert.same({ 0, "ended\n", "" }, { code, out, err })
  end)

  it("a controller of cqueues takes over what the main chunk began, and another one after it", function()
    local code, out, err = run(heads.cqueues, [[
      local cqueues = require "cqueues"
      local got = 0
      assert(mq:on("edge/controllers", function(msg)
        if msg then
          MQ.loop.sleep(0.01)
          cqueues.sleep(0.01)
          got = got + 1
        end
      end))
      MQ.loop.spawn(function() MQ.loop.sleep(0.02) got = got + 100 end)
      for round = 1, 2 do
        local cq = cqueues.new()
        cq:wrap(function()
          assert(mq:emit("edge/controllers", "x"))
          while got < 100 + round do
            cqueues.sleep(0.01)
          end
          if round == 2 then
            mq:close()
          else
            cq:close()
          end
        end)
        cq:loop()
      end
      print(got)
    ]])
    assert.same({ 0, "102\n" }, { code, out }, err)
  end)

  it("a flush gives up in time where copas has no timers, and timers go on", function()
    if has_copas then
      local other = helper.redis()
      other:suspend()
      local code, out, err = run(heads.copas, ([[
        local away = MQ.connect(%q)
        local copas = require "copas"
        copas.addthread(function()
          local ticks = 0
          local timer = MQ.loop.at(0.02, function() ticks = ticks + 1 end)
          away:post("x", "y")
          local began = core.now()
          local ok, _, _, code = away:flush(0.3)
          local took = core.now() - began
          timer:stop()
          print(ok, code, took >= 0.29, ticks > 3)
          os.exit(0)
        end)
        copas.loop()
      ]]):format(other.url))
      other:resume()
      assert.same({ 0, "nil\ttimeout\ttrue\ttrue\n", "" }, { code, out, err })
    end
  end)

  if on_luajit then
    it("a fiber of Tarantool waits anywhere", function()
      local code, out, err = run("", [[
        local list = { 2, 1 }
        table.sort(list, function(a, b) assert(mq:emit("edge/sort", "x")) return a < b end)
        local function try() return coroutine.wrap(function() return mq:emit("edge/inner", "y") end)() end
        print(list[1], pcall(try))
        mq:close()
      ]], { interp = "tarantool" })
      assert.same({ 0, "1\ttrue\ttrue\t0\n", "" }, { code, out, err })
    end)

    it("a callback of libuv in Neovim is told to use a coroutine or vim.schedule", function()
      local code, out = run("", [[
        local vim = vim
        local timer = vim.loop.new_timer()
        timer:start(1, 0, function()
          timer:close()
          local ok, why, code = mq:emit("edge/fast", "x")
          io.stdout:write(tostring(ok), " ", code, " ", why, "\n")
          vim.schedule(function()
            io.stdout:write(tostring(mq:emit("edge/fast", "x")), "\n")
            vim.cmd "qall!"
          end)
        end)
      ]], { nvim = true, stays = true })
      assert.equal(0, code)
      assert.matches("^nil invalid Neovim cannot wait in a callback of libuv", out)
      assert.matches("\ntrue\n$", out)
    end)
  else
    it("a host that is not installed is named at the caller's line", function()
      local code, out = helper.run_lua([[
        package.path, package.cpath = package.path:gsub("/usr/[^;]*;", ""), package.cpath:gsub("/usr/[^;]*;", "")
        package.preload.copas, package.loaded.copas = nil, nil
        table.insert(package.searchers or package.loaders, 1, function(name)
          if name == "copas" then error("not here", 0) end
        end)
        local MQ = require "MQ"
        print(pcall(function()
          MQ.use "copas"
        end))
        print(pcall(MQ.use, "own"))
      ]])
      assert.equal(0, code)
      assert.matches("^false\t[^\n]*script.lua:8: MQ.use: the copas loop cannot be had: [^\n]*\ntrue\t", out)
    end)
  end

  if helper.lua ~= "lua5.1" then
    it("workers that cf forks have clients of their own, and leave the parent's alone", function()
      local code, out, err = helper.run_lua(([[
        package.path = "spec/hosts/cf/?.lua;" .. package.path
        local cf, loop, sys = require "cf", require "loop", require "spec_sys"
        local MQ = require "MQ"
        io.stdout:setvbuf("line")
        local mq = MQ.connect(%q)
        local got = {}
        local function serve(client, name)
          assert(client:on("edge/worker/" .. name, function(msg) got[#got + 1] = msg and msg.payload or "lost" end))
          assert(client:emit("edge/worker/" .. name, name))
          while #got == 0 do MQ.loop.sleep(0.01) end
        end
        cf.fork(function()
          serve(mq, "parent")
          loop.stop()
        end)
        loop.run()
        local children = {}
        for index = 1, 2 do
          local pid = sys.fork()
          if pid == 0 then
            loop.reset()
            cf.fork(function()
              local ok, _, code = mq:emit("x", "y")
              assert(ok == nil and code == "closed")
              got = {}
              serve(MQ.connect(%q), "child" .. index)
              print("child", #got, got[1] == "child" .. index)
              loop.stop()
            end)
            loop.run()
            sys.exit_now(0)
          end
          children[index] = pid
        end
        for _, pid in ipairs(children) do
          local kind, status = sys.wait(pid, 10)
          print(kind, status)
        end
        cf.fork(function()
          got = {}
          assert(mq:emit("edge/worker/parent", "again"))
          while #got == 0 do MQ.loop.sleep(0.01) end
          print("parent", got[1], mq:close())
          loop.stop()
        end)
        loop.run()
      ]]):format(redis.url, redis.url))
      assert.same({ 0, "" }, { code, err })
      local _, children = out:gsub("child\t1\ttrue\n", "")
      local _, ended = out:gsub("exit\t0\n", "")
      assert.same({ 2, 2 }, { children, ended }, out)
      assert.matches("parent\tagain\ttrue\n$", out)
    end)
  end
end)

describe("make install-cf", function()
  local function sh(text)
    return helper.run({ "sh", "-c", text }, { timeout = 60 })
  end

  it("puts MQ in the place of cf's own modules, and uninstall-cf brings these back", function()
    local dir = helper.tmpdir()
    local core = ("build/%s/MQ/core.so"):format(helper.lua)
    assert.equal(0, (sh(([[cd %s && mkdir -p cf/lualib/internal cf/lualib/MQ cf/luaclib cf/script && cd cf &&
      echo 'return "cf has its own"' | tee lualib/MQ/redis.lua lualib/MQ/other.lua lualib/internal/Co.lua >/dev/null &&
      echo 'print((require "MQ.other")) print(require "MQ.redis".new ~= nil)' > script/main.lua
      cp -a . ../before]]):format(dir))))
    for _ = 1, 2 do   -- the second one is an upgrade
      local code, out, err = sh(("tools/cf.sh install %s/cf %s"):format(dir, core))
      assert.same({ 0, "" }, { code, err })
      assert.matches("cf's own modules of the same names are kept in", out)
    end
    -- With cf's own search paths, in cf's own directory.
    local code, out, err = helper.run({ helper.interpreter, "-e",
      'package.path = "lualib/?.lua;;lualib/?/init.lua;;script/?.lua" package.cpath = "luaclib/?.so;;luaclib/lib?.so"',
      "script/main.lua" }, { cwd = dir .. "/cf" })
    assert.equal(0, code, err)
    assert.matches("^cf has its own\ntrue\n$", out)
    assert.equal(0, (sh(("tools/cf.sh uninstall %s/cf"):format(dir))))
    code, out = sh(("diff -r %s/before %s/cf"):format(dir, dir))
    assert.same({ 0, "" }, { code, out })
    local again, _, why = sh(("tools/cf.sh uninstall %s/cf"):format(dir))
    assert.equal(1, again)
    assert.matches("MQ is not installed in", why)
  end)

  it("asks cf which Lua it embeds", function()
    local dir = helper.tmpdir()
    assert.equal(0, (sh(("cd %s && mkdir -p lualib/internal src && touch lualib/internal/Co.lua"):format(dir))))
    local function ask()
      return (select(2, sh("tools/cf.sh lua " .. dir)))
    end
    assert.equal("lua5.4\n", ask())   -- what cf's documentation builds
    assert.equal(0, (sh([[echo '#define LUA_VERSION_MINOR	"3"' > ]] .. dir .. "/src/lua.h")))
    assert.equal("lua5.3\n", ask())
    local code, _, err = sh("tools/cf.sh lua " .. dir .. " lua5.4")
    assert.equal(1, code)
    assert.matches("embeds lua5.3", err)
    code, _, err = sh("tools/cf.sh lua " .. dir .. "/nowhere")
    assert.equal(1, code)
    assert.matches("no checkout of cf", err)
  end)
end)
