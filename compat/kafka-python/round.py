"""One round through what a program with kafka-python does, 2.0.2 or newer: what comes back is compared with what was sent."""
import sys
import threading
import time

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic
from kafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError
from kafka.structs import OffsetAndMetadata

BOOTSTRAP = sys.argv[1]
RECORDS = 1000
OLD = kafka.__version__.startswith("2.0.")


def step(name):
    print("---", name, flush=True)


def equal(got, want, what="it"):
    assert got == want, f"{what}: {got!r} and not {want!r}"


def fails(error, call, *args):
    try:
        call(*args)
    except error:
        return
    raise AssertionError(f"did not fail with {error}")


admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)


def create(topic, partitions, **config):
    admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=config)])


def consumer(*topics, **config):
    return KafkaConsumer(*topics, bootstrap_servers=BOOTSTRAP, auto_offset_reset="earliest", **config)


def topics():
    step("topics and their configurations")
    create("topics", 3, **{"retention.ms": "60000"})
    fails(TopicAlreadyExistsError, create, "topics", 3)
    assert "topics" in admin.list_topics()
    c = consumer()
    equal(c.topics(), {"topics"})
    equal(c.partitions_for_topic("topics"), {0, 1, 2})
    admin.create_partitions({"topics": NewPartitions(5)})
    c.close()
    c = consumer()
    equal(len(c.partitions_for_topic("topics")), 5)
    c.close()
    resource = ConfigResource(ConfigResourceType.TOPIC, "topics", {"max.message.bytes": "5000"})
    admin.alter_configs([resource])
    # Kafka answers before a change is everywhere.
    until("the change", lambda: "5000" in str(admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "topics")])))
    admin.delete_topics(["topics"])
    fails(UnknownTopicOrPartitionError, admin.delete_topics, ["topics"])


def read(topic, n, **config):
    c = consumer(consumer_timeout_ms=5000, **config)
    c.assign([TopicPartition(topic, p) for p in sorted(c.partitions_for_topic(topic))])
    c.seek_to_beginning()
    records = []
    for m in c:
        records.append(m)
        if len(records) == n:
            break
    equal(len(records), n, "records of " + topic)
    equal(sum(c.end_offsets(c.assignment()).values()), n + sum(c.beginning_offsets(c.assignment()).values()), "offsets")
    c.close()
    return records


def codec(name):
    step(f"codec {name}")
    topic = f"codec-{name}"
    create(topic, 3)
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, compression_type=name, linger_ms=5, acks="all", retries=5)
    sent = [producer.send(topic, key=b"k%d" % i, value=b"value %d" % i + b" " * (i % 50), partition=i % 3, timestamp_ms=1000 + i,
                          headers=[("n", b"%d" % i)]) for i in range(RECORDS)]
    producer.flush(30)
    for i, f in enumerate(sent):
        equal(f.get(10).offset, i // 3, "offset")
    producer.close()
    for m in read(topic, RECORDS):
        i = m.offset * 3 + m.partition
        equal(m.key, b"k%d" % i)
        equal(m.value, b"value %d" % i + b" " * (i % 50))
        equal(m.timestamp, 1000 + i)
        equal(list(m.headers), [("n", b"%d" % i)])


def idempotent():
    step("idempotent producer")
    create("once", 1)
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, **({"retries": 5, "max_in_flight_requests_per_connection": 1} if OLD else {"enable_idempotence": True}))
    for i in range(5 * RECORDS):
        producer.send("once", b"%d" % i)
    producer.flush(30)
    producer.close()
    equal([m.value for m in read("once", 5 * RECORDS)], [b"%d" % i for i in range(5 * RECORDS)])


def by_time():
    step("offsets by time")
    create("times", 1)
    tp = TopicPartition("times", 0)
    base = int(time.time() * 1000) - 1_000_000
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, compression_type="gzip", linger_ms=50, retries=5, acks="all")
    for i in range(RECORDS):
        producer.send("times", b"%d" % i, partition=0, timestamp_ms=base + 10 * i)
    producer.flush(30)
    producer.close()
    c = consumer()
    for i in (0, 1, 499, 999):
        found = c.offsets_for_times({tp: base + 10 * i - 5})[tp]
        equal((found.offset, found.timestamp), (i, base + 10 * i))
    equal(c.offsets_for_times({tp: base + 10 * RECORDS})[tp], None)
    c.close()
    admin.delete_records({tp: 10}) if hasattr(admin, "delete_records") else None
    equal(read("times", RECORDS - (10 if hasattr(admin, "delete_records") else 0))[-1].value, b"999")


class Member(threading.Thread):
    def __init__(self, group, topic, seen):
        super().__init__(daemon=True)
        self.seen, self.has, self.stop = seen, set(), False
        self.consumer = consumer(group_id=group, enable_auto_commit=False, heartbeat_interval_ms=300, session_timeout_ms=10000)
        # kafka-python 3 that joins before it knows the topic assigns nothing, and does not notice when it comes to know it.
        self.consumer.partitions_for_topic(topic)
        self.consumer.subscribe([topic])
        self.start()

    def run(self):
        while not self.stop:
            for records in self.consumer.poll(100).values():
                for m in records:
                    self.seen[m.value] = self.seen.get(m.value, 0) + 1
                if records:
                    self.consumer.commit()
            self.has = {tp.partition for tp in self.consumer.assignment()}
        self.consumer.close()

    def end(self):
        self.stop = True
        self.join()


def until(what, condition):
    deadline = time.time() + 30
    while not condition():
        assert time.time() < deadline, what
        time.sleep(0.05)


def group():
    step("a group of two")
    create("group", 4)
    seen = {}
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, retries=5)

    def send(start, end):
        for i in range(start, end):
            producer.send("group", b"%d" % i, partition=i % 4)
        producer.flush(30)

    one = Member("g", "group", seen)
    until("one has all", lambda: len(one.has) == 4)
    two = Member("g", "group", seen)
    until("each has half", lambda: len(one.has) == 2 and len(two.has) == 2 and len(one.has | two.has) == 4)
    send(0, RECORDS)
    until("all is read", lambda: len(seen) == RECORDS)
    described = str(admin.describe_consumer_groups(["g"]) if OLD else admin.describe_groups(["g"]))
    assert "Stable" in described, described
    two.end()
    until("one has all again", lambda: len(one.has) == 4)
    send(RECORDS, 2 * RECORDS)
    until("all is read", lambda: len(seen) == 2 * RECORDS)
    one.end()
    equal(set(seen.values()), {1}, "how often each was read")
    c = consumer(group_id="g")
    equal([c.committed(TopicPartition("group", p)) for p in range(4)], [RECORDS // 2] * 4)
    c.close()
    offsets = (admin.list_consumer_group_offsets if OLD else admin.list_group_offsets)("g")
    assert "500" in str(offsets), offsets
    groups = admin.list_consumer_groups() if OLD else admin.list_groups()
    assert "'g'" in str(groups), groups
    (admin.delete_consumer_groups if OLD else admin.delete_groups)(["g"])
    groups = admin.list_consumer_groups() if OLD else admin.list_groups()
    assert "'g'" not in str(groups), groups


topics()
for one in (None, "gzip", "snappy", "lz4", "zstd"):
    codec(one)
idempotent()
by_time()
group()
print("all is well")
