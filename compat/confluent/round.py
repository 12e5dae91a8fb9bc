"""One round through what a program with confluent-kafka does: what comes back is compared with what was sent."""
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition, OFFSET_BEGINNING
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic,
                                   OffsetSpec, ResourceType)

BOOTSTRAP = sys.argv[1]
RECORDS = 1000
CONF = {"bootstrap.servers": BOOTSTRAP}


def step(name):
    print("---", name, flush=True)


def equal(got, want, what="it"):
    assert got == want, f"{what}: {got!r} and not {want!r}"


def fails(code, future):
    try:
        future.result()
    except KafkaException as e:
        equal(e.args[0].code(), code, "the error")
        return
    raise AssertionError(f"did not fail with {code}")


def wait(futures):
    return {k: f.result() for k, f in futures.items()}


def until(what, condition):
    deadline = time.time() + 30
    while not condition():
        assert time.time() < deadline, what
        time.sleep(0.05)


admin = AdminClient(CONF)


def create(topic, partitions, **config):
    wait(admin.create_topics([NewTopic(topic, partitions, 1, config=config)]))


def topics():
    step("topics and their configurations")
    create("topics", 3, **{"retention.ms": "60000"})
    fails(KafkaError.TOPIC_ALREADY_EXISTS, admin.create_topics([NewTopic("topics", 3, 1)])["topics"])
    fails(KafkaError.INVALID_REPLICATION_FACTOR, admin.create_topics([NewTopic("wide", 3, 3)])["wide"])
    meta = admin.list_topics()
    equal(list(meta.topics), ["topics"])
    equal(len(meta.topics["topics"].partitions), 3)
    equal(meta.topics["topics"].partitions[0].leader, 0)
    wait(admin.create_partitions([NewPartitions("topics", 5)]))
    # Kafka answers before a change is everywhere.
    until("five partitions", lambda: len(admin.list_topics("topics").topics["topics"].partitions) == 5)
    resource = ConfigResource(ResourceType.TOPIC, "topics", incremental_configs=[
        ConfigEntry("max.message.bytes", "5000", incremental_operation=AlterConfigOpType.SET),
        ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND)])
    wait(admin.incremental_alter_configs([resource]))
    def configs():
        return list(wait(admin.describe_configs([ConfigResource(ResourceType.TOPIC, "topics")])).values())[0]

    until("the change", lambda: configs()["max.message.bytes"].value == "5000")
    configs = configs()
    equal(configs["cleanup.policy"].value, "delete,compact")
    equal(configs["retention.ms"].value, "60000")
    assert configs["segment.bytes"].is_default
    cluster = admin.describe_cluster().result()
    equal(len(cluster.nodes), 1)
    wait(admin.delete_topics(["topics"]))
    until("no topic is left", lambda: not admin.list_topics().topics)


def produce(topic, records, **conf):
    errors = []
    offsets = {}

    def delivered(error, message):
        if error:
            errors.append(error)
        else:
            offsets[message.key()] = message.offset()

    p = Producer({**CONF, **conf})
    for record in records:
        while True:
            try:
                p.produce(topic, on_delivery=delivered, **record)
                break
            except BufferError:
                p.poll(0.1)
    equal(p.flush(30), 0, "records left")
    equal(errors, [])
    return offsets


def read(topic, partitions, n):
    c = Consumer({**CONF, "group.id": "unused", "enable.partition.eof": True})
    c.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
    records, ends = [], set()
    deadline = time.time() + 30
    while len(ends) < partitions and time.time() < deadline:
        m = c.poll(1)
        if m is None:
            continue
        if m.error():
            equal(m.error().code(), KafkaError._PARTITION_EOF)
            ends.add(m.partition())
        else:
            records.append(m)
    c.close()
    equal(len(records), n, "records of " + topic)
    return records


def codec(name):
    step("codec " + name)
    topic = "codec-" + name
    create(topic, 3)
    produce(topic, [dict(key=f"k{i}", value=f"value {i}" + " " * (i % 50), partition=i % 3, timestamp=1000 + i,
                         headers=[("n", str(i)), ("null", None)]) for i in range(RECORDS)],
            **{"compression.type": name, "linger.ms": 5})
    for m in read(topic, 3, RECORDS):
        i = m.offset() * 3 + m.partition()
        equal(m.key(), b"k%d" % i)
        equal(m.value(), b"value %d" % i + b" " * (i % 50))
        equal(m.timestamp()[1], 1000 + i)
        equal(m.headers(), [("n", b"%d" % i), ("null", None)])


def idempotent():
    step("idempotent producer")
    create("once", 1)
    produce("once", [dict(value=str(i)) for i in range(20 * RECORDS)], **{"enable.idempotence": True, "linger.ms": 0})
    equal([m.value() for m in read("once", 1, 20 * RECORDS)], [b"%d" % i for i in range(20 * RECORDS)])


def by_time():
    step("offsets by time, and records that are deleted")
    create("times", 1)
    base = int(time.time() * 1000) - 1_000_000
    produce("times", [dict(value=str(i), timestamp=base + 10 * i) for i in range(RECORDS)], **{"compression.type": "lz4"})
    c = Consumer({**CONF, "group.id": "unused"})
    for i in (0, 1, 499, 999):
        equal(c.offsets_for_times([TopicPartition("times", 0, base + 10 * i - 5)])[0].offset, i)
    equal(c.get_watermark_offsets(TopicPartition("times", 0)), (0, RECORDS))
    tp = TopicPartition("times", 0)
    equal(wait(admin.list_offsets({tp: OffsetSpec.max_timestamp()}))[tp].offset, RECORDS - 1)
    equal(wait(admin.delete_records([TopicPartition("times", 0, 10)]))[tp].low_watermark, 10)
    equal(wait(admin.list_offsets({tp: OffsetSpec.earliest()}))[tp].offset, 10)
    c.close()
    equal(read("times", 1, RECORDS - 10)[0].value(), b"10")


class Member(threading.Thread):
    def __init__(self, name, group, topic, strategy, seen):
        super().__init__(daemon=True, name=name)
        self.seen, self.has, self.stop = seen, set(), False
        self.consumer = Consumer({**CONF, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
                                  "partition.assignment.strategy": strategy, "heartbeat.interval.ms": 300})
        self.consumer.subscribe([topic])
        self.start()

    def run(self):
        while not self.stop:
            m = self.consumer.poll(0.1)
            if m is not None and not m.error():
                self.seen.setdefault(m.value(), []).append((self.name, m.partition(), m.offset(), time.time()))
                self.consumer.commit(m, asynchronous=False)
            self.has = {tp.partition for tp in self.consumer.assignment()}
        self.consumer.close()

    def end(self):
        self.stop = True
        self.join()


def group(strategy):
    step("a group of two, " + strategy)
    topic, name = "group-" + strategy, "g-" + strategy
    create(topic, 4)
    seen = {}
    one = Member("one", name, topic, strategy, seen)
    until("one has all", lambda: len(one.has) == 4)
    two = Member("two", name, topic, strategy, seen)
    until("each has half", lambda: len(one.has) == 2 and len(two.has) == 2 and len(one.has | two.has) == 4)
    produce(topic, [dict(value=str(i), partition=i % 4) for i in range(RECORDS)])
    until("all is read", lambda: len(seen) == RECORDS)
    described = wait(admin.describe_consumer_groups([name]))[name]
    equal(described.state.name, "STABLE")
    equal(described.partition_assignor, strategy)
    equal(len(described.members), 2)
    fails(KafkaError.NON_EMPTY_GROUP, admin.delete_consumer_groups([name])[name])
    two.end()
    until("one has all again", lambda: len(one.has) == 4)
    produce(topic, [dict(value=str(i), partition=i % 4) for i in range(RECORDS, 2 * RECORDS)])
    until("all is read", lambda: len(seen) == 2 * RECORDS)
    one.end()
    # Who read it, from where and when tells a record that is twice in the log from one that was read twice.
    equal({value: by for value, by in seen.items() if len(by) > 1}, {}, "what was read twice")
    c = Consumer({**CONF, "group.id": name})
    equal([p.offset for p in c.committed([TopicPartition(topic, p) for p in range(4)])], [RECORDS // 2] * 4)
    c.close()
    assert name in [g.group_id for g in admin.list_consumer_groups().result().valid]
    wait(admin.delete_consumer_groups([name]))
    fails(KafkaError.GROUP_ID_NOT_FOUND, admin.delete_consumer_groups([name])[name])


topics()
for one in ("none", "gzip", "snappy", "lz4", "zstd"):
    codec(one)
idempotent()
by_time()
group("range")
group("cooperative-sticky")
print("all is well")
