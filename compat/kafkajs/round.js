// One round through what a program with kafkajs does: what comes back is compared with what was sent.
const assert = require('assert')
const zstd = require('@bokuweb/zstd-wasm')
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = require('kafkajs')

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = new (require('kafkajs-lz4'))().codec
CompressionCodecs[CompressionTypes.ZSTD] = codecOf(b => zstd.compress(b, 3), zstd.decompress)

function codecOf(compress, decompress) {
  return () => ({ compress: async encoder => Buffer.from(compress(encoder.buffer)), decompress: async buffer => Buffer.from(decompress(buffer)) })
}

const RECORDS = 1000
const kafka = new Kafka({ clientId: 'round', brokers: [process.argv[2]], logLevel: logLevel.ERROR })
const admin = kafka.admin()
const step = name => console.log('---', new Date().toISOString().slice(14, 23), name)
const range = (from, to) => Array.from({ length: to - from }, (_, i) => from + i)
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

async function until(what, condition) {
  for (const deadline = Date.now() + 30000; !(await condition()); await sleep(50)) assert(Date.now() < deadline, what)
}

const create = (topic, numPartitions) => admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1 }] })

async function topics() {
  step('topics and their configurations')
  assert.equal(await admin.createTopics({ topics: [{ topic: 'topics', numPartitions: 3, configEntries: [{ name: 'retention.ms', value: '60000' }] }] }), true)
  assert.equal(await create('topics', 3), false)
  assert.deepEqual(await admin.listTopics(), ['topics'])
  await admin.createPartitions({ topicPartitions: [{ topic: 'topics', count: 5 }] })
  const meta = await admin.fetchTopicMetadata({ topics: ['topics'] })
  assert.equal(meta.topics[0].partitions.length, 5)
  assert.equal(meta.topics[0].partitions[0].leader, 0)
  await admin.alterConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: 'topics', configEntries: [{ name: 'max.message.bytes', value: '5000' }] }] })
  const described = await admin.describeConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: 'topics', configNames: ['max.message.bytes', 'retention.ms'] }] })
  const values = Object.fromEntries(described.resources[0].configEntries.map(e => [e.configName, e.configValue]))
  assert.equal(values['max.message.bytes'], '5000')
  assert.equal(values['retention.ms'], '604800000')
  const cluster = await admin.describeCluster()
  assert.equal(cluster.brokers.length, 1)
  assert.equal(cluster.controller, 0)
  await admin.deleteTopics({ topics: ['topics'] })
  assert.deepEqual(await admin.listTopics(), [])
}

// read reads a topic by a group of its own until it has n records.
async function read(topic, n) {
  const consumer = kafka.consumer({ groupId: 'read-' + topic })
  const records = []
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({ eachMessage: async ({ partition, message }) => records.push({ partition, ...message }) })
  await until('all is read: ' + topic, () => records.length >= n)
  await consumer.disconnect()
  assert.equal(records.length, n)
  return records
}

async function codec(name, compression) {
  step('codec ' + name)
  const topic = 'codec-' + name
  await create(topic, 3)
  const producer = kafka.producer()
  await producer.connect()
  const messages = range(0, RECORDS).map(i => ({ key: 'k' + i, value: 'value ' + i + ' '.repeat(i % 50), partition: i % 3, timestamp: String(1000 + i), headers: { n: String(i) } }))
  for (let i = 0; i < RECORDS; i += 250) await producer.send({ topic, compression, acks: -1, messages: messages.slice(i, i + 250) })
  await producer.disconnect()
  for (const m of await read(topic, RECORDS)) {
    const i = Number(m.offset) * 3 + m.partition
    assert.equal(m.key.toString(), 'k' + i)
    assert.equal(m.value.toString(), 'value ' + i + ' '.repeat(i % 50))
    assert.equal(m.timestamp, String(1000 + i))
    assert.equal(m.headers.n.toString(), String(i))
  }
}

async function idempotent() {
  step('idempotent producer')
  await create('once', 1)
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (let i = 0; i < 5 * RECORDS; i += 100) await producer.send({ topic: 'once', messages: range(i, i + 100).map(n => ({ value: String(n) })) })
  await producer.disconnect()
  assert.deepEqual((await read('once', 5 * RECORDS)).map(m => m.value.toString()), range(0, 5 * RECORDS).map(String))
}

async function byTime() {
  step('offsets by time, and records that are deleted')
  await create('times', 1)
  const base = Date.now() - 1000000
  const producer = kafka.producer()
  await producer.connect()
  await producer.send({ topic: 'times', compression: CompressionTypes.GZIP, messages: range(0, RECORDS).map(i => ({ value: String(i), timestamp: String(base + 10 * i) })) })
  await producer.disconnect()
  for (const i of [0, 1, 499, 999]) {
    assert.equal((await admin.fetchTopicOffsetsByTimestamp('times', base + 10 * i - 5))[0].offset, String(i))
  }
  assert.deepEqual(await admin.fetchTopicOffsets('times'), [{ partition: 0, offset: '1000', high: '1000', low: '0' }])
  await admin.deleteTopicRecords({ topic: 'times', partitions: [{ partition: 0, offset: '10' }] })
  assert.equal((await admin.fetchTopicOffsets('times'))[0].low, '10')
  assert.equal((await read('times', RECORDS - 10))[0].value.toString(), '10')
}

async function member(seen) {
  const consumer = kafka.consumer({ groupId: 'g', heartbeatInterval: 300, sessionTimeout: 10000, rebalanceTimeout: 10000 })
  const m = { consumer, has: [] }
  consumer.on(consumer.events.GROUP_JOIN, e => { m.has = e.payload.memberAssignment.group || [] })
  await consumer.connect()
  await consumer.subscribe({ topics: ['group'], fromBeginning: true })
  await consumer.run({ autoCommitThreshold: 1, eachMessage: async ({ message }) => { const v = message.value.toString(); seen.set(v, (seen.get(v) || 0) + 1) } })
  return m
}

async function group() {
  step('a group of two')
  await create('group', 4)
  const seen = new Map()
  const producer = kafka.producer()
  await producer.connect()
  const send = (from, to) => producer.send({ topic: 'group', messages: range(from, to).map(i => ({ value: String(i), partition: i % 4 })) })
  const one = await member(seen)
  await until('one has all', () => one.has.length === 4)
  const two = await member(seen)
  await until('each has half', () => one.has.length === 2 && two.has.length === 2)
  await send(0, RECORDS)
  await until('all is read', () => seen.size === RECORDS)
  const described = await admin.describeGroups(['g'])
  assert.equal(described.groups[0].state, 'Stable')
  assert.equal(described.groups[0].members.length, 2)
  await two.consumer.disconnect()
  await until('one has all again', () => one.has.length === 4)
  await send(RECORDS, 2 * RECORDS)
  await until('all is read', () => seen.size === 2 * RECORDS)
  await one.consumer.disconnect()
  assert([...seen.values()].every(n => n === 1), 'each was read once')
  const offsets = await admin.fetchOffsets({ groupId: 'g', topics: ['group'] })
  assert.deepEqual(offsets[0].partitions.map(p => p.offset), ['500', '500', '500', '500'])
  await admin.setOffsets({ groupId: 'g', topic: 'group', partitions: [{ partition: 0, offset: '7' }] })
  assert.equal((await admin.fetchOffsets({ groupId: 'g', topics: ['group'] }))[0].partitions.find(p => p.partition === 0).offset, '7')
  assert((await admin.listGroups()).groups.some(g => g.groupId === 'g'))
  await admin.deleteGroups(['g'])
  assert(!(await admin.listGroups()).groups.some(g => g.groupId === 'g'))
  await producer.disconnect()
}

async function main() {
  await zstd.init()
  await admin.connect()
  await topics()
  await codec('none', CompressionTypes.None)
  await codec('gzip', CompressionTypes.GZIP)
  await codec('snappy', CompressionTypes.Snappy)
  await codec('lz4', CompressionTypes.LZ4)
  await codec('zstd', CompressionTypes.ZSTD)
  await idempotent()
  await byTime()
  await group()
  await admin.disconnect()
  console.log('all is well')
}

main().catch(e => { console.error(e); process.exit(1) })
