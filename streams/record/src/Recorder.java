package recording;

import java.io.FileOutputStream;
import java.io.OutputStreamWriter;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import java.util.zip.Deflater;
import java.util.zip.GZIPOutputStream;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.TestOutputTopic;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyConfig;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.test.TestRecord;

/**
 * Writes what Kafka Streams does with each topology of {@link Topologies} and random inputs: one JSON object a line, in the
 * form that streams/testdata/README.md describes. The same inputs every time.
 *
 * <p>Arguments: "rocksdb" or "inmemory" (whose stores; only RocksDB's changelogs are written out, as both write the same),
 * the file, and a pattern for names.
 */
public final class Recorder {
  private static final int SEEDS = 20;

  private final boolean inMemory;
  private final Path state;

  private Recorder(boolean inMemory, Path state) {
    this.inMemory = inMemory;
    this.state = state;
  }

  public static void main(String[] args) throws Exception {
    Path state = Files.createTempDirectory("record-streams");
    Recorder recorder = new Recorder(args[0].equals("inmemory"), state);
    int scenarios = 0;
    try (Writer out = new OutputStreamWriter(new BestGzip(args[1]), StandardCharsets.UTF_8)) {
      for (Topologies.Named t : Topologies.all()) {
        if (!t.name().matches(args[2])) {
          continue;
        }
        for (int seed = 0; seed < SEEDS; seed++) {
          out.write(recorder.record(t, seed));
          scenarios++;
        }
      }
    }
    try (var files = Files.walk(state)) {
      files.sorted(Comparator.reverseOrder()).forEach(f -> f.toFile().delete());
    }
    System.out.println(args[1] + ": " + scenarios + " scenarios");
  }

  private static final class BestGzip extends GZIPOutputStream {
    BestGzip(String file) throws java.io.IOException {
      super(new FileOutputStream(file), 1 << 16);
      def.setLevel(Deflater.BEST_COMPRESSION);
    }
  }

  private Properties config(Topologies.Named t) {
    Properties p = new Properties();
    p.put(StreamsConfig.APPLICATION_ID_CONFIG, "g");
    p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "nowhere:1");
    p.put(StreamsConfig.STATE_DIR_CONFIG, state.toString());
    p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, "0");
    p.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, "org.apache.kafka.common.serialization.Serdes$StringSerde");
    p.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, "org.apache.kafka.common.serialization.Serdes$StringSerde");
    if (inMemory) {
      p.put(StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG, "org.apache.kafka.streams.state.BuiltInDslStoreSuppliers$InMemoryDslStoreSuppliers");
    }
    // Results are looked for at every record, not once a second by the wall clock.
    p.put(StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_OUTER_JOIN_SPURIOUS_RESULTS_FIX, 0L);
    p.put(StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_WINDOWED_AGGREGATION, 0L);
    p.putAll(t.config());
    return p;
  }

  private String record(Topologies.Named t, int seed) {
    Properties p = config(t);
    // The store suppliers count only where the builder is told of them, too.
    StreamsBuilder builder = new StreamsBuilder(new TopologyConfig(new StreamsConfig(p)));
    t.build().accept(builder);
    Topology topology = builder.build(p);
    t.extend().accept(topology);
    StringBuilder line = new StringBuilder("{\"name\":" + json(t.name()) + ",\"seed\":" + seed + ",\"steps\":[");
    try (TopologyTestDriver driver = new TopologyTestDriver(topology, p, Instant.ofEpochMilli(0))) {
      Observer observer = new Observer(driver, !inMemory);
      String between = "";
      for (Input.Step step : Input.steps(t, seed)) {
        line.append(between);
        observer.feed(step, line);
        between = ",";
      }
    } catch (RuntimeException e) {
      throw new IllegalStateException(t.name() + " seed " + seed, e);
    }
    return line.append("]}\n").toString();
  }

  /** Gives a driver steps, and writes down what came of each. */
  private static final class Observer {
    private final TopologyTestDriver driver;
    private final boolean internal;
    private final Map<String, TestInputTopic<String, String>> inputs = new HashMap<>();
    private final TestOutputTopic<String, String> out;
    private final Map<String, TestOutputTopic<byte[], byte[]>> hidden = new HashMap<>();

    Observer(TopologyTestDriver driver, boolean internal) {
      this.driver = driver;
      this.internal = internal;
      out = driver.createOutputTopic("out", new StringDeserializer(), new StringDeserializer());
    }

    void feed(Input.Step s, StringBuilder line) {
      if (s.topic() == null) {
        driver.advanceWallClockTime(Duration.ofMillis(s.ts()));
        line.append("{\"advanceWallClock\":").append(s.ts());
      } else {
        inputs.computeIfAbsent(s.topic(), n -> driver.createInputTopic(n, new StringSerializer(), new StringSerializer()))
            .pipeInput(s.key(), s.value(), s.ts());
        line.append("{\"topic\":").append(json(s.topic())).append(",\"key\":").append(json(s.key()))
            .append(",\"value\":").append(json(s.value())).append(",\"ts\":").append(s.ts());
      }
      line.append(",\"out\":[");
      String between = "";
      for (TestRecord<String, String> r : out.readRecordsToList()) {
        line.append(between).append("{\"key\":").append(json(r.key())).append(",\"value\":").append(json(r.value()))
            .append(",\"ts\":").append(r.timestamp()).append('}');
        between = ",";
      }
      line.append(']');
      if (internal) {
        internals(line);
      }
      line.append('}');
    }

    private void internals(StringBuilder line) {
      line.append(",\"internal\":[");
      String between = "";
      for (String topic : new TreeSet<>(driver.producedTopicNames())) {
        if (!topic.startsWith("g-")) {
          continue;
        }
        var records = hidden.computeIfAbsent(topic, n -> driver.createOutputTopic(n, new ByteArrayDeserializer(), new ByteArrayDeserializer()));
        for (TestRecord<byte[], byte[]> r : records.readRecordsToList()) {
          line.append(between).append("{\"topic\":").append(json(topic)).append(",\"key\":").append(hex(r.key()))
              .append(",\"value\":").append(hex(r.value())).append(",\"ts\":").append(r.timestamp()).append(headers(r)).append('}');
          between = ",";
        }
      }
      line.append(']');
    }

    private static String headers(TestRecord<byte[], byte[]> r) {
      StringBuilder b = new StringBuilder();
      for (Header h : r.headers()) {
        b.append(b.isEmpty() ? ",\"headers\":{" : ",").append(json(h.key())).append(':').append(hex(h.value()));
      }
      return b.isEmpty() ? "" : b.append('}').toString();
    }
  }

  private static String hex(byte[] b) {
    return b == null ? "null" : "\"" + HexFormat.of().formatHex(b) + "\"";
  }

  private static String json(String s) {
    return s == null ? "null" : "\"" + s.replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
  }
}
