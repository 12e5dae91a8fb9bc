import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Locale;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/** The loads of app.go, for Kafka Streams. Arguments: load, broker, state folder, records, tasks. */
public final class Bench {
  static long begunWall;
  static long begunCpu;

  static long cpu() {
    return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
  }

  static void begin() {
    begunCpu = cpu();
    begunWall = System.nanoTime();
  }

  static void build(StreamsBuilder b, String load, Runnable seen) {
    var longs = Produced.with(Serdes.String(), Serdes.Long());
    if (load.equals("restore")) {
      b.<String, String>stream("in").groupByKey().reduce((x, v) -> v, Materialized.<String, String, KeyValueStore<Bytes, byte[]>>as("st").withCachingDisabled());
      return;
    }
    KStream<String, String> s = b.<String, String>stream("in").peek((k, v) -> seen.run());
    Materialized<String, Long, KeyValueStore<Bytes, byte[]>> disk = Materialized.as("st");
    switch (load) {
      case "stateless" -> s.mapValues(v -> v.toUpperCase(Locale.ROOT)).to("out");
      case "count-memory" -> s.groupByKey().count(Materialized.<String, Long>as(Stores.inMemoryKeyValueStore("st")).withCachingDisabled()).toStream().to("out", longs);
      case "count-disk" -> s.groupByKey().count(disk.withCachingDisabled()).toStream().to("out", longs);
      case "count-cached" -> s.groupByKey().count(disk.withCachingEnabled()).toStream().to("out", longs);
      case "count-windows" -> s.groupByKey().windowedBy(TimeWindows.ofSizeWithNoGrace(Duration.ofSeconds(10)))
          .count(Materialized.<String, Long, WindowStore<Bytes, byte[]>>as("st").withCachingDisabled())
          .toStream((w, v) -> w.key()).to("out", longs);
      case "join" -> {
        KTable<String, String> t = b.table("table", Materialized.<String, String, KeyValueStore<Bytes, byte[]>>as("st").withCachingDisabled());
        s.join(t, (v, row) -> v.substring(0, 40) + row).to("out");
      }
      default -> throw new IllegalArgumentException(load);
    }
  }

  public static void main(String[] args) throws Exception {
    String load = args[0];
    long n = Long.parseLong(args[3]);
    long tasks = Long.parseLong(args[4]);
    Properties p = new Properties();
    p.put("application.id", load.equals("restore") ? "restore" : "java-" + load);
    p.put("bootstrap.servers", args[1]);
    p.put("state.dir", args[2]);
    p.put("commit.interval.ms", "1000");
    p.put("auto.offset.reset", "earliest");
    p.put("default.key.serde", "org.apache.kafka.common.serialization.Serdes$StringSerde");
    p.put("default.value.serde", "org.apache.kafka.common.serialization.Serdes$StringSerde");
    AtomicLong count = new AtomicLong();
    AtomicLong restored = new AtomicLong();
    CountDownLatch done = new CountDownLatch(1);
    StreamsBuilder b = new StreamsBuilder();
    build(b, load, () -> {
      long c = count.incrementAndGet();
      if (c == 1) {
        begin();
      }
      if (c == n) {
        done.countDown();
      }
    });
    KafkaStreams streams = new KafkaStreams(b.build(), p);
    if (load.equals("restore")) {
      begin();
    }
    streams.setGlobalStateRestoreListener(new StateRestoreListener() {
      @Override
      public void onRestoreStart(TopicPartition t, String store, long from, long to) {}

      @Override
      public void onBatchRestored(TopicPartition t, String store, long end, long batch) {}

      @Override
      public void onRestoreEnd(TopicPartition t, String store, long total) {
        if (load.equals("restore") && restored.incrementAndGet() == tasks) {
          done.countDown();
        }
      }
    });
    streams.start();
    done.await();
    streams.close();
    long cpu = cpu() - begunCpu;
    long wall = System.nanoTime() - begunWall;
    long rss = Files.readAllLines(Path.of("/proc/self/status")).stream().filter(l -> l.startsWith("VmHWM"))
        .mapToLong(l -> Long.parseLong(l.replaceAll("\\D", ""))).findFirst().orElse(0);
    System.out.println("took " + cpu + " " + wall + " " + rss);
  }
}
