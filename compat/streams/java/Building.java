import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.CogroupedKStream;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KGroupedTable;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.KeyValueMapper;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** Builds a topology from its words, which spec.go explains. build.go builds the same. */
final class Building {
  static final Serde<String> S = Serdes.String();

  /** A node's words. */
  record Node(String op, List<Integer> in, List<String> args) {
    static Node parse(String line) {
      List<String> words = List.of(line.split(" "));
      List<Integer> in = new ArrayList<>();
      if (!words.get(1).equals("-")) {
        for (String n : words.get(1).split(",")) {
          in.add(Integer.parseInt(n));
        }
      }
      return new Node(words.get(0), in, words.subList(2, words.size()));
    }

    String arg(int i) {
      return args.get(i);
    }
  }

  final StreamsBuilder builder;
  final String prefix;
  final long base;
  final List<Object> made = new ArrayList<>();

  Building(StreamsBuilder builder, String prefix, long base) {
    this.builder = builder;
    this.prefix = prefix;
    this.base = base;
  }

  void add(Node n) {
    Object result = stateless(n);
    if (result == null) {
      result = tables(n);
    }
    if (result == null) {
      result = new BuildingWindows(this).build(n);
    }
    if (result == null) {
      throw new IllegalArgumentException("no operator " + n.op());
    }
    made.add(result);
  }

  static Duration ms(String arg) {
    return Duration.ofMillis(Long.parseLong(arg));
  }

  String topic(String name) {
    return prefix + "." + name;
  }

  @SuppressWarnings("unchecked")
  KStream<String, String> stream(Node n, int i) {
    return (KStream<String, String>) made.get(n.in().get(i));
  }

  @SuppressWarnings("unchecked")
  KTable<String, String> table(Node n, int i) {
    return (KTable<String, String>) made.get(n.in().get(i));
  }

  @SuppressWarnings("unchecked")
  KTable<Windowed<String>, String> windows(Node n, int i) {
    return (KTable<Windowed<String>, String>) made.get(n.in().get(i));
  }

  /** A store of that name, or for "-" one with the name that the topology gives it. */
  static Materialized<String, String, KeyValueStore<Bytes, byte[]>> kept(String store) {
    return store.equals("-") ? Materialized.with(S, S)
        : Materialized.<String, String, KeyValueStore<Bytes, byte[]>>as(store).withKeySerde(S).withValueSerde(S);
  }

  static Materialized<String, Long, KeyValueStore<Bytes, byte[]>> counts(String store) {
    return store.equals("-") ? Materialized.with(S, Serdes.Long())
        : Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as(store).withKeySerde(S).withValueSerde(Serdes.Long());
  }

  private Object stateless(Node n) {
    return switch (n.op()) {
      case "stream" -> builder.stream(topic(n.arg(0)), Consumed.with(S, S));
      case "filter" -> stream(n, 0).filter(Functions.PREDICATES.get(n.arg(0)));
      case "filterNot" -> stream(n, 0).filterNot(Functions.PREDICATES.get(n.arg(0)));
      case "mapValues" -> {
        var f = Functions.MAPPERS.get(n.arg(0));
        yield stream(n, 0).mapValues(v -> f.apply(v));
      }
      case "flatMapValues" -> stream(n, 0).flatMapValues(v -> v == null ? List.<String>of() : List.of(v + ".1", v + ".2"));
      case "selectKey" -> stream(n, 0).selectKey(Functions.KEYS.get(n.arg(0)));
      case "map" -> {
        var f = Functions.KEYS.get(n.arg(0));
        yield stream(n, 0).map((k, v) -> KeyValue.pair(f.apply(k, v), v + k));
      }
      case "flatMap" -> stream(n, 0).flatMap((k, v) ->
          v == null ? List.of(KeyValue.pair(k, v)) : List.of(KeyValue.pair(k, v), KeyValue.pair(v, k)));
      case "peek" -> stream(n, 0).peek((k, v) -> {});
      case "merge" -> stream(n, 0).merge(stream(n, 1));
      case "repartition" -> n.arg(0).equals("-") ? stream(n, 0).repartition() : stream(n, 0).repartition(Repartitioned.as(n.arg(0)));
      case "split" -> {
        List<KStream<String, String>> branches = new ArrayList<>();
        stream(n, 0).split().branch(Functions.PREDICATES.get(n.arg(0)), Branched.withConsumer(branches::add))
            .defaultBranch(Branched.withConsumer(branches::add));
        yield branches;
      }
      case "branch" -> ((List<?>) made.get(n.in().get(0))).get(Integer.parseInt(n.arg(0)));
      case "seen" -> seen(n);
      case "to" -> {
        stream(n, 0).to(topic(n.arg(0)), Produced.with(S, S));
        yield "";
      }
      default -> null;
    };
  }

  private KStream<String, String> seen(Node n) {
    String name = n.arg(0);
    builder.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name), S, Serdes.Long()));
    return stream(n, 0).filter(Functions.PREDICATES.get("keyed")).processValues(() -> new ContextualFixedKeyProcessor<String, String, String>() {
      @Override
      public void process(FixedKeyRecord<String, String> r) {
        KeyValueStore<String, Long> rows = context().getStateStore(name);
        Long before = rows.get(r.key());
        long seen = before == null ? 1 : before + 1;
        rows.put(r.key(), seen);
        context().forward(r.withValue(r.value() + "#" + seen));
      }
    }, name);
  }

  private Object tables(Node n) {
    return switch (n.op()) {
      case "table" -> source(n);
      case "global" -> builder.globalTable(topic(n.arg(0)), Consumed.with(S, S));
      case "toTable" -> n.arg(0).equals("-") ? stream(n, 0).toTable() : stream(n, 0).toTable(kept(n.arg(0)));
      case "toStream" -> table(n, 0).toStream();
      case "count" -> group(n).count(counts(n.arg(1))).mapValues(c -> String.valueOf(c));
      case "reduce" -> group(n).reduce(Functions.REDUCE, kept(n.arg(1)));
      case "aggregate" -> {
        var how = Functions.AGGREGATIONS.get(n.arg(1));
        yield group(n).aggregate(how::init, how.add(), kept(n.arg(2)));
      }
      case "cogroup" -> cogroup(n).aggregate(() -> "", kept(n.arg(0)));
      case "tfilter" -> n.arg(1).equals("-") ? table(n, 0).filter(Functions.PREDICATES.get(n.arg(0)))
          : table(n, 0).filter(Functions.PREDICATES.get(n.arg(0)), kept(n.arg(1)));
      case "tfilterNot" -> table(n, 0).filterNot(Functions.PREDICATES.get(n.arg(0)));
      case "tmap" -> {
        var f = Functions.MAPPERS.get(n.arg(0));
        yield table(n, 0).mapValues(v -> f.apply(v));
      }
      case "tgroup" -> regroup(n);
      case "suppress" -> table(n, 0).suppress(Suppressed.untilTimeLimit(ms(n.arg(0)), Suppressed.BufferConfig.unbounded()));
      case "sjoin" -> joinStreams(n);
      case "stjoin" -> joinTable(n);
      case "sgjoin" -> joinGlobal(n);
      case "tjoin" -> joinTables(n);
      case "fkjoin" -> n.arg(0).equals("inner")
          ? table(n, 0).join(table(n, 1), Functions::foreign, Functions.JOIN, kept("-"))
          : table(n, 0).leftJoin(table(n, 1), Functions::foreign, Functions.JOIN, kept("-"));
      default -> null;
    };
  }

  private KTable<String, String> source(Node n) {
    String topic = topic(n.arg(0));
    if (!n.arg(2).equals("-")) {
      return builder.table(topic, Consumed.with(S, S), Materialized.<String, String>as(
          Stores.persistentVersionedKeyValueStore(n.arg(1), ms(n.arg(2)))).withKeySerde(S).withValueSerde(S));
    }
    return n.arg(1).equals("-") ? builder.table(topic, Consumed.with(S, S)) : builder.table(topic, Consumed.with(S, S), kept(n.arg(1)));
  }

  KGroupedStream<String, String> group(Node n) {
    return n.arg(0).equals("-") ? stream(n, 0).groupByKey() : stream(n, 0).groupBy(Functions.KEYS.get(n.arg(0)), Grouped.with(S, S));
  }

  CogroupedKStream<String, String> cogroup(Node n) {
    return stream(n, 0).groupByKey().<String>cogroup((k, v, a) -> a + "|l" + v).cogroup(stream(n, 1).groupByKey(), (k, v, a) -> a + "|r" + v);
  }

  private KTable<String, String> regroup(Node n) {
    KeyValueMapper<String, String, String> f = Functions.KEYS.get(n.arg(0));
    KGroupedTable<String, String> g = table(n, 0).groupBy((k, v) -> KeyValue.pair(f.apply(k, v), v), Grouped.with(S, S));
    String store = n.arg(2);
    return switch (n.arg(1)) {
      case "count" -> g.count(counts(store)).mapValues(c -> String.valueOf(c));
      case "reduce" -> g.reduce(Functions.REDUCE, Functions.UNREDUCE, kept(store));
      default -> {
        var how = Functions.AGGREGATIONS.get(n.arg(1));
        yield g.aggregate(how::init, how.add(), how.subtract(), kept(store));
      }
    };
  }

  private KStream<String, String> joinStreams(Node n) {
    JoinWindows w = JoinWindows.ofTimeDifferenceAndGrace(Duration.ZERO, ms(n.arg(3))).before(ms(n.arg(1))).after(ms(n.arg(2)));
    StreamJoined<String, String, String> with = StreamJoined.with(S, S, S);
    return switch (n.arg(0)) {
      case "inner" -> stream(n, 0).join(stream(n, 1), Functions.JOIN, w, with);
      case "left" -> stream(n, 0).leftJoin(stream(n, 1), Functions.JOIN, w, with);
      default -> stream(n, 0).outerJoin(stream(n, 1), Functions.JOIN, w, with);
    };
  }

  private KStream<String, String> joinTable(Node n) {
    Joined<String, String, String> with = Joined.with(S, S, S);
    if (!n.arg(1).equals("-")) {
      with = with.withName(n.arg(2)).withGracePeriod(ms(n.arg(1)));
    }
    return n.arg(0).equals("inner") ? stream(n, 0).join(table(n, 1), Functions.JOIN, with) : stream(n, 0).leftJoin(table(n, 1), Functions.JOIN, with);
  }

  @SuppressWarnings("unchecked")
  private KStream<String, String> joinGlobal(Node n) {
    GlobalKTable<String, String> rows = (GlobalKTable<String, String>) made.get(n.in().get(1));
    KeyValueMapper<String, String, String> key = (k, v) -> v == null ? k : Functions.foreign(v);
    return n.arg(0).equals("inner") ? stream(n, 0).join(rows, key, Functions.JOIN) : stream(n, 0).leftJoin(rows, key, Functions.JOIN);
  }

  private KTable<String, String> joinTables(Node n) {
    KTable<String, String> l = table(n, 0);
    KTable<String, String> r = table(n, 1);
    if (n.arg(1).equals("-")) {
      return switch (n.arg(0)) {
        case "inner" -> l.join(r, Functions.JOIN);
        case "left" -> l.leftJoin(r, Functions.JOIN);
        default -> l.outerJoin(r, Functions.JOIN);
      };
    }
    return switch (n.arg(0)) {
      case "inner" -> l.join(r, Functions.JOIN, kept(n.arg(1)));
      case "left" -> l.leftJoin(r, Functions.JOIN, kept(n.arg(1)));
      default -> l.outerJoin(r, Functions.JOIN, kept(n.arg(1)));
    };
  }
}
