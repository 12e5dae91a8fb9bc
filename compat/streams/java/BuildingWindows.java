import java.time.Duration;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.SessionWindowedKStream;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.TimeWindowedKStream;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.WindowStore;

/** The operators of windows. buildwindows.go has the same. */
final class BuildingWindows {
  private final Building of;

  BuildingWindows(Building of) {
    this.of = of;
  }

  Object build(Building.Node n) {
    return switch (n.op()) {
      case "window" -> n.arg(1).equals("session") ? sessions(n) : window(n);
      case "cowindow" -> cogroup(n);
      case "wfilter" -> of.windows(n, 0).filter((w, v) -> Functions.PREDICATES.get(n.arg(0)).test(null, v));
      case "wsuppress" -> of.windows(n, 0).suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()));
      case "wgroup" -> {
        var how = Functions.AGGREGATIONS.get(n.arg(0));
        yield of.windows(n, 0).groupBy((w, v) -> KeyValue.pair("w" + (w.window().start() - of.base), v), Grouped.with(Building.S, Building.S))
            .aggregate(how::init, how.add(), how.subtract(), Building.kept("-"));
      }
      case "wstream" -> of.windows(n, 0).toStream().map((w, v) ->
          KeyValue.pair(w.key() + "@" + (w.window().start() - of.base) + "/" + (w.window().end() - of.base), v));
      default -> null;
    };
  }

  private static EmitStrategy emit(Building.Node n) {
    return n.arg(5).equals("close") ? EmitStrategy.onWindowClose() : EmitStrategy.onWindowUpdate();
  }

  private static TimeWindows time(String kind, Duration size, String advance, Duration grace) {
    TimeWindows w = TimeWindows.ofSizeAndGrace(size, grace);
    return kind.equals("hopping") ? w.advanceBy(Building.ms(advance)) : w;
  }

  private KTable<Windowed<String>, String> window(Building.Node n) {
    Duration size = Building.ms(n.arg(2));
    Duration grace = Building.ms(n.arg(4));
    var group = of.group(n);
    TimeWindowedKStream<String, String> w = (n.arg(1).equals("sliding")
        ? group.windowedBy(SlidingWindows.ofTimeDifferenceAndGrace(size, grace))
        : group.windowedBy(time(n.arg(1), size, n.arg(3), grace))).emitStrategy(emit(n));
    String store = n.arg(7);
    return switch (n.arg(6)) {
      case "count" -> (store.equals("-") ? w.count()
          : w.count(Materialized.<String, Long, WindowStore<Bytes, byte[]>>as(store).withKeySerde(Building.S).withValueSerde(Serdes.Long())))
          .mapValues(c -> String.valueOf(c));
      case "reduce" -> w.reduce(Functions.REDUCE, kept(store));
      default -> {
        var how = Functions.AGGREGATIONS.get(n.arg(6));
        yield w.aggregate(how::init, how.add(), kept(store));
      }
    };
  }

  private static Materialized<String, String, WindowStore<Bytes, byte[]>> kept(String store) {
    return store.equals("-") ? Materialized.with(Building.S, Building.S)
        : Materialized.<String, String, WindowStore<Bytes, byte[]>>as(store).withKeySerde(Building.S).withValueSerde(Building.S);
  }

  private KTable<Windowed<String>, String> sessions(Building.Node n) {
    SessionWindowedKStream<String, String> w = of.group(n)
        .windowedBy(SessionWindows.ofInactivityGapAndGrace(Building.ms(n.arg(2)), Building.ms(n.arg(4)))).emitStrategy(emit(n));
    String store = n.arg(7);
    if (n.arg(6).equals("count")) {
      return (store.equals("-") ? w.count()
          : w.count(Materialized.<String, Long, SessionStore<Bytes, byte[]>>as(store).withKeySerde(Building.S).withValueSerde(Serdes.Long())))
          .mapValues(c -> String.valueOf(c));
    }
    var how = Functions.AGGREGATIONS.get(n.arg(6));
    Materialized<String, String, SessionStore<Bytes, byte[]>> kept = store.equals("-") ? Materialized.with(Building.S, Building.S)
        : Materialized.<String, String, SessionStore<Bytes, byte[]>>as(store).withKeySerde(Building.S).withValueSerde(Building.S);
    return w.aggregate(how::init, how.add(), Functions.MERGE, kept);
  }

  private KTable<Windowed<String>, String> cogroup(Building.Node n) {
    Duration size = Building.ms(n.arg(1));
    Duration grace = Building.ms(n.arg(3));
    var group = of.cogroup(n);
    return switch (n.arg(0)) {
      case "session" -> group.windowedBy(SessionWindows.ofInactivityGapAndGrace(size, grace))
          .aggregate(() -> "", Functions.MERGE, Materialized.with(Building.S, Building.S));
      case "sliding" -> group.windowedBy(SlidingWindows.ofTimeDifferenceAndGrace(size, grace))
          .aggregate(() -> "", Materialized.with(Building.S, Building.S));
      default -> group.windowedBy(time(n.arg(0), size, n.arg(2), grace))
          .aggregate(() -> "", Materialized.with(Building.S, Building.S));
    };
  }
}
