// node parquet_duckdb.mjs FILE.parquet LINES.jsonl
import assert from 'node:assert'
import { DuckDBInstance } from '@duckdb/node-api'
import { compare, readLines } from './parquet_lines.mjs'

const [path, linesPath] = process.argv.slice(2)
const lines = readLines(linesPath)
const instance = await DuckDBInstance.create(':memory:')
const db = await instance.connect()

const from = `read_parquet('${path.replaceAll("'", "''")}')`
const columns = (await db.runAndReadAll(`describe select * from ${from}`)).getRowObjects()
// Bytes as hex; times as microseconds, which is what DuckDB keeps of instants.
const selected = columns.map(({ column_name: name, column_type: type }) => {
  const quoted = `"${name.replaceAll('"', '""')}"`
  if (type === 'BLOB') return `lower(hex(${quoted})) as ${quoted}`
  if (type.startsWith('TIMESTAMP')) return `epoch_us(${quoted}) as ${quoted}`
  return quoted
})
const rows = (await db.runAndReadAll(
  `select ${selected.join(', ')} from ${from} order by "offset"`)).getRowObjects()
const times = new Set(['receive_time', 'event_time', 'when'])
compare(rows, lines.map(line => Object.fromEntries(Object.entries(line).map(([name, value]) =>
  [name, times.has(name) ? value / 1000n : value]))))

// A filter that skips row groups finds what is there.
const last = lines[lines.length - 1].offset
const found = await db.runAndReadAll(`select count(*) as n from ${from} where "offset" >= ${last}`)
assert.equal(found.getRowObjects()[0].n, 1n)
console.log(`duckdb: ${rows.length} rows`)
