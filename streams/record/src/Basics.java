package recording;

import static recording.Topologies.*;

import java.util.List;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.CogroupedKStream;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** Operators on single records, aggregations, tables, and a processor with punctuations. */
final class Basics {
  static void add() {
    stateless();
    aggregations();
    tables();
    for (PunctuationType type : PunctuationType.values()) {
      one("punctuate/" + type.name().toLowerCase() + "-25", b -> {
        b.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("st"), S, S));
        in(b).process(() -> new Rows(type), "st").to("out");
      });
    }
  }

  private static void stateless() {
    one("stateless/filter-map", b ->
        in(b).filter((k, v) -> v != null && v.hashCode() % 3 != 0).mapValues(v -> v.toUpperCase()).to("out"));
    one("stateless/flatMapValues", b -> in(b).flatMapValues(v -> v == null ? List.<String>of() : List.of(v + ".1", v + ".2")).to("out"));
    one("stateless/split", b -> in(b).split()
        .branch((k, v) -> "a".equals(k), Branched.withConsumer(s -> s.mapValues(v -> "A:" + v).to("out")))
        .branch((k, v) -> v == null, Branched.withConsumer(s -> s.mapValues(v -> "N").to("out")))
        .defaultBranch(Branched.withConsumer(s -> s.mapValues(v -> "D:" + v).to("out"))));
    two("stateless/merge", b -> b.<String, String>stream("L").merge(b.stream("R")).to("out"));
    one("repartition/selectKey-count", b -> finish(
        in(b).filter((k, v) -> v != null).selectKey((k, v) -> v.substring(0, 2)).groupByKey().count(Materialized.with(S, Serdes.Long()))));
  }

  private static void aggregations() {
    one("agg/count", b -> finish(in(b).groupByKey().count(Materialized.with(S, Serdes.Long()))));
    one("agg/reduce", b -> finish(in(b).groupByKey().reduce(PLUS)));
    one("agg/aggregate", b -> finish(in(b).groupByKey().aggregate(() -> "", ADD, kept())));
    one("agg/aggregate-delete-on-x", b -> finish(in(b).groupByKey()
        .aggregate(() -> "", (k, v, a) -> v.endsWith("3") ? null : ADD.apply(k, v, a), kept())));
    two("agg/cogroup", b -> finish(cogroup(b).aggregate(() -> "", kept())));
    two("agg/cogroup-tumbling20-g10", b -> finishWindows(
        cogroup(b).windowedBy(TimeWindows.ofSizeAndGrace(ms(20), ms(10))).aggregate(() -> "", Materialized.with(S, S))));
  }

  static CogroupedKStream<String, String> cogroup(StreamsBuilder b) {
    KStream<String, String> left = b.stream("L");
    KStream<String, String> right = b.stream("R");
    return left.groupByKey().<String>cogroup((k, v, a) -> a + "|l" + v).cogroup(right.groupByKey(), (k, v, a) -> a + "|r" + v);
  }

  private static void tables() {
    one("table/source", b -> finish(b.<String, String>table("in")));
    one("table/toTable", b -> finish(in(b).toTable()));
    one("table/filter", b -> finish(b.<String, String>table("in").filter(EVEN)));
    one("table/filter-materialized", b -> finish(b.<String, String>table("in").filter(EVEN, kept())));
    one("table/filterNot-mapValues", b -> finish(b.<String, String>table("in").filterNot(EVEN).mapValues(v -> v + "!")));
    one("table/groupBy-count", b -> finish(b.<String, String>table("in").groupBy(GROUP, Grouped.with(S, S)).count(Materialized.with(S, Serdes.Long()))));
    one("table/groupBy-aggregate", b -> finish(b.<String, String>table("in").groupBy(GROUP).aggregate(() -> "", ADD, SUBTRACT, kept())));
    one("table/groupBy-reduce", b -> finish(b.<String, String>table("in").groupBy(GROUP).reduce(BAR, MINUS)));
  }

  /** Forwards what it gets, keeps it, and forwards all that it keeps every 25 ms. */
  private static final class Rows implements Processor<String, String, String, String> {
    private final PunctuationType type;
    private ProcessorContext<String, String> context;
    private KeyValueStore<String, String> rows;

    Rows(PunctuationType type) {
      this.type = type;
    }

    @Override
    public void init(ProcessorContext<String, String> c) {
      context = c;
      rows = c.getStateStore("st");
      c.schedule(ms(25), type, now -> {
        try (var all = rows.all()) {
          all.forEachRemaining(row -> context.forward(new Record<>(row.key, "punct:" + row.value, now)));
        }
      });
    }

    @Override
    public void process(Record<String, String> r) {
      if (r.key() == null) {
        return;
      }
      rows.put(r.key(), r.value());
      context.forward(r.withValue("in:" + r.value()));
    }
  }

  private Basics() {}
}
