package recording;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Aggregator;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.KeyValueMapper;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Merger;
import org.apache.kafka.streams.kstream.Predicate;
import org.apache.kafka.streams.kstream.Reducer;
import org.apache.kafka.streams.kstream.ValueJoiner;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** The topologies that are recorded, and the functions that they share. Their Go twins are in streams/recorded*_test.go. */
final class Topologies {
  /** A topology that reads inputs and writes to the topic out. */
  record Named(String name, List<String> inputs, Consumer<StreamsBuilder> build, Consumer<Topology> extend, Map<String, Object> config) {}

  private static final List<Named> ALL = new ArrayList<>();

  static List<Named> all() {
    if (ALL.isEmpty()) {
      Basics.add();
      Windowing.add();
      Joins.add();
      Chains.add();
      Further.add();
      Processors.add();
    }
    return ALL;
  }

  /** A topology of one input. */
  static void one(String name, Consumer<StreamsBuilder> build) {
    ALL.add(new Named(name, List.of("in"), build, t -> {}, Map.of()));
  }

  /** A topology of the inputs L and R. */
  static void two(String name, Consumer<StreamsBuilder> build) {
    ALL.add(new Named(name, List.of("L", "R"), build, t -> {}, Map.of()));
  }

  /** A topology of the inputs L and R that the builder has no words for. */
  static void extended(String name, Consumer<Topology> build) {
    ALL.add(new Named(name, List.of("L", "R"), b -> {}, build, Map.of()));
  }

  static void configured(String name, Map<String, Object> config, Consumer<StreamsBuilder> build) {
    ALL.add(new Named(name, List.of("in"), build, t -> {}, config));
  }

  static final Serde<String> S = Serdes.String();
  static final ValueJoiner<String, String, String> JOIN = (a, b) -> a + "+" + b;
  static final Aggregator<String, String, String> ADD = (k, v, a) -> a + "|" + v;
  static final Aggregator<String, String, String> SUBTRACT = (k, v, a) -> a + "-" + v;
  static final Merger<String, String> MERGE = (k, a, b) -> "(" + a + "&" + b + ")";
  static final Reducer<String> PLUS = (a, v) -> a + "+" + v;
  static final Reducer<String> BAR = (a, v) -> a + "|" + v;
  static final Reducer<String> MINUS = (a, v) -> a + "-" + v;
  static final Predicate<String, String> EVEN = (k, v) -> v.hashCode() % 2 == 0;
  static final KeyValueMapper<String, String, KeyValue<String, String>> GROUP = (k, v) -> KeyValue.pair("g" + v.charAt(1), v);

  static String foreign(String v) {
    char last = v.charAt(v.length() - 1);
    return last == '7' ? null : "abc".substring(last % 3, last % 3 + 1);
  }

  static Duration ms(long n) {
    return Duration.ofMillis(n);
  }

  static KStream<String, String> in(StreamsBuilder b) {
    return b.stream("in");
  }

  static Materialized<String, String, KeyValueStore<Bytes, byte[]>> kept() {
    return Materialized.with(S, S);
  }

  static Materialized<String, String, KeyValueStore<Bytes, byte[]>> versioned(String name, long history) {
    return Materialized.<String, String>as(Stores.persistentVersionedKeyValueStore(name, ms(history))).withKeySerde(S).withValueSerde(S);
  }

  static <V> void finish(KTable<String, V> t) {
    t.toStream().mapValues(Topologies::text).to("out");
  }

  static <V> void finishWindows(KTable<Windowed<String>, V> t) {
    t.toStream().map((w, v) -> KeyValue.pair(name(w), text(v))).to("out");
  }

  static String name(Windowed<String> w) {
    return w.key() + "@" + w.window().start() + "/" + w.window().end();
  }

  static String text(Object v) {
    return v == null ? null : String.valueOf(v);
  }

  private Topologies() {}
}
