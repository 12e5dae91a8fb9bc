import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TopologyConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/**
 * Runs Kafka Streams applications at the word of side.go, which starts this once for many of them. Lines come in: "start ID FILE
 * BASE key=value…" (the topology's words are in the file, the rest is configuration) and "stop ID leave|stay": whether it leaves
 * its group, or stays in it until its session times out, as it does unless told otherwise. Lines go out: "ok ID", "failed ID why"
 * for each, and "died ID why" for an application that ends by itself.
 */
public final class Twin {
  private static final Map<String, KafkaStreams> RUNNING = new ConcurrentHashMap<>();

  public static void main(String[] args) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    ExecutorService workers = Executors.newCachedThreadPool();
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] words = line.split(" ");
      workers.execute(() -> {
        try {
          if (words[0].equals("start")) {
            start(words);
          } else {
            stop(words[1], words[2]);
          }
          say("ok " + words[1]);
        } catch (Exception | Error e) {
          say("failed " + words[1] + " " + e);
          e.printStackTrace();
        }
      });
    }
    System.exit(0);
  }

  private static synchronized void say(String line) {
    System.out.println(line.replace('\n', ' '));
    System.out.flush();
  }

  private static void start(String[] words) throws Exception {
    String id = words[1];
    Properties p = defaults(id);
    for (int i = 4; i < words.length; i++) {
      String[] pair = words[i].split("=", 2);
      p.put(pair[0], pair[1]);
    }
    StreamsBuilder b = new StreamsBuilder(new TopologyConfig(new StreamsConfig(p)));
    Building building = new Building(b, id, Long.parseLong(words[3]));
    for (String line : Files.readAllLines(Path.of(words[2]))) {
      building.add(Building.Node.parse(line));
    }
    KafkaStreams streams = new KafkaStreams(b.build(p), p);
    streams.setUncaughtExceptionHandler(e -> {
      say("died " + id + " " + e);
      e.printStackTrace();
      return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
    });
    RUNNING.put(id, streams);
    streams.start();
  }

  /** What all applications are told: what the Go side does, too, and nothing that depends on the wall clock. */
  private static Properties defaults(String id) {
    Properties p = new Properties();
    p.put(StreamsConfig.APPLICATION_ID_CONFIG, id);
    p.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, "org.apache.kafka.common.serialization.Serdes$StringSerde");
    p.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, "org.apache.kafka.common.serialization.Serdes$StringSerde");
    p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, "0");
    p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, "1");
    p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, "100");
    p.put(StreamsConfig.POLL_MS_CONFIG, "20");
    p.put("auto.offset.reset", "earliest");
    p.put("producer.linger.ms", "5");
    // What went through repartition topics is compared, too.
    p.put(StreamsConfig.REPARTITION_PURGE_INTERVAL_MS_CONFIG, String.valueOf(Long.MAX_VALUE / 2));
    // Results are looked for at every record, not once a second by the wall clock.
    p.put(StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_OUTER_JOIN_SPURIOUS_RESULTS_FIX, 0L);
    p.put(StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_WINDOWED_AGGREGATION, 0L);
    return p;
  }

  private static void stop(String id, String how) {
    KafkaStreams streams = RUNNING.remove(id);
    CloseOptions options = CloseOptions.timeout(Duration.ofSeconds(30));
    if (how.equals("leave")) {
      options = options.withGroupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP);
    }
    if (!streams.close(options)) {
      throw new IllegalStateException("it did not close within 30 s");
    }
  }
}
