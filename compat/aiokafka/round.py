"""One round through what a program with aiokafka does: what comes back is compared with what was sent."""
import asyncio
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

BOOTSTRAP = sys.argv[1]
RECORDS = 1000


def step(name):
    print("---", name, flush=True)


def equal(got, want, what="it"):
    assert got == want, f"{what}: {got!r} and not {want!r}"


async def topics(admin):
    step("topics and their configurations")
    made = await admin.create_topics([NewTopic("topics", 3, 1, topic_configs={"retention.ms": "60000"})])
    equal(made.topic_errors[0][1], 0, "error")
    again = await admin.create_topics([NewTopic("topics", 3, 1)])
    equal(again.topic_errors[0][1], 36, "error")
    await admin.create_partitions({"topics": NewPartitions(5)})
    equal(await admin.list_topics(), ["topics"])
    # Kafka answers before a change is everywhere.
    for _ in range(100):
        partitions = (await admin.describe_topics(["topics"]))[0]["partitions"]
        if len(partitions) == 5:
            break
    equal(len(partitions), 5)
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "topics", {"max.message.bytes": "5000"})])
    for _ in range(100):
        described = str(await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "topics")]))
        if "'5000'" in described:
            break
    assert "'5000'" in described, described
    await admin.delete_topics(["topics"])


async def create(admin, topic, partitions):
    made = await admin.create_topics([NewTopic(topic, partitions, 1)])
    equal(made.topic_errors[0][1], 0, "error")


async def read(topic, partitions, n):
    tps = [TopicPartition(topic, p) for p in range(partitions)]
    consumer = AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign(tps)
    records = []
    while len(records) < n:
        batch = await asyncio.wait_for(consumer.getmany(timeout_ms=1000), 20)
        records += [m for ms in batch.values() for m in ms]
    equal(len(records), n, "records of " + topic)
    ends, starts = await consumer.end_offsets(tps), await consumer.beginning_offsets(tps)
    equal(sum(ends.values()) - sum(starts.values()), n, "offsets")
    await consumer.stop()
    return records


async def codec(admin, name):
    step(f"codec {name}")
    topic = f"codec-{name}"
    await create(admin, topic, 3)
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, compression_type=name, linger_ms=5, acks="all") as producer:
        sent = [await producer.send(topic, key=b"k%d" % i, value=b"value %d" % i + b" " * (i % 50), partition=i % 3,
                                    timestamp_ms=1000 + i, headers=[("n", b"%d" % i)]) for i in range(RECORDS)]
        for i, f in enumerate(sent):
            equal((await f).offset, i // 3, "offset")
    for m in await read(topic, 3, RECORDS):
        i = m.offset * 3 + m.partition
        equal((m.key, m.value, m.timestamp), (b"k%d" % i, b"value %d" % i + b" " * (i % 50), 1000 + i))
        equal(list(m.headers), [("n", b"%d" % i)])


async def idempotent(admin):
    step("idempotent producer")
    await create(admin, "once", 1)
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, enable_idempotence=True) as producer:
        for f in [await producer.send("once", b"%d" % i) for i in range(5 * RECORDS)]:
            await f
    equal([m.value for m in await read("once", 1, 5 * RECORDS)], [b"%d" % i for i in range(5 * RECORDS)])


async def by_time(admin):
    step("offsets by time, and records that are deleted")
    await create(admin, "times", 1)
    tp = TopicPartition("times", 0)
    base = int(time.time() * 1000) - 1_000_000
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, compression_type="gzip", linger_ms=50) as producer:
        for i in range(RECORDS):
            await producer.send("times", b"%d" % i, partition=0, timestamp_ms=base + 10 * i)
        await producer.flush()
    consumer = AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP)
    await consumer.start()
    for i in (0, 1, 499, 999):
        found = (await consumer.offsets_for_times({tp: base + 10 * i - 5}))[tp]
        equal((found.offset, found.timestamp), (i, base + 10 * i))
    await consumer.stop()
    equal((await admin.delete_records({tp: RecordsToDelete(before_offset=10)}))[tp], 10, "low watermark")
    equal((await read("times", 1, RECORDS - 10))[0].value, b"10")


class Member:
    def __init__(self, seen):
        self.seen = seen
        self.consumer = AIOKafkaConsumer("group", bootstrap_servers=BOOTSTRAP, group_id="g", auto_offset_reset="earliest",
                                         enable_auto_commit=False, heartbeat_interval_ms=300)

    async def start(self):
        await self.consumer.start()
        self.running = True
        self.task = asyncio.create_task(self.run())

    async def run(self):
        while self.running:
            for ms in (await self.consumer.getmany(timeout_ms=100)).values():
                for m in ms:
                    self.seen[m.value] = self.seen.get(m.value, 0) + 1
                await self.consumer.commit()

    async def stop(self):
        self.running = False
        await self.task
        await self.consumer.stop()

    def has(self):
        return {tp.partition for tp in self.consumer.assignment()}


async def until(what, condition):
    deadline = time.time() + 30
    while not condition():
        assert time.time() < deadline, what
        await asyncio.sleep(0.05)


async def group(admin):
    step("a group of two")
    await create(admin, "group", 4)
    seen = {}
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP) as producer:
        async def send(start, end):
            for i in range(start, end):
                await producer.send("group", b"%d" % i, partition=i % 4)
            await producer.flush()

        one, two = Member(seen), Member(seen)
        await one.start()
        await until("one has all", lambda: len(one.has()) == 4)
        await two.start()
        await until("each has half", lambda: len(one.has()) == 2 and len(two.has()) == 2 and len(one.has() | two.has()) == 4)
        await send(0, RECORDS)
        await until("all is read", lambda: len(seen) == RECORDS)
        described = str(await admin.describe_consumer_groups(["g"]))
        assert "Stable" in described, described
        await two.stop()
        await until("one has all again", lambda: len(one.has()) == 4)
        await send(RECORDS, 2 * RECORDS)
        await until("all is read", lambda: len(seen) == 2 * RECORDS)
        await one.stop()
    equal(set(seen.values()), {1}, "how often each was read")
    offsets = await admin.list_consumer_group_offsets("g")
    equal(sorted(o.offset for o in offsets.values()), [RECORDS // 2] * 4)
    assert ("g", "consumer") in await admin.list_consumer_groups()


async def main():
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    await topics(admin)
    for one in (None, "gzip", "snappy", "lz4", "zstd"):
        await codec(admin, one)
    await idempotent(admin)
    await by_time(admin)
    await group(admin)
    await admin.close()
    print("all is well")


asyncio.run(main())
