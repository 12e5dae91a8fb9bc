package recording;

import static recording.Topologies.*;

import java.time.Duration;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.KeyValueMapper;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.StreamJoined;

/** Every kind of join: streams, tables, both, global tables, foreign keys; plain, versioned, and with grace. */
final class Joins {
  static void add() {
    for (String kind : new String[] {"inner", "left", "outer"}) {
      for (int[] w : new int[][] {{10, 10, 0}, {10, 10, 15}, {0, 20, 5}, {20, 0, 5}, {5, 12, 1000}}) {
        two("ss-" + kind + "/b" + w[0] + "a" + w[1] + "g" + w[2], b -> streams(b, kind, w[0], w[1], w[2]));
      }
      two("tt-" + kind, b -> finish(tables(b, kind, false, null)));
      two("tt-" + kind + "-materialized", b -> finish(tables(b, kind, false, kept())));
      two("tt-" + kind + "-versioned1000", b -> finish(tables(b, kind, true, null)));
      two("tt-" + kind + "-then-groupBy-aggregate", b -> finish(tables(b, kind, false, null)
          .groupBy((k, v) -> org.apache.kafka.streams.KeyValue.pair("g" + v.length() % 2, v)).aggregate(() -> "", ADD, SUBTRACT, kept())));
      if (kind.equals("outer")) {
        continue;
      }
      two("st-" + kind, b -> streamTable(b, kind, 0, 0));
      two("st-" + kind + "-versioned1000", b -> streamTable(b, kind, 1000, 0));
      two("st-" + kind + "-versioned20", b -> streamTable(b, kind, 20, 0));
      two("st-" + kind + "-versioned1000-grace12", b -> streamTable(b, kind, 1000, 12));
      two("sg-" + kind, b -> streamGlobal(b, kind));
      two("fk-" + kind, b -> foreignKey(b, kind));
    }
    one("ss-self/10", b -> {
      KStream<String, String> s = in(b);
      s.join(s, JOIN, JoinWindows.ofTimeDifferenceAndGrace(ms(10), ms(5)), StreamJoined.with(S, S, S)).to("out");
    });
  }

  private static void streams(StreamsBuilder b, String kind, int before, int after, int grace) {
    KStream<String, String> left = b.stream("L");
    KStream<String, String> right = b.stream("R");
    JoinWindows w = JoinWindows.ofTimeDifferenceAndGrace(Duration.ZERO, ms(grace)).before(ms(before)).after(ms(after));
    StreamJoined<String, String, String> with = StreamJoined.with(S, S, S);
    (switch (kind) {
      case "inner" -> left.join(right, JOIN, w, with);
      case "left" -> left.leftJoin(right, JOIN, w, with);
      default -> left.outerJoin(right, JOIN, w, with);
    }).to("out");
  }

  private static KTable<String, String> source(StreamsBuilder b, String topic, String store, long history) {
    return history == 0 ? b.table(topic) : b.table(topic, versioned(store, history));
  }

  private static KTable<String, String> tables(StreamsBuilder b, String kind, boolean versioned,
      Materialized<String, String, org.apache.kafka.streams.state.KeyValueStore<org.apache.kafka.common.utils.Bytes, byte[]>> kept) {
    KTable<String, String> left = source(b, "L", "lv", versioned ? 1000 : 0);
    KTable<String, String> right = source(b, "R", "rv", versioned ? 1000 : 0);
    return switch (kind) {
      case "inner" -> kept == null ? left.join(right, JOIN) : left.join(right, JOIN, kept);
      case "left" -> kept == null ? left.leftJoin(right, JOIN) : left.leftJoin(right, JOIN, kept);
      default -> kept == null ? left.outerJoin(right, JOIN) : left.outerJoin(right, JOIN, kept);
    };
  }

  private static void streamTable(StreamsBuilder b, String kind, long history, long grace) {
    KTable<String, String> table = source(b, "R", "rv", history);
    KStream<String, String> stream = b.stream("L");
    Joined<String, String, String> with = Joined.with(S, S, S);
    if (grace > 0) {
      with = with.withName("j").withGracePeriod(ms(grace));
    }
    (kind.equals("inner") ? stream.join(table, JOIN, with) : stream.leftJoin(table, JOIN, with)).to("out");
  }

  private static void streamGlobal(StreamsBuilder b, String kind) {
    GlobalKTable<String, String> table = b.globalTable("R");
    KStream<String, String> stream = b.stream("L");
    KeyValueMapper<String, String, String> key = (k, v) -> v == null ? k : v.endsWith("0") ? null : k;
    (kind.equals("inner") ? stream.join(table, key, JOIN) : stream.leftJoin(table, key, JOIN)).to("out");
  }

  private static void foreignKey(StreamsBuilder b, String kind) {
    KTable<String, String> left = b.table("L");
    KTable<String, String> right = b.table("R");
    finish(kind.equals("inner")
        ? left.join(right, Topologies::foreign, JOIN, kept())
        : left.leftJoin(right, Topologies::foreign, JOIN, kept()));
  }

  private Joins() {}
}
