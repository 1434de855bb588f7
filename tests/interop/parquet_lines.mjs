// What a message is by its JSON line, in the terms of a Parquet row; shared by the readers' tests.
import assert from 'node:assert'
import fs from 'node:fs'

const TIMES = new Set(['when'])

export function nanoseconds(text) {
  const [, whole, fraction] = /^(.*?)(?:\.(\d+))?Z$/.exec(text)
  return BigInt(Date.parse(whole + 'Z')) * 1000000n + BigInt((fraction ?? '').padEnd(9, '0'))
}

function bytes(line, name) {
  if (`${name}_base64` in line) return Buffer.from(line[`${name}_base64`], 'base64').toString('hex')
  return name in line ? Buffer.from(line[name]).toString('hex') : null
}

// Columns of an attribute: its name, or with its type behind where the name is taken.
function attribute(row, name, value) {
  if (name === 'mixed' && typeof value === 'string' && value === 'a text') row['mixed_string'] = value
  else if (value !== null && typeof value === 'object') {
    row[name] = Buffer.from(value.base64, 'base64').toString('hex')
  } else if (TIMES.has(name)) row[name] = nanoseconds(value)
  else row[name] = value
}

// [{column: value}]: bytes as hex, times as nanoseconds, 64-bit integers as BigInt; no nulls.
export function readLines(path) {
  const text = fs.readFileSync(path, 'utf8')
  const lines = text.split('\n')
  assert.equal(lines.pop(), '')
  return lines.map(line => {
    // Integers keep all their digits.
    const exact = line.replace(/("(?:n|late \\"column\\")":)(-?\d+)/g, '$1"$2"')
    const m = JSON.parse(exact)
    const row = { offset: BigInt(m.offset), receive_time: nanoseconds(m.receive_time) }
    if (m.event_time) row.event_time = nanoseconds(m.event_time)
    row.value = bytes(m, 'value')
    if (bytes(m, 'key') !== null) row.key = bytes(m, 'key')
    if (m.content_type) row.content_type = m.content_type
    if (m.source) row.source = m.source
    for (const [name, value] of Object.entries(m.attributes ?? {})) attribute(row, name, value)
    for (const name of ['n', 'late "column"']) if (name in row) row[name] = BigInt(row[name])
    if (row.x === 'NaN') row.x = NaN
    return row
  })
}

// Compare rows of a reader with the lines; `same` maps a value of both to what is compared.
export function compare(rows, lines, same = (name, value) => value) {
  assert.equal(rows.length, lines.length)
  rows.forEach((row, i) => {
    const got = {}
    const want = {}
    for (const [name, value] of Object.entries(row)) {
      if (value !== null && value !== undefined) got[name] = same(name, value)
    }
    for (const [name, value] of Object.entries(lines[i])) want[name] = same(name, value)
    assert.deepStrictEqual(got, want, `row ${i}`)
  })
}
