// One round through what a Java client does, for kafka-clients 2.8 and newer: what comes back is compared with what was
// sent, to the record.

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

public class Round {
    static String bootstrap;
    static final int RECORDS = 1000;

    static void step(String name) { System.out.println("--- " + name); }

    static void is(Object got, Object want, String what) {
        if (!Objects.equals(got, want)) throw new AssertionError(what + ": " + got + " and not " + want);
    }

    static void isTrue(boolean ok, String what) {
        if (!ok) throw new AssertionError(what);
    }

    interface Action { void run() throws Exception; }

    static void fails(Class<? extends Exception> want, Action action) throws Exception {
        try {
            action.run();
        } catch (ExecutionException e) {
            isTrue(want.isInstance(e.getCause()), "failed with " + e.getCause() + " and not " + want);
            return;
        }
        throw new AssertionError("did not fail with " + want);
    }

    static KafkaProducer<String, String> producer(String... pairs) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        for (int i = 0; i < pairs.length; i += 2) p.put(pairs[i], pairs[i + 1]);
        return new KafkaProducer<>(p, new StringSerializer(), new StringSerializer());
    }

    static KafkaConsumer<String, String> consumer(String... pairs) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("auto.offset.reset", "earliest");
        p.put("enable.auto.commit", "false");
        for (int i = 0; i < pairs.length; i += 2) p.put(pairs[i], pairs[i + 1]);
        return new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer());
    }

    static List<TopicPartition> partitions(String topic, int n) {
        return IntStream.range(0, n).mapToObj(i -> new TopicPartition(topic, i)).collect(Collectors.toList());
    }

    static List<ConsumerRecord<String, String>> readAll(String topic, int n, String... pairs) {
        try (KafkaConsumer<String, String> c = consumer(pairs)) {
            List<TopicPartition> all = partitions(topic, c.partitionsFor(topic).size());
            c.assign(all);
            c.seekToBeginning(all);
            List<ConsumerRecord<String, String>> records = new ArrayList<>();
            long deadline = System.currentTimeMillis() + 30000;
            while (records.size() < n && System.currentTimeMillis() < deadline)
                c.poll(Duration.ofMillis(200)).forEach(records::add);
            c.poll(Duration.ofMillis(200)).forEach(records::add);
            is(records.size(), n, "records of " + topic);
            return records;
        }
    }

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        try (Admin admin = Admin.create(p)) {
            topics(admin);
            for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) codec(admin, codec);
            idempotent(admin);
            byTime(admin);
            group(admin, "org.apache.kafka.clients.consumer.RangeAssignor");
            group(admin, "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
            staticMember(admin);
            newest(admin);
        }
        System.out.println("all is well");
    }

    /** What only newer clients have is in a class that is not there for older ones. */
    static void newest(Admin admin) throws Exception {
        if (org.apache.kafka.common.utils.AppInfoParser.getVersion().startsWith("4."))
            ((Action) Class.forName("Newest").getDeclaredConstructor(Admin.class).newInstance(admin)).run();
    }

    /** The method that 2.8 and 4 both have is missing: values() became topicNameValues(). */
    @SuppressWarnings("unchecked")
    static TopicDescription described(Admin admin, String topic) throws Exception {
        DescribeTopicsResult result = admin.describeTopics(List.of(topic));
        String name = Stream.of(DescribeTopicsResult.class.getMethods()).anyMatch(m -> m.getName().equals("values")) ? "values" : "topicNameValues";
        return ((Map<String, KafkaFuture<TopicDescription>>) DescribeTopicsResult.class.getMethod(name).invoke(result)).get(topic).get();
    }

    static void topics(Admin admin) throws Exception {
        step("topics and their configurations");
        CreateTopicsResult made = admin.createTopics(List.of(new NewTopic("topics", 3, (short) 1).configs(Map.of("retention.ms", "60000"))));
        is(made.numPartitions("topics").get(), 3, "partitions");
        is(made.config("topics").get().get("retention.ms").value(), "60000", "retention.ms");
        Uuid id = made.topicId("topics").get();
        isTrue(!id.equals(Uuid.ZERO_UUID), "a topic id");
        fails(TopicExistsException.class, () -> admin.createTopics(List.of(new NewTopic("topics", 1, (short) 1))).all().get());
        fails(InvalidTopicException.class, () -> admin.createTopics(List.of(new NewTopic("a b", 1, (short) 1))).all().get());
        fails(InvalidPartitionsException.class, () -> admin.createTopics(List.of(new NewTopic("none", 0, (short) 1))).all().get());
        fails(InvalidReplicationFactorException.class, () -> admin.createTopics(List.of(new NewTopic("many", 1, (short) 3))).all().get());
        fails(InvalidConfigurationException.class, () -> admin.createTopics(List.of(new NewTopic("odd", 1, (short) 1).configs(Map.of("retention.ms", "x")))).all().get());
        admin.createTopics(List.of(new NewTopic("dry", 1, (short) 1)), new CreateTopicsOptions().validateOnly(true)).all().get();
        admin.createTopics(List.of(new NewTopic("defaults", Optional.empty(), Optional.empty()))).all().get();
        is(admin.listTopics().names().get(), Set.of("topics", "defaults"), "names");

        TopicDescription d = described(admin, "topics");
        is(d.partitions().size(), 3, "partitions");
        is(d.topicId(), id, "the topic id");
        is(d.partitions().get(2).leader().id(), 0, "leader");
        is(d.partitions().get(2).isr().size(), 1, "isr");
        fails(UnknownTopicOrPartitionException.class, () -> described(admin, "nowhere"));

        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, "topics");
        admin.incrementalAlterConfigs(Map.of(topic, List.of(
            new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND),
            new AlterConfigOp(new ConfigEntry("retention.ms", ""), AlterConfigOp.OpType.DELETE),
            new AlterConfigOp(new ConfigEntry("max.message.bytes", "5000"), AlterConfigOp.OpType.SET)))).all().get();
        Config config = admin.describeConfigs(List.of(topic), new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true)).all().get().get(topic);
        is(config.get("cleanup.policy").value(), "delete,compact", "cleanup.policy");
        is(config.get("cleanup.policy").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "its source");
        is(config.get("cleanup.policy").type(), ConfigEntry.ConfigType.LIST, "its type");
        is(config.get("max.message.bytes").value(), "5000", "max.message.bytes");
        is(config.get("retention.ms").value(), "604800000", "retention.ms");
        is(config.get("retention.ms").source(), ConfigEntry.ConfigSource.DEFAULT_CONFIG, "its source");
        is(config.get("retention.ms").type(), ConfigEntry.ConfigType.LONG, "its type");
        isTrue(config.get("retention.ms").documentation() != null, "documentation");
        try (KafkaProducer<String, String> producer = producer()) {
            fails(RecordTooLargeException.class, () -> producer.send(new ProducerRecord<>("topics", "x".repeat(6000))).get());
        }

        admin.createPartitions(Map.of("topics", NewPartitions.increaseTo(5))).all().get();
        is(described(admin, "topics").partitions().size(), 5, "partitions");
        fails(InvalidPartitionsException.class, () -> admin.createPartitions(Map.of("topics", NewPartitions.increaseTo(2))).all().get());

        is(admin.describeCluster().nodes().get().size(), 1, "nodes");
        is(admin.describeCluster().controller().get().id(), 0, "controller");
        isTrue(admin.describeCluster().clusterId().get().length() == 22, "cluster id");
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "0");
        isTrue(admin.describeConfigs(List.of(broker)).all().get().get(broker).get("log.retention.ms") != null, "the broker's configuration");

        admin.deleteTopics(List.of("topics", "defaults")).all().get();
        is(admin.listTopics().names().get(), Set.of(), "names");
        fails(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(List.of("topics")).all().get());
        admin.createTopics(List.of(new NewTopic("topics", 1, (short) 1))).all().get();
        isTrue(!described(admin, "topics").topicId().equals(id), "a new topic id");
    }

    static void codec(Admin admin, String codec) throws Exception {
        step("codec " + codec);
        String topic = "codec-" + codec;
        admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1))).all().get();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<String, String> producer = producer("compression.type", codec, "linger.ms", "5", "max.in.flight.requests.per.connection", "1")) {
            for (int i = 0; i < RECORDS; i++)
                sent.add(producer.send(new ProducerRecord<>(topic, i % 3, 1000L + i, "k" + i, "value " + i + " ".repeat(i % 50),
                    List.of(new RecordHeader("n", ("" + i).getBytes(StandardCharsets.UTF_8)), new RecordHeader("null", null)))));
        }
        for (int i = 0; i < RECORDS; i++) is(sent.get(i).get().offset(), (long) (i / 3), "offset of " + i);
        for (ConsumerRecord<String, String> r : readAll(topic, RECORDS)) {
            int i = (int) r.offset() * 3 + r.partition();
            is(r.key(), "k" + i, "key");
            is(r.value(), "value " + i + " ".repeat(i % 50), "value");
            is(r.timestamp(), 1000L + i, "timestamp");
            is(new String(r.headers().lastHeader("n").value(), StandardCharsets.UTF_8), "" + i, "header");
            is(r.headers().lastHeader("null").value(), null, "header");
        }
    }

    static void idempotent(Admin admin) throws Exception {
        step("idempotent producer");
        admin.createTopics(List.of(new NewTopic("once", 1, (short) 1))).all().get();
        try (KafkaProducer<String, String> producer = producer("enable.idempotence", "true", "acks", "all", "linger.ms", "0", "batch.size", "200")) {
            for (int i = 0; i < 5 * RECORDS; i++) producer.send(new ProducerRecord<>("once", null, "" + i));
        }
        List<ConsumerRecord<String, String>> records = readAll("once", 5 * RECORDS);
        for (int i = 0; i < records.size(); i++) is(records.get(i).value(), "" + i, "order");
    }

    static void byTime(Admin admin) throws Exception {
        step("offsets by time");
        TopicPartition tp = new TopicPartition("times", 0);
        admin.createTopics(List.of(new NewTopic("times", 1, (short) 1))).all().get();
        long base = System.currentTimeMillis() - 1_000_000;
        // What acks=1, the default of 2.8, has answered may not be read yet: it is on no disk.
        try (KafkaProducer<String, String> producer = producer("linger.ms", "50", "compression.type", "gzip", "acks", "all")) {
            for (int i = 0; i < RECORDS; i++) producer.send(new ProducerRecord<>("times", 0, base + 10L * i, null, "" + i));
        }
        try (KafkaConsumer<String, String> c = consumer()) {
            for (int i : new int[] {0, 1, 499, 999}) {
                is(c.offsetsForTimes(Map.of(tp, base + 10L * i)).get(tp).offset(), (long) i, "offset at " + i);
                is(c.offsetsForTimes(Map.of(tp, base + 10L * i)).get(tp).timestamp(), base + 10L * i, "timestamp at " + i);
                is(c.offsetsForTimes(Map.of(tp, base + 10L * i - 9)).get(tp).offset(), (long) i, "offset before " + i);
            }
            is(c.offsetsForTimes(Map.of(tp, base + 10L * RECORDS)).get(tp), null, "offset after all");
            is(c.beginningOffsets(List.of(tp)).get(tp), 0L, "beginning");
            is(c.endOffsets(List.of(tp)).get(tp), (long) RECORDS, "end");
        }
        is(admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(10))).lowWatermarks().get(tp).get().lowWatermark(), 10L, "low watermark");
        is(admin.listOffsets(Map.of(tp, OffsetSpec.earliest())).partitionResult(tp).get().offset(), 10L, "earliest");
        is(admin.listOffsets(Map.of(tp, OffsetSpec.forTimestamp(0))).partitionResult(tp).get().offset(), 10L, "earliest by time");
        fails(org.apache.kafka.common.errors.OffsetOutOfRangeException.class, () -> admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(RECORDS + 1))).all().get());
        is(readAll("times", RECORDS - 10).get(0).value(), "10", "the first that is left");
    }

    static class Member extends Thread {
        final KafkaConsumer<String, String> consumer;
        final Map<String, Integer> seen;
        volatile Set<TopicPartition> assigned = Set.of();
        volatile int generation;
        volatile boolean stop;
        volatile Throwable failure;

        Member(String topic, Map<String, Integer> seen, String... pairs) {
            this.consumer = consumer(pairs);
            this.seen = seen;
            setDaemon(true);
            consumer.subscribe(List.of(topic));
            start();
        }

        public void run() {
            try {
                while (!stop) {
                    for (ConsumerRecord<String, String> r : consumer.poll(Duration.ofMillis(100))) seen.merge(r.value(), 1, Integer::sum);
                    try {
                        consumer.commitSync();
                    } catch (CommitFailedException | RebalanceInProgressException e) {
                        // It commits again after the rebalance.
                    }
                    generation = consumer.groupMetadata().generationId();
                    assigned = new HashSet<>(consumer.assignment());
                }
                consumer.close();
            } catch (Throwable e) {
                failure = e;
            }
        }

        void end() throws Exception {
            stop = true;
            join();
            if (failure != null) throw new AssertionError("a member failed", failure);
        }
    }

    static void until(String what, Callable<Boolean> condition) throws Exception {
        for (long deadline = System.currentTimeMillis() + 30000; !condition.call(); Thread.sleep(50))
            isTrue(System.currentTimeMillis() < deadline, what + " did not come true");
    }

    static void group(Admin admin, String assignor) throws Exception {
        step("a group of two, " + assignor);
        String name = assignor.replaceAll(".*\\.", "");
        String topic = "group-" + name, group = "g-" + name;
        admin.createTopics(List.of(new NewTopic(topic, 4, (short) 1))).all().get();
        Map<String, Integer> seen = new ConcurrentHashMap<>();
        String[] pairs = {"group.id", group, "partition.assignment.strategy", assignor, "session.timeout.ms", "10000", "heartbeat.interval.ms", "300"};
        Member one = new Member(topic, seen, pairs);
        until("one has all", () -> one.assigned.size() == 4);
        Member two = new Member(topic, seen, pairs);
        until("each has half", () -> one.assigned.size() == 2 && two.assigned.size() == 2);
        Set<TopicPartition> both = new HashSet<>(one.assigned);
        both.addAll(two.assigned);
        is(both.size(), 4, "partitions of both");
        try (KafkaProducer<String, String> producer = producer()) {
            for (int i = 0; i < RECORDS; i++) producer.send(new ProducerRecord<>(topic, i % 4, null, "" + i));
        }
        until("all is read", () -> seen.size() == RECORDS);

        ConsumerGroupDescription d = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
        is(d.state().toString(), "Stable", "state");
        is(d.members().size(), 2, "members");
        is(d.partitionAssignor(), assignor.contains("Range") ? "range" : "cooperative-sticky", "assignor");
        is(d.members().stream().mapToInt(m -> m.assignment().topicPartitions().size()).sum(), 4, "what members have");
        fails(GroupNotEmptyException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());

        two.end();
        until("one has all again", () -> one.assigned.size() == 4);
        try (KafkaProducer<String, String> producer = producer()) {
            for (int i = RECORDS; i < 2 * RECORDS; i++) producer.send(new ProducerRecord<>(topic, i % 4, null, "" + i));
        }
        until("all is read", () -> seen.size() == 2 * RECORDS);
        one.end();
        for (Map.Entry<String, Integer> e : seen.entrySet()) is(e.getValue(), 1, "how often " + e.getKey() + " was read");

        Map<TopicPartition, OffsetAndMetadata> committed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        for (TopicPartition tp : partitions(topic, 4)) is(committed.get(tp).offset(), (long) RECORDS / 2, "committed of " + tp);
        isTrue(admin.listConsumerGroups().all().get().stream().anyMatch(g -> g.groupId().equals(group)), "the group is listed");
        admin.alterConsumerGroupOffsets(group, Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(7, "seven"))).all().get();
        try (KafkaConsumer<String, String> c = consumer(pairs)) {
            OffsetAndMetadata o = c.committed(Set.of(new TopicPartition(topic, 0))).get(new TopicPartition(topic, 0));
            is(o.offset(), 7L, "committed");
            is(o.metadata(), "seven", "metadata");
        }
        admin.deleteConsumerGroupOffsets(group, Set.of(new TopicPartition(topic, 0))).all().get();
        is(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(new TopicPartition(topic, 0)), null, "a deleted offset");
        admin.deleteConsumerGroups(List.of(group)).all().get();
        fails(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
    }

    static void staticMember(Admin admin) throws Exception {
        step("a static member comes back without a rebalance");
        admin.createTopics(List.of(new NewTopic("static", 2, (short) 1))).all().get();
        Map<String, Integer> seen = new ConcurrentHashMap<>();
        String[] pairs = {"group.id", "g-static", "group.instance.id", "i1", "heartbeat.interval.ms", "300"};
        Member one = new Member("static", seen, pairs);
        until("one has all", () -> one.assigned.size() == 2);
        int generation = one.generation;
        one.end();
        is(admin.describeConsumerGroups(List.of("g-static")).all().get().get("g-static").members().iterator().next().groupInstanceId(), Optional.of("i1"), "the member stays");
        Member again = new Member("static", seen, pairs);
        until("it has all again", () -> again.assigned.size() == 2);
        is(again.generation, generation, "generation");
        again.end();
        admin.removeMembersFromConsumerGroup("g-static", new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("i1")))).all().get();
        is(admin.describeConsumerGroups(List.of("g-static")).all().get().get("g-static").members().size(), 0, "members");
    }
}
