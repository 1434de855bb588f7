// node parquet_hyparquet.mjs FILE.parquet LINES.jsonl
import assert from 'node:assert'
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { compare, readLines } from './parquet_lines.mjs'

const [path, linesPath] = process.argv.slice(2)
const file = await asyncBufferFromFile(path)
const metadata = await parquetMetadataAsync(file)
const lines = readLines(linesPath)
assert.equal(Number(metadata.num_rows), lines.length)
assert.ok(metadata.row_groups.length > 1, 'several row groups')
const about = Object.fromEntries(metadata.key_value_metadata.map(p => [p.key, p.value]))
assert.equal(about['varve.table'], 'events')
assert.equal(about['varve.first_offset'], '1000')

// The statistics of the first column bound it.
let next = 1000n
for (const group of metadata.row_groups) {
  const s = group.columns[0].meta_data.statistics
  assert.equal(BigInt(s.min_value), next)
  next += group.num_rows
  assert.equal(BigInt(s.max_value), next - 1n)
}

const rows = await parquetReadObjects({
  file, metadata, compressors, utf8: false,
  parsers: { timestampFromNanoseconds: n => n },
})
const plain = rows.map(row => Object.fromEntries(Object.entries(row).map(([name, value]) =>
  [name, value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value])))
compare(plain, lines)
console.log(`hyparquet: ${rows.length} rows in ${metadata.row_groups.length} groups`)
