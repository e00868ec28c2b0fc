--- The table of `make bench`: what it makes of the numbers of the rounds.

local report = require "bench.report"

describe("The table of make bench", function()
  local rows = { { bench = "B", value = "rate", unit = "things/s", peer = "c", at_least = 1 } }

  -- Rounds in which the C program did 1000/s and MQ so many.
  local function line(row, ...)
    local rounds = {}
    for index, rate in ipairs { ... } do
      rounds[index] = { c = { rate = 1000 }, ours = { rate = rate } }
    end
    local text, missed = report.table({ row }, { c = "C" }, { B = rounds })
    return text:match("[^\n]+$"), missed
  end

  it("has medians, their ratio, and where the middle half of the rounds' own lies", function()
    local text, missed = line(rows[1], 900, 1100, 1020, 1010, 5000)
    assert.equal("| B | things/s | C | 1,000 | 1,020 | 1.02 | 1.01–1.10 | ≥ 1 × | ok |", text)
    assert.equal(0, missed)
  end)

  it("says no spread of a few rounds", function()
    assert.equal("| B | things/s | C | 1,000 | 1,200 | 1.20 |  | ≥ 1 × | ok |", (line(rows[1], 1100, 1200, 1300)))
  end)

  it("does not round a ratio up to its bound", function()
    local text, missed = line(rows[1], 996)
    assert.equal("| B | things/s | C | 1,000 | 996 | 1.00 |  | ≥ 1 × | MISSED |", text)
    assert.equal(1, missed)
  end)

  it("bounds what is to be small from above, and MQ's own number too", function()
    local small = { bench = "B", value = "rate", unit = "µs", peer = "c", at_most = 0.6 }
    assert.matches("≤ 0.6 × | ok |$", (line(small, 550)))
    assert.matches("≤ 0.6 × | MISSED |$", (line(small, 650)))
    small.ceiling = 500
    assert.matches("≤ 0.6 ×, ≤ 500 | ok |$", (line(small, 450)))
    assert.matches("MISSED |$", (line(small, 550)))
    local large = { bench = "B", value = "rate", unit = "things/s", floor = 500 }
    assert.matches("≥ 500 | ok |$", (line(large, 500)))
    assert.matches("≥ 500 | MISSED |$", (line(large, 499)))
  end)

  it("does not judge what has no bound, or was left out", function()
    assert.matches("|  |  |$", (line({ bench = "B", value = "rate", unit = "things/s", peer = "c" }, 5)))
    local text, missed = report.table(rows, {}, { B = { { c = { rate = 1000 } } } })
    assert.matches("not run |$", text)
    assert.equal(0, missed)
    assert.matches("not run |$", (report.table(rows, {}, { B = { { ours = { rate = 1000 } } } })))
  end)
end)
