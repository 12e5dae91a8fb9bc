import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * Kafka's own client at work in a chaos run: an idempotent producer, a consumer of all partitions, and members of a group that come and go.
 * It prints what it sees as lines of the history (see ../README.md) and is told on its standard input what to do.
 *
 * <pre>Client BROKERS TOPIC PARTITIONS BEGAN PRODUCER RATE SEED</pre>
 *
 * Arguments and what it reads are as rdkafka/client.c says.
 */
public class Client {
    static final int IN_FLIGHT = 64;
    static final String GROUP = "chaos-java";
    static final PrintStream OUT = new PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), true, StandardCharsets.UTF_8);

    final String brokers, topic;
    final int partitions, producer;
    final long began;
    final double rate;
    volatile boolean settling, ending;

    Client(String[] arguments) {
        brokers = arguments[0];
        topic = arguments[1];
        partitions = Integer.parseInt(arguments[2]);
        began = Long.parseLong(arguments[3]);
        producer = Integer.parseInt(arguments[4]);
        rate = Double.parseDouble(arguments[5]);
    }

    public static void main(String[] arguments) throws Exception {
        Client client = new Client(arguments);
        long seed = Long.parseLong(arguments[6]);
        List<Thread> threads = new ArrayList<>();
        threads.add(new Thread(client::produce));
        threads.add(new Thread(client::consume));
        for (int slot = 0; slot < 2; slot++) {
            int number = slot;
            threads.add(new Thread(() -> client.join(number, new Random(seed + number))));
        }
        threads.forEach(Thread::start);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null && !line.equals("end"); line = in.readLine())
            client.settling |= line.equals("settle");
        client.ending = true;
        for (Thread thread : threads)
            thread.join();
    }

    /** System.nanoTime is the monotonic clock on Linux. */
    long now() {
        return System.nanoTime() - began;
    }

    static void say(String kind, String who, String fields) {
        OUT.println("{\"kind\":\"" + kind + "\",\"who\":\"" + who + "\",\"what\":{" + fields + "}}");
    }

    static void report(String who, String what, Throwable why) {
        String text = what + ": " + why.getClass().getSimpleName() + ": " + why.getMessage();
        say("error", who, "\"text\":\"" + text.replaceAll("[\"\\\\\\p{Cntrl}]", " ") + "\"");
    }

    static void rest(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    Properties properties(String who) {
        Properties p = new Properties();
        p.put("bootstrap.servers", brokers);
        p.put("client.id", who);
        p.put("enable.metrics.push", "false");
        p.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        p.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        p.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        p.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        return p;
    }

    // The producer. Every partition has its own count of records, and of those that were not answered.

    void produce() {
        String who = "producer-" + producer, padding = "|" + "x".repeat(120);
        Properties p = properties(who);
        p.put("linger.ms", "2");
        p.put("max.block.ms", "5000");
        AtomicIntegerArray waiting = new AtomicIntegerArray(partitions);
        AtomicInteger all = new AtomicInteger();
        long[] next = new long[partitions];
        KafkaProducer<String, String> kafka = new KafkaProducer<>(p);
        long due = now();
        for (int partition = 0; !settling && !ending; partition = (partition + 1) % partitions) {
            while (due > now() && !settling && !ending)
                rest(1);
            due += (long) (1e9 / rate);
            if (due < now() - 1_000_000_000)
                due = now(); // it was held up: what was not sent is not made up for
            if (waiting.get(partition) < IN_FLIGHT)
                send(kafka, who, partition, next[partition]++, padding, waiting, all);
        }
        while (all.get() > 0 && !ending)
            rest(10);
        say("settled", who, "");
        while (!ending)
            rest(50);
        kafka.close(Duration.ofSeconds(1));
    }

    void send(KafkaProducer<String, String> kafka, String who, int partition, long n, String padding, AtomicIntegerArray waiting, AtomicInteger all) {
        long at = now();
        String value = "\"value\":{\"producer\":" + producer + ",\"partition\":" + partition + ",\"n\":" + n + "},\"began\":" + at;
        say("send", who, value + ",\"outcome\":\"pending\",\"offset\":-1");
        waiting.incrementAndGet(partition);
        all.incrementAndGet();
        try {
            kafka.send(new ProducerRecord<>(topic, partition, null, producer + "|" + partition + "|" + n + padding), (metadata, error) -> {
                waiting.decrementAndGet(partition);
                all.decrementAndGet();
                boolean acked = error == null;
                say("send", who, value + ",\"outcome\":\"" + (acked ? "acknowledged" : "unknown") + "\",\"offset\":" + (acked ? metadata.offset() : -1) + ",\"ended\":" + now());
                if (!acked)
                    report(who, "delivery", error);
            });
        } catch (RuntimeException e) {
            waiting.decrementAndGet(partition);
            all.decrementAndGet();
            report(who, "send", e);
        }
    }

    // Consumers.

    void sayRead(String who, ConsumerRecord<String, String> record) {
        String[] words = record.value().split("\\|");
        if (words.length != 4) {
            say("strange", who, "\"text\":\"offset " + record.offset() + " of partition " + record.partition() + " is no record of ours\"");
            return;
        }
        say("read", who, "\"partition\":" + record.partition() + ",\"offset\":" + record.offset() + ",\"value\":{\"producer\":" + words[0] + ",\"partition\":" + words[1]
            + ",\"n\":" + words[2] + "},\"at\":" + now());
    }

    void consume() {
        String who = "java-consumer";
        Properties p = properties(who);
        p.put("enable.auto.commit", "false");
        p.put("auto.offset.reset", "none");
        say("consumer", who, "\"group\":\"\"");
        try (KafkaConsumer<String, String> kafka = new KafkaConsumer<>(p)) {
            List<TopicPartition> all = new ArrayList<>();
            for (int i = 0; i < partitions; i++)
                all.add(new TopicPartition(topic, i));
            kafka.assign(all);
            all.forEach(partition -> kafka.seek(partition, 0));
            while (!ending) {
                try {
                    for (ConsumerRecord<String, String> record : kafka.poll(Duration.ofMillis(100)))
                        sayRead(who, record);
                } catch (RuntimeException e) {
                    report(who, "poll", e);
                    rest(100);
                }
            }
        }
    }

    void join(int slot, Random chance) {
        for (int life = 0; !ending; life++) {
            String who = "java-member-" + slot + "." + life;
            try {
                live(who, now() + (20 + chance.nextInt(40)) * 1_000_000_000L);
            } catch (RuntimeException e) {
                report(who, "life", e);
                rest(100);
            }
        }
    }

    void live(String who, long until) {
        Properties p = properties(who);
        p.put("group.id", GROUP);
        p.put("session.timeout.ms", "10000");
        p.put("heartbeat.interval.ms", "1000");
        p.put("max.poll.interval.ms", "30000");
        p.put("enable.auto.commit", "false");
        p.put("auto.offset.reset", "earliest");
        p.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
        say("consumer", who, "\"group\":\"" + GROUP + "\"");
        try (KafkaConsumer<String, String> kafka = new KafkaConsumer<>(p)) {
            kafka.subscribe(List.of(topic), new Listener(who));
            while (!ending && now() < until) {
                ConsumerRecords<String, String> records = kafka.poll(Duration.ofMillis(200));
                Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
                for (ConsumerRecord<String, String> record : records) {
                    sayRead(who, record);
                    next.put(new TopicPartition(topic, record.partition()), new OffsetAndMetadata(record.offset() + 1));
                }
                if (!next.isEmpty())
                    commit(kafka, who, next);
            }
        }
    }

    void commit(KafkaConsumer<String, String> kafka, String who, Map<TopicPartition, OffsetAndMetadata> next) {
        long at = now();
        sayCommits(who, next, at, false, 0);
        boolean acked = false;
        try {
            kafka.commitSync(next, Duration.ofSeconds(10));
            acked = true;
        } catch (RuntimeException e) {
            report(who, "commit", e);
        }
        sayCommits(who, next, at, acked, now());
    }

    void sayCommits(String who, Map<TopicPartition, OffsetAndMetadata> next, long at, boolean acked, long ended) {
        next.forEach((partition, offset) -> say("commit", who, "\"group\":\"" + GROUP + "\",\"member\":\"" + who + "\",\"partition\":" + partition.partition()
            + ",\"offset\":" + offset.offset() + ",\"acked\":" + acked + ",\"began\":" + at + ",\"ended\":" + ended));
    }

    /** Says what a member is given and gives back. What it has read is committed before it polls again, so nothing is left to do then. */
    class Listener implements ConsumerRebalanceListener {
        final String who;

        Listener(String who) {
            this.who = who;
        }

        public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
            assigned.forEach(p -> say("assigned", who, "\"partition\":" + p.partition() + ",\"at\":" + now()));
        }

        public void onPartitionsRevoked(Collection<TopicPartition> gone) {
            gone.forEach(p -> say("gone", who, "\"partition\":" + p.partition() + ",\"at\":" + now() + ",\"lost\":false"));
        }

        public void onPartitionsLost(Collection<TopicPartition> gone) {
            gone.forEach(p -> say("gone", who, "\"partition\":" + p.partition() + ",\"at\":" + now() + ",\"lost\":true"));
        }
    }
}
