package recording;

import static recording.Topologies.*;

import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;

/** Operators one after another, whose old values and tombstones have to fit together. */
final class Chains {
  private static final SlidingWindows SLIDING = SlidingWindows.ofTimeDifferenceAndGrace(ms(15), ms(10));
  private static final SessionWindows SESSIONS = SessionWindows.ofInactivityGapAndGrace(ms(10), ms(10));
  private static final TimeWindows TUMBLING = TimeWindows.ofSizeAndGrace(ms(20), ms(10));

  static void add() {
    windows();
    tables();
    joins();
    versions();
  }

  private static void windows() {
    one("x/sliding-reduce", b -> finishWindows(in(b).groupByKey().windowedBy(SLIDING).reduce(PLUS)));
    one("x/session-reduce", b -> finishWindows(in(b).filter((k, v) -> v != null).groupByKey().windowedBy(SESSIONS).reduce(PLUS)));
    one("x/session-count", b -> finishWindows(in(b).groupByKey().windowedBy(SESSIONS).count()));
    one("x/hopping-count", b -> finishWindows(
        in(b).groupByKey().windowedBy(TimeWindows.ofSizeAndGrace(ms(20), ms(7)).advanceBy(ms(5))).count()));
    one("x/sliding-count", b -> finishWindows(in(b).groupByKey().windowedBy(SLIDING).count()));
    two("x/cogroup-session", b -> finishWindows(
        Basics.cogroup(b).windowedBy(SESSIONS).aggregate(() -> "", MERGE, Materialized.with(S, S))));
    two("x/cogroup-sliding", b -> finishWindows(Basics.cogroup(b).windowedBy(SLIDING).aggregate(() -> "", Materialized.with(S, S))));
    one("x/window-filter-map", b -> finishWindows(rows(b).filter((k, v) -> v.hashCode() % 2 == 0).mapValues(v -> v + "!")));
    one("x/window-groupBy", b -> finish(rows(b).groupBy((w, v) -> KeyValue.pair("w" + w.window().start(), v), Grouped.with(S, S))
        .aggregate(() -> "", ADD, SUBTRACT, kept())));
    one("x/session-groupBy", b -> finish(
        in(b).groupByKey().windowedBy(SESSIONS).aggregate(() -> "", ADD, MERGE, Materialized.with(S, S))
            .groupBy((w, v) -> KeyValue.pair("w" + w.key(), v), Grouped.with(S, S)).aggregate(() -> "", ADD, SUBTRACT, kept())));
  }

  private static KTable<Windowed<String>, String> rows(StreamsBuilder b) {
    return in(b).groupByKey().windowedBy(TUMBLING).aggregate(() -> "", ADD, Materialized.with(S, S));
  }

  private static KTable<String, String> table(StreamsBuilder b) {
    return b.table("in");
  }

  private static void regroup(KTable<String, String> t) {
    finish(t.groupBy(GROUP).aggregate(() -> "", ADD, SUBTRACT, kept()));
  }

  private static Suppressed<String> hold() {
    return Suppressed.untilTimeLimit(ms(15), Suppressed.BufferConfig.unbounded());
  }

  private static void tables() {
    one("x/table-filter-groupBy", b -> regroup(table(b).filter(EVEN)));
    one("x/table-mapValues-groupBy-reduce", b -> finish(table(b).mapValues(v -> v + "!").groupBy(GROUP).reduce(BAR, MINUS)));
    one("x/filter-stored", b -> finish(table(b).filter(EVEN, Materialized.as("f"))));
    one("x/filter-stored-groupBy", b -> regroup(table(b).filter(EVEN, Materialized.as("f"))));
    one("x/filter-of-kept-source", b -> finish(b.<String, String>table("in", Materialized.as("src")).filter(EVEN)));
    one("x/suppress-bytes", b -> finish(table(b)
        .suppress(Suppressed.untilTimeLimit(ms(1000), Suppressed.BufferConfig.maxBytes(130).emitEarlyWhenFull()))));
    one("x/suppress-groupBy", b -> regroup(table(b).suppress(hold())));
    one("x/toTable-rekeyed", b -> finish(in(b).selectKey((k, v) -> v == null ? k : v.substring(0, 1) + v.length()).toTable()));
    one("x/groupBy-twice", b -> finish(table(b).groupBy(GROUP).reduce(BAR, MINUS, Materialized.as("r1"))
        .groupBy((k, v) -> KeyValue.pair("n" + v.length() % 2, v)).count(Materialized.as("r2"))));
  }

  /** What is made of the tables L and R. */
  private interface Both {
    void build(KTable<String, String> left, KTable<String, String> right);
  }

  private static void both(String name, Both f) {
    two(name, b -> f.build(b.table("L"), b.table("R")));
  }

  private static void joins() {
    both("x/tt-left-filter", (l, r) -> finish(l.leftJoin(r, JOIN).filter(EVEN)));
    both("x/tt-chain", (l, r) -> finish(l.leftJoin(r, JOIN).outerJoin(r.filter(EVEN), JOIN)));
    both("x/tt-inner-of-computed", (l, r) -> finish(l.filter(EVEN).mapValues(v -> v + "!").join(r, JOIN)));
    both("x/tt-outer-groupBy", (l, r) -> regroup(l.outerJoin(r, JOIN, Materialized.as("st"))));
    both("x/suppress-then-join", (l, r) -> finish(l.suppress(hold()).join(r, JOIN)));
    two("x/st-rekeyed-left", b -> {
      KTable<String, String> r = b.table("R");
      b.<String, String>stream("L").selectKey((k, v) -> v == null ? null : k).leftJoin(r, JOIN).to("out");
    });
    two("x/ss-rekeyed-outer", b -> b.<String, String>stream("L").selectKey((k, v) -> k)
        .outerJoin(b.<String, String>stream("R").selectKey((k, v) -> k), JOIN, JoinWindows.ofTimeDifferenceAndGrace(ms(10), ms(5))).to("out"));
    both("x/fk-left-groupBy", (l, r) -> regroup(l.leftJoin(r, Topologies::foreign, JOIN, kept())));
  }

  private static void versions() {
    two("x/versioned-filter-join", b -> {
      KTable<String, String> l = b.table("L", versioned("lv", 1000)).filter(EVEN);
      finish(l.leftJoin(b.table("R", versioned("rv", 1000)).mapValues(v -> v + "!"), JOIN));
    });
    one("x/versioned-groupBy", b -> regroup(b.table("in", versioned("lv", 1000))));
    one("x/versioned-aggregate", b -> finish(in(b).groupByKey().aggregate(() -> "", ADD, versioned("agg", 30))));
    two("x/fk-versioned", b -> {
      KTable<String, String> l = b.table("L", versioned("lv", 1000));
      finish(l.join(b.table("R", versioned("rv", 1000)), Topologies::foreign, JOIN, kept()));
    });
  }

  private Chains() {}
}
