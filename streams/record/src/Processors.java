package recording;

import static recording.Topologies.*;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.kstream.ValueTransformerWithKey;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.kstream.internals.SessionWindow;
import org.apache.kafka.streams.processor.Cancellable;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.ValueAndTimestamp;

/** Processors, with every kind of store. */
final class Processors {
  static void add() {
    forwarding();
    stores();
    shared();
  }

  /** What a processor does with a record. */
  private interface Step {
    void take(ProcessorContext<String, String> context, Record<String, String> r);
  }

  private static ProcessorSupplier<String, String, String, String> doing(Step step) {
    return () -> new ContextualProcessor<>() {
      @Override
      public void process(Record<String, String> r) {
        step.take(context(), r);
      }
    };
  }

  private static void forwarding() {
    one("proc/rekeys", b -> finish(in(b).process(doing((c, r) -> {
      if (r.value() != null) {
        c.forward(r.withKey(r.value().substring(1)));
      }
    })).groupByKey().reduce(PLUS)));
    one("proc/forwards-to-one", b -> {
      var from = in(b).process(doing((c, r) -> c.forward(r, r.value() == null ? "empty" : "full")));
      from.mapValues(v -> "E", Named.as("empty")).to("out");
      from.mapValues(v -> "F" + v, Named.as("full")).to("out");
    });
    one("proc/headers", b -> in(b).process(doing((c, r) -> {
      r.headers().add("seen", new byte[] {1, 2});
      c.forward(r);
    })).repartition(Repartitioned.as("rep")).to("out"));
    one("proc/time", b -> in(b).process(doing((c, r) -> c.forward(r.withTimestamp(r.timestamp() + 5)
        .withValue(c.currentStreamTimeMs() + " " + c.recordMetadata().get().offset())))).to("out"));
    one("proc/cancels", b -> in(b).process(() -> new ContextualProcessor<String, String, String, String>() {
      private Cancellable timer;
      private int calls;

      @Override
      public void init(ProcessorContext<String, String> c) {
        super.init(c);
        timer = c.schedule(ms(20), PunctuationType.STREAM_TIME, now -> {
          c.forward(new Record<>("t", "call " + ++calls, now));
          if (calls == 3) {
            timer.cancel();
          }
        });
      }

      @Override
      public void process(Record<String, String> r) {}
    }).to("out"));
  }

  private static <T extends StateStore> void withStore(String name, StoreBuilder<T> store, Uses<T> uses) {
    one(name, b -> {
      b.addStateStore(store);
      in(b).process(doing((c, r) -> {
        if (r.key() != null) {
          c.forward(r.withValue(uses.use(c.getStateStore("st"), r)));
        }
      }), "st").to("out");
    });
  }

  private interface Uses<T> {
    String use(T store, Record<String, String> r);
  }

  private static void stores() {
    withStore("proc/key-value-store", Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("st"), S, S), (store, r) -> {
      store.put(r.key(), r.value());
      List<String> all = new ArrayList<>();
      try (var rows = store.range("a", "b")) {
        rows.forEachRemaining(row -> all.add(row.key + row.value));
      }
      try (var rows = store.reverseAll()) {
        rows.forEachRemaining(row -> all.add(row.key + row.value));
      }
      return String.join(",", all);
    });
    withStore("proc/lru-store", Stores.keyValueStoreBuilder(Stores.lruMap("st", 2), S, S), (store, r) -> {
      String old = store.get(r.key());
      store.put(r.key(), r.value());
      return old == null ? "none" : old;
    });
    withStore("proc/timestamped-store", Stores.timestampedKeyValueStoreBuilder(Stores.persistentTimestampedKeyValueStore("st"), S, S), (store, r) -> {
      ValueAndTimestamp<String> old = store.get(r.key());
      store.put(r.key(), ValueAndTimestamp.make(r.value(), r.timestamp() / 2));
      return old == null ? "none" : old.value() + "@" + old.timestamp();
    });
    withStore("proc/versioned-store", Stores.versionedKeyValueStoreBuilder(Stores.persistentVersionedKeyValueStore("st", ms(30)), S, S), (store, r) -> {
      store.put(r.key(), r.value(), r.timestamp());
      var now = store.get(r.key());
      var before = store.get(r.key(), r.timestamp() - 10);
      return (now == null ? "-" : now.value() + "@" + now.timestamp()) + " " + (before == null ? "-" : before.value() + "@" + before.timestamp());
    });
    withStore("proc/window-store", Stores.windowStoreBuilder(Stores.persistentWindowStore("st", ms(100_000), ms(20), false), S, S), (store, r) -> {
      store.put(r.key(), r.value(), r.timestamp());
      List<String> all = new ArrayList<>();
      try (var rows = store.fetch(r.key(), Math.max(0, r.timestamp() - 20), r.timestamp() + 20)) {
        rows.forEachRemaining(row -> all.add(row.key + row.value));
      }
      try (var rows = store.fetchAll(Math.max(0, r.timestamp() - 5), r.timestamp() + 5)) {
        rows.forEachRemaining(row -> all.add(row.key.key() + row.key.window().start() + row.value));
      }
      Collections.sort(all); // RocksDB's store and the one in memory have different orders
      return String.join(",", all);
    });
    withStore("proc/session-store", Stores.sessionStoreBuilder(Stores.persistentSessionStore("st", ms(100_000)), S, S), (store, r) -> {
      store.put(new Windowed<>(r.key(), new SessionWindow(r.timestamp(), r.timestamp() + 5)), r.value());
      List<String> all = new ArrayList<>();
      try (var rows = store.findSessions(r.key(), Math.max(0, r.timestamp() - 20), r.timestamp() + 10)) {
        rows.forEachRemaining(row -> all.add(Topologies.name(row.key) + row.value));
      }
      return String.join(",", all);
    });
  }

  private static StoreBuilder<KeyValueStore<String, Long>> counter(String name) {
    return Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name), S, Serdes.Long());
  }

  private static long next(KeyValueStore<String, Long> seen, String key) {
    Long n = seen.get(key);
    seen.put(key, n == null ? 1 : n + 1);
    return n == null ? 1 : n + 1;
  }

  private static void shared() {
    one("proc/values", b -> {
      b.addStateStore(counter("seen"));
      in(b).filter((k, v) -> k != null).processValues(() -> new ContextualFixedKeyProcessor<String, String, String>() {
        @Override
        public void process(FixedKeyRecord<String, String> r) {
          context().forward(r.withValue(r.value() + "#" + next(context().getStateStore("seen"), r.key())));
        }
      }, "seen").groupByKey().reduce(PLUS).toStream().to("out");
    });
    one("proc/transformValues", b -> {
      b.addStateStore(counter("seen"));
      finish(b.<String, String>table("in").transformValues(() -> new ValueTransformerWithKey<String, String, String>() {
        private KeyValueStore<String, Long> seen;

        @Override
        public void init(org.apache.kafka.streams.processor.ProcessorContext c) {
          seen = c.getStateStore("seen");
        }

        @Override
        public String transform(String k, String v) {
          return v == null ? null : v + "#" + next(seen, k);
        }

        @Override
        public void close() {}
      }, Materialized.<String, String, KeyValueStore<org.apache.kafka.common.utils.Bytes, byte[]>>as("tv").withKeySerde(S).withValueSerde(S), "seen"));
    });
    two("proc/global-store", b -> {
      b.addGlobalStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("st"), S, S).withLoggingDisabled(), "R",
          org.apache.kafka.streams.kstream.Consumed.with(S, S), () -> new ContextualProcessor<String, String, Void, Void>() {
            @Override
            public void process(Record<String, String> r) {
              if (r.key() != null) {
                KeyValueStore<String, String> rows = context().getStateStore("st");
                rows.put(r.key(), r.value() == null ? null : "g:" + r.value());
              }
            }
          });
      b.<String, String>stream("L").process(doing(Processors::lookup)).to("out");
    });
    extended("proc/read-only-store", t -> {
      t.addSource("left", S.deserializer(), S.deserializer(), "L");
      t.addProcessor("look", doing(Processors::lookup), "left");
      t.addSink("sink", "out", S.serializer(), S.serializer(), "look");
      t.addReadOnlyStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("st"), S, S), "right",
          S.deserializer(), S.deserializer(), "R", "keep", () -> new ContextualProcessor<String, String, Void, Void>() {
            @Override
            public void process(Record<String, String> r) {
              if (r.key() != null) {
                KeyValueStore<String, String> rows = context().getStateStore("st");
                rows.put(r.key(), r.value());
              }
            }
          });
      t.connectProcessorAndStateStores("look", "st");
    });
  }

  private static void lookup(ProcessorContext<String, String> c, Record<String, String> r) {
    if (r.key() != null) {
      KeyValueStore<String, String> rows = c.getStateStore("st");
      c.forward(r.withValue(r.value() + "+" + rows.get(r.key())));
    }
  }

  private Processors() {}
}
