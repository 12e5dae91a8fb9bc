package recording;

import static recording.Topologies.*;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.BiFunction;
import java.util.regex.Pattern;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.WindowedSerdes;
import org.apache.kafka.streams.kstream.Windows;
import org.apache.kafka.streams.kstream.internals.TimeWindow;
import org.apache.kafka.streams.processor.TimestampExtractor;
import org.apache.kafka.streams.state.Stores;

/** Operators that the other topologies do not have: sources, sinks, keys, names, kinds of windows and stores, bad records. */
final class Further {
  static void add() {
    singles();
    topics();
    tables();
    windows();
    failures();
  }

  private static void singles() {
    one("op/filterNot-map", b -> in(b).filterNot((k, v) -> v == null).map((k, v) -> KeyValue.pair(k + "x", v + k)).to("out"));
    one("op/mapValues-with-key", b -> in(b).mapValues((k, v) -> k + ":" + v).to("out"));
    one("op/flatMapValues-with-key", b -> in(b).flatMapValues((k, v) -> List.of(k + ":" + v, v + ":" + k)).to("out"));
    one("op/flatMap", b -> in(b).flatMap((k, v) ->
        v == null ? List.<KeyValue<String, String>>of() : List.of(KeyValue.pair(k, v), KeyValue.pair(v, k))).to("out"));
    one("op/selectKey-peek", b -> in(b).peek((k, v) -> {}).selectKey((k, v) -> v).to("out"));
    one("op/split-without-default", b -> in(b).split()
        .branch((k, v) -> "b".equals(k), Branched.withConsumer(s -> s.to("out")))
        .branch((k, v) -> v != null, Branched.withConsumer(s -> s.mapValues(v -> v + "?").to("out"))).noDefaultBranch());
    one("op/flatMap-groupByKey", b -> finish(in(b).flatMap((k, v) ->
        List.of(KeyValue.pair(k, v), KeyValue.pair(v, k))).groupByKey().reduce(PLUS)));
  }

  private static void topics() {
    one("op/repartition", b -> in(b).repartition(Repartitioned.as("rep")).mapValues(v -> v + "!").to("out"));
    one("op/repartition-twice", b -> in(b).selectKey((k, v) -> v).repartition().selectKey((k, v) -> v).repartition().to("out"));
    one("op/to-each", b -> in(b).to((k, v, context) -> v == null ? "other" : "out"));
    one("op/to-nowhere", b -> in(b).to("out", Produced.streamPartitioner((topic, k, v, n) ->
        v == null ? Optional.of(Set.of()) : Optional.empty())));
    two("op/two-topics", b -> b.<String, String>stream(List.of("L", "R")).to("out"));
    two("op/pattern", b -> b.<String, String>stream(Pattern.compile("[LR]")).to("out"));
    TimestampExtractor time = (r, partitionTime) -> {
      String v = (String) r.value();
      return v == null ? r.timestamp() : v.endsWith("3") ? -1 : v.endsWith("4") ? partitionTime : 2 * r.timestamp();
    };
    one("op/event-time", b -> b.stream("in", Consumed.with(S, S).withTimestampExtractor(time)).to("out"));
    one("op/event-time-windows", b -> finishWindows(b.stream("in", Consumed.with(S, S).withTimestampExtractor(time))
        .groupByKey().windowedBy(TimeWindows.ofSizeWithNoGrace(ms(20))).count()));
  }

  private static void tables() {
    one("op/toTable-named", b -> finish(in(b).toTable(Materialized.as("tt"))));
    one("op/groupBy-named", b -> finish(in(b).filter((k, v) -> v != null)
        .groupBy((k, v) -> v.substring(1), Grouped.as("byv")).reduce(PLUS, Materialized.as("sums"))));
    one("op/toStream-keyed", b -> b.<String, String>table("in").toStream((k, v) -> v == null ? k : v).to("out"));
    one("op/unlogged", b -> finish(in(b).groupByKey().aggregate(() -> "", ADD, kept().withLoggingDisabled())));
    BiFunction<String, String, String> keyOf = (k, v) -> v.endsWith("7") ? null : k.equals("a") ? "b" : k;
    two("op/fk-of-key", b -> {
      KTable<String, String> left = b.table("L");
      finish(left.leftJoin(b.<String, String>table("R"), keyOf, JOIN, kept()));
    });
    two("op/sg-mapped", b -> {
      GlobalKTable<String, String> rows = b.globalTable("R");
      b.<String, String>stream("L").filter((k, v) -> v != null).leftJoin(rows, (k, v) -> Topologies.foreign(v), JOIN).to("out");
    });
    two("op/ss-named", b -> b.<String, String>stream("L").leftJoin(b.<String, String>stream("R"), JOIN,
        JoinWindows.ofTimeDifferenceAndGrace(ms(10), ms(5)),
        StreamJoined.with(S, S, S).withName("ours").withStoreName("theirs")).to("out"));
  }

  /** Windows of 10 and 30 ms in turn. */
  private static final class Uneven extends Windows<TimeWindow> {
    @Override
    public Map<Long, TimeWindow> windowsFor(long t) {
      long cycle = t / 40 * 40;
      Map<Long, TimeWindow> found = new LinkedHashMap<>();
      if (t - cycle < 10) {
        found.put(cycle, new TimeWindow(cycle, cycle + 10));
      } else {
        found.put(cycle + 10, new TimeWindow(cycle + 10, cycle + 40));
      }
      return found;
    }

    @Override
    public long size() {
      return 30;
    }

    @Override
    public long gracePeriodMs() {
      return 10;
    }
  }

  private static void windows() {
    one("op/windows-of-ones-own", b -> finishWindows(
        in(b).groupByKey().windowedBy(new Uneven()).aggregate(() -> "", ADD, Materialized.with(S, S))));
    one("op/windows-kept-longer", b -> finishWindows(in(b).groupByKey().windowedBy(TimeWindows.ofSizeAndGrace(ms(20), ms(10)))
        .aggregate(() -> "", ADD, Materialized.<String, String, org.apache.kafka.streams.state.WindowStore<org.apache.kafka.common.utils.Bytes, byte[]>>as("ws")
            .withKeySerde(S).withValueSerde(S).withRetention(ms(500)))));
    one("op/window-keys", b -> in(b).groupByKey().windowedBy(TimeWindows.ofSizeAndGrace(ms(20), ms(10)))
        .aggregate(() -> "", ADD, Materialized.with(S, S)).toStream()
        .repartition(Repartitioned.with(WindowedSerdes.timeWindowedSerdeFrom(String.class, 20L), S).withName("w"))
        .map((w, v) -> KeyValue.pair(Topologies.name(w), v)).to("out"));
    one("op/session-keys", b -> in(b).groupByKey().windowedBy(SessionWindows.ofInactivityGapAndGrace(ms(10), ms(10)))
        .aggregate(() -> "", ADD, MERGE, Materialized.with(S, S)).toStream()
        .repartition(Repartitioned.with(WindowedSerdes.sessionWindowedSerdeFrom(String.class), S).withName("w"))
        .map((w, v) -> KeyValue.pair(Topologies.name(w), v)).to("out"));
  }

  private static String picky(String v) {
    if (v != null && v.endsWith("5")) {
      throw new IllegalArgumentException("5");
    }
    return v;
  }

  private static void failures() {
    configured("errors/skip-processing", Map.of("processing.exception.handler",
        "org.apache.kafka.streams.errors.LogAndContinueProcessingExceptionHandler"), b -> {
          in(b).mapValues(Further::picky).to("out");
          in(b).mapValues(v -> "too:" + v).to("out");
        });
    Serde<String> picky = Serdes.serdeFrom(S.serializer(), (topic, data) -> picky(S.deserializer().deserialize(topic, data)));
    configured("errors/skip-decoding", Map.of("deserialization.exception.handler",
        "org.apache.kafka.streams.errors.LogAndContinueExceptionHandler"), b -> b.stream("in", Consumed.with(S, picky)).to("out"));
  }

  private Further() {}
}
